"""Evidence: what comes in is looked at and measured, what goes out is never run by a browser."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from app.casework import evidence
from tests.casework_steps import API, Desk, add_detection, photo
from tests.conftest import World

PDF = b"%PDF-1.7\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def case(world: World, desk: Desk) -> dict[str, Any]:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    return desk.dispatch(detection.id)


def _png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_photo_comes_back_as_it_went_in(desk: Desk, case: dict[str, Any]) -> None:
    data = photo(at=(127.2, 42.301))
    answer = desk.upload("county", case["id"], data=data, description="东侧边坡")
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["sha256"] == hashlib.sha256(data).hexdigest()
    assert (body["media_type"], body["size_bytes"], body["filename"]) == ("image/jpeg", len(data), "现场 照片.jpg")
    # 0.1 degree of longitude at 42.3 degrees north on the GRS80 ellipsoid: 8.25 km.
    assert body["distance_m"] == pytest.approx(8247, abs=10)
    assert desk.get("county", f"/cases/{case['id']}/evidence").json()["items"] == [body]
    path = answer.headers["Location"].removeprefix(API)
    assert desk.get("county", path).json() == body
    download = desk.get("prefecture", path + "/content")
    assert download.content == data
    assert download.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''%E7%8E%B0")
    assert download.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in download.headers["Content-Security-Policy"]
    event = desk.get("county", f"/cases/{case['id']}/events").json()["items"][-1]
    assert (event["kind"], event["payload"]["sha256"], event["payload"]["position_from"]) == (
        "evidence_added",
        body["sha256"],
        "exif",
    )
    assert event["state_before"] == event["state_after"] == "dispatched"
    assert event["recorded_at"] == body["uploaded_at"]


@pytest.mark.parametrize("data", [PDF, b"%PDF-%%EOF"])
def test_a_document_comes_back_as_it_went_in(desk: Desk, case: dict[str, Any], data: bytes) -> None:
    answer = desk.upload("county", case["id"], data=data, kind="document")
    body = answer.json()
    assert (body["sha256"], body["size_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    path = answer.headers["Location"].removeprefix(API)
    assert desk.get("county", path + "/content").content == data


@pytest.mark.parametrize(
    ("taken", "offset"),
    [("0001:01:01 00:00:00", None), ("0001:01:01 00:00:00", "+14:00"), ("9999:12:31 23:59:59", "-12:00")],
)
def test_a_camera_without_a_clock(desk: Desk, case: dict[str, Any], taken: str, offset: str | None) -> None:
    answer = desk.upload("county", case["id"], data=photo(taken=taken, offset=offset))
    assert answer.status_code == 201, answer.text
    assert answer.json()["taken_at"] is None


def test_the_position_of_the_file_goes_before_the_stated_one(desk: Desk, case: dict[str, Any]) -> None:
    stated = {"longitude": 127.5, "latitude": 42.5}
    with_exif = desk.upload("county", case["id"], **stated).json()
    assert with_exif["longitude"] == pytest.approx(127.301, abs=1e-6)
    without = desk.upload("county", case["id"], data=photo(at=None), **stated).json()
    assert (without["longitude"], without["latitude"]) == (127.5, 42.5)
    assert without["distance_m"] > 20_000
    assert desk.upload("county", case["id"], data=photo(at=None), longitude=127.5).status_code == 422
    assert desk.upload("county", case["id"], data=photo(at=None), longitude=500, latitude=1).status_code == 422


def test_kinds_of_file(desk: Desk, case: dict[str, Any]) -> None:
    picture = io.BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG")
    assert desk.upload("county", case["id"], data=picture.getvalue()).json()["media_type"] == "image/png"
    record = desk.upload("county", case["id"], data=PDF, kind="field_record")
    assert record.json()["media_type"] == "application/pdf"
    confirmed = desk.done("county", desk.done("county", case, "start_verification"), "confirm")
    assert confirmed["state"] == "confirmed"


def test_refused_content(desk: Desk, case: dict[str, Any]) -> None:
    for data, kind in (
        (b"<html><script>alert(1)</script></html>", "document"),
        (b"", "photo"),
        (PDF, "photo"),
        (photo()[:-200], "photo"),
        (_png_of(60_000, 60_000), "photo"),
        (_png_of(12_000, 12_000), "photo"),
        (b"GIF89a" + bytes(20), "photo"),
    ):
        answer = desk.upload("county", case["id"], data=data, kind=kind)
        assert answer.status_code == 422, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert desk.get("county", f"/cases/{case['id']}/evidence").json()["items"] == []


def test_too_large_is_refused_before_it_is_read(world: World, desk: Desk, case: dict[str, Any]) -> None:
    small = world.settings.model_copy(update={"max_upload_bytes": 10_000})
    world.client.app.state.settings = small  # type: ignore[attr-defined]  # TestClient types its app as ASGI
    for size in (10_001, 200_000):
        answer = desk.upload("county", case["id"], data=PDF + bytes(size), kind="document")
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:redline:problem:too-large"
    assert list(world.client.app.state.storage.list("blobs")) == []  # type: ignore[attr-defined]  # as above


def test_the_same_file_is_evidence_once(desk: Desk, case: dict[str, Any]) -> None:
    data = photo()
    first = desk.upload("county", case["id"], data=data).json()
    again = desk.upload("prefecture", case["id"], data=data)
    assert again.status_code == 409
    assert again.json()["evidence_id"] == first["id"]


def test_who_may_add_evidence(desk: Desk, case: dict[str, Any]) -> None:
    statuses = {
        "officer": 201,
        "county": 201,
        "prefecture": 201,
        "province": 201,
        "officer-prefecture": 403,
        "inspector": 403,
        "admin": 403,
        "county2": 404,
        "prefecture-other": 404,
    }
    assert {username: desk.upload(username, case["id"]).status_code for username in statuses} == statuses


def test_a_case_that_leaves_the_callers_sight_meanwhile(
    desk: Desk, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was moved while the file was stored: it is no longer there for the caller, and nothing is written."""
    with monkeypatch.context() as patch:
        patch.setattr(evidence, "lock_cases", lambda *_: {})
        assert desk.upload("county", case["id"]).status_code == 404
    assert desk.get("county", f"/cases/{case['id']}/evidence").json()["items"] == []
