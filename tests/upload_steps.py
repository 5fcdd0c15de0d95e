"""Resumable uploads over real HTTP, as the tus client of Python does them."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from tusclient.client import TusClient
from tusclient.uploader import Uploader

from tests.casework_steps import API
from tests.conftest import World


@contextmanager
def served(world: World) -> Iterator[str]:
    """The world's service under uvicorn in a thread; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    config = uvicorn.Config(world.client.app, port=port, log_level="error", lifespan="off")  # type: ignore[arg-type]
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        thread.join()


def uploader(
    address: str, headers: dict[str, str], case_id: str, stream: Any, *, chunk_size: int, **metadata: str
) -> Uploader:
    client = TusClient(f"{address}{API}/cases/{case_id}/evidence/uploads", headers=headers)
    given = {"filename": "现场.mp4", "kind": "video"} | metadata
    if isinstance(stream, bytes):
        stream = io.BytesIO(stream)
    return client.uploader(file_stream=stream, metadata=given, chunk_size=chunk_size)
