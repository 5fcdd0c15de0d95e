"""The service with its files on S3: evidence in and out, and what it says while the store is away."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pytest

from app.foundation.storage import Storage
from app.settings import Settings
from tests.casework_steps import API, Desk, add_detection, photo
from tests.conftest import World
from tests.s3_server import S3Server

AWAY = "urn:redline:problem:storage-unavailable"


@pytest.fixture
def settings(settings: Settings, s3: S3Server) -> Settings:
    return settings.model_copy(update={"storage_url": s3.new_url()})


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def case(world: World, desk: Desk) -> dict[str, Any]:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    return desk.dispatch(detection.id)


def _bytes(size: int) -> Iterator[bytes]:
    yield b"%PDF-1.7\n"
    yield from (number.to_bytes(4) * 2**18 for number in range(size // 2**20))
    yield b"\n%%EOF\n"


def test_evidence_goes_in_and_comes_out(s3: S3Server, world: World, desk: Desk, case: dict[str, Any]) -> None:
    large = b"".join(_bytes(20 * 2**20))
    for data, kind in ((photo(), "photo"), (large, "document")):
        answer = desk.upload("county", case["id"], data=data, kind=kind)
        assert answer.status_code == 201, answer.text
        path = answer.headers["Location"].removeprefix(API)
        download = desk.get("prefecture", path + "/content")
        assert hashlib.sha256(download.content).hexdigest() == answer.json()["sha256"]
        assert download.content == data
    storage = Storage(str(world.settings.storage_url))
    assert len(list(storage.list("blobs"))) == 2
    assert not (world.settings.data_dir / "storage").exists()
    ready = world.client.get("/readyz").json()
    assert "storage" in ready["checks"]


def test_an_upload_while_the_store_is_away_is_sent_again(
    s3: S3Server, world: World, desk: Desk, case: dict[str, Any]
) -> None:
    before = desk.upload("county", case["id"], data=photo(at=(127.3, 42.301)))
    path = before.headers["Location"].removeprefix(API)
    events = desk.get("county", f"/cases/{case['id']}/events").json()["items"]
    headers = desk.headers("county") | {"Idempotency-Key": "the-same-photo"}
    data = photo(at=(127.31, 42.301))

    def send() -> Any:
        return world.client.post(
            f"{API}/cases/{case['id']}/evidence",
            headers=headers,
            files={"file": ("a.jpg", io.BytesIO(data), "image/jpeg")},
            data={"kind": "photo"},
        )

    s3.kill()
    refused = send()
    assert (refused.status_code, refused.json()["type"], refused.headers["Retry-After"]) == (503, AWAY, "10")
    assert "127.0.0.1" not in refused.text
    content = desk.get("county", path + "/content")
    assert (content.status_code, content.json()["type"]) == (503, AWAY)
    ready = world.client.get("/readyz")
    assert (ready.status_code, ready.json()["type"], ready.json()["checks"]) == (503, AWAY, ["storage"])
    # What needs no file goes on, and nothing was written.
    assert desk.get("county", f"/cases/{case['id']}/events").json()["items"] == events
    s3.start()
    assert world.client.get("/readyz").status_code == 200
    kept = send()
    assert kept.status_code == 201, kept.text
    assert send().json() == kept.json()
    location = kept.headers["Location"].removeprefix(API)
    assert desk.get("county", location + "/content").content == data
    # The server of this test forgets what it held: a file that is gone is told so, and is no fault of the reader.
    assert desk.get("county", path + "/content").status_code == 404


def test_a_folder_that_cannot_be_written_to_is_told(world: World, desk: Desk, case: dict[str, Any]) -> None:
    """The same answer for files on disk: here a file lies where the folder should be."""
    world.settings.data_dir.mkdir(parents=True, exist_ok=True)
    blocked = world.settings.data_dir / "blocked"
    blocked.write_text("not a folder")
    world.client.app.state.storage = Storage(blocked.as_uri())  # type: ignore[attr-defined]  # typed as ASGI
    answer = desk.upload("county", case["id"])
    assert (answer.status_code, answer.json()["type"]) == (503, AWAY)
    assert str(blocked) not in answer.text
    ready = world.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (503, ["storage"])
