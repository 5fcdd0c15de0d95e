"""One PostgreSQL server process over one data directory: made, started, adopted, proved dead, stopped.

The server holds the lock file ``cluster.server``, inherited by all its children. While it is locked, a process of
the cluster lives; once it is free, none does, whatever a left-over ``postmaster.pid`` says. The caller makes sure
that only one process at a time starts or stops the server.

PostgreSQL refuses to run as root. For root the programs run as another user, who may not be able to walk down to the
data directory; they are then given an open descriptor of it and told to use ``/proc/self/fd/N``.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.foundation.postgres_programs import (
    ClusterError,
    ServerAccount,
    find_programs,
    server_account,
)

PORT = 5432  # names the socket file only: the server listens on no network
LOCALE = "C.UTF-8"
START_SECONDS = 180.0
_STOP_SECONDS = 60.0
_KILL_SECONDS = 15.0
_LOG_BYTES = 10 * 1024 * 1024
_SOCKET_PATH_BYTES = 107  # sun_path of unix(7) without its closing zero
_SOCKET_PREFIX = "redline-"
_READY = "ready"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PidFile:
    """What the server wrote into ``postmaster.pid``; ``status`` is "ready" once it accepts connections."""

    pid: int
    started_at: int
    socket_directory: Path
    status: str


class ServerProcess:
    """The server of the cluster in ``home``/pgdata, logging to ``home``/server.log.

    Args:
        home: directory of the cluster, owned by the current user.
        settings: PostgreSQL settings by name, given at every start.
        sync: wait until a new cluster is on the disk.
    """

    def __init__(self, home: Path, settings: Mapping[str, str], *, sync: bool = True) -> None:
        self.pgdata = home / "pgdata"
        self.log = home / "server.log"
        self._lock_path = home / "cluster.server"
        self._settings = settings
        self._sync = sync
        self._sockets: Path | None = None

    def exists(self) -> bool:
        """Whether a complete cluster has been made: an unfinished one has another name."""
        return self.pgdata.is_dir()

    def initialise(self, superuser: str, password: str) -> None:
        """Makes an empty cluster; an interrupted attempt leaves nothing that would be taken for one."""
        programs, account = find_programs(), server_account()
        unfinished = self.pgdata.with_suffix(".new")
        with self._server_lock() as lock, _password_file(password, account) as password_fd:
            if unfinished.exists():
                shutil.rmtree(unfinished)
            unfinished.mkdir(mode=0o700)
            os.chown(unfinished, account.uid, account.gid)
            with _reachable(unfinished, account) as (directory, fds):
                options = ["--encoding=UTF8", f"--locale={LOCALE}", f"--username={superuser}"]
                options += ["--auth=scram-sha-256", f"--pwfile=/proc/self/fd/{password_fd}", "--no-instructions"]
                self._run_initdb(
                    [programs.path("initdb"), "-D", directory, *options, *([] if self._sync else ["--no-sync"])],
                    account,
                    [*fds, lock, password_fd],
                )
            unfinished.rename(self.pgdata)
            _sync_directory(self.pgdata.parent)

    def adopt(self) -> Path | None:
        """Waits until a server that was started earlier is either ready or gone.

        Returns:
            Directory of the running server's socket, or None when no process of the cluster lives.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._proved_dead():
                return None
            state = self._read_pid_file()
            if state is not None and state.status == _READY and self._works_here(state.pid) is not False:
                self._sockets = state.socket_directory
                if (self._sockets / f".s.PGSQL.{PORT}").is_socket():
                    return self._sockets
                logger.warning("the socket of the embedded database was removed; restarting the server")
                self.end()
                return None
            time.sleep(0.05)
        raise ClusterError(
            f"Processes of the database in {self.pgdata} are neither ready nor ended after {START_SECONDS:.0f} "
            f"seconds (process ids: {', '.join(map(str, self._workers())) or 'not visible from here'}). "
            f"See {self.log}; end them and try again."
        )

    def launch(self) -> Path:
        """Starts the server and waits until it accepts connections. Call only after ``adopt`` returned None.

        Returns:
            Directory of the server's socket.
        """
        programs, account = find_programs(self._version()), server_account()
        self._clear_stale_pid_file()
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.old"))
        self.log.touch(mode=0o600)
        self._sockets = _make_socket_directory(account)
        settings = {**self._settings, "unix_socket_directories": str(self._sockets), "port": str(PORT)}
        with (
            self._server_lock() as lock,
            _reachable(self.pgdata, account) as (directory, fds),
            self.log.open("ab") as log,
        ):
            start_of_log = log.tell()
            server = _spawn(
                [programs.path("postgres"), "-D", directory, *(f"--{n}={v}" for n, v in settings.items())],
                account,
                pass_fds=[*fds, lock],
                output=log.fileno(),
            )
        # Reaps the server whenever it ends, so that it never lingers as a zombie of this process.
        threading.Thread(target=server.wait, name="embedded-database", daemon=True).start()
        try:
            self._await_ready(server, start_of_log)
        except BaseException:
            self.end()
            raise
        return self._sockets

    def end(self) -> None:
        """Stops the server in order, hard if need be, and returns once no process of the cluster lives."""
        state = self._read_pid_file()
        if not self._proved_dead():
            for number, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, _KILL_SECONDS)):
                self._signal_server(number)
                if _wait_until(self._proved_dead, seconds):
                    break
            else:
                raise ClusterError(f"The database server in {self.pgdata} does not stop; see {self.log}.")
        for sockets in (self._sockets, state.socket_directory if state else None):
            if sockets is not None:
                _remove_socket_directory(sockets)
        self._sockets = None

    # Proofs of life and death

    @contextmanager
    def _server_lock(self) -> Iterator[int]:
        """The locked lock file; a child that inherits it keeps it locked after this block."""
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A killed starter may have left its initdb or server behind: wait for that.
            if not _wait_until(lambda: try_lock(lock), START_SECONDS):
                raise ClusterError(f"Another process still works on the database in {self.pgdata}.")
            yield lock
        finally:
            os.close(lock)

    def _proved_dead(self) -> bool:
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return try_lock(lock)
        finally:
            os.close(lock)

    def _works_here(self, pid: int) -> bool | None:
        """Whether ``pid`` is a PostgreSQL process at home in this data directory.

        None when that cannot be seen: root in a container may be kept from looking into other users' processes.
        """
        process = Path("/proc") / str(pid)
        with suppress(OSError):
            name, fields = _process_status(pid)
            if name != "postgres" or fields[0] in "ZX":  # Ended, but its parent has not taken note.
                return False
            try:
                return (process / "cwd").samefile(self.pgdata)
            except PermissionError:
                return None if process.stat().st_uid == self.pgdata.stat().st_uid else False
        return False

    def _workers(self) -> list[int]:
        """PostgreSQL processes that work in the data directory, as far as can be seen."""
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        found = [pid for pid in pids if self._works_here(pid)]
        state = self._read_pid_file()
        if state is not None and self._works_here(state.pid) is None:
            # As good as seen: a process that took over the number of a dead server started at another time.
            found += [state.pid] if _started_about(state.pid, state.started_at) else []
        return found

    def _read_pid_file(self) -> PidFile | None:
        try:
            lines = (self.pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        lines += [""] * (8 - len(lines))
        if not (lines[0].isdigit() and lines[2].isdigit()):  # Not all written yet.
            return None
        return PidFile(int(lines[0]), int(lines[2]), Path(lines[4]), lines[7].strip())

    def _clear_stale_pid_file(self) -> None:
        """Removes a pid file that no living server can own: the lock is free and no process works in the directory."""
        leftover = self.pgdata / "postmaster.pid"
        if not leftover.exists():
            return
        strangers = self._workers()  # The lock is free, so they are not of our making.
        if strangers:
            raise ClusterError(
                f"A PostgreSQL server that Redline did not start uses {self.pgdata} (process ids: "
                f"{', '.join(map(str, strangers))}). Stop it and try again."
            )
        state = self._read_pid_file()
        logger.warning("clearing the pid file of a database server that was killed")
        if state is not None:
            _remove_socket_directory(state.socket_directory)
        leftover.unlink()

    # Starting and stopping

    def _version(self) -> int:
        """Major version that made the cluster, the only one that can run it."""
        try:
            return int((self.pgdata / "PG_VERSION").read_text(encoding="ascii"))
        except (OSError, ValueError) as problem:
            raise ClusterError(
                f"{self.pgdata} is not a PostgreSQL data directory: PG_VERSION is unreadable."
            ) from problem

    def _run_initdb(self, command: Sequence[str], account: ServerAccount, pass_fds: Sequence[int]) -> None:
        with tempfile.TemporaryFile() as output:
            initdb = _spawn(command, account, pass_fds=pass_fds, output=output.fileno())
            try:
                status = initdb.wait()
            except BaseException:  # Ctrl-C: nobody else knows of this process.
                os.killpg(initdb.pid, signal.SIGKILL)
                initdb.wait()
                raise
            if status != 0:
                output.seek(0)
                raise ClusterError(f"The database cluster could not be made:\n{_last_lines(output.read())}")

    def _await_ready(self, server: subprocess.Popen[bytes], start_of_log: int) -> None:
        def settled() -> bool:
            state = self._read_pid_file()
            return server.returncode is not None or (
                state is not None and state.pid == server.pid and state.status == _READY
            )

        in_time = _wait_until(settled, START_SECONDS)
        if in_time and server.returncode is None:
            return
        with self.log.open("rb") as log:
            log.seek(start_of_log)
            said = _last_lines(log.read())
        outcome = "ended while starting" if in_time else f"was not ready after {START_SECONDS:.0f} seconds"
        raise ClusterError(f"The embedded database server {outcome}:\n{said}")

    def _signal_server(self, number: signal.Signals) -> None:
        state = self._read_pid_file()
        if state is not None and self._works_here(state.pid) is not False:
            with suppress(ProcessLookupError):
                os.kill(state.pid, number)


def try_lock(lock: int) -> bool:
    """Takes the exclusive lock of an open file if nobody else has one."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _spawn(
    command: Sequence[str], account: ServerAccount, *, pass_fds: Sequence[int], output: int
) -> subprocess.Popen[bytes]:
    """Starts a server program in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": LOCALE, "TZ": "UTC"},
            start_new_session=True,
            umask=0o077,
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
            extra_groups=[] if account.switch else None,
        )
    except (OSError, subprocess.SubprocessError) as problem:
        raise ClusterError(f"{command[0]} cannot be started as user {account.uid}: {problem}.") from problem


