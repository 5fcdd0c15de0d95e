"""Webhooks and inboxes over HTTP: whose they are, what comes into them, and that addresses inside are refused."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_address, ip_network
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text, update

from app.access.accounts import account_by_name
from app.access.models import Account
from app.access.service import unit_by_code
from app.casework.deadline_models import Deadline, DeadlineNotice
from app.casework.vocabulary import NoticeKind
from app.foundation.time import utc_now
from app.messages import destinations, webhooks
from app.messages.delivering import claim
from app.messages.destinations import Unfit, find, is_allowed
from app.messages.making import MOST, make
from app.messages.models import Delivery, MessageCursor, Webhook
from app.messages.retention import sweep
from app.messages.vocabulary import WORDS, DeliveryState, Event
from tests.casework_steps import API, Desk, add_detection, today
from tests.conftest import COUNTY, COUNTY2, PREFECTURE, World

PUBLIC_URL = "https://93.184.215.14/hook"


def made(world: World) -> int:
    """Make all messages that are due; how many sources."""
    total = 0
    while True:
        with world.database.transaction(see_all=True) as session:
            count = make(session, "https://redline.example")
        if not count:
            return total
        total += count


def add_hook(desk: Desk, username: str, **more: object) -> dict:
    answer = desk.post(username, "/webhooks", {"url": PUBLIC_URL, **more}, None)
    assert answer.status_code == 201, answer.text
    hook: dict = answer.json()
    return hook


def new_case(desk: Desk, lead: str = COUNTY) -> dict:
    with desk.world.database.transaction(see_all=True) as session:
        detection_id = add_detection(session, lead=lead).id
    return desk.dispatch(detection_id)


def deliveries(desk: Desk, username: str, hook: dict, **params: str) -> list[dict]:
    answer = desk.get(username, f"/webhooks/{hook['id']}/deliveries", **params)
    assert answer.status_code == 200, answer.text
    items: list[dict] = answer.json()["items"]
    return items


REFUSED = (
    "http://93.184.215.14/", "https://127.0.0.1/", "https://0x7f.1/", "https://127.1/", "https://2130706433/",
    "https://017700000001/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:10.0.0.1]/",
    "https://169.254.169.254/latest", "https://10.1.2.3/", "https://192.168.1.1/", "https://172.16.0.1/",
    "https://100.64.0.1/", "https://100.100.100.200/", "https://0.0.0.0/", "https://224.0.0.1/", "https://240.0.0.1/",
    "https://255.255.255.255/", "https://168.63.129.16/", "https://192.0.0.192/", "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/", "https://[fe80::1]/", "https://[fd00:ec2::254]/", "https://[fec0::1]/",
    "https://[::127.0.0.1]/", "https://[ff02::1]/", "https://localhost/", "https://localhost./", "https://LOCALHOST/",
    "https://user:pw@93.184.215.14/", "https://93.184.215.14/#x", "ftp://93.184.215.14/", "https:///x", "https://",
    "https://93.184.215.14:0/", "https://93.184.215.14:99999/", "https://a b/", "https://93.184.215.14\\@127.0.0.1/",
    "https://93.184.215.14/\r\nX: y", "https://[fe80::1%25eth0]/", "https://例え.jp/", "file:///etc/passwd", "x",
    "https://" + "a" * 1990 + ".example/",
)  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_nothing_is_sent_inside(url: str) -> None:
    with pytest.raises(Unfit):
        find(url, [])


def test_what_is_public_or_listed_is_allowed() -> None:
    for url in ("https://93.184.215.14/a?b=c", "https://[2606:4700::1111]:8443/"):
        assert find(url, []).is_https
    inside = [ip_network("10.1.0.0/16"), ip_network("127.0.0.0/8")]
    assert find("https://10.1.2.3/", inside).address == "10.1.2.3"
    assert not find("http://127.0.0.1:8080/x?y", inside).is_https
    for url in ("https://10.2.0.1/", "http://10.1.2.3/", "https://[::1]/"):
        with pytest.raises(Unfit):
            find(url, inside)
    assert is_allowed(ip_address("::ffff:10.1.2.3"), inside)
    place = find("https://hook.example:8443/x?y=1", [], lambda host, port: ["93.184.215.14"])
    assert (place.host_header, place.target, place.address) == ("hook.example:8443", "/x?y=1", "93.184.215.14")


def test_every_address_of_a_name_counts_and_the_one_that_was_checked_is_used() -> None:
    answers: list[Sequence[str]] = [["93.184.215.14"], ["10.0.0.1"], ["93.184.215.14", "127.0.0.1"], [], ["fe80::1%2"]]

    def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    assert find("https://a.example/", [], rebinding).address == "93.184.215.14"
    for _ in range(4):
        with pytest.raises(Unfit):
            find("https://a.example/", [], rebinding)
    assert answers == []


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "RESOLVE_S", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(0.5))
    with pytest.raises(Unfit):
        find("https://slow.example/", [])


def test_a_webhook_is_its_accounts_own(world: World) -> None:
    desk = Desk(world)
    hook = add_hook(desk, "county", events=["case.opened", "case.opened"], description="局办")
    assert hook["secret"].startswith("whsec_") and hook["events"] == ["case.opened"]
    shown = desk.get("county", f"/webhooks/{hook['id']}")
    assert "secret" not in shown.json() and shown.headers["ETag"] == '"1"'
    mine, theirs = desk.headers("county"), desk.headers("province")
    path = f"{API}/webhooks/{hook['id']}"
    assert world.client.get(path, headers=theirs).status_code == 404
    assert world.client.get(f"{API}/webhooks", headers=theirs).json() == {"items": []}
    assert world.client.patch(path, headers=theirs | {"If-Match": '"1"'}, json={}).status_code == 404
    assert world.client.patch(path, headers=mine, json={}).status_code == 428
    changed = world.client.patch(path, headers=mine | {"If-Match": '"1"'}, json={"is_active": False, "events": None})
    assert (changed.json()["is_active"], changed.json()["events"], changed.json()["version"]) == (False, None, 2)
    assert world.client.patch(path, headers=mine | {"If-Match": '"1"'}, json={}).status_code == 412
    assert desk.post("county", f"/webhooks/{hook['id']}/test", {}, None).status_code == 409, "it is switched off"
    for body in ({"url": None}, {"is_active": None}, {"url": "https://10.0.0.1/"}, {"events": ["ping"]}, {"x": 1}):
        answer = world.client.patch(path, headers=mine | {"If-Match": '"2"'}, json=body)
        assert answer.status_code == 422, body
    rotated = desk.post("county", f"/webhooks/{hook['id']}/rotate", {"overlap_hours": 1}, 2)
    assert rotated.json()["secret"] != hook["secret"] and rotated.json()["old_secret_until"]
    assert world.client.delete(path, headers=mine | {"If-Match": '"2"'}).status_code == 412
    assert world.client.delete(path, headers=mine | {"If-Match": '"3"'}).status_code == 204
    assert world.client.get(path, headers=mine).status_code == 404


def test_an_address_inside_is_refused_alike_whatever_is_there(world: World) -> None:
    desk = Desk(world)
    answers = [
        desk.post("county", "/webhooks", {"url": f"https://{host}/"}, None) for host in ("10.0.0.1", "nobody.invalid")
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].text == answers[1].text
    assert answers[0].json()["errors"][0]["pointer"] == "url"


def test_webhooks_get_what_their_account_may_see_from_their_registration_on(world: World) -> None:
    desk = Desk(world)
    before = new_case(desk)
    hooks = {name: add_hook(desk, name) for name in ("county", "county2", "prefecture", "prefecture-other")}
    only = add_hook(desk, "county", events=["case.commented"])
    mine, theirs = new_case(desk), new_case(desk, COUNTY2)
    desk.done("county", mine, "start_verification")
    assert desk.post("county", f"/cases/{mine['id']}/comments", {"words": "秘"}, None).status_code in (201, 422)
    assert made(world) >= 4
    assert made(world) == 0, "each source is told once"
    got = {name: deliveries(desk, name, hook) for name, hook in hooks.items()}
    cases = {name: {item["case_id"] for item in items} for name, items in got.items()}
    assert cases == {
        "county": {mine["id"]}, "county2": {theirs["id"]}, "prefecture": {mine["id"], theirs["id"]},
        "prefecture-other": set(),
    }  # fmt: skip
    assert before["id"] not in cases["county"], "what was written before is no news"
    oldest = got["county"][-1]
    assert oldest["event"] == "case.opened" and got["county"][-2]["event"] == "case.state_changed"
    assert '"state":"verifying","state_before":"dispatched"' in got["county"][-2]["body"]
    assert f"https://redline.example/api/v1/cases/{mine['id']}" in oldest["body"]
    assert all(secret not in item["body"] for items in got.values() for item in items for secret in ("秘", "county"))
    assert {item["event"] for item in deliveries(desk, "county", only)} <= {"case.commented"}


def test_an_account_that_moved_gets_nothing_of_its_old_unit(world: World) -> None:
    desk = Desk(world)
    hook = add_hook(desk, "county")
    new_case(desk)
    made(world)
    assert len(deliveries(desk, "county", hook)) == 1
    with world.database.transaction(see_all=True) as session:
        account = account_by_name(session, "county")
        account.unit_id = unit_by_code(session, COUNTY2).id
    # What waits is looked at once more when it is to be sent.
    assert claim(world.database, 10) == []
    with world.database.transaction(see_all=True) as session:
        assert session.scalars(select(Delivery.state)).all() == [DeliveryState.withheld]
    assert deliveries(desk, "county", hook) == []
    assert desk.get("county", "/inbox").json()["items"] == []
    path = f"/webhooks/{hook['id']}/replay"
    replayed = world.client.post(API + path, headers=desk.headers("county"), params={"state": "withheld"})
    assert replayed.json()["count"] == 0


def test_an_inactive_accounts_webhooks_stop(world: World) -> None:
    desk = Desk(world)
    hook = add_hook(desk, "county")
    new_case(desk)
    made(world)
    with world.database.transaction() as session:
        session.execute(update(Account).where(Account.username == "county").values(is_active=False))
    assert claim(world.database, 10) == []
    new_case(desk)
    made(world)
    with world.database.transaction(see_all=True) as session:
        of_hook = select(Delivery.state).where(Delivery.webhook_id == UUID(hook["id"]))
        assert session.scalars(of_hook).all() == [DeliveryState.pending], "made before, and nothing after"


def test_only_the_oldest_of_a_case_is_taken_and_another_case_is_not_held_up(world: World) -> None:
    desk = Desk(world)
    add_hook(desk, "county")
    first = new_case(desk)
    desk.done("county", first, "start_verification")
    second = new_case(desk)
    made(world)
    taken = claim(world.database, 10)
    assert [first["id"] in task.body for task in taken] == [True, False]
    assert "case.opened" in taken[0].body and second["id"] in taken[1].body
    assert claim(world.database, 10) == [], "leased"
    with world.database.transaction(see_all=True) as session:
        session.execute(update(Delivery).values(leased_until=utc_now() - timedelta(seconds=1)))
    again = claim(world.database, 10)
    assert [task.id for task in again] == [task.id for task in taken], "whoever held them died"
    assert {task.lease for task in again}.isdisjoint(task.lease for task in taken)


def test_a_secret_is_kept_with_no_answer_and_by_no_cache(world: World) -> None:
    desk = Desk(world)
    headers = desk.headers("county") | {"Idempotency-Key": "one"}
    first = world.client.post(f"{API}/webhooks", headers=headers, json={"url": PUBLIC_URL})
    again = world.client.post(f"{API}/webhooks", headers=headers, json={"url": PUBLIC_URL})
    path = f"{API}/webhooks/{first.json()['id']}/rotate"
    rotated = world.client.post(path, headers=headers | {"If-Match": '"1"'}, json={})
    for answer in (first, again, rotated):
        assert answer.json()["secret"].startswith("whsec_") and answer.headers["Cache-Control"] == "no-store"
    assert len({answer.json()["secret"] for answer in (first, again, rotated)}) == 3
    with world.database.transaction(see_all=True) as session:
        assert session.execute(text("select count(*) from idempotency_keys")).scalar_one() == 0


def test_names_that_are_long_in_coming_hold_up_few_requests(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(world)
    hook = add_hook(desk, "county")
    monkeypatch.setattr(webhooks, "_looking_up", threading.BoundedSemaphore(1))
    with webhooks._looking_up:
        answer = desk.post("county", "/webhooks", {"url": PUBLIC_URL}, None)
        assert answer.status_code == 503 and answer.headers["Retry-After"]
        headers = desk.headers("county") | {"If-Match": '"1"'}
        path = f"{API}/webhooks/{hook['id']}"
        assert world.client.patch(path, headers=headers, json={"url": PUBLIC_URL}).status_code == 503
        assert world.client.patch(path, headers=headers, json={"description": "x"}).status_code == 200
    add_hook(desk, "county")


def test_two_workers_make_and_take_each_message_once(world: World) -> None:
    desk = Desk(world)
    for _ in range(4):
        add_hook(desk, "county")
    new_case(desk)
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: made(world), range(4)))
        assert sum(counts) == 1
        taken = [task.id for tasks in pool.map(lambda _: claim(world.database, 10), range(4)) for task in tasks]
    # Whoever comes while another takes them gets none, and comes again.
    taken += [task.id for task in claim(world.database, 10)]
    assert len(taken) == len(set(taken)) == 4


def _notice(world: World, case: dict, unit: str) -> None:
    with world.database.transaction(see_all=True) as session:
        clock = Deadline(
            case_id=UUID(case["id"]), rule=uuid4().hex, rule_version="1", started_sequence=1, started_on=today(),
            first_due_on=today(), due_on=today(),
        )  # fmt: skip
        session.add(clock)
        session.flush()
        notice = DeadlineNotice(
            case_id=clock.case_id, deadline_id=clock.id, kind=NoticeKind.overdue, due_on=today(), noticed_on=today(),
            days=0, unit_id=unit_by_code(session, unit).id,
        )  # fmt: skip
        session.add(notice)


def test_a_notice_that_commits_late_is_told(world: World) -> None:
    desk = Desk(world)
    hook, case = add_hook(desk, "county"), new_case(desk)
    made(world)
    # Takes its sequence first and commits last.
    with world.database.transaction(see_all=True) as late:
        clock = Deadline(
            case_id=UUID(case["id"]), rule="late", rule_version="1", started_sequence=1, started_on=today(),
            first_due_on=today(), due_on=today(),
        )  # fmt: skip
        late.add(clock)
        late.flush()
        unit = unit_by_code(late, COUNTY).id
        late.add(
            DeadlineNotice(
                case_id=clock.case_id,
                deadline_id=clock.id,
                kind=NoticeKind.reminder,
                due_on=today(),
                days=0,
                noticed_on=today(),
                unit_id=unit,
            )
        )
        late.flush()
        _notice(world, case, COUNTY)
        assert made(world) == 1
    assert made(world) == 1
    assert made(world) == 0
    events = [item["event"] for item in deliveries(desk, "county", hook)]
    assert events == ["deadline.reminder", "deadline.overdue", "case.opened"]


def test_the_inbox_tells_who_must_act(world: World) -> None:
    desk = Desk(world)
    case = new_case(desk)
    case = desk.done("county", case, "start_verification")
    desk.done("county", case, "propose_unfounded")
    _notice(world, case, PREFECTURE)
    made(world)
    mine = desk.get("county", "/inbox").json()["items"]
    assert [(item["title"], item["state"]) for item in mine] == [("新问题", "dispatched")], "not what it did itself"
    assert case["number"] in mine[0]["body"] and "已派发" in mine[0]["body"]
    above = desk.get("prefecture", "/inbox").json()["items"]
    assert [item["event"] for item in above] == ["deadline.overdue", "case.state_changed"]
    assert above[0]["due_on"] in above[0]["body"] and "不属实待认定" in above[1]["body"]
    for nobody in ("county2", "inspector", "admin", "prefecture-other", "province"):
        assert desk.get(nobody, "/inbox").json() == {"items": []}, nobody
    assert desk.post("county", f"/inbox/{above[0]['id']}/read", {}, None).status_code == 404
    assert desk.post("county", "/inbox/read", {"up_to": above[0]["id"]}, None).status_code == 422
    assert desk.get("prefecture", "/inbox/unread").json() == {"unread": 2}
    read = desk.post("prefecture", f"/inbox/{above[1]['id']}/read", {}, None).json()["read_at"]
    assert desk.post("prefecture", f"/inbox/{above[1]['id']}/read", {}, None).json()["read_at"] == read
    assert [item["id"] for item in desk.get("prefecture", "/inbox", unread=True).json()["items"]] == [above[0]["id"]]
    assert desk.post("prefecture", "/inbox/read", {"up_to": above[0]["id"]}, None).json() == {"unread": 0}
    page = desk.get("prefecture", "/inbox", limit=1)
    assert len(page.json()["items"]) == 1 and 'rel="next"' in page.headers["Link"]


def test_every_event_has_words_and_more_than_a_batch_is_told(world: World) -> None:
    assert set(WORDS) >= {event for event in Event if event not in _SILENT}
    desk = Desk(world)
    add_hook(desk, "county")
    with world.database.transaction(see_all=True) as session:
        position = session.scalars(select(MessageCursor.position)).one()
    case = new_case(desk)
    with world.database.transaction(see_all=True) as session:
        # In bulk: only the cursor reads them here.
        session.execute(
            text(
                "insert into case_events (sequence, id, case_id, case_sequence, kind, actor_id, actor_role,"
                " actor_unit_id, recorded_at, occurred_on, state_before, state_after, payload, previous_hash, hash)"
                " select sequence + n, gen_random_uuid(), case_id, case_sequence + n, 'comment', actor_id, actor_role,"
                " actor_unit_id, recorded_at, occurred_on, state_after, state_after, payload, previous_hash, hash"
                " from case_events, generate_series(1, :count) as n where case_id = :case"
            ),
            {"count": MOST, "case": UUID(case["id"])},
        )
    assert made(world) == MOST + 1
    with world.database.transaction(see_all=True) as session:
        assert session.scalars(select(MessageCursor.position)).one() == position + MOST + 1
        told = session.scalars(select(Delivery.source_sequence).order_by(Delivery.position)).all()
    assert told == sorted(told) and len(told) == MOST + 1


# Told to webhooks alone.
_SILENT = {Event.case_changed, Event.evidence_added, Event.commented, Event.track, Event.ping}


def test_the_sweep_keeps_what_waits(world: World) -> None:
    desk = Desk(world)
    add_hook(desk, "county")
    case = new_case(desk)
    desk.done("county", case, "start_verification")
    made(world)
    with world.database.transaction(see_all=True) as session:
        first = session.scalars(select(Delivery).order_by(Delivery.position)).first()
        assert first is not None
        first.state, first.done_at = DeliveryState.delivered, utc_now()
    for days, left in ((29, 2), (31, 1)):
        with world.database.transaction(see_all=True) as session:
            sweep(session, utc_now() + timedelta(days=days))
            assert len(session.scalars(select(Delivery)).all()) == left


def test_a_token_without_read_makes_no_webhook(world: World) -> None:
    signed_in = world.client.post(f"{API}/auth/token", data={"username": "county", "password": "redline-demo"})
    bearer = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
    made_ = world.client.post(
        f"{API}/auth/tokens", headers=bearer, json={"name": "x", "expires_in_days": 1, "scopes": ["cases"]}
    )
    assert made_.status_code == 201, made_.text
    only_cases = {"Authorization": f"Bearer {made_.json()['token']}"}
    answer = world.client.post(f"{API}/webhooks", headers=only_cases, json={"url": PUBLIC_URL})
    assert answer.status_code == 403 and "read" in answer.json()["detail"]
    with world.database.transaction() as session:
        assert session.scalars(select(Webhook)).all() == []
