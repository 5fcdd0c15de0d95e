"""The command line: quick to answer, and plain about what people can mend."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select

from app.access.models import AccessEvent, Unit, UnitLevel
from app.access.service import caller_for_token
from app.access.vocabulary import Scope
from app.cli import explain, main
from app.foundation.database import Database
from app.foundation.embedded import ClusterUrls
from app.foundation.errors import Unauthenticated
from app.settings import get_settings

HEAVY = ("sqlalchemy", "fastapi", "shapely", "numba", "rasterio", "geopandas", "dask", "apscheduler")


Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Refused]:
    """Run the command with settings; what it said on standard error when it ended with status 1."""

    def run(*words: str, **settings: str) -> str:
        for name, value in settings.items():
            monkeypatch.setenv(f"REDLINE_{name.upper()}", value)
        monkeypatch.setattr(sys, "argv", ["redline", *words])
        get_settings.cache_clear()
        # Any other exception than this would reach people as a traceback.
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 1
        return capsys.readouterr().err

    yield run
    get_settings.cache_clear()


def test_the_help_loads_no_room() -> None:
    code = f"import sys, app.cli; print(*[name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://somebody:hush-hush@127.0.0.1:1/redline", "Connection refused"),
        ("hush-hush", "cannot be read"),
    ],
)
def test_a_database_that_is_not_there(refused: Refused, url: str, reason: str) -> None:
    said = refused("token", "create", "--user", "x", database_url=url)
    assert reason in said
    assert "hush-hush" not in said


def test_a_full_disk_and_a_fault() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/scene.tif")
    assert explain(full) == "/data/scene.tif cannot be written: No space left on device."
    assert explain(FileNotFoundError(errno.ENOENT, "gone", "x")) is None
    assert explain(RuntimeError("a fault of the program")) is None


def test_a_setting_that_is_none(refused: Refused) -> None:
    assert "REDLINE_PORT: Input should be a valid integer" in refused("ledger", "verify", port="many")


def test_a_setting_that_is_no_json(refused: Refused) -> None:
    said = refused("ledger", "verify", oidc_role_map="hush-hush")
    assert "REDLINE_OIDC_ROLE_MAP: takes JSON" in said
    assert "hush-hush" not in said


def test_a_data_directory_that_cannot_be_made(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", Path("/proc/nope")):
        assert "REDLINE_DATA_DIR" in refused("ledger", "verify", data_dir=str(place))


def test_a_folder_that_holds_something_else(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "the folder is not empty" in refused("sample", "build", "--out", str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} <= {"thesis.txt", ".sample-lock"}


def test_a_place_that_cannot_be_written(refused: Refused, tmp_path: Path) -> None:
    # A file where a folder is needed stops even root.
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused("sample", "build", "--out", str(tmp_path / "file" / "sample"))


def test_the_demo_stays_on_this_machine(refused: Refused, tmp_path: Path) -> None:
    assert "public password" in refused("demo", host="0.0.0.0", port="0", data_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Refused]:
    """Run the command with settings; what it printed on standard output."""

    def run(*words: str, **settings: str) -> str:
        for name, value in settings.items():
            monkeypatch.setenv(f"REDLINE_{name.upper()}", value)
        monkeypatch.setattr(sys, "argv", ["redline", *words])
        get_settings.cache_clear()
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        return capsys.readouterr().out

    yield run
    get_settings.cache_clear()


def test_what_the_operator_does_to_accounts_keeps_to_the_limits_and_is_kept(
    refused: Refused, command: Refused, database_urls: ClusterUrls, database: Database
) -> None:
    with database.transaction(see_all=True) as session:
        session.add(Unit(code="220000", name="吉林省", level=UnitLevel.province, valid_from=date(2020, 1, 1)))
    address = {"database_url": database_urls.application}
    words = ("--role", "admin", "--unit", "220000", "--password", "long enough")
    assert command("user", "add", "boss", *words, **address) == ""
    assert "at most 5 days" in refused(
        "token", "create", "--user", "boss", "--days", "6", max_token_days="5", **address
    )
    secret = command("token", "create", "--user", "boss", "--scope", "read", "--days", "0.5", **address).strip()
    with database.transaction() as session:
        assert caller_for_token(session, secret, allow_demo=False).scopes == {Scope.read}
    command("user", "set-password", "boss", "--password", "another long one", **address)
    with database.transaction() as session, pytest.raises(Unauthenticated):
        caller_for_token(session, secret, allow_demo=False)
    with database.transaction() as session:
        kinds = session.scalars(select(AccessEvent.kind).order_by(AccessEvent.id)).all()
    assert kinds == ["account_created", "token_created", "password_changed"]
