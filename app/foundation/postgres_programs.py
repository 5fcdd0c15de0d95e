"""Where the PostgreSQL server programs are, and as which operating-system user they run."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OLDEST_VERSION = 15
DEBIAN_PACKAGE = "postgresql-15-postgis-3"
_DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")
_DEBIAN_SHARE = Path("/usr/share/postgresql")


class ClusterError(RuntimeError):
    """The embedded database cannot be used; the message says why and what to mend."""


@dataclass(frozen=True)
class ServerPrograms:
    """Server programs of one PostgreSQL major version."""

    directory: Path
    version: int

    def path(self, program: str) -> str:
        return str(self.directory / program)


@dataclass(frozen=True)
class ServerAccount:
    """Operating-system user that runs the server programs.

    ``switch`` is true when this process is root and has to become that user first.
    """

    uid: int
    gid: int
    switch: bool


def find_programs(version: int | None = None) -> ServerPrograms:
    """Finds the newest usable server programs, or those of exactly ``version`` (an existing cluster needs its own).

    Raises:
        ClusterError: none with PostGIS beside them.
    """
    found = [programs for programs in _installed() if version in (None, programs.version)]
    if found:
        return max(found, key=lambda programs: programs.version)
    if version is not None:
        raise ClusterError(
            f"The data directory was made by PostgreSQL {version}, whose server programs with PostGIS are not "
            f"installed. Install the package postgresql-{version}-postgis-3."
        )
    raise ClusterError(
        f"No PostgreSQL {OLDEST_VERSION} or newer with PostGIS was found. Run `make system`, or install the Debian "
        f"package {DEBIAN_PACKAGE}, or set REDLINE_DATABASE_URL to use a database of your own."
    )


def server_account() -> ServerAccount:
    """The current user; for root, which PostgreSQL refuses, the user ``postgres`` or else ``nobody``.

    Raises:
        ClusterError: root, and neither user exists.
    """
    if os.geteuid() != 0:
        return ServerAccount(os.geteuid(), os.getegid(), switch=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerAccount(entry.pw_uid, entry.pw_gid, switch=True)
    raise ClusterError(
        "PostgreSQL does not run as root, and this machine has neither a user 'postgres' nor a user 'nobody'. "
        "Start Redline as an ordinary user."
    )


def _installed() -> list[ServerPrograms]:
    found = []
    for directory in _DEBIAN_PROGRAMS.glob("*/bin"):
        name = directory.parent.name
        control = _DEBIAN_SHARE / name / "extension" / "postgis.control"
        if name.isdigit() and int(name) >= OLDEST_VERSION and _complete(directory) and control.is_file():
            found.append(ServerPrograms(directory, int(name)))
    return found or _on_path()


def _on_path() -> list[ServerPrograms]:
    """Programs outside the Debian layout, such as a build from source."""
    initdb = shutil.which("initdb")
    if initdb is None:
        return []
    directory = Path(initdb).resolve().parent
    share = next(iter(sorted(directory.parent.glob("share/**/extension/postgis.control"))), None)
    version = _version_of(directory)
    if share is None or version is None or version < OLDEST_VERSION or not _complete(directory):
        return []
    return [ServerPrograms(directory, version)]


def _complete(directory: Path) -> bool:
    return all(os.access(directory / program, os.X_OK) for program in ("initdb", "postgres"))


def _version_of(directory: Path) -> int | None:
    """Major version from ``postgres --version``; None when the program does not run."""
    try:
        answer = subprocess.run(
            [str(directory / "postgres"), "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(match.group(1)) if match else None
