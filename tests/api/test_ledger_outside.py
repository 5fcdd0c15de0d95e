"""What others hold of the ledger: seals taken while writers are at work, the commands, the check without Redline."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner, Result

from app import cli
from app.casework import proof, seal_files, seals, transitions
from app.casework.lifecycle import CaseState, Command
from app.casework.opening import import_case
from app.casework.signing import load_signer
from app.casework.vocabulary import SupervisionSource
from app.foundation.time import utc_now
from app.foundation.timetable import run_due
from app.settings import REPOSITORY, get_settings
from app.worker import all_jobs
from tests.casework_steps import GROUND, today
from tests.conftest import COUNTY, World


def _open(world: World) -> UUID:
    with world.database.transaction(see_all=True) as session:
        return import_case(
            session, world.caller("province"), state=CaseState.dispatched, lead_unit=COUNTY, geometry=GROUND,
            activity="mining", supervision_source=SupervisionSource.media, occurred_on=date(2022, 3, 1), today=today(),
        ).id  # fmt: skip


def _verifying(world: World, case: UUID) -> None:
    with world.database.transaction(see_all=True) as session:
        transitions.execute(
            session, world.caller("county"), case, Command.start_verification, {}, expected_version=1,
            occurred_on=None, note=None, today=today(),
        )  # fmt: skip


def test_seals_hold_that_were_taken_while_others_wrote(world: World) -> None:
    world.caller("province"), world.caller("county")
    done = Event()

    def write(_: int) -> int:
        made = 0
        while not done.is_set():
            _verifying(world, _open(world))
            made += 2
        return made

    def seal() -> int:
        with world.database.transaction(see_all=True) as session:
            return seals.seal(session, seals.open_signer(session, world.settings)).number

    _open(world)
    with ThreadPoolExecutor(5) as pool:
        writers = [pool.submit(write, k) for k in range(3)]
        try:
            numbers = [pool.submit(seal) for _ in range(4)]
            assert sorted(one.result(timeout=30) for one in numbers) == [1, 2, 3, 4]
        finally:
            done.set()
        written = 1 + sum(one.result(timeout=30) for one in writers)
    with world.database.transaction(see_all=True) as session:
        kept = [seal_files.read(path) for path in seals.write_missing(session, world.settings.seals)]
        report = proof.verify_with_seals(session, kept)
    assert (report.breaks, report.seals, report.events) == ([], [1, 2, 3, 4], written)


def test_the_timetable_seals_once_a_day_and_says_when_it_cannot(world: World, caplog: pytest.LogCaptureFixture) -> None:
    _open(world)
    jobs = [job for job in all_jobs(world.database, world.settings) if job.name.startswith("ledger-")]
    now = utc_now()
    for k in range(3):
        run_due(world.database, jobs, now + timedelta(minutes=10 * k), "test")
    assert [path.name for path in world.settings.seals.iterdir()] == [seals.file_name(1)]
    with world.database.transaction(see_all=True) as session:
        last = seals.newest(session)
        assert last is not None
        assert last.number == 1
        assert seals.is_due(session, now + timedelta(days=1))
        world.settings.signing_key.unlink()
        session.execute(text("select 1"))
    with world.database.transaction(see_all=True) as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr(seals, "utc_now", lambda: now + timedelta(days=1))
        seals.seal_and_write(session, now, settings=world.settings)
    assert "sealing the ledger is overdue: The key of the ledger is missing" in caplog.text


Redline = Callable[..., Result]


@pytest.fixture
def redline(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redline]:
    """The command, on the world's database."""
    monkeypatch.setenv("REDLINE_DATABASE_URL", world.urls.application)
    monkeypatch.setenv("REDLINE_DATA_DIR", str(world.settings.data_dir))
    get_settings.cache_clear()
    yield lambda *arguments: CliRunner().invoke(cli.app, ["ledger", *map(str, arguments)])
    get_settings.cache_clear()


def _export(world: World, case: UUID, path: Path) -> dict[str, Any]:
    answer = world.client.get(f"/api/v1/cases/{case}/export", headers=world.headers("county"))
    assert answer.status_code == 200, answer.text
    path.write_text(answer.text)
    return dict(answer.json())


def test_the_commands_name_the_place(world: World, redline: Redline, tmp_path: Path) -> None:
    case = _open(world)
    assert redline("key", "create").exit_code == 0
    assert redline("key", "create").exit_code == 2
    sealed = redline("seal")
    assert sealed.exit_code == 0, sealed.output
    kept, public = Path(sealed.stdout.split(": ")[1].strip()), tmp_path / "public.json"
    public.write_text(redline("key", "show").stdout)
    _verifying(world, case)
    _export(world, case, tmp_path / "before.json")
    intact = redline("verify", "--seal", kept, "--key", public)
    assert (intact.exit_code, intact.stdout) == (0, "2 events of 1 cases, 0 of 0 reviews, seals 1: intact\n")
    check = ("check", tmp_path / "before.json", "--key", public, "--seal", kept)
    assert redline(*check).exit_code == 0, redline(*check).output
    rotated = redline("key", "rotate")
    assert rotated.stdout.startswith("Seal 2 announced the key")
    assert redline("verify", "--key", public).exit_code == 0
    engine = create_engine(world.urls.superuser)
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table case_events disable trigger user")
        connection.exec_driver_sql("update case_events set note = 'x' where sequence = 1")
    engine.dispose()
    broken = redline("verify", "--seal", kept)
    assert broken.exit_code == 1
    assert f"case {case}, event 1, sequence 1 of cases: its content does not match its hash" in broken.stdout
    _export(world, case, tmp_path / "after.json")
    public.write_text(redline("key", "show").stdout)
    found = redline("check", tmp_path / "after.json", "--key", public, "--before", tmp_path / "before.json")
    assert found.exit_code == 1
    assert "event 1 of the case was changed since the export before: note" in found.stdout
    refused = redline("check", public, "--key", public)
    assert (refused.exit_code, "is not a case's export" in refused.output) == (2, True)


def test_the_check_in_the_documentation_needs_no_redline(world: World, tmp_path: Path) -> None:
    case = _open(world)
    _open(world), _open(world)
    with world.database.transaction(see_all=True) as session:
        seals.seal(session, seals.open_signer(session, world.settings))
    _verifying(world, case)
    program = re.findall("```python\n(.*?)```", (REPOSITORY / "docs" / "ledger.md").read_text(), re.DOTALL)[0]
    (tmp_path / "check.py").write_text(program)
    export = _export(world, case, tmp_path / "export.json")
    signer = load_signer(world.settings.signing_key)
    assert signer is not None

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "check.py", "export.json", signer.jwk["x"]]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run().stdout == "it holds\n", run().stderr
    export["document"]["events"][1]["kind"] = "withdraw"
    export["jws"] = signer.sign(export["document"])
    (tmp_path / "export.json").write_text(json.dumps(export))
    assert "event 2 does not match its hash" in run().stderr
