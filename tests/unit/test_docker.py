"""What can be checked of docker/ without an engine."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL
from typer.testing import CliRunner

from app.foundation.database_setup import connect
from app.foundation.postgres_programs import find_programs
from app.foundation.server_process import PORT, ServerProcess

DOCKER = Path(__file__).parents[2] / "docker"
yaml: Any = importlib.import_module("yaml")  # Comes with dask; carries no types.


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return document


def _commands(compose: dict[str, Any]) -> list[list[str]]:
    return [service["command"] for service in compose["services"].values() if "command" in service]


def test_every_redline_command_exists(compose: dict[str, Any]) -> None:
    cli = importlib.import_module("app.cli").app
    commands = [words for program, *words in _commands(compose) if program == "redline"]
    assert len(commands) == 3
    for words in commands:
        assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0, words


def test_every_dask_command_and_option_exists(compose: dict[str, Any]) -> None:
    commands = [words for program, *words in _commands(compose) if program == "dask"]
    assert len(commands) == 2
    for words in commands:
        help_page = subprocess.run(
            [sys.executable, "-m", "dask", words[0], "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", help_page))


def test_services_wait_for_services_that_exist(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for other, how in service.get("depends_on", {}).items():
            target = compose["services"][other]
            assert how["condition"] != "service_healthy" or "healthcheck" in target, (name, other)


def test_only_the_migration_knows_the_owner(compose: dict[str, Any]) -> None:
    knowing = {
        name
        for name, service in compose["services"].items()
        if "REDLINE_DATABASE_OWNER_URL" in service.get("environment", {})
    }
    assert knowing == {"migrate"}
    assert "redline_app:" in compose["services"]["api"]["environment"]["REDLINE_DATABASE_URL"]


def test_the_key_of_the_ledger_is_for_api_and_worker_alone(compose: dict[str, Any]) -> None:
    """Not for the database, whose owner it is to hold against, nor for Dask, which runs what it is sent."""
    mounts = {name: dict(item.split(":")[:2] for item in service.get("volumes", [])) for name, service in
              compose["services"].items()}  # fmt: skip
    for volume in ("keys", "seals"):
        assert volume in compose["volumes"]
        assert {name for name, mounted in mounts.items() if volume in mounted} == {"api", "worker"}
    made = (DOCKER / "Dockerfile").read_text()
    for name in ("api", "worker"):
        settings = compose["services"][name]["environment"]
        # In a volume of its own, whose folder the image gives to the service's account.
        assert settings["REDLINE_LEDGER_KEY"].startswith(mounts[name]["keys"] + "/")
        assert settings["REDLINE_SEAL_DIR"] == mounts[name]["seals"]
        assert re.search(rf"install -d -o redline -g redline -m 0700 {mounts[name]['keys']}\b", made)
        assert re.search(rf"install -d -o redline -g redline [^-\n]*{mounts[name]['seals']}\b", made)


def test_the_image_is_built_from_files_that_are_there() -> None:
    allowed = {line[1:] for line in (DOCKER.parent / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert names == allowed
    assert all((DOCKER.parent / name).exists() for name in names)


def test_the_set_up_script_makes_what_the_service_needs(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, {"listen_addresses": ""}, sync=False)
    server.initialise("postgres", "secret")
    sockets = server.launch()
    try:
        environment = {
            "PATH": f"{find_programs().directory}:{os.environ['PATH']}",
            "PGHOST": str(sockets),
            "PGPORT": str(PORT),
            "PGPASSWORD": "secret",
            "REDLINE_OWNER_PASSWORD": "it's the owner",
            "REDLINE_APP_PASSWORD": "app",
        }
        subprocess.run([DOCKER / "initdb" / "10-redline.sh"], env=environment, check=True)
        where = {"host": str(sockets), "port": str(PORT)}
        for role, password in (("redline_owner", "it's the owner"), ("redline_app", "app")):
            url = URL.create("postgresql+psycopg", role, password, database="redline", query=where)
            with connect(url) as connection:
                row = connection.execute(
                    "SELECT rolsuper OR rolbypassrls, pg_get_userbyid(datdba), datcollate, proleakproof, "
                    "has_database_privilege('redline', 'CREATE') FROM pg_roles, pg_database, pg_proc WHERE "
                    "rolname = current_user AND datname = 'redline' AND "
                    "pg_proc.oid = 'geometry_overlaps(geometry,geometry)'::regprocedure"
                ).fetchone()
            assert row == (False, "redline_owner", "C.UTF-8", True, role == "redline_owner")
    finally:
        server.end()
