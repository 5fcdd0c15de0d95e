"""Idempotency keys: a request sent again is answered again, and done once."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import text

from app.access import idempotency
from app.access.idempotency import IdempotentRoute, Named
from app.access.service import unit_by_code
from app.casework import audits
from app.worker import all_jobs
from tests.casework_steps import API, Desk, add_detection, photo, wait_for_a_lock
from tests.conftest import World
from tests.openapi import document

# They answer with a secret that is shown once and never kept, or are done once by their nature.
WITHOUT_KEYS = ("/api/v1/auth/", "/api/v1/accounts")
KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture
def desk(world: World, monkeypatch: pytest.MonkeyPatch) -> Desk:
    # A dismissal that is drawn cannot be taken up at once; chance has tests of its own (test_desk_audits).
    monkeypatch.setattr(audits, "is_drawn", lambda: False)
    return Desk(world)


@pytest.fixture
def detection(world: World) -> UUID:
    with world.database.transaction(see_all=True) as session:
        return add_detection(session).id


def dispatch(
    desk: Desk, detection: UUID, *, key: str = KEY, username: str = "officer", version: int = 0, **body: Any
) -> httpx2.Response:
    headers = desk.headers(username) | {"If-Match": f'"{version}"', "Idempotency-Key": key}
    return desk.world.client.post(f"{API}/detections/{detection}/dispatch", headers=headers, json=body)


def count(world: World, table: str = "case_events") -> int:
    with world.database.transaction(see_all=True) as session:
        return int(session.execute(text(f"select count(*) from {table}")).scalar_one())


def test_every_unsafe_endpoint_takes_a_key() -> None:
    """Without anyone remembering: a new router that takes none fails here."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            named = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
            takes = "idempotency-key" in named
            # A piece of an upload is named by its offset, and taken once by that.
            is_piece = method == "patch" and path.endswith("/evidence/uploads/{upload_id}")
            # An answer with a secret is kept nowhere.
            shows_secret = method == "post" and path in (f"{API}/webhooks", f"{API}/webhooks/{{webhook_id}}/rotate")
            exempt = is_piece or shows_secret or path.startswith(WITHOUT_KEYS)
            unsafe = method.upper() in idempotency.UNSAFE and not exempt
            assert takes == unsafe, f"{method} {path}: its router needs route_class={IdempotentRoute.__name__}"
            if takes:
                assert {"409", "422"} <= operation["responses"].keys()


def test_a_request_sent_again_is_answered_byte_by_byte(desk: Desk, detection: UUID) -> None:
    first = dispatch(desk, detection, note="一次")
    again = dispatch(desk, detection, note="一次")
    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert again.content == first.content
    own = {"idempotency-replayed", "date", "x-request-id"}
    kept = {name: value for name, value in first.headers.items() if name not in own}
    assert {name: value for name, value in again.headers.items() if name not in own} == kept
    assert {"etag", "location", "content-type"} <= kept.keys()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert count(desk.world) == 1


def test_the_same_key_with_another_request_is_refused(desk: Desk, detection: UUID) -> None:
    assert dispatch(desk, detection).status_code == 201
    for other in (dispatch(desk, detection, note="else"), dispatch(desk, detection, version=1)):
        assert (other.status_code, other.json()["type"]) == (422, "urn:redline:problem:idempotency-key-reused")
    with desk.world.database.transaction(see_all=True) as session:
        # Another unit sees other things: it is not shown what the account saw before.
        moved = {"unit": unit_by_code(session, "220600").id}
        session.execute(text("update accounts set unit_id = :unit where username = 'officer'"), moved)
    assert dispatch(desk, detection).status_code == 422
    assert count(desk.world) == 1


def test_a_key_is_an_accounts_own_and_a_routes(desk: Desk, detection: UUID) -> None:
    assert dispatch(desk, detection).status_code == 201
    assert dispatch(desk, detection, username="officer-prefecture").status_code == 412
    with desk.world.database.transaction(see_all=True) as session:
        other = add_detection(session).id
    fresh = dispatch(desk, other)
    assert (fresh.status_code, "idempotency-replayed" in fresh.headers) == (201, False)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "ключ".encode()])
def test_a_key_is_up_to_255_printable_characters(desk: Desk, detection: UUID, key: Any) -> None:
    answer = dispatch(desk, detection, key=key)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:redline:problem:invalid")
    assert answer.json()["errors"][0]["pointer"] == "header/idempotency-key"
    assert dispatch(desk, detection, key="x" * 255).status_code == 201


def test_what_was_refused_may_succeed_later(desk: Desk, detection: UUID) -> None:
    assert dispatch(desk, detection, version=3).status_code == 412
    assert dispatch(desk, detection, lead_unit="999999").status_code == 422
    assert count(desk.world, "idempotency_keys") == 0
    assert dispatch(desk, detection).status_code == 201
    assert count(desk.world, "idempotency_keys") == 1


