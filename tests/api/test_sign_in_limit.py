"""Wrong passwords slow the next try down, in the database that all processes share."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update
from starlette.requests import Request

from app.access import passwords, throttling
from app.access.models import AccessEvent, SignInFailure
from app.access.throttling import LIMITS, client_address, count_attempt, forget, network_of
from app.foundation.database import Database
from app.foundation.errors import TooManyRequests
from app.main import create_app
from app.worker import all_jobs
from tests.conftest import PASSWORD, World

FREE, FIRST = LIMITS["pair"].free, LIMITS["pair"].first_s
HERE = "198.51.100.7"


def sign_in(client: TestClient, username: str, password: str) -> Any:
    return client.post("/api/v1/auth/token", data={"username": username, "password": password})


def rows(world: World) -> dict[str, SignInFailure]:
    """What is counted, by the first word of its key."""
    with world.database.transaction() as session:
        return {row.key.partition(":")[0]: row for row in session.scalars(select(SignInFailure))}


def wait(world: World, seconds: float) -> None:
    """As if so much time had passed."""
    with world.database.transaction() as session:
        statement = "update sign_in_failures set last_at = last_at - w, blocked_until = blocked_until - w"
        session.execute(text(f"{statement} from (select make_interval(secs => :s) as w) as given"), {"s": seconds})


def attempts(database: Database, username: str, address: str, count: int) -> int:
    """How many of so many attempts are let through."""
    passed = 0
    for _ in range(count):
        try:
            count_attempt(database, username, address)
            passed += 1
        except TooManyRequests:
            pass
    return passed


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that are compared and not hashed: what is looked at here is the counting."""
    monkeypatch.setattr("app.access.passwords.verify", lambda hashed, given: bool(hashed) and given == PASSWORD)


@pytest.mark.usefixtures("quick")
def test_a_right_password_does_not_get_in_while_blocked(world: World) -> None:
    for _ in range(FREE + 1):
        assert sign_in(world.client, "county", "wrong").status_code == 401
    blocked = sign_in(world.client, "county", PASSWORD)
    assert blocked.status_code == 429
    assert int(blocked.headers["retry-after"]) in range(1, FIRST + 1)
    assert blocked.headers["content-type"] == "application/problem+json"
    assert blocked.json()["type"] == "urn:redline:problem:too-many-requests"
    # Waiting is not prolonged by trying, and each further failure doubles it.
    wait(world, FIRST)
    assert sign_in(world.client, "county", "wrong").status_code == 401
    assert int(sign_in(world.client, "county", PASSWORD).headers["retry-after"]) in range(FIRST + 1, 2 * FIRST + 1)
    # The owner elsewhere goes on.
    elsewhere = TestClient(world.client.app, client=("203.0.113.5", 1))
    assert sign_in(elsewhere, "county", PASSWORD).status_code == 200


@pytest.mark.usefixtures("quick")
def test_the_answer_does_not_tell_whether_there_is_such_an_account(world: World) -> None:
    def seen(username: str) -> list[tuple[int, str, list[str]]]:
        answers = [sign_in(world.client, username, "wrong") for _ in range(FREE + 2)]
        # But for the seconds that are left.
        return [(one.status_code, re.sub(r"\d+ seconds", "", one.text), sorted(one.headers)) for one in answers]

    known = seen("county")
    assert [status for status, *_ in known] == [401] * (FREE + 1) + [429]
    assert seen("nobody-of-this-name") == known


@pytest.mark.usefixtures("quick")
def test_success_takes_the_count_of_the_name_away(world: World) -> None:
    for _ in range(FREE - 1):
        sign_in(world.client, "county", "wrong")
    assert sign_in(world.client, "county", PASSWORD).status_code == 200
    left = rows(world)
    assert set(left) == {"address"}
    # Whoever tries names does not buy tries with an account of his own.
    assert left["address"].count == FREE - 1


def test_failures_outlive_the_request_and_are_shared(world: World) -> None:
    """Another process: another application with another pool of connections."""
    other = Database(world.urls.application)
    try:
        with TestClient(create_app(world.settings, database=other)) as client:
            for _ in range(2):
                assert sign_in(client, "county", "wrong").status_code == 401
            assert rows(world)["pair"].count == 2
            assert attempts(other, "county", "testclient", FREE) == FREE - 1
            assert sign_in(world.client, "county", PASSWORD).status_code == 429
    finally:
        other.dispose()
    with world.database.transaction() as session:
        failed = session.scalars(select(AccessEvent).where(AccessEvent.kind == "sign_in_failed")).all()
    # Refused attempts write nothing: a flood of them is no flood of rows.
    assert [event.details for event in failed] == [{"name": "county"}] * 2


def test_many_at_once_are_many(database: Database) -> None:
    with ThreadPoolExecutor(15) as pool:
        passed = list(pool.map(lambda _: attempts(database, "county", HERE, 2), range(15)))
    # None got in after the first over the limit.
    assert sum(passed) == FREE + 1


def test_a_name_is_closed_to_one_address_long_before_it_is_to_all(database: Database) -> None:
    assert attempts(database, "county", HERE, FREE + 10) == FREE + 1
    assert attempts(database, "county", "203.0.113.1", 1) == 1
    total = FREE + 2
    for number in range(2, 110):
        total += attempts(database, "county", f"203.0.113.{number}", 1)
    assert total == LIMITS["name"].free + 1
    with database.transaction() as session:
        name = session.scalars(select(SignInFailure).where(SignInFailure.key.like("name:%"))).one()
    # And then for a minute at most.
    assert name.blocked_until is not None
    assert (name.blocked_until - name.last_at).total_seconds() <= LIMITS["name"].cap_s


