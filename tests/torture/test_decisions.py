"""Many clients decide on the same cases while processes are killed: one winner each step, nothing lost or doubled.

`make torture` runs the long form (50 clients, 60 s), `make test` a short one.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text

from app.casework import pickup
from app.casework.ledger import verify
from app.monitoring.models import DetectionChangeKind
from tests.api.test_casework_news import say
from tests.casework_steps import Desk, add_detection, photo
from tests.conftest import World
from tests.torture.clients import WAYS, Client, Tally
from tests.torture.service import Service, start_service

SEED = random.SystemRandom().randrange(2**32)
COMMANDS = {command for ways in WAYS.values() for _, command in ways}


@dataclass(frozen=True)
class Scale:
    """How many clients decide for how many seconds, and how long all processes stand before the next is killed."""

    clients: int
    seconds: float
    between_kills: float


SHORT = Scale(12, 8, 1)
LONG = pytest.param(Scale(50, 60, 2), marks=pytest.mark.torture)


@dataclass
class Ground:
    """What the clients meet over: the cases, pairs to be merged, detections to be dispatched."""

    cases: list[str]
    pairs: list[tuple[str, str]]
    detections: list[str]
    # The detections that the cases came from.
    origins: list[UUID]


@pytest.fixture
def ground(world: World) -> Ground:
    desk = Desk(world)
    with world.database.transaction(see_all=True) as session:
        ids = [add_detection(session).id for _ in range(20 + 2 * 12 + 20)]
    cases = [desk.dispatch(detection_id)["id"] for detection_id in ids[:44]]
    for case_id in cases[:20]:
        assert desk.upload("county", case_id, data=photo()).status_code == 201
    pairs = list(zip(cases[20:32], cases[32:], strict=True))
    return Ground(cases[:20], pairs, [str(detection_id) for detection_id in ids[44:]], ids[:20])


@pytest.fixture
def service(world: World, tmp_path: Path) -> Iterator[Service]:
    running = start_service(world, tmp_path, apis=2, REDLINE_NOTICE_DAYS="0")
    yield running
    running.stop()


@dataclass
class News:
    """The imagery tells of the cases' ground all the while, and the worker tells the cases."""

    world: World
    origins: list[UUID]
    told: Counter[UUID]

    def run(self, stop: threading.Event) -> None:
        draw = random.Random(SEED)
        owner = create_engine(self.world.urls.owner)
        while not stop.wait(0.5):
            detection_id = draw.choice(self.origins)
            with self.world.database.transaction(see_all=True) as session:
                say(session, detection_id, DetectionChangeKind.grown)
            self.told[detection_id] += 1
            # The tick of five minutes is due at every turn of the wheel.
            with owner.begin() as connection:
                connection.execute(text("delete from timetable_ticks"))
        owner.dispose()


def kill_one_after_another(service: Service, between: float, stop: threading.Event) -> int:
    assert service.worker is not None
    order = [process for api in service.apis for process in (service.worker, api)]
    kills = 0
    while not stop.wait(between):
        process = order[kills % len(order)]
        process.kill()
        process.start()
        kills += 1
        if process in service.apis:
            process.wait_until_ready(stop)
    return kills


def deadlocks(world: World) -> int:
    with world.database.transaction() as session:
        statement = text("select deadlocks from pg_stat_database where datname = current_database()")
        return int(session.execute(statement).scalar_one())


