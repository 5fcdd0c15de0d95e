"""Services that a benchmark asks: processes that serve HTTP on free ports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.foundation.embedded import ClusterUrls


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(command: Sequence[str], environment: dict[str, str], port: int, log: Path) -> Iterator[int]:
    """A process that serves HTTP on a port, while the context lasts."""
    with log.open("ab") as sink:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=sink, stderr=sink)
        try:
            until = time.monotonic() + 90
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(log.read_text()[-2000:])
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait()


@contextmanager
def ours(
    urls: ClusterUrls, folder: Path, environment: dict[str, str] | None = None, *, processes: int = 2
) -> Iterator[list[int]]:
    """Our API processes, started as `redline up` starts them; their ports."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(processes)]
        for port in ports:
            given = {
                "REDLINE_PORT": str(port), "REDLINE_DATABASE_URL": urls.application,
                "REDLINE_DATA_DIR": str(folder / "ours"),
            }  # fmt: skip
            command = [sys.executable, "-m", "app.cli", "api"]
            stack.enter_context(service(command, given | (environment or {}), port, folder / "ours.log"))
        yield ports
