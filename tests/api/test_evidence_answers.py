"""What the service says of evidence, and how it gives it out: warnings, thumbnails, ranges, the malware scanner."""

from __future__ import annotations

import io
import stat
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError
from sqlalchemy import update

from app.casework import evidence
from app.foundation.storage import Storage
from app.monitoring.models import Detection
from app.settings import Settings
from tests.casework_steps import Desk, add_detection, photo, today
from tests.conftest import World
from tests.evidence_files import PDF, exif_photo, office, png, png_of, rationals, video

# The test file of the European Institute for Computer Antivirus Research: every scanner finds it, it does nothing.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def case(world: World, desk: Desk) -> dict[str, Any]:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    return desk.dispatch(detection.id)


@pytest.fixture
def storage(world: World) -> Storage:
    return Storage(world.settings.storage)


def configure(world: World, **changed: Any) -> None:
    settings = Settings(**(world.settings.model_dump() | changed), _env_file=None)
    world.client.app.state.settings = settings  # type: ignore[attr-defined]  # TestClient types its app as ASGI


def codes(answer: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in answer["warnings"]}


def test_place_and_time_are_held_against_the_site(world: World, desk: Desk, case: dict[str, Any]) -> None:
    def sent(data: bytes, kind: str = "photo", **form: Any) -> dict[str, Any]:
        answer = desk.upload("county", case["id"], data=data, kind=kind, **form)
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        assert desk.get("county", f"/cases/{case['id']}/evidence/{body['id']}").json() == body
        return body

    fine = sent(photo())
    assert (fine["distance_m"], fine["days_off"], fine["warnings"]) == (0, 0, [])
    # The detection was first seen on 2024-05-01; without an image before it, that is the first day.
    early = sent(photo(taken="2024:04:20 10:00:00", at=(127.2, 42.301)))
    assert (early["days_off"], codes(early)) == (-11, {"before_the_change"})
    assert "11 days before 2024-05-01" in early["warnings"][0]["detail"]
    with world.database.transaction(see_all=True) as session:
        session.execute(update(Detection).values(last_clear_on=date(2024, 4, 22)))
    assert sent(photo(taken="2024:04:20 10:00:00"))["days_off"] == -2
    assert sent(photo(taken="2024:04:22 00:00:01"))["days_off"] == 0
    later = (today() + timedelta(days=40)).strftime("%Y:%m:%d 12:00:00")
    fast = sent(photo(taken=later, at=(128.3, 42.301)))
    assert (fast["days_off"], codes(fast)) == (40, {"after_the_upload", "far_from_site"})
    (far,) = (warning for warning in fast["warnings"] if warning["code"] == "far_from_site")
    assert far["distance_m"] == fast["distance_m"] > 80_000
    assert "82," in far["detail"]
    bare = sent(photo(at=None))
    assert (codes(bare), bare["days_off"], bare["distance_m"]) == ({"no_position", "no_time"}, None, None)
    assert codes(sent(photo(at=None), longitude=127.301, latitude=42.301)) == {"position_stated", "no_time"}
    null_island = exif_photo({2: rationals(*[(0, 1)] * 3), 4: rationals(*[(0, 1)] * 3)}, taken=b"0001:01:01 00:00:00\0")
    absurd = sent(null_island)
    assert codes(absurd) == {"position_ignored", "time_ignored", "no_position", "no_time"}
    assert (absurd["longitude"], absurd["taken_at"]) == (None, None)
    assert sent(PDF, "document")["warnings"] == []
    assert sent(video(created=0, place=None), "video")["media_type"] == "video/mp4"
    event = desk.get("county", f"/cases/{case['id']}/events", limit=100).json()["items"][2]
    assert (event["payload"]["days_off"], event["payload"]["warnings"]) == (-11, ["before_the_change"])


def test_thumbnails(desk: Desk, case: dict[str, Any], storage: Storage) -> None:
    def add(data: bytes, kind: str = "photo") -> str:
        return f"/cases/{case['id']}/evidence/{desk.upload('county', case['id'], data=data, kind=kind).json()['id']}"

    large = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (2000, 1000), "red").save(large, "JPEG", exif=exif)
    path = add(large.getvalue()) + "/thumbnail"
    answer = desk.get("prefecture", path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(answer.content)).size == (256, 512)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    # Made once: what is kept is what is given out, also when another is kept under its name.
    (key,) = storage.list("thumbnails")
    storage.put_named(key, b"kept")
    assert desk.get("county", path).content == b"kept"
    headers = desk.headers("county") | {"If-None-Match": answer.headers["ETag"]}
    assert desk.world.client.get("/api/v1" + path, headers=headers).status_code == 304
    assert desk.get("county", add(png(600, 600, "RGBA")) + "/thumbnail").status_code == 200
    document = desk.get("county", add(PDF, "document") + "/thumbnail")
    assert (document.status_code, document.json()["detail"].split(";")[1]) == (404, " this file is application/pdf.")
    broken = desk.get("county", add(png_of(300, 300)) + "/thumbnail")
    assert (broken.status_code, "damaged" in broken.json()["detail"]) == (422, True)
    bomb = desk.get("county", add(png_of(9_000, 9_000)) + "/thumbnail")
    assert (bomb.status_code, "40,000,000 pixels" in bomb.json()["detail"]) == (404, True)
    assert desk.get("county2", path).status_code == 404


