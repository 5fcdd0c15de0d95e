"""A file in one request: no transaction while it comes, and nothing left of what is refused in the end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from app.casework import evidence, kept_files
from app.foundation.errors import Conflict
from app.foundation.storage import Storage
from tests.casework_steps import API, Desk, add_detection
from tests.conftest import World

PDF = b"%PDF-1.7\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
FORM = "multipart/form-data; boundary=x"


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def storage(world: World) -> Storage:
    return Storage(world.settings.storage)


def new_case(world: World, desk: Desk) -> dict[str, Any]:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
    return desk.dispatch(detection.id)


@pytest.fixture
def case(world: World, desk: Desk) -> dict[str, Any]:
    return new_case(world, desk)


def send(desk: Desk, case: dict[str, Any], data: bytes, key: str | None = None) -> httpx2.Response:
    headers = desk.headers("county") | ({"Idempotency-Key": key} if key else {})
    path = f"{API}/cases/{case['id']}/evidence"
    files = {"file": ("a.pdf", data, "application/pdf")}
    return desk.world.client.post(path, headers=headers, files=files, data={"kind": "document"})


def raw(
    desk: Desk, case: dict[str, Any], body: bytes, kind: str = "multipart/form-data; boundary=x"
) -> httpx2.Response:
    path, headers = f"{API}/cases/{case['id']}/evidence", desk.headers("county") | {"Content-Type": kind}
    return desk.world.client.post(path, headers=headers, content=body)


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


FILE = part("file", PDF, '; filename="a.pdf"')
KIND = part("kind", b"document")


def test_no_transaction_over_scanner_and_storage(
    desk: Desk, case: dict[str, Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    open_now = text(
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and xact_start is not null"
    )

    def looking(work: Any) -> Any:
        def look(*arguments: Any) -> Any:
            with world.database.transaction() as session:
                seen.append(session.scalar(open_now) or 0)
            return work(*arguments)

        return look

    monkeypatch.setattr(evidence, "scan", looking(evidence.scan))
    monkeypatch.setattr(Storage, "keep_draft", looking(Storage.keep_draft))
    assert send(desk, case, PDF, "once").status_code == 201
    assert seen == [0, 0]


def test_what_has_changed_meanwhile_counts_and_the_file_goes(
    desk: Desk, case: dict[str, Any], world: World, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = evidence.keep_draft

    def meanwhile(*arguments: Any) -> Any:
        kept = keep(*arguments)
        assert list(storage.list("blobs")) == [kept.blob.key]
        with world.database.transaction(see_all=True) as session:
            session.execute(text("update cases set state = 'withdrawn'"))
        return kept

    monkeypatch.setattr(evidence, "keep_draft", meanwhile)
    assert send(desk, case, PDF, "refused").status_code == 409
    assert list(storage.list("blobs")) == []
    assert list((world.settings.data_dir / "storage" / ".aside").iterdir()) == []
    assert desk.get("county", f"/cases/{case['id']}/evidence").json()["items"] == []


def test_a_file_that_another_case_has_stays(desk: Desk, case: dict[str, Any], world: World, storage: Storage) -> None:
    assert send(desk, case, PDF).status_code == 201
    other = new_case(world, desk)
    world.client.app.state.settings = world.settings.model_copy(  # type: ignore[attr-defined]  # typed as ASGI
        update={"max_case_bytes": len(PDF) - 1}
    )
    assert send(desk, other, PDF).status_code == 409
    assert send(desk, case, PDF).status_code == 409
    assert len(list(storage.list("blobs"))) == 1


def test_one_is_refused_while_another_is_recorded(
    desk: Desk, case: dict[str, Any], world: World, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both stored the same content; the first is refused and removes it before the second names it."""
    other, removed = new_case(world, desk), threading.Event()
    hold, remove = kept_files.hold, kept_files._remove
    both = threading.Barrier(2, timeout=20)

    def holding(session: Any, *arguments: Any) -> None:
        both.wait()
        if threading.current_thread() in refused_by:
            raise Conflict("refused")
        assert removed.wait(20)
        hold(session, *arguments)

    refused_by: list[threading.Thread] = []
    keep = evidence.keep_draft

    def keeping(*arguments: Any) -> Any:
        if not refused_by:
            refused_by.append(threading.current_thread())
        return keep(*arguments)

    def removing(*arguments: Any) -> None:
        remove(*arguments)
        removed.set()

    monkeypatch.setattr(evidence, "keep_draft", keeping)
    monkeypatch.setattr(kept_files, "hold", holding)
    monkeypatch.setattr(kept_files, "_remove", removing)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda one: send(desk, one, PDF), (case, other)))
    assert sorted(answer.status_code for answer in answers) == [409, 503]
    monkeypatch.undo()
    assert send(desk, other, PDF).status_code == 201
    assert len(list(storage.list("blobs"))) == 1


def test_two_with_one_key_are_one(
    desk: Desk, case: dict[str, Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, keep = threading.Barrier(2, timeout=20), evidence.keep_draft

    def together(*arguments: Any) -> Any:
        both.wait()
        return keep(*arguments)

    monkeypatch.setattr(evidence, "keep_draft", together)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: send(desk, case, PDF, "same"), range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content) == (201, first.content)
    assert [answer.headers.get("Idempotency-Replayed") for answer in (first, second)].count("true") == 1
    monkeypatch.undo()
    with world.database.transaction(see_all=True) as session:
        # What may not be added any more is answered as it was: it was done.
        session.execute(text("update cases set state = 'withdrawn'"))
    assert send(desk, case, PDF, "same").content == first.content
    assert send(desk, case, PDF + b"\n%%EOF", "same").json()["type"].endswith("idempotency-key-reused")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (KIND + FILE + b"--x--\r\n", 201),
        (FILE + KIND + b"--x--\r\n", 201),
        (KIND + b"--x--\r\n", 422),
        (FILE + b"--x--\r\n", 422),
        (KIND + FILE + FILE + b"--x--\r\n", 422),
        (KIND + FILE.replace(b'"file"', b'"other"') + b"--x--\r\n", 422),
        (part("kind", b"\xff") + FILE + b"--x--\r\n", 422),
        (KIND + part("description", b"a\0b") + FILE + b"--x--\r\n", 422),
        (KIND + FILE, 400),
        (b"no form", 400),
        (b"", 400),
        (b"--x\r\n\r\nx\r\n--x--\r\n", 400),
        (KIND + part("description", b"x" * 300_000) + FILE + b"--x--\r\n", 413),
        (KIND * 1000 + FILE + b"--x--\r\n", 413),
    ],
)
def test_forms(desk: Desk, case: dict[str, Any], storage: Storage, body: bytes, status: int) -> None:
    answer = raw(desk, case, body)
    assert answer.status_code == status, answer.text
    if status != 201:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert list(storage.list("blobs")) == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "application/x-www-form-urlencoded", ""])
def test_no_form(desk: Desk, case: dict[str, Any], kind: str) -> None:
    answer = raw(desk, case, b"{}", kind)
    assert (answer.status_code, "multipart/form-data" in answer.json()["detail"]) == (422, True)
