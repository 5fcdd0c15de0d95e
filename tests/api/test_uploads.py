"""Resumable uploads (tus 1.0.0): pieces in order, each process, each way to break off; and no leftovers."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import select, text, update
from tusclient.client import TusClient

from app.casework import evidence, receiving, uploads
from app.casework.evidence_models import Upload
from app.casework.models import Evidence
from app.foundation.storage import Storage
from app.foundation.time import utc_now
from app.foundation.timetable import run_due
from app.settings import Settings
from tests.casework_steps import API, Desk, add_detection, photo
from tests.conftest import World
from tests.evidence_files import PDF, office, video
from tests.upload_steps import served, uploader

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {"Content-Type": "application/offset+octet-stream"} | TUS


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


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 2**16)


@pytest.fixture
def address(world: World, small_parts: None) -> Iterator[str]:
    with served(world) as address:
        yield address


def metadata(**values: str) -> dict[str, str]:
    given = {"filename": "现场.mp4", "kind": "video"} | values
    return {"Upload-Metadata": ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in given.items())}


def begin(
    desk: Desk, case: dict[str, Any], length: int | str, username: str = "county", **values: str
) -> httpx2.Response:
    headers = desk.headers(username) | TUS | metadata(**values) | {"Upload-Length": str(length)}
    return desk.world.client.post(f"{API}/cases/{case['id']}/evidence/uploads", headers=headers)


def send(
    desk: Desk, path: str, offset: int | str, data: bytes, username: str = "county", **headers: str
) -> httpx2.Response:
    given = desk.headers(username) | PIECE | {"Upload-Offset": str(offset)} | headers
    return desk.world.client.patch(path, headers=given, content=data)


def head(desk: Desk, path: str, username: str = "county") -> httpx2.Response:
    return desk.world.client.head(path, headers=desk.headers(username) | TUS)


def kept(desk: Desk, case: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = desk.get("county", f"/cases/{case['id']}/evidence").json()["items"]
    return items


def test_a_video_in_pieces_by_the_tus_client(desk: Desk, case: dict[str, Any], address: str, storage: Storage) -> None:
    data = video(media=bytes(range(256)) * 1500)
    sender = uploader(
        address, desk.headers("county"), case["id"], data, chunk_size=100_000, description="无人机", filename="a.html"
    )
    sender.upload_chunk()
    sender.upload_chunk()
    assert sender.offset == 200_000
    # The line broke off: somebody goes on by the address alone.
    client = TusClient("unused", headers=desk.headers("county"))
    again = client.uploader(file_stream=sender.file_stream, url=sender.url, chunk_size=150_000)
    assert again.offset == 200_000
    again.upload()
    (shown,) = kept(desk, case)
    assert (shown["sha256"], shown["size_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (shown["kind"], shown["media_type"], shown["description"]) == ("video", "video/mp4", "无人机")
    assert (shown["taken_at"], shown["distance_m"], shown["warnings"]) == ("2024-06-18T02:30:00Z", 0, [])
    path = f"/cases/{case['id']}/evidence/{shown['id']}"
    content = desk.get("county", path + "/content")
    assert content.content == data
    assert content.headers["Content-Disposition"].endswith("''a.html.mp4")
    done = head(desk, again.url.removeprefix(address))
    assert done.headers["Content-Location"] == API + path
    assert done.headers["Upload-Offset"] == done.headers["Upload-Length"] == str(len(data))
    assert list(storage.list("uploads")) == []
    event = desk.get("county", f"/cases/{case['id']}/events").json()["items"][-1]
    assert (event["kind"], event["payload"]["sha256"]) == ("evidence_added", shown["sha256"])


def test_one_piece_and_checksums_by_the_tus_client(desk: Desk, case: dict[str, Any], address: str) -> None:
    data = video(media=b"a" * 200_000)
    sender = uploader(address, desk.headers("county"), case["id"], data, chunk_size=10**9)
    sender.upload_checksum = True
    sender.upload()
    assert kept(desk, case)[0]["size_bytes"] == len(data)


@pytest.mark.usefixtures("small_parts")
def test_what_the_protocol_says(desk: Desk, case: dict[str, Any]) -> None:
    client, headers = desk.world.client, desk.headers("county")
    folder = f"{API}/cases/{case['id']}/evidence/uploads"
    options = client.options(folder, headers=headers)
    assert options.status_code == 204
    assert options.headers["Tus-Version"] == options.headers["Tus-Resumable"] == "1.0.0"
    assert options.headers["Tus-Extension"] == "creation,termination,expiration,checksum"
    assert options.headers["Tus-Max-Size"] == str(2 * 2**30)
    began = begin(desk, case, len(PDF), kind="document")
    assert (began.status_code, began.content) == (201, b"")
    path = began.headers["Location"]
    assert began.headers["Upload-Expires"].endswith("GMT")
    here = head(desk, path)
    assert (here.status_code, here.headers["Upload-Offset"], here.headers["Upload-Length"]) == (200, "0", str(len(PDF)))
    assert here.headers["Cache-Control"] == "no-store"
    assert here.headers["Upload-Metadata"] == metadata(kind="document")["Upload-Metadata"]
    piece = send(desk, path, 0, PDF[:10])
    assert (piece.status_code, piece.headers["Upload-Offset"], piece.content) == (204, "10", b"")
    for offset in (0, 9, 11, len(PDF)):
        wrong = send(desk, path, offset, PDF[10:])
        assert (wrong.status_code, wrong.headers["Upload-Offset"], wrong.json()["offset"]) == (409, "10", 10)
        assert wrong.headers["Tus-Resumable"] == "1.0.0"
    assert send(desk, path, 10, b"").headers["Upload-Offset"] == "10"
    assert send(desk, path, 10, PDF[10:], **{"Content-Type": "text/plain"}).status_code == 415
    for value in ("x", "-1", "1.5", "9" * 30):
        assert send(desk, path, value, PDF[10:]).status_code == 400
    other = send(desk, path, 10, PDF[10:], **{"Tus-Resumable": "0.2.2"})
    assert (other.status_code, other.headers["Tus-Version"]) == (412, "1.0.0")
    assert send(desk, path, 10, PDF).status_code == 413, "more than was announced"
    assert head(desk, path).headers["Upload-Offset"] == "10"
    last = send(desk, path, 10, PDF[10:])
    assert (last.status_code, last.headers["Upload-Offset"]) == (204, str(len(PDF)))
    assert last.headers["Content-Location"].startswith(f"{API}/cases/{case['id']}/evidence/")
    repeated = send(desk, path, len(PDF), b"")
    assert repeated.headers["Content-Location"] == last.headers["Content-Location"]
    assert len(kept(desk, case)) == 1


def test_how_an_upload_may_not_begin(desk: Desk, case: dict[str, Any], world: World) -> None:
    assert begin(desk, case, 0).status_code == 422
    assert begin(desk, case, "x").status_code == 400
    assert begin(desk, case, 2 * 2**30 + 1).status_code == 413
    assert begin(desk, case, 9, kind="film").json()["errors"][0]["pointer"] == "Upload-Metadata/kind"
    assert begin(desk, case, 9, longitude="nan", latitude="1").status_code == 422
    assert begin(desk, case, 9, longitude="1").status_code == 422
    assert begin(desk, case, 9, filename="a\0b").status_code == 422
    assert begin(desk, case, 9, description="a\0b").status_code == 422
    headers = desk.headers("county") | TUS | {"Upload-Length": "9"}
    folder = f"{API}/cases/{case['id']}/evidence/uploads"
    for value in ("kind", "kind %%%", "kind /w==", "k" * 20_000):
        answer = world.client.post(folder, headers=headers | {"Upload-Metadata": value})
        assert answer.status_code in (400, 422), value
    assert {
        name: begin(desk, case, 9, name).status_code for name in ("officer-prefecture", "inspector", "county2")
    } == {
        "officer-prefecture": 403,
        "inspector": 403,
        "county2": 404,
    }
    assert count(world) == 0


def count(world: World) -> int:
    with world.database.transaction(see_all=True) as session:
        return int(session.execute(text("select count(*) from uploads")).scalar_one())


def test_an_upload_is_its_accounts_own(desk: Desk, case: dict[str, Any]) -> None:
    path = begin(desk, case, 9).headers["Location"]
    for username in ("prefecture", "officer", "county2"):
        assert head(desk, path, username).status_code == 404
        assert send(desk, path, 0, b"x", username).status_code == 404
        assert desk.world.client.delete(path, headers=desk.headers(username) | TUS).status_code == 404
    assert head(desk, path).headers["Upload-Offset"] == "0"


@pytest.mark.usefixtures("small_parts")
def test_a_refused_file_leaves_nothing(desk: Desk, case: dict[str, Any], storage: Storage) -> None:
    for data, kind in ((b"<svg/>" + bytes(2**17), "photo"), (PDF, "photo"), (video()[:-1], "video")):
        path = begin(desk, case, len(data), kind=kind).headers["Location"]
        refused = send(desk, path, 0, data)
        assert (refused.status_code, refused.headers["Tus-Resumable"]) == (422, "1.0.0")
        assert head(desk, path).status_code == 404
    assert (list(storage.list("uploads")), list(storage.list("blobs")), kept(desk, case)) == ([], [], [])


def test_the_same_file_again(desk: Desk, case: dict[str, Any], storage: Storage) -> None:
    data = photo()
    first = desk.upload("county", case["id"], data=data).json()
    path = begin(desk, case, len(data), kind="photo").headers["Location"]
    again = send(desk, path, 0, data)
    assert (again.status_code, again.json()["evidence_id"]) == (409, first["id"])
    assert "Upload-Offset" not in again.headers
    assert list(storage.list("uploads")) == []


@pytest.mark.usefixtures("small_parts")
def test_checksums(desk: Desk, case: dict[str, Any], storage: Storage) -> None:
    data = video(media=bytes(2**17))
    path = begin(desk, case, len(data)).headers["Location"]

    def checksum(name: str, of: bytes) -> dict[str, str]:
        return {"Upload-Checksum": f"{name} {base64.b64encode(hashlib.new(name, of).digest()).decode()}"}

    assert send(desk, path, 0, data, **checksum("sha256", b"other")).status_code == 460
    assert (head(desk, path).headers["Upload-Offset"], list(storage.list("uploads"))) == ("0", [])
    assert send(desk, path, 0, data, **{"Upload-Checksum": "md5 AAAA"}).status_code == 400
    assert send(desk, path, 0, data, **{"Upload-Checksum": "sha1 ?"}).status_code == 400
    assert send(desk, path, 0, data[:100_000], **checksum("sha1", data[:100_000])).headers["Upload-Offset"] == "100000"
    assert send(desk, path, 100_000, data[100_000:], **checksum("sha256", data[100_000:])).status_code == 204
    assert kept(desk, case)[0]["sha256"] == hashlib.sha256(data).hexdigest()


def test_termination(desk: Desk, case: dict[str, Any], storage: Storage) -> None:
    path = begin(desk, case, 100).headers["Location"]
    assert send(desk, path, 0, b"x" * 50).status_code == 204
    assert len(list(storage.list("uploads"))) == 1
    ended = desk.world.client.delete(path, headers=desk.headers("county") | TUS)
    assert (ended.status_code, ended.headers["Tus-Resumable"]) == (204, "1.0.0")
    assert (head(desk, path).status_code, list(storage.list("uploads"))) == (404, [])


def test_two_send_the_same_piece(
    desk: Desk, case: dict[str, Any], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them holds, the other is told where to go on, and its bytes are gone."""
    path = begin(desk, case, 100).headers["Location"]
    both = threading.Barrier(2, timeout=20)
    write = uploads.write_part

    def together(*arguments: Any) -> Any:
        both.wait()
        return write(*arguments)

    monkeypatch.setattr(uploads, "write_part", together)
    answers: list[httpx2.Response] = []
    senders = [
        threading.Thread(target=lambda mark=mark: answers.append(send(desk, path, 0, mark * 40)))
        for mark in (b"a", b"b")
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    assert {answer.headers["Upload-Offset"] for answer in answers} == {"40"}
    assert len(list(storage.list("uploads"))) == 1


def test_two_uploads_to_one_case_end_at_once(desk: Desk, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither holds a lock on the case, which the other waits for, before it asks for its own."""
    paths = [begin(desk, case, len(PDF) + number, kind="document").headers["Location"] for number in (1, 2)]
    both = threading.Barrier(2, timeout=20)
    lock = evidence.lock_cases

    def together(*arguments: Any) -> Any:
        both.wait()
        return lock(*arguments)

    monkeypatch.setattr(evidence, "lock_cases", together)
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(send, desk, path, 0, PDF + b" " * number) for number, path in enumerate(paths, 1)]
        assert [each.result().status_code for each in sent] == [204, 204]


def test_a_connection_that_breaks(
    desk: Desk, case: dict[str, Any], address: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came holds, without a checksum; with one nothing does."""
    taken: list[int] = []
    stream = receiving.patiently

    async def counted(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in stream(chunks):
            taken.append(len(chunk))
            yield chunk

    monkeypatch.setattr(receiving, "patiently", counted)
    data = video(media=bytes(2**18))
    host, port = address.removeprefix("http://").split(":")
    for more, expected in ((f"Upload-Checksum: sha1 {'A' * 27}=\r\n", 0), ("", 200_000)):
        path = begin(desk, case, len(data)).headers["Location"]
        with socket.create_connection((host, int(port))) as line:
            lines = "".join(f"{name}: {value}\r\n" for name, value in (desk.headers("county") | PIECE).items())
            line.sendall(
                f"PATCH {path} HTTP/1.1\r\nHost: x\r\n{lines}{more}Upload-Offset: 0\r\n"
                f"Content-Length: {len(data)}\r\n\r\n".encode()
            )
            line.sendall(data[:200_000])
            # The server forgets what it has read and not handed on when a line breaks.
            wait_until(lambda: sum(taken) == 200_000)
        taken.clear()
        received = _settled(desk, path)
        assert received == expected
    assert send(desk, path, received, data[received:]).status_code == 204
    assert kept(desk, case)[0]["sha256"] == hashlib.sha256(data).hexdigest()


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(1000):
        if is_so():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to that")


def _settled(desk: Desk, path: str) -> int:
    """The offset once the process has taken note of the broken line."""
    for _ in range(400):
        if receiving._here.pieces == 0:
            seen = int(head(desk, path).headers["Upload-Offset"])
            if receiving._here.pieces == 0 and seen == int(head(desk, path).headers["Upload-Offset"]):
                return seen
        threading.Event().wait(0.02)
    raise AssertionError("the piece goes on")


def test_a_death_before_the_end_is_written_down(
    desk: Desk, case: dict[str, Any], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies with the file stored and nothing recorded: the sender sends the last part again."""
    data = video(media=b"m" * 1000)
    path = begin(desk, case, len(data)).headers["Location"]
    assert send(desk, path, 0, data[:500]).status_code == 204

    def die(*_: Any, **__: Any) -> None:
        raise RuntimeError("died")

    with monkeypatch.context() as patch:
        patch.setattr(receiving.Piece, "_record", die)
        assert send(desk, path, 500, data[500:]).status_code == 500
    assert (head(desk, path).headers["Upload-Offset"], kept(desk, case)) == ("500", [])
    assert len(list(storage.list("uploads"))) == 1, "the end of a file is no object of its own"
    assert send(desk, path, 500, data[500:]).status_code == 204
    assert kept(desk, case)[0]["sha256"] == hashlib.sha256(data).hexdigest()
    assert list(storage.list("uploads")) == []


@pytest.mark.parametrize(("data", "kind"), [(photo(), "photo"), (office(), "document"), (PDF, "document")])
def test_parts_that_cannot_be_read_are_no_damage(
    desk: Desk, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch, data: bytes, kind: str
) -> None:
    """The file is not refused for it, and the upload stays."""
    path = begin(desk, case, len(data), kind=kind).headers["Location"]
    assert send(desk, path, 0, data[:20]).status_code == 204

    def gone(*_: Any) -> bytes:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(uploads._Parts, "_read", gone)
        answer = send(desk, path, 20, data[20:])
    assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (503, "storage-unavailable")
    assert head(desk, path).headers["Upload-Offset"] == "20"
    assert send(desk, path, 20, data[20:]).status_code == 204
    assert len(kept(desk, case)) == 1


def test_expiry(desk: Desk, case: dict[str, Any], world: World, storage: Storage) -> None:
    over, alive, whole = (begin(desk, case, len(PDF), kind="document").headers["Location"] for _ in range(3))
    for path in (over, alive):
        assert send(desk, path, 0, PDF[:20]).status_code == 204
    assert send(desk, whole, 0, PDF).status_code == 204
    storage.put_named("uploads/not-an-id/0", b"x")
    orphan = f"uploads/{UUID(int=7)}/0-0"
    storage.put_named(orphan, b"left by a process that died")
    ids = {path: UUID(path.rsplit("/", 1)[1]) for path in (over, alive, whole)}
    with world.database.transaction(see_all=True) as session:
        past = utc_now() - timedelta(seconds=1)
        session.execute(update(Upload).where(Upload.id.in_([ids[over], ids[whole]])).values(expires_at=past))
    assert head(desk, over).status_code == send(desk, over, 20, PDF[20:]).status_code == 404
    (job,) = uploads.timetable(world.settings)
    assert run_due(world.database, [job], utc_now(), "test") == [job.name]
    with world.database.transaction(see_all=True) as session:
        assert set(session.scalars(select(Upload.id))) == {ids[alive]}
        assert len(list(session.scalars(select(Evidence.id)))) == 1
    assert [key.split("/")[1] for key in storage.list("uploads")] == [str(ids[alive]), "not-an-id"]


def test_how_much_a_case_takes(desk: Desk, case: dict[str, Any], world: World) -> None:
    def limited(**limits: int) -> None:
        changed: Settings = world.settings.model_copy(update=limits)
        world.client.app.state.settings = changed  # type: ignore[attr-defined]  # TestClient types its app as ASGI

    limited(max_case_files=2, max_case_bytes=5000)
    assert begin(desk, case, 5001).status_code == 409
    path = begin(desk, case, 4000).headers["Location"]
    full = desk.upload("county", case["id"], data=PDF + bytes(1000) + PDF, kind="document")
    assert (full.status_code, full.json()["limit_bytes"]) == (409, 5000)
    assert list(world.client.app.state.storage.list("blobs")) == []  # type: ignore[attr-defined]  # as above
    assert desk.upload("county", case["id"], data=PDF, kind="document").status_code == 201
    assert begin(desk, case, 1).json()["limit"] == 2
    data = video(media=bytes(4000 - len(video(media=b""))))
    assert send(desk, path, 0, data).status_code == 204, "its own place was kept for it"
    assert desk.upload("county", case["id"]).status_code == 409
