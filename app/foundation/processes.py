"""Child processes that live and die together with the process that started them."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

_PARENT_VARIABLE = "REDLINE_PARENT_PID"
_PR_SET_PDEATHSIG = 1  # prctl(2)
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_SECONDS = 0.05

logger = logging.getLogger(__name__)


class ChildFailed(RuntimeError):
    """A child process ended although nobody asked it to.

    Attributes:
        exit_status: nonzero; 128 + number when a signal killed the child.
    """

    def __init__(self, name: str, returncode: int) -> None:
        how = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with status {returncode}"
        super().__init__(f"The process '{name}' {how}.")
        self.exit_status = 128 - returncode if returncode < 0 else returncode or 1


@dataclass(frozen=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]


class Supervisor:
    """Starts child processes and ends them all, and what they started, when one dies or this process is told to stop.

    Use as a context manager in the main thread. Inside, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, whatever
    the program is doing (``wait`` catches it); leaving ends the children: SIGTERM, ``grace`` seconds, SIGKILL. A
    second signal cuts the grace short. Children run in sessions of their own, so that Ctrl-C reaches only the
    supervisor, and write to the same terminal. For the case that the supervisor itself is killed, each child calls
    ``exit_with_parent``.
    """

    def __init__(self, *, grace: float = 10.0) -> None:
        self._grace = grace
        self._children: list[_Child] = []
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._stopping = False
        self._impatient = False

    def __enter__(self) -> Self:
        for number in _ENDING:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def start(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Starts a program with ``env`` added to this process's environment and returns its process id."""
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {}), _PARENT_VARIABLE: str(os.getpid())},
            start_new_session=True,
        )
        self._children.append(_Child(name, process))
        return process.pid

    def check(self) -> None:
        """Raises ChildFailed if a child has ended; to be called while waiting for the children to get ready."""
        for child in self._children:
            if _has_ended(child):
                raise ChildFailed(child.name, _reap(child))

    def wait(self) -> int:
        """Waits until this process is told to stop or a child dies, and ends all children.

        Returns:
            Exit status: 0 after an ordinary stop, that of the child that died otherwise.
        """
        status = 0
        try:
            while True:
                self.check()
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            logger.info("stopping")
        except ChildFailed as failure:
            logger.error("%s Stopping the others.", failure)
            status = failure.exit_status
        self.stop()
        return status

    def stop(self) -> None:
        """Ends all children, the last started first to be told, and reaps them. Harmless to repeat."""
        self._stopping = True
        for child in reversed(self._children):
            if not _has_ended(child):
                child.process.terminate()
        deadline = time.monotonic() + self._grace
        while not all(map(_has_ended, self._children)):
            if self._impatient or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        for child in self._children:
            if not _has_ended(child):
                logger.warning("the process '%s' does not stop and is killed", child.name)
            _reap(child)
        self._children.clear()
        self._stopping = self._impatient = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            self._impatient = True
        else:
            raise KeyboardInterrupt


def exit_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Makes the kernel send this process ``number`` when the Supervisor that started it dies, even by kill -9.

    To be called first thing by a program that may run under a Supervisor; does nothing when none started it. The
    Supervisor must have started it from its main thread.
    """
    # Taken out of the environment: the programs that this process starts have another parent.
    parent = os.environ.pop(_PARENT_VARIABLE, None)
    if parent is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent):  # It died before the request was made.
        sys.exit(128 + number)


def _has_ended(child: _Child) -> bool:
    """Whether the child ended, without reaping it: until then nothing else can get its process id."""
    if child.process.returncode is not None:
        return True
    return os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap(child: _Child) -> int:
    """Kills what is left of the child and of the programs it started, and returns its exit code."""
    if child.process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGKILL)
    return child.process.wait()
