"""The supervisor against real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.foundation.processes import ChildFailed, Supervisor

REPOSITORY = Path(__file__).parents[2]

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
SLEEPER = "import time; time.sleep(60)"


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Runs a Python program that supervises others, in a session of its own."""
    started: list[subprocess.Popen[str]] = []

    def run(source: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _supervising(child: str, *, grace: float = 10.0) -> str:
    return f"""
        import sys
        from app.foundation.processes import Supervisor
        try:
            with Supervisor(grace={grace}) as supervisor:
                for name in ("one", "two"):
                    print(supervisor.start(name, [sys.executable, "-c", {child!r}]), flush=True)
                status = supervisor.wait()
        except KeyboardInterrupt:  # The signal came before wait().
            status = 0
        sys.exit(status)
    """


def _pids(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(2)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_children_in_order(
    program: Callable[[str], subprocess.Popen[str]], number: signal.Signals
) -> None:
    supervisor = program(_supervising(SLEEPER))
    children = _pids(supervisor)
    supervisor.send_signal(number)
    assert supervisor.wait(10) == 0
    assert not any(map(_alive, children))


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(capfd: pytest.CaptureFixture[str]) -> None:
    with Supervisor(grace=0.2) as supervisor:
        pid = supervisor.start("stubborn", [sys.executable, "-c", STUBBORN])
        assert _eventually(lambda: "up" in capfd.readouterr().out)
        supervisor.stop()
        assert not _alive(pid)


def test_a_second_signal_cuts_the_grace_short(program: Callable[[str], subprocess.Popen[str]]) -> None:
    supervisor = program(_supervising(STUBBORN, grace=60))
    assert supervisor.stdout is not None
    children = [int(line) for line in (supervisor.stdout.readline() for _ in range(4)) if line.strip() != "up"]
    supervisor.send_signal(signal.SIGINT)
    time.sleep(0.2)
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(10) == 0
    assert not any(map(_alive, children))


def test_a_dead_child_ends_the_others_and_its_status_is_returned() -> None:
    with Supervisor() as supervisor:
        sleeper = supervisor.start("sleeper", [sys.executable, "-c", SLEEPER])
        supervisor.start("brief", [sys.executable, "-c", "raise SystemExit(7)"])
        assert supervisor.wait() == 7
        assert not _alive(sleeper)


def test_a_child_that_leaves_without_an_error_is_a_failure_too() -> None:
    with Supervisor() as supervisor:
        supervisor.start("brief", ["/bin/true"])
        with pytest.raises(ChildFailed, match="'brief' ended with status 0") as caught:
            while True:
                supervisor.check()
        assert caught.value.exit_status == 1


def test_grandchildren_end_with_their_parent(tmp_path: Path) -> None:
    """A shell that dies without waiting for the program it started leaves nothing behind."""
    noted = tmp_path / "pid"
    with Supervisor() as supervisor:
        supervisor.start("shell", ["/bin/sh", "-c", 'sleep 60 & echo $! > "$0"; wait', str(noted)])
        assert _eventually(lambda: noted.exists() and noted.read_text().strip() != "")
        grandchild = int(noted.read_text())
        assert _alive(grandchild)
    assert _eventually(lambda: not _alive(grandchild))


def test_children_end_when_the_supervisor_is_killed(program: Callable[[str], subprocess.Popen[str]]) -> None:
    child = "from app.foundation.processes import exit_with_parent; exit_with_parent(); import time; time.sleep(60)"
    supervisor = program(_supervising(child))
    children = _pids(supervisor)
    time.sleep(0.3)
    assert all(map(_alive, children))
    supervisor.kill()
    assert _eventually(lambda: not any(map(_alive, children)))


def test_a_child_that_comes_up_after_its_supervisor_was_killed_ends_at_once() -> None:
    orphan = subprocess.run(
        [sys.executable, "-c", "from app.foundation.processes import exit_with_parent; exit_with_parent()"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "REDLINE_PARENT_PID": "1"},
        check=False,
    )
    assert orphan.returncode == 128 + signal.SIGTERM


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Supervisor():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
