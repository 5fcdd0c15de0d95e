"""Who owns the database changes what a snapshot rests on: its check fails, and names the case."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.casework import interval_checks, seals
from app.casework.hash_chain import canonical
from app.casework.lifecycle import Command
from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.settings import Settings, get_settings
from app.statistics import snapshot_checks, snapshot_export
from app.statistics.models import Snapshot
from tests.casework_steps import Desk
from tests.conftest import World, _clone
from tests.ledger_steps import disarm, forge_after, rehash
from tests.snapshot_steps import SNAPSHOTS, add_case, check, step, take


@dataclass
class Taken:
    """Three cases of three events and a snapshot of them, sealed, and one more event of each after the snapshot."""

    desk: Desk
    ids: list[UUID]
    numbers: list[str]
    snapshot: dict[str, Any]
    exported: dict[str, Any]


@pytest.fixture(scope="module")
def taken(cluster: EmbeddedCluster, world_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taken]:
    from app.main import create_app

    own = Settings(data_dir=tmp_path_factory.mktemp("kept"), _env_file=None)
    for urls in _clone(cluster, world_template):
        database = Database(urls.application)
        with TestClient(create_app(own, database=database), raise_server_exceptions=False) as client:
            yield _work(World(urls, database, own, client))
        database.dispose()


def _work(world: World) -> Taken:
    desk = Desk(world)
    cases = [add_case(world) for _ in range(3)]
    for case_id, _ in cases:
        step(world, case_id, "county", Command.start_verification)
        step(world, case_id, "county", Command.propose_unfounded)
    snapshot = take(desk, rows="unit")
    exported = desk.get("province", f"{SNAPSHOTS}/{snapshot['id']}/export").json()
    for case_id, _ in cases:
        step(world, case_id, "prefecture", Command.reject_proposal)
    with world.database.transaction(see_all=True) as session:
        seals.seal(session, seals.open_signer(session, world.settings))
    with world.database.transaction(see_all=True) as session:
        seals.write_missing(session, world.settings.seals)
    assert check(desk, snapshot) == {"id": snapshot["id"], "holds": True, "seal": 1, "faults": []}
    return Taken(desk, [each for each, _ in cases], [number for _, number in cases], snapshot, exported)


@pytest.fixture
def owner(taken: Taken) -> Iterator[Session]:
    """A transaction of the owner of the tables that sees everything, taken back at the end."""
    engine = create_engine(taken.desk.world.urls.owner)
    with engine.connect() as connection, Session(connection, expire_on_commit=False) as session:
        session.execute(text("select set_config('redline.scope', 'all', true)"))
        disarm(session)
        for table in ("snapshots", "snapshot_cases"):
            session.execute(text(f"alter table {table} disable trigger user"))
        yield session
        session.rollback()
    engine.dispose()


def faults(taken: Taken, session: Session, kept: dict[str, Any] | None = None) -> list[tuple[str | None, str]]:
    session.expire_all()
    row = session.get_one(Snapshot, UUID(taken.snapshot["id"]))
    report = snapshot_checks.checker(session, taken.desk.world.settings).check(row, kept)
    assert report.holds == (not report.faults)
    return [(fault.case, fault.what) for fault in report.faults]


Change = Callable[[Session, UUID], None]


def _run(statement: str, *, anew: bool = False) -> Change:
    def change(session: Session, case: UUID) -> None:
        assert session.execute(text(statement), {"case": case}).rowcount
        if anew:
            rehash(session)
            interval_checks.rebuild(session)

    return change


def _put_in(session: Session, case: UUID) -> None:
    forge_after(session, case, 2)
    rehash(session)


CHANGED = "update case_events set {} where case_id = :case and case_sequence = {}"
CHANGES: dict[str, tuple[Change, str]] = {
    "a payload": (
        _run(CHANGED.format('payload = \'{"reason":"forged"}\'', 2)),
        "event 2 its content does not match its hash",
    ),
    "a note": (_run(CHANGED.format("note = 'forged'", 1)), "event 1 its content does not match its hash"),
    "a payload, hashed again": (
        _run(CHANGED.format('payload = \'{"reason":"forged"}\'', 3), anew=True),
        "one of its events 1 to 3 was changed, and the chain hashed again",
    ),
    "a state, hashed again and counted anew": (
        _run(CHANGED.format("state_after = 'unfounded'", 3), anew=True),
        "it is counted otherwise now: state, counted",
    ),
    "the last event by then taken away": (
        _run("delete from case_events where case_id = :case and case_sequence >= 3"),
        "events 3 to 3, recorded by then, are cut off",
    ),
    "an event taken away, hashed again": (
        _run("delete from case_events where case_id = :case and case_sequence = 2", anew=True),
        "events 3 to 3, recorded by then, are cut off",
    ),
    "an event put in": (_put_in, "1 events were put in before that instant; it had 3"),
    "a case taken away": (
        _run("delete from case_events where case_id = :case"),
        "it was counted, and the ledger as of then no longer gives it",
    ),
    "what figures are counted from": (
        _run("update case_intervals set state = 'withdrawn' where case_id = :case and state = 'unfounded_proposed'"),
        "it is counted otherwise now: state, counted",
    ),
    "what was kept of it": (
        _run("update snapshot_cases set counted = '{}' where case_id = :case"),
        "it is counted otherwise now: counted",
    ),
    "an event after the snapshot, before the seal": (
        _run(CHANGED.format("note = 'forged'", 4), anew=True),
        "its events are not those of seal 1",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_case_is_named(taken: Taken, owner: Session, name: str) -> None:
    change, what = CHANGES[name]
    change(owner, taken.ids[1])
    found = faults(taken, owner)
    assert any(case == taken.numbers[1] and fault.startswith(what) for case, fault in found), found
    # Events that were numbered anew are other events: all that came after an event that was put in or taken away.
    if "hashed again" not in name and "put in" not in name:
        assert {case for case, _ in found} <= {None, taken.numbers[1]}, found


def test_figures_that_are_other_when_counted_again_are_told(taken: Taken, owner: Session) -> None:
    _run("update case_intervals set state = 'withdrawn' where case_id = :case")(owner, taken.ids[0])
    told = [what for case, what in faults(taken, owner) if case is None]
    assert "withdrawn of the whole was 0 and is 1 when counted again" in told


def test_a_case_put_in_is_named(taken: Taken, owner: Session) -> None:
    owner.execute(
        text("update case_intervals set recorded_from = recorded_from - interval '1 day' where recorded_to is null")
    )
    late = add_case_by(owner)
    assert (late, "it was not counted") in [(case, what[:18]) for case, what in faults(taken, owner)]


def add_case_by(session: Session) -> str:
    """A case that claims to be as old as another: all its rows are copied from it."""
    session.execute(text("create temp table c as select * from cases order by number limit 1"))
    session.execute(text("create temp table e as select * from case_events where case_id = (select id from c)"))
    session.execute(text("create temp table i as select * from case_intervals where case_id = (select id from c)"))
    for statement in (
        "update c set id = gen_random_uuid(), number = number || '9'",
        "update e set case_id = (select id from c), id = gen_random_uuid(), sequence = -sequence",
        "update i set case_id = (select id from c), id = gen_random_uuid()",
        "insert into cases select * from c",
        "insert into case_events select * from e",
        "insert into case_intervals select * from i",
    ):
        session.execute(text(statement))
    return str(session.scalar(text("select number from c")))


def test_a_snapshot_that_is_changed_does_not_hold(taken: Taken, owner: Session) -> None:
    row = owner.get_one(Snapshot, UUID(taken.snapshot["id"]))
    document = json.loads(row.document)
    document["answer"]["total"]["figures"]["closed"] = 99
    forged = canonical(document).decode()
    owner.execute(text("update snapshots set document = :document"), {"document": forged})
    assert (None, "its digest does not fit its document") in faults(taken, owner)
    owner.execute(text("update snapshots set digest = :d"), {"d": hashlib.sha256(forged.encode()).hexdigest()})
    found = faults(taken, owner)
    assert (None, "its signature does not hold: the signature does not fit the content") in found
    assert (None, "closed of the whole was 99 and is 0 when counted again") in found
    parts = [canonical({**document, part: [1]}).decode() for part in ("question", "cases", "ledger", "answer", "key")]
    for broken in ("no document", "{}", "[]", json.dumps({**document, "format": "x"}), *parts):
        owner.execute(text("update snapshots set document = :document"), {"document": broken})
        assert (None, "its document is not in the form that was signed") in faults(taken, owner)
    for odd in ({**document, "question": {**document["question"], "filters": []}}, {**document, "cases": {}}):
        owner.execute(text("update snapshots set document = :document"), {"document": canonical(odd).decode()})
        assert (None, "its signature does not hold: the signature does not fit the content") in faults(taken, owner)


@pytest.mark.parametrize("column", ["name = 'other'", "sequence = sequence + 1", "taken_at = now()", "cases = 7"])
def test_a_row_that_says_other_than_was_signed_does_not_hold(taken: Taken, owner: Session, column: str) -> None:
    owner.execute(text(f"update snapshots set {column}"))
    assert (None, "its row says other than what was signed") in faults(taken, owner)


def test_what_is_forged_throughout_is_found_by_a_kept_export(taken: Taken, owner: Session) -> None:
    """Events, figures and what was kept of the cases, all made to fit: the export names the case."""
    _run(CHANGED.format("state_after = 'unfounded'", 3), anew=True)(owner, taken.ids[2])
    owner.execute(
        text(
            "update snapshot_cases s set head = e.hash, state = e.state_after, counted = cast(:counted as jsonb)"
            " from case_events e where e.case_id = s.case_id and e.case_sequence = 3 and s.case_id = :case"
        ),
        {"case": taken.ids[2], "counted": '{"unfounded":1,"total":1}'},
    )
    found = faults(taken, owner)
    assert (None, "the cases that were kept with it are no longer those that it counted") in found
    named = {case for case, _ in faults(taken, owner, taken.exported)}
    assert named == {None, taken.numbers[2]}
    assert snapshot_export.check(taken.exported) == []


@pytest.fixture
def told(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, str]]]:
    """What `redline statistics snapshot check` says, and its exit status."""
    from app.cli import app

    monkeypatch.setenv("REDLINE_DATABASE_URL", world.urls.application)
    monkeypatch.setenv("REDLINE_DATA_DIR", str(world.settings.data_dir))
    get_settings.cache_clear()

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["statistics", "snapshot", "check", *arguments])
        return done.exit_code, done.output

    yield run
    get_settings.cache_clear()


def test_tampering_is_told_over_http_and_on_the_command_line(
    world: World, tmp_path: Path, told: Callable[..., tuple[int, str]]
) -> None:
    """The acceptance: taken, then tampered with by the owner, committed."""
    desk, (case_id, number) = Desk(world), add_case(world)
    add_case(world)
    snapshot = take(desk)
    (kept := tmp_path / "kept.json").write_text(desk.get("province", f"{SNAPSHOTS}/{snapshot['id']}/export").text)
    assert check(desk, snapshot)["holds"]
    assert told("--all")[0] == 0
    assert told(snapshot["id"]) == (0, f"{snapshot['id']} 通报, 2 cases: it holds\n")
    assert told(snapshot["id"], "--kept", str(kept))[0] == 0
    for wrong in ([], [str(case_id)], ["--all", snapshot["id"]], [str(case_id), "--kept", str(kept)]):
        assert told(*wrong)[0] == 2, wrong
    engine = create_engine(world.urls.owner)
    with engine.begin() as connection:
        connection.execute(text("select set_config('redline.scope', 'all', true)"))
        connection.execute(text("alter table case_events disable trigger user"))
        connection.execute(text("update case_events set note = 'forged' where case_id = :id"), {"id": case_id})
        connection.execute(text("alter table case_events enable trigger user"))
    engine.dispose()
    found = check(desk, snapshot)
    assert not found["holds"]
    assert found["faults"] == [{"case": number, "what": "event 1 its content does not match its hash"}]
    for arguments in (["--all"], [snapshot["id"]], [snapshot["id"], "--kept", str(kept)]):
        code, output = told(*arguments)
        assert (code, f"case {number}: event 1" in output) == (1, True), output