def test_no_connection_is_held_while_a_thumbnail_is_drawn(
    desk: Desk, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = desk.upload("county", case["id"]).json()
    path = f"/cases/{case['id']}/evidence/{added['id']}/thumbnail"
    held: list[int] = []
    pool: Any = desk.world.client.app.state.database.engine.pool

    def drawn(*_: Any) -> bytes:
        held.append(pool.checkedout())
        return b"jpeg"

    monkeypatch.setattr(evidence, "read_thumbnail", drawn)
    answer = desk.get("county", path)
    assert answer.content == b"jpeg" and held == [0]
    # Who has it already is told so without a look at the storage.
    headers = desk.headers("county") | {"If-None-Match": answer.headers["ETag"]}
    assert desk.world.client.get("/api/v1" + path, headers=headers).status_code == 304
    assert len(held) == 1


def test_parts_of_a_file(desk: Desk, case: dict[str, Any]) -> None:
    data = video(media=bytes(range(256)))
    sent = desk.upload("county", case["id"], data=data, kind="video").json()
    path, size = f"/api/v1/cases/{case['id']}/evidence/{sent['id']}/content", len(data)

    def get(**headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return desk.world.client.get(path, headers=desk.headers("county") | given)

    whole = get()
    assert (whole.status_code, whole.content, whole.headers["ETag"]) == (200, data, f'"{sent["sha256"]}"')
    assert whole.headers["Accept-Ranges"] == "bytes"
    parts = {
        "bytes=0-0": (0, 0),
        "bytes=10-19": (10, 19),
        "bytes=10-": (10, size - 1),
        "bytes=-5": (size - 5, size - 1),
        f"bytes=-{size * 9}": (0, size - 1),
        f"bytes={size - 1}-{size * 9}": (size - 1, size - 1),
    }
    for asked, (first, last) in parts.items():
        part = get(Range=asked)
        assert (part.status_code, part.content) == (206, data[first : last + 1]), asked
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["Content-Length"] == str(last - first + 1)
        assert part.headers["Content-Disposition"].startswith("attachment")
    for asked in ("bytes=0-1,5-6", "lines=1-2", "bytes=5-1", "bytes=-", "x"):
        assert get(Range=asked).status_code == 200, asked
    for asked in (f"bytes={size}-", "bytes=-0"):
        beyond = get(Range=asked)
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}"), asked
    assert get(Range="bytes=0-1", If_Range='"another"').status_code == 200
    assert get(Range="bytes=0-1", If_Range=whole.headers["ETag"]).status_code == 206
    assert get(If_None_Match=whole.headers["ETag"]).status_code == 304


SCANNER = """#!/bin/sh
# Found: 1. Broken, when the file says so: 3. Slow, when the file says so.
[ "$1" = --quiet ] || exit 9
grep -q EICAR-STANDARD-ANTIVIRUS-TEST-FILE "$2" && exit 1
grep -q break-the-scanner "$2" && exit 3
grep -q slow-scanner "$2" && exec sleep 30
exit 0
"""


def test_the_malware_scanner(world: World, desk: Desk, case: dict[str, Any], storage: Storage, tmp_path: Path) -> None:
    script = tmp_path / "my scanner"
    script.write_text(SCANNER)
    script.chmod(stat.S_IRWXU)
    configure(world, scan_command=f"'{script}' --quiet", scan_timeout_s=0.5)

    def sent(words: bytes) -> Any:
        return desk.upload("county", case["id"], data=PDF[:9] + words + PDF[9:], kind="document")

    infected = sent(EICAR)
    assert (infected.status_code, infected.json()["type"]) == (422, "urn:redline:problem:infected")
    assert infected.json()["scanned_with"] == "my scanner"
    for words in (b"break-the-scanner", b"slow-scanner"):
        failed = sent(words)
        assert (failed.status_code, failed.headers["Retry-After"]) == (503, "60")
        assert str(tmp_path) not in failed.text
    assert list(storage.list("blobs")) == []
    clean = sent(b"clean").json()
    assert clean["scanned_with"] == "my scanner"
    event = desk.get("county", f"/cases/{case['id']}/events").json()["items"][-1]
    assert event["payload"]["scanned_with"] == "my scanner"
    configure(world, scan_command="/nowhere/scanner")
    assert desk.upload("county", case["id"], data=office(), kind="document").status_code == 503
    # A file is an argument and never a line of a shell.
    configure(world, scan_command="test -s ; touch evil")
    assert desk.upload("county", case["id"], data=office(), kind="document").status_code == 503
    with pytest.raises(ValidationError):
        configure(world, scan_command="'open")
    configure(world, scan_command=None)
    assert desk.upload("county", case["id"], data=office(), kind="document").json()["scanned_with"] is None
