"""How much memory the service takes for a large file: real processes, the tus client, the kernel's own figure.

`make torture` sends 2 GiB, `make test` 64 MiB.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tusclient.uploader import Uploader

from app.foundation.storage import Storage
from tests.casework_steps import Desk, add_detection
from tests.conftest import World
from tests.evidence_files import video
from tests.torture.service import Process, _free_port
from tests.upload_steps import uploader

MiB = 2**20
# What one piece holds: a part of 8 MiB, the same on its way to storage, and what lies between client and service.
MOST_MORE = 48 * MiB
_BLOCK = bytes(range(256)) * 4096


class _Video(io.RawIOBase):
    """A video of so many bytes that lies nowhere: boxes, then the same MiB again and again."""

    def __init__(self, size: int) -> None:
        head = video(media=b"")[:-8]
        self._head = head + (1).to_bytes(4, "big") + b"mdat" + (size - len(head)).to_bytes(8, "big")
        self.size, self._place = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = self.size - self._place
        size = left if size < 0 else min(size, left)
        if self._place < len(self._head):
            data = self._head[self._place : self._place + size]
        else:
            within = self._place % len(_BLOCK)
            data = (_BLOCK[within:] + _BLOCK * (size // len(_BLOCK) + 1))[:size]
        self._place += len(data)
        return data

    def sha256(self) -> str:
        digest = hashlib.sha256()
        self.seek(0)
        while data := self.read(MiB):
            digest.update(data)
        return digest.hexdigest()


@contextmanager
def _api(world: World, folder: Path) -> Iterator[Process]:
    """One API process, without a worker."""
    port = _free_port()
    environment = {
        "REDLINE_DATABASE_URL": world.urls.application,
        "REDLINE_DATA_DIR": str(world.settings.data_dir),
        "REDLINE_PORT": str(port),
        "REDLINE_HOST": "127.0.0.1",
    }
    api = Process("api", environment, folder / "api.log", f"http://127.0.0.1:{port}")
    api.start()
    try:
        api.wait_until_ready()
        yield api
    finally:
        api.kill()


def _peak(process: psutil.Process) -> int:
    """The most memory that a process had resident (VmHWM), bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.parametrize("size", [64 * MiB, pytest.param(2048 * MiB, marks=pytest.mark.torture)])
def test_memory_stays_the_same_for_a_large_video(world: World, tmp_path: Path, size: int) -> None:
    desk = Desk(world)
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    case_id = desk.dispatch(detection.id)["id"]
    with _api(world, tmp_path) as api:
        assert api.running is not None
        process = psutil.Process(api.running.pid)

        def sender(stream: io.RawIOBase) -> Uploader:
            return uploader(api.address, desk.headers("county"), case_id, stream, chunk_size=32 * MiB)

        # What the first request of a process loads is no upload's.
        sender(_Video(MiB)).upload()
        before = process.memory_info().rss
        # From here on the peak is counted anew (proc(5), clear_refs).
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        large = _Video(size)
        sender(large).upload()
        more = _peak(process) - before
    (shown, _) = desk.get("county", f"/cases/{case_id}/evidence").json()["items"]
    assert (shown["size_bytes"], shown["sha256"]) == (size, large.sha256())
    assert list(Storage(world.settings.storage).list("uploads")) == []
    print(f"{size // MiB} MiB: {before / MiB:.0f} MiB before, {more / MiB:.1f} MiB more")
    assert more < MOST_MORE, f"{more / MiB:.0f} MiB more"