def test_one_address_with_many_names(database: Database) -> None:
    passed = sum(attempts(database, f"name-{number}", HERE, 1) for number in range(LIMITS["address"].free + 20))
    assert passed == LIMITS["address"].free + 1
    # What a refused attempt would have counted for its name is not there.
    with database.transaction() as session:
        names = session.scalar(select(func.count()).where(SignInFailure.key.like("name:%")))
        assert names == passed
        forget(session, "name-0", HERE)
    assert attempts(database, "name-0", HERE, 1) == 1


def test_waits_double_up_to_a_cap_and_are_forgiven_with_time(database: Database) -> None:
    pair = LIMITS["pair"]
    waits = []
    for _ in range(pair.free + 14):
        count_attempt(database, "county", HERE)
        with database.transaction() as session:
            row = session.scalars(select(SignInFailure).where(SignInFailure.key.like("pair:%"))).one()
            waits.append(round((row.blocked_until - row.last_at).total_seconds()) if row.blocked_until else 0)
            session.execute(update(SignInFailure).values(blocked_until=None))
    assert waits[: pair.free] == [0] * pair.free
    assert waits[pair.free :] == [min(pair.cap_s, pair.first_s * 2**n) for n in range(14)]
    with database.transaction() as session:
        before = text("update sign_in_failures set last_at = last_at - make_interval(secs => :s)")
        session.execute(before, {"s": pair.leak_s * (pair.free + 10)})
    count_attempt(database, "county", HERE)
    with database.transaction() as session:
        assert session.scalars(select(SignInFailure.count).where(SignInFailure.key.like("pair:%"))).one() == 5


def test_old_rows_are_swept_by_the_timetable(world: World) -> None:
    attempts(world.database, "county", HERE, 1)
    job = next(job for job in all_jobs(world.database, world.settings) if job.name == "sweep sign-in failures")
    for hours, left in ((0, 3), (throttling.KEPT_HOURS - 1, 3), (1, 0)):
        wait(world, hours * 3600 + 1)
        with world.database.transaction(see_all=True) as session:
            job.work(session, datetime.now(UTC))
        assert len(rows(world)) == left


@pytest.mark.usefixtures("quick")
def test_what_was_typed_as_a_name_is_kept_short_and_not_as_a_key(world: World) -> None:
    typed = "my secret password\n" + "x" * 5000
    assert sign_in(world.client, typed, "wrong").status_code == 401
    assert sign_in(world.client, "a\x00b", "wrong").status_code == 401
    assert sign_in(world.client, "_redline", "").status_code in (401, 422)
    assert "secret" not in "".join(rows(world))
    with world.database.transaction() as session:
        assert max(session.scalars(select(func.length(SignInFailure.key)))) < 140
        failed = select(AccessEvent.details).where(AccessEvent.kind == "sign_in_failed").order_by(AccessEvent.id)
        names = [details["name"] for details in session.scalars(failed)]
    assert names[0] == "my secret password�" + "x" * 45
    assert names[1] == "a�b"


def test_a_password_is_not_guessed_with_a_token_that_was_left_lying_about(world: World) -> None:
    headers = {"Authorization": f"Bearer {sign_in(world.client, 'county', PASSWORD).json()['access_token']}"}
    attempts(world.database, "county", "testclient", FREE)
    body = {"old_password": "wrong", "new_password": "a long enough one"}
    for status in (403, 429):
        assert world.client.post("/api/v1/auth/password", json=body, headers=headers).status_code == status


def request(peer: str, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return Request({"type": "http", "client": (peer, 1), "headers": headers})


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, ["203.0.113.9"], "192.0.2.1"),
        (1, ["203.0.113.9"], "203.0.113.9"),
        # What the client wrote itself stands before what the proxy saw.
        (1, ["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (1, ["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
        (2, ["127.0.0.1, 203.0.113.9, 10.0.0.1"], "203.0.113.9"),
        (2, ["203.0.113.9"], "192.0.2.1"),
        (1, [], "192.0.2.1"),
        (1, ["unknown"], "192.0.2.1"),
        (1, ["2001:DB8::1"], "2001:db8::1"),
    ],
)
def test_the_address_behind_proxies(proxies: int, forwarded: list[str], expected: str) -> None:
    assert client_address(request("192.0.2.1", *forwarded), proxies) == expected


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_customer_with_many_ipv6_addresses_is_one(address: Any, host: int) -> None:
    if address.ipv4_mapped:
        return
    neighbour = type(address)((int(address) >> 64 << 64) | host)
    if not neighbour.ipv4_mapped:
        assert network_of(str(address)) == network_of(str(neighbour))
    assert network_of("::ffff:203.0.113.9") == network_of("203.0.113.9") == "203.0.113.9"


def test_an_attempt_that_was_not_looked_at_is_not_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a rush the service is busy, and says so to people who know their passwords."""
    assert sign_in(world.client, "county", "wrong password").status_code == 401
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "_queue", threading.BoundedSemaphore(1))
        with passwords._queue:
            for _ in range(FREE + 2):
                assert sign_in(world.client, "county", PASSWORD).status_code == 503
    assert {kind: row.count for kind, row in rows(world).items()} == {"pair": 1, "name": 1, "address": 1}
    assert sign_in(world.client, "county", PASSWORD).status_code == 200