@pytest.mark.parametrize("scale", [SHORT, LONG], ids=["short", "long"])
def test_one_winner_each_step(world: World, service: Service, ground: Ground, scale: Scale) -> None:
    tally, news = Tally(), News(world, ground.origins, Counter())
    headers = {name: world.headers(name) for name in {who for ways in WAYS.values() for who, _ in ways}}
    stop, stop_killing = threading.Event(), threading.Event()
    began = time.monotonic()
    with ThreadPoolExecutor(scale.clients + 2) as pool:
        clients = [
            Client(service, headers, tally, ground.cases, ground.pairs, ground.detections, SEED + number)
            for number in range(scale.clients)
        ]
        busy = [pool.submit(client.run, stop) for client in clients] + [pool.submit(news.run, stop)]
        killing = pool.submit(kill_one_after_another, service, scale.between_kills, stop_killing)
        time.sleep(scale.seconds)
        stop_killing.set()
        # Clients get their last answers from processes that stand.
        kills = killing.result()
        stop.set()
        for future in busy:
            future.result()
    took = time.monotonic() - began
    service.stop()
    figures = (
        f"seed {SEED}: {scale.clients} clients, {took:.0f} s, {sum(tally.statuses.values())} answers "
        f"{dict(tally.statuses)}, {len(tally.wins)} commands won, {tally.lost} lost, {sum(tally.uploads.values())} "
        f"uploads, {len(tally.merged)} merged, {len(tally.dispatched)} dispatched, {kills} kills, "
        f"{tally.broken} answers lost, {tally.refused} tries refused, {tally.replayed} replayed, "
        f"{tally.postponed} postponed, {news.told.total()} news"
    )
    print(figures)
    assert not tally.surprises, figures + "\n" + "\n".join(tally.surprises[:20]) + service.logs()[-5000:]
    assert kills >= 2 and tally.replayed and tally.lost and len(tally.wins) > scale.clients, figures
    # Connections that are gone give their counts to the statistics as they end.
    time.sleep(0.5)
    assert deadlocks(world) == 0
    assert not [line for line in service.logs().splitlines() if "deadlock" in line or "unhandled" in line]
    check_ledger(world, ground, tally, news, figures)


def check_ledger(world: World, ground: Ground, tally: Tally, news: News, figures: str) -> None:
    """Every answer that said so has its event, once, and there are no others."""
    with world.database.transaction(see_all=True) as session:
        # What the worker had not come to when it was killed.
        pickup.pick_up(session)
    with world.database.transaction(see_all=True) as session:
        rows = session.execute(
            text(
                "select e.case_id::text, e.kind, a.username from case_events e join accounts a on a.id = e.actor_id"
                " order by e.case_id, e.case_sequence"
            )
        ).all()
        report = verify(session)
        versions = dict(tuple(row) for row in session.execute(text("select id::text, version from cases")))
    assert report.intact, (report.breaks, figures)
    assert report.events == len(rows)
    events: dict[str, list[tuple[str, str]]] = {}
    for case_id, kind, username in rows:
        events.setdefault(case_id, []).append((kind, username))
    for case_id, origin in zip(ground.cases, ground.origins, strict=True):
        mine = events.pop(case_id)
        won = sorted((win for win in tally.wins if win.case_id == case_id), key=lambda win: win.version)
        assert [win.version for win in won] == list(range(1, versions[case_id])), (case_id, won, figures)
        commands = [event for event in mine if event[0] in COMMANDS]
        assert commands == [(win.command, win.username) for win in won], (case_id, figures)
        rest = Counter(kind for kind, _ in mine if kind not in COMMANDS)
        expected = {"dispatch": 1, "evidence_added": 1 + tally.uploads[case_id], "detection_grown": news.told[origin]}
        assert rest == Counter(expected), (case_id, figures)
    _check_merges(events, ground, tally, figures)
    # One case of each detection that somebody dispatched.
    assert len({detection_id for detection_id, _ in tally.dispatched}) == len(tally.dispatched), figures
    for _, case_id in tally.dispatched:
        assert events.pop(case_id) == [("dispatch", "officer")]
    assert not events, figures


def _check_merges(events: dict[str, Any], ground: Ground, tally: Tally, figures: str) -> None:
    into = dict(tally.merged)
    assert len(into) == len(tally.merged), figures
    for pair in ground.pairs:
        for case_id, other in (pair, pair[::-1]):
            assert not (case_id in into and other in into), figures
            expected = [("dispatch", "officer")]
            expected += [("merge", "province")] if case_id in into else []
            expected += [("case_merged_in", "province")] if other in into else []
            assert events.pop(case_id) == expected, figures