@contextmanager
def _reachable(directory: Path, account: ServerAccount) -> Iterator[tuple[str, list[int]]]:
    """A name under which the server's user reaches its directory, and the descriptors to hand down with it."""
    if not account.switch:
        yield str(directory), []
        return
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}", [descriptor]
    finally:
        os.close(descriptor)


@contextmanager
def _password_file(password: str, account: ServerAccount) -> Iterator[int]:
    """A file in memory that only the server's user can read, and that vanishes with its descriptor."""
    descriptor = os.memfd_create("password")
    try:
        os.write(descriptor, password.encode())
        os.fchmod(descriptor, 0o600)
        os.fchown(descriptor, account.uid, account.gid)
        yield descriptor
    finally:
        os.close(descriptor)


def _make_socket_directory(account: ServerAccount) -> Path:
    """A fresh private directory with a name short enough for a socket; ``postmaster.pid`` remembers it."""
    # mkdtemp makes a directory of its own, so a planted name in a shared place (S108) is never used.
    for base in ("/run", "/tmp") if account.switch else ("/tmp", tempfile.gettempdir()):  # noqa: S108  # as above
        with suppress(OSError):
            directory = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=base))
            if len(os.fsencode(directory / f".s.PGSQL.{PORT}.lock")) > _SOCKET_PATH_BYTES:
                directory.rmdir()
                continue
            os.chown(directory, account.uid, account.gid, follow_symlinks=False)
            return directory
    raise ClusterError("No directory for the database's socket can be made: /tmp is not writable.")


def _remove_socket_directory(directory: Path) -> None:
    if not directory.name.startswith(_SOCKET_PREFIX):
        return
    for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        with suppress(OSError):
            (directory / name).unlink()
    with suppress(OSError):
        directory.rmdir()


def _process_status(pid: int) -> tuple[str, list[str]]:
    """Name of a process and the fields of proc_pid_stat(5) after it: state first, start in clock ticks at 19."""
    before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return before.partition("(")[2], after.split()


def _started_about(pid: int, instant: int) -> bool:
    """Whether a process started within ten seconds before ``instant`` (seconds since 1970)."""
    try:
        ticks = int(_process_status(pid)[1][19])
    except OSError:
        return False
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    started = int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return -2 < instant - started < 10


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_lines(output: bytes, count: int = 8) -> str:
    return "\n".join(output.decode("utf-8", "replace").strip().splitlines()[-count:])
