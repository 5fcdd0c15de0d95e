"""Real processes of the service on a test's database, to be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from app.settings import REPOSITORY
from tests.conftest import World

READY_SECONDS = 120


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@dataclass
class Process:
    """A program of the service; `address` is an API's."""

    program: str
    environment: dict[str, str]
    log: Path
    address: str = ""
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "app.cli", self.program],
                cwd=REPOSITORY,
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self, stop: threading.Event | None = None) -> None:
        """Returns when it answers, or when `stop` is set."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if stop is not None and stop.is_set():
                return
            assert self.running is not None and self.running.poll() is None, self.log.read_text()
            try:
                if httpx2.get(f"{self.address}/readyz", timeout=5).status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def kill(self) -> None:
        """Ends it as kill -9 does: nothing of it is tidied up."""
        assert self.running is not None
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()


@dataclass
class Service:
    """API processes side by side and a worker."""

    apis: list[Process] = field(default_factory=list)
    worker: Process | None = None

    @property
    def processes(self) -> list[Process]:
        return [*self.apis, *([self.worker] if self.worker else [])]

    def stop(self) -> None:
        for process in self.processes:
            if process.running is not None and process.running.poll() is None:
                process.kill()

    def logs(self) -> str:
        return "\n".join(process.log.read_text() for process in self.processes)


def start_service(world: World, folder: Path, *, apis: int, **environment: str) -> Service:
    """Starts API processes and one worker, and waits until each answers; `Service.stop` ends them."""
    common = {
        "REDLINE_DATABASE_URL": world.urls.application,
        "REDLINE_DATA_DIR": str(world.settings.data_dir),
        **environment,
    }
    service = Service(worker=Process("worker", common, folder / "worker.log"))
    for number in range(apis):
        port = _free_port()
        own = common | {"REDLINE_PORT": str(port), "REDLINE_HOST": "127.0.0.1"}
        service.apis.append(Process("api", own, folder / f"api-{number}.log", f"http://127.0.0.1:{port}"))
    try:
        for process in service.processes:
            process.start()
        for process in service.apis:
            process.wait_until_ready()
    except BaseException:
        service.stop()
        raise
    return service
