"""The service's own PostgreSQL with PostGIS, kept under the data directory and used when no other is named.

Lock files beside the cluster settle who may do what. The kernel drops a lock when its last holder dies, so
``kill -9`` leaves none behind:

* ``cluster.lock``: held for moments, by whoever starts or stops the server;
* ``cluster.users``: shared by every process that uses the cluster; whoever finds itself alone stops the server;
* ``cluster.server``: held by the server itself, see ``server_process``.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from sqlalchemy import URL

from app.foundation.database_setup import (
    APPLICATION_ROLE,
    OWNER_ROLE,
    drop_database,
    ensure_roles,
    prepare_database,
)
from app.foundation.postgres_programs import ClusterError
from app.foundation.server_process import PORT, START_SECONDS, ServerProcess, try_lock

__all__ = ["DATABASE", "ClusterError", "ClusterUrls", "EmbeddedCluster"]

DATABASE = "redline"
SUPERUSER_ROLE = "redline_super"
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "cluster_name": "redline",
}
# Commits are still handed to the operating system at once, so that a killed server loses none.
_UNSAFE_SETTINGS = {"fsync": "off", "full_page_writes": "off"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterUrls:
    """SQLAlchemy addresses (``postgresql+psycopg://…``) of one database, by role. They carry passwords."""

    superuser: str = field(repr=False)
    owner: str = field(repr=False)
    application: str = field(repr=False)


class EmbeddedCluster:
    """A PostgreSQL cluster under ``data_dir``/postgres, shared by all processes that start it.

    Args:
        data_dir: data directory of the service; made when missing. It may lie where only root can enter.
        fsync: False trades safety against a power cut for speed; for tests.
    """

    def __init__(self, data_dir: Path, *, fsync: bool = True) -> None:
        self._home = data_dir.absolute() / "postgres"
        self._secrets = self._home / "secrets.json"
        self._server = ServerProcess(self._home, _SETTINGS if fsync else _SETTINGS | _UNSAFE_SETTINGS, sync=fsync)
        self._users_lock: int | None = None
        self._socket_directory: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def urls(self) -> ClusterUrls:
        """Addresses of the database ``redline``; the cluster must be started."""
        return self.urls_of(DATABASE)

    def urls_of(self, database: str) -> ClusterUrls:
        """Addresses of another database of the cluster."""
        if self._socket_directory is None:
            raise ClusterError("The embedded database has not been started.")
        passwords = self._read_passwords()
        location = {"host": str(self._socket_directory), "port": str(PORT)}

        def url(role: str) -> str:
            address = URL.create("postgresql+psycopg", role, passwords[role], database=database, query=location)
            return address.render_as_string(hide_password=False)

        return ClusterUrls(url(SUPERUSER_ROLE), url(OWNER_ROLE), url(APPLICATION_ROLE))

    def start(self) -> ClusterUrls:
        """Makes the cluster if there is none, starts its server or adopts the running one. Harmless to repeat.

        Raises:
            ClusterError: server programs missing, directory unusable, server did not come up.
        """
        self._make_home()
        with self._exclusively():
            if self._users_lock is None:
                self._users_lock = _open_lock(self._home / "cluster.users")
            try:
                fcntl.flock(self._users_lock, fcntl.LOCK_SH)
                self._start_server()
            except BaseException:
                self._leave()
                raise
        return self.urls

    def release(self) -> None:
        """Stops using the cluster; the last user stops the server. Harmless when not started."""
        if self._users_lock is not None:
            with self._exclusively():
                self._leave()

    def stop(self) -> None:
        """Stops the server although others may use it. Harmless when it does not run."""
        if self._home.is_dir():
            with self._exclusively():
                self._server.end()
                self._leave()

    def create_database(self, name: str, template: str | None = None) -> ClusterUrls:
        """Adds a database ready for migrations, or a copy of ``template``, to which nobody may be connected."""
        prepare_database(self.urls_of("postgres").superuser, name, template=template)
        return self.urls_of(name)

    def drop_database(self, name: str) -> None:
        """Removes a database made by ``create_database``, ending its connections. Harmless when there is none."""
        if name == DATABASE:
            raise ValueError("the service's own database is not for dropping")
        drop_database(self.urls_of("postgres").superuser, name)

    def _make_home(self) -> None:
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            usable = os.access(self._home, os.R_OK | os.W_OK | os.X_OK)
        except OSError as problem:
            raise ClusterError(
                f"The data directory cannot be made: {problem}. Name another with REDLINE_DATA_DIR."
            ) from problem
        if not usable:
            raise ClusterError(
                f"{self._home} belongs to another user. Run Redline as that user, or name another data directory "
                "with REDLINE_DATA_DIR."
            )

    def _start_server(self) -> None:
        if not self._server.exists():
            logger.info("making a database cluster in %s", self._home)
            self._server.initialise(SUPERUSER_ROLE, self._write_passwords()[SUPERUSER_ROLE])
        for attempts_left in (2, 1, 0):
            self._socket_directory = self._server.adopt() or self._server.launch()
            try:
                self._set_up()
                return
            except psycopg.Error as problem:
                # An adopted server may have been dying: a moment later it is gone and a new one can be started.
                if attempts_left == 0:
                    raise ClusterError(
                        f"The embedded database runs but could not be set up; see {self._server.log}: {problem}"
                    ) from problem
                time.sleep(0.5)

    def _set_up(self) -> None:
        passwords = self._read_passwords()
        maintenance = self.urls_of("postgres").superuser
        ensure_roles(maintenance, passwords[OWNER_ROLE], passwords[APPLICATION_ROLE])
        prepare_database(maintenance, DATABASE)

    def _leave(self) -> None:
        """Gives up this process's share of the cluster and stops the server if no other holds one."""
        lock, self._users_lock, self._socket_directory = self._users_lock, None, None
        if lock is None:
            return
        try:
            if try_lock(lock):
                self._server.end()
        finally:
            os.close(lock)

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Keeps other processes from starting or stopping the server meanwhile."""
        lock = _open_lock(self._home / "cluster.lock")
        try:
            deadline = time.monotonic() + START_SECONDS
            while not try_lock(lock):
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"Another process has been starting or stopping the database in {self._home} for "
                        f"{START_SECONDS:.0f} seconds. End it and try again."
                    )
                time.sleep(0.05)
            yield
        finally:
            os.close(lock)

    def _read_passwords(self) -> dict[str, str]:
        try:
            passwords: dict[str, str] = json.loads(self._secrets.read_text(encoding="utf-8"))
        except FileNotFoundError as problem:
            raise ClusterError(
                f"{self._secrets} is missing, so nobody can sign in to the database beside it. Restore the file, "
                f"or move {self._home} away to begin with an empty database."
            ) from problem
        return passwords

    def _write_passwords(self) -> dict[str, str]:
        """New passwords for a cluster about to be made, on the disk before anything depends on them."""
        passwords = {role: secrets.token_urlsafe(32) for role in (SUPERUSER_ROLE, OWNER_ROLE, APPLICATION_ROLE)}
        unfinished = self._secrets.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600, exist_ok=False)
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(passwords, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._secrets)
        return passwords


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
