"""Messages on their way to real receivers, sent by real processes that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from app.foundation.time import utc_now
from app.messages import sending
from app.messages.delivering import MOST_PER_HOOK, SCHEDULE, claim, deliver, record
from app.messages.destinations import resolve
from app.messages.models import Delivery
from app.messages.sending import Outcome
from app.messages.vocabulary import DeliveryState
from app.settings import REPOSITORY, Settings
from tests.api.test_messages import deliveries, made, new_case
from tests.casework_steps import API, Desk
from tests.conftest import World
from tests.receivers import Received, Receiver, receiving

LOOPBACK = [ip_network("127.0.0.0/8")]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_networks": LOOPBACK})


def add_hook(desk: Desk, url: str, username: str = "county", **more: Any) -> dict:
    answer = desk.post(username, "/webhooks", {"url": url, **more}, None)
    assert answer.status_code == 201, answer.text
    hook: dict = answer.json()
    return hook


def send_due(world: World, schedule: tuple[float, ...] = SCHEDULE) -> int:
    """What a worker does in one turn, in this thread; how many were sent."""
    tasks = claim(world.database, 10)
    for task in tasks:
        record(world.database, task, deliver(task, LOOPBACK, resolve), schedule)
    return len(tasks)


def due_now(world: World) -> None:
    with world.database.transaction(see_all=True) as session:
        session.execute(update(Delivery).values(next_at=utc_now()))


@pytest.fixture
def workers(world: World) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.message_worker", world.urls.application]
        running.append(subprocess.Popen(command, cwd=REPOSITORY))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def _until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def test_a_receiver_that_is_down_slow_or_fails_gets_each_event_in_order_though_workers_die(
    world: World, workers: Callable[[], subprocess.Popen[bytes]]
) -> None:
    desk = Desk(world)
    receiver = Receiver()
    with receiving(receiver=receiver):
        pass
    port = receiver.port
    hook = add_hook(desk, f"http://127.0.0.1:{port}/hook")
    cases = [new_case(desk) for _ in range(3)]
    first = workers()
    # The third may wait for its turn while the others are tried again.
    _until(lambda: sum(item["attempts"] > 0 for item in deliveries(desk, "county", hook)) == len(cases))
    tried = deliveries(desk, "county", hook)
    assert [item["last_error"] for item in tried] == ["no connection"] * len(cases)
    # It comes up, and answers 500, or hangs; a second worker comes to help, the first is killed in the middle.
    hanging = threading.Event()

    def hang(handler: BaseHTTPRequestHandler, received: Received) -> int:
        hanging.set()
        time.sleep(0.5)
        return 500

    receiver.behave = hang
    with receiving(port, receiver):
        workers()
        for case in cases:
            desk.done("county", case, "start_verification")
        assert hanging.wait(30)
        first.kill()
        first.wait()
        # What the dead one held is free when its lease has run out.
        with world.database.transaction(see_all=True) as session:
            session.execute(update(Delivery).values(leased_until=None))
        before = len(receiver.received)
        _until(lambda: len(receiver.received) > before + 3)
        workers()
        receiver.behave = lambda handler, received: 204
        _until(lambda: not deliveries(desk, "county", hook, state="pending"))
    # By the first time that each came in: the leases were taken from those who live, too, and what they were sending
    # may come in once more later.
    firsts = {one.headers["webhook-id"]: one for one in reversed(receiver.accepted)}
    for case in cases:
        kinds: list[str] = []
        for one in (one for one in receiver.accepted if firsts[one.headers["webhook-id"]] is one):
            content = Verifier(hook["secret"]).verify(one.body, one.headers)
            if content["data"]["case_id"] == case["id"]:
                kinds.append(content["type"])
        assert kinds == ["case.opened", "case.state_changed"]
    ids = {one.headers["webhook-id"] for one in receiver.received}
    assert ids == {item["id"] for item in deliveries(desk, "county", hook)}, "an id stays over all attempts"


def test_headers_are_signed_and_two_secrets_overlap(world: World) -> None:
    desk = Desk(world)
    with receiving() as receiver:
        hook = add_hook(desk, receiver.url + "/a?b=c")
        assert desk.post("county", f"/webhooks/{hook['id']}/test", {}, None).status_code == 202
        assert send_due(world) == 1
        rotated = desk.post("county", f"/webhooks/{hook['id']}/rotate", {}, 1).json()
        desk.post("county", f"/webhooks/{hook['id']}/test", {}, None)
        assert send_due(world) == 1
        again = desk.post("county", f"/webhooks/{hook['id']}/rotate", {"overlap_hours": 0}, 2).json()
        desk.post("county", f"/webhooks/{hook['id']}/test", {}, None)
        assert send_due(world) == 1
    ping, both, last = receiver.received
    assert ping.path == "/a?b=c" and ping.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert json.loads(ping.body)["type"] == "ping"
    Verifier(hook["secret"]).verify(ping.body, ping.headers)
    Verifier(hook["secret"]).verify(both.body, both.headers)
    Verifier(rotated["secret"]).verify(both.body, both.headers)
    Verifier(again["secret"]).verify(last.body, last.headers)
    for body, headers in ((ping.body + b" ", ping.headers), (last.body, last.headers)):
        with pytest.raises(WebhookVerificationError):
            Verifier(rotated["secret"]).verify(body, headers)


def test_after_the_last_attempt_it_is_dead_and_the_next_goes_on_until_it_is_replayed(world: World) -> None:
    desk = Desk(world)
    with receiving(receiver=Receiver(behave=lambda handler, received: 500)) as receiver:
        hook = add_hook(desk, receiver.url)
        case = new_case(desk)
        desk.done("county", case, "start_verification")
        made(world)
        for attempt in range(3):
            assert send_due(world, (0.0, 0.0)) == 1, attempt
            due_now(world)
        dead = deliveries(desk, "county", hook, state="dead")
        assert [(item["event"], item["attempts"], item["last_status"]) for item in dead] == [("case.opened", 3, 500)]
        receiver.behave = lambda handler, received: 200
        assert send_due(world) == 1
        assert b"case.state_changed" in receiver.accepted[0].body
        path = f"/webhooks/{hook['id']}/deliveries/{dead[0]['id']}/replay"
        assert desk.post("county", path, {}, None).json()["state"] == "pending"
        assert desk.post("county", path, {}, None).status_code == 409
        assert send_due(world) == 1
        assert receiver.accepted[1].headers["webhook-id"] == dead[0]["id"]
        headers = desk.headers("county")
        everything = {"state": "delivered", "since": "2020-01-01T00:00:00Z"}
        answer = world.client.post(f"{API}/webhooks/{hook['id']}/replay", headers=headers, params=everything)
        assert answer.json() == {"count": 2}
        assert [send_due(world) for _ in range(3)] == [1, 1, 0], "in order"
    assert [b"case.opened" in one.body for one in receiver.accepted[2:]] == [True, False]


def test_a_redirect_is_not_followed_and_410_switches_off(world: World) -> None:
    desk = Desk(world)
    with receiving(receiver=Receiver(behave=lambda handler, received: 307)) as receiver:
        hook = add_hook(desk, receiver.url)
        new_case(desk)
        made(world)
        assert send_due(world) == 1
        assert [one.path for one in receiver.received] == ["/"]
        item = deliveries(desk, "county", hook)[0]
        assert (item["state"], item["last_status"], item["attempts"]) == ("pending", 307, 1)
        receiver.behave = lambda handler, received: 410
        due_now(world)
        assert send_due(world) == 1
        shown = desk.get("county", f"/webhooks/{hook['id']}").json()
        assert shown["gone_at"] and not shown["is_active"] and shown["version"] == 2 and shown["pending"] == 1
        due_now(world)
        assert send_due(world) == 0


def test_a_name_that_moves_inside_after_registration_gets_nothing(world: World) -> None:
    desk = Desk(world)
    hook = add_hook(desk, "https://93.184.215.14/")
    desk.post("county", f"/webhooks/{hook['id']}/test", {}, None)
    (task,) = claim(world.database, 10)
    moved = type(task)(task.id, task.lease, "https://moved.example/", task.keys, task.body)
    outcome = deliver(moved, [], lambda host, port: ["169.254.169.254"])
    assert outcome.status is None and outcome.error is not None and outcome.error.startswith("not sent")


@pytest.mark.parametrize("how", ["silent", "drips", "endless", "garbage"])
def test_a_bad_answer_costs_no_more_than_its_time(how: str, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(sending, "TOTAL_S", 0.6)
    monkeypatch.setattr(sending, "CONNECT_S", 0.5)

    def behave(handler: BaseHTTPRequestHandler, received: Received) -> None:
        if how == "garbage":
            handler.wfile.write(b"\x00\x01 nothing\r\n\r\n")
        if how == "silent":
            time.sleep(1.5)
        if how == "drips":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(30):
                handler.wfile.write(b"x")
                time.sleep(0.05)
        if how == "endless":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(2000):
                handler.wfile.write(b"x" * 65536)

    desk = Desk(world)
    with receiving(receiver=Receiver(behave=behave)) as receiver:  # type: ignore[arg-type]
        hook = add_hook(desk, receiver.url)
        desk.post("county", f"/webhooks/{hook['id']}/test", {}, None)
        (task,) = claim(world.database, 10)
        begun = time.monotonic()
        outcome = deliver(task, LOOPBACK, resolve)
        assert time.monotonic() - begun < 1.2
    expected = {"silent": Outcome(None, "too slow"), "drips": Outcome(None, "too slow"), "endless": Outcome(200)}
    assert outcome == expected.get(how, outcome)
    assert outcome.is_success == (how == "endless")


def test_a_slow_receiver_takes_no_more_than_its_share(world: World) -> None:
    desk = Desk(world)
    slow, quick = add_hook(desk, "https://93.184.215.14/"), add_hook(desk, "https://93.184.215.15/")
    for _ in range(MOST_PER_HOOK + 2):
        new_case(desk)
    made(world)
    taken = [*claim(world.database, 4), *claim(world.database, 4)]
    urls = [task.url for task in taken]
    assert {urls.count(hook["url"]) for hook in (slow, quick)} == {MOST_PER_HOOK}
    # Of all workers together, however many look at once, and when one of its sendings has just ended.
    record(world.database, taken[0], Outcome(204))
    with ThreadPoolExecutor(4) as pool:
        more = [task for tasks in pool.map(lambda _: claim(world.database, 16), range(8)) for task in tasks]
    assert [task.url for task in more] == [taken[0].url]


def test_what_comes_after_the_lease_ran_out_is_not_recorded(world: World) -> None:
    desk = Desk(world)
    hook = add_hook(desk, "https://93.184.215.14/")
    desk.post("county", f"/webhooks/{hook['id']}/test", {}, None)
    (task,) = claim(world.database, 1)
    with world.database.transaction(see_all=True) as session:
        session.execute(update(Delivery).values(leased_until=utc_now()))
    (other,) = claim(world.database, 1)
    record(world.database, task, Outcome(500))
    with world.database.transaction(see_all=True) as session:
        row = session.scalars(select(Delivery).where(Delivery.id == UUID(str(task.id)))).one()
        assert (row.state, row.attempts, row.lease) == (DeliveryState.pending, 0, other.lease)
    record(world.database, other, Outcome(500))
    with world.database.transaction(see_all=True) as session:
        row = session.scalars(select(Delivery)).one()
        wait = (row.next_at - utc_now()).total_seconds()
        assert row.attempts == 1 and 3 < wait < 6.1, "the schedule's first wait, give or take a fifth"
