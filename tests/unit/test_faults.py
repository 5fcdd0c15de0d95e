"""Faults of a network that pass and files that are broken, over real HTTP with byte ranges."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR
from uuid import UUID

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from app.imagery.grid import scene_grid
from app.imagery.models import MaskKind
from app.imagery.opening import Patience
from app.imagery.pixels import CLEAR, AssetRef, Pixels, SceneReadError, SceneRef, read_scene

SIZE = 512
CORNER = Affine(10, 0, 371_000, 0, -10, 4_652_000)


class Server:
    """Files by byte ranges; `trouble` says what becomes of the n-th request from 0: a status, "reset", or None."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.count = 0
        self.trouble: Callable[[int], int | str | None] = lambda number: None
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                server.answer(self)

            do_HEAD = do_GET

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        trouble = self.trouble(self.count)
        self.count += 1
        if trouble == "reset":
            request.connection.shutdown(SHUT_RDWR)
            request.close_connection = True
            return
        content = self.files.get(request.path.lstrip("/"))
        part, status, headers = b"", trouble or (200 if content else 404), {"Accept-Ranges": "bytes"}
        if content and not trouble:
            part = content
            if asked := request.headers.get("Range"):
                first, last = (int(end) if end else len(content) - 1 for end in asked.split("=")[1].split("-"))
                part = content[first : last + 1]
                status = 206 if part else 416
                headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        request.send_response(int(status))
        for name, value in {**headers, "Content-Length": str(len(part))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(part)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("cog") / "red.tif"
    profile = {"driver": "COG", "compress": "deflate", "blocksize": 128, "overviews": "NONE", "crs": "EPSG:32652"}
    shape = {"count": 1, "height": SIZE, "width": SIZE, "dtype": "uint16", "transform": CORNER}
    with rasterio.open(path, "w", **profile, **shape) as dataset:
        dataset.write(np.random.default_rng(0).integers(1, 9000, (1, SIZE, SIZE)).astype(np.uint16))
    return path.read_bytes()


@pytest.fixture
def server(image: bytes) -> Iterator[Server]:
    made = Server({"red.tif": image, "short.tif": image[: len(image) // 2]})
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


class Reader:
    """Reads with a sleep that only writes down how long it would have been, and without GDAL's own second tries."""

    def __init__(self, tries: int = 4) -> None:
        self.waits: list[float] = []
        options = (("GDAL_HTTP_MAX_RETRY", "0"), ("GDAL_HTTP_TIMEOUT", "5"))
        self.patience = Patience(tries, first_wait_s=2, longest_wait_s=5, sleep=self.waits.append, options=options)

    def read(self, href: str) -> Pixels:
        asset = AssetRef(href, 0.0001)
        scene = SceneRef(UUID(int=1), "S2_TEST", datetime(2024, 1, 1, tzinfo=UTC), {"red": asset}, MaskKind.none)
        return read_scene(scene, GeoBox((SIZE, SIZE), CORNER, "EPSG:32652"), ["red"], self.patience)


@pytest.mark.parametrize("fault", [503, 500, 429, "reset"])
@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_a_fault_that_passes_is_waited_out(server: Server, fault: int | str, first: int) -> None:
    """Whether it strikes when the file is opened or when its blocks are read."""
    server.trouble = lambda number: fault if first <= number < first + 2 else None
    reader = Reader()
    got = reader.read(f"{server.address}/red.tif")
    assert (got.quality == CLEAR).all()
    assert got.data.min() >= 1
    assert len(reader.waits) <= 3


def test_waits_double_up_to_a_limit_with_jitter(server: Server) -> None:
    server.trouble = lambda number: 503
    reader = Reader(tries=5)
    with pytest.raises(SceneReadError) as caught:
        reader.read(f"{server.address}/red.tif")
    assert caught.value.transient
    assert str(caught.value) == "Scene S2_TEST, asset red: its server failed 5 times."
    for waited, longest in zip(reader.waits, (2, 4, 5, 5), strict=True):
        assert longest / 2 <= waited <= longest
    assert len(set(reader.waits)) == 4


def test_a_server_that_breaks_off_within_the_file_every_time_is_transient(server: Server) -> None:
    """Opening works; what the blocks fail by can be told from a broken file only by asking the server."""
    server.trouble = lambda number: 503 if number >= 2 else None
    reader = Reader(tries=3)
    with pytest.raises(SceneReadError) as caught:
        reader.read(f"{server.address}/red.tif")
    assert caught.value.transient
    assert len(reader.waits) == 2


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(server: Server, status: int) -> None:
    server.trouble = lambda number: status
    reader = Reader()
    with pytest.raises(SceneReadError) as caught:
        reader.read(f"{server.address}/red.tif")
    assert not caught.value.transient
    assert reader.waits == []


def test_a_file_cut_short_on_a_server_that_is_well_fails_soon(server: Server) -> None:
    reader = Reader()
    with pytest.raises(SceneReadError, match="corrupt or cut short") as caught:
        reader.read(f"{server.address}/short.tif")
    assert not caught.value.transient
    assert len(reader.waits) <= 1


def test_a_local_file_cut_short_fails_at_once(image: bytes, tmp_path: Path) -> None:
    (tmp_path / "short.tif").write_bytes(image[: len(image) // 2])
    reader = Reader()
    with pytest.raises(SceneReadError, match="corrupt or cut short") as caught:
        reader.read(str(tmp_path / "short.tif"))
    assert not caught.value.transient
    assert reader.waits == []


def test_nobody_there_is_transient() -> None:
    reader = Reader(tries=2)
    with pytest.raises(SceneReadError) as caught:
        reader.read("http://127.0.0.1:9/red.tif")
    assert caught.value.transient
    assert "127.0.0.1" not in str(caught.value)


def test_the_grid_of_a_scene_is_asked_for_patiently_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.imagery.opening.time.sleep", lambda seconds: None)
    server.trouble = lambda number: 503 if number < 2 else None
    asset = AssetRef(f"{server.address}/red.tif")
    scene = SceneRef(UUID(int=1), "S2_TEST", datetime(2024, 1, 1, tzinfo=UTC), {"red": asset}, MaskKind.none)
    assert scene_grid(scene) == ("EPSG:32652", CORNER, (SIZE, SIZE))