def test_no_replay_without_a_valid_token(desk: Desk, detection: UUID) -> None:
    assert dispatch(desk, detection).status_code == 201
    secret = desk.headers("officer")["Authorization"].removeprefix("Bearer ")
    with desk.world.database.transaction() as session:
        digest = hashlib.sha256(secret.encode()).digest()
        session.execute(text("update tokens set revoked_at = now() where digest = :digest"), {"digest": digest})
    assert dispatch(desk, detection).status_code == 401


def test_two_at_once_are_done_once(desk: Desk, detection: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    holds, may_end = threading.Event(), threading.Event()
    remember = Named.remember

    def slowly(named: Named, response: Any) -> None:
        remember(named, response)
        holds.set()
        assert may_end.wait(20)

    monkeypatch.setattr(Named, "remember", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(dispatch, desk, detection)
        assert holds.wait(20)
        second = pool.submit(dispatch, desk, detection)
        wait_for_a_lock(desk.world)
        may_end.set()
        answers = [first.result(), second.result()]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true"]
    assert (count(desk.world), count(desk.world, "cases")) == (1, 1)


def test_who_waits_too_long_is_told_so(desk: Desk, detection: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    holds, may_end = threading.Event(), threading.Event()
    recall = Named.recall

    def held(named: Named) -> Any:
        if holds.is_set():
            named.session.execute(text("set local lock_timeout = '100ms'"))
            return recall(named)
        answer = recall(named)
        holds.set()
        assert may_end.wait(20)
        return answer

    monkeypatch.setattr(Named, "recall", held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(dispatch, desk, detection)
        assert holds.wait(20)
        second = dispatch(desk, detection)
        may_end.set()
        assert first.result().status_code == 201
    assert (second.status_code, second.json()["type"]) == (409, "urn:redline:problem:still-in-progress")
    assert second.headers["Retry-After"] == "5"


def test_death_between_work_and_commit_leaves_neither(
    desk: Desk, detection: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember = Named.remember

    def cut_off(named: Named, response: Any) -> None:
        remember(named, response)
        pid = named.session.execute(text("select pg_backend_pid()")).scalar_one()
        with desk.world.database.transaction() as session:
            session.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})

    with monkeypatch.context() as patch:
        patch.setattr(Named, "remember", cut_off)
        assert dispatch(desk, detection).status_code == 503
    assert [count(desk.world, table) for table in ("case_events", "cases", "idempotency_keys")] == [0, 0, 0]
    answer = dispatch(desk, detection)
    assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)
    assert count(desk.world) == 1


def test_a_key_is_over_after_a_day(desk: Desk, detection: UUID) -> None:
    def age(interval: str) -> None:
        with desk.world.database.transaction() as session:
            session.execute(text(f"update idempotency_keys set created_at = now() - interval '{interval}'"))

    assert dispatch(desk, detection).status_code == 201
    age("23 hours 59 minutes")
    assert dispatch(desk, detection).headers["Idempotency-Replayed"] == "true"
    age("24 hours 1 minute")
    # Not swept yet, and over all the same: it is a new request, which now comes too late.
    assert dispatch(desk, detection).status_code == 412
    job = next(job for job in all_jobs(desk.world.database, desk.world.settings) if "idempotency" in job.name)
    with desk.world.database.transaction(see_all=True) as session:
        job.work(session, datetime.now(UTC))
    assert count(desk.world, "idempotency_keys") == 0


def test_an_expired_key_gives_way_to_new_work(desk: Desk, detection: UUID) -> None:
    path, headers = f"{API}/detections/{detection}/start-review", {"Idempotency-Key": KEY, "If-Match": '"0"'}
    headers |= desk.headers("officer")
    assert desk.world.client.post(path, headers=headers, json={}).status_code == 200
    with desk.world.database.transaction() as session:
        session.execute(text("update idempotency_keys set created_at = now() - interval '25 hours'"))
    dismissed = {"reason": "cloud"}
    answer = desk.world.client.post(
        path.replace("start-review", "dismiss"), headers=headers | {"If-Match": '"1"'}, json=dismissed
    )
    assert answer.status_code == 200, answer.text
    version = answer.headers["ETag"]
    for expected in (None, "true"):
        again = desk.world.client.post(path, headers=headers | {"If-Match": version}, json={"note": "again"})
        assert (again.status_code, again.headers.get("idempotency-replayed")) == (200, expected), again.text


def test_an_upload_is_known_by_its_file(desk: Desk, detection: UUID) -> None:
    case = desk.dispatch(detection)
    headers = desk.headers("county") | {"Idempotency-Key": KEY}

    def upload(data: bytes, name: str = "a.jpg") -> httpx2.Response:
        return desk.world.client.post(
            f"{API}/cases/{case['id']}/evidence", headers=headers, data={"kind": "photo"}, files={"file": (name, data)}
        )

    data = photo(seed=1)
    # The client draws a new boundary between the parts each time.
    first, again = upload(data), upload(data)
    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert upload(photo(seed=2)).status_code == 422
    assert upload(data, "b.jpg").status_code == 422
    content = desk.get("county", f"/cases/{case['id']}/evidence/{first.json()['id']}/content")
    assert content.content == data
    assert count(desk.world, "evidence") == 1
