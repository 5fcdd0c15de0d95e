"""The queue, the case page and a transition, at 20 users, beside the bare statements that each needs.

A case page is three requests, each a step of its own here: the case, its events, and what may be done with it.

200,000 cases with 4 million events and 50,000 detections that wait (casework_data.py) in an embedded cluster, two API
processes. County clerks look through their open cases, open one, and report progress; officers look through what
waits on the desk, open a detection and claim it. Each thinks for a second between requests. The same users then do the
same work in SQL alone, through row-level security, as the role of the service.
"""

from __future__ import annotations

import http.client
import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import select

from app.access import service as access
from app.access.models import Account
from app.foundation.database import Database
from app.foundation.database_setup import connect
from app.foundation.embedded import ClusterUrls, EmbeddedCluster
from app.foundation.identity import new_id
from app.foundation.migrate import upgrade
from tests.bench.casework_data import fill
from tests.bench.service import ours
from tests.bench.tables import ratio, show
from tests.bench.users import Step, Times, at_work

CASES, EVENTS_A_CASE, WAITING = 200_000, 20, 50_000
CLERKS, OFFICERS = 14, 6
SECONDS, WARM_SECONDS, THINKING = 60.0, 10.0, 1.0
PAGE = 50
CLERK, OFFICER = "county clerk", "officer"
KINDS = ("queue", "case page", "its events", "what may be done", "transition", "desk", "detection", "claim")
OF_CLERKS = 5


@dataclass
class User:
    """Somebody at a desk: token, unit, and what is theirs to work on."""

    token: str
    account: UUID
    unit: UUID
    units: list[UUID] | None
    work: list[UUID]


# -- over HTTP -------------------------------------------------------------------------------------------------------


class Http:
    """One kept connection of a user to the service."""

    def __init__(self, user: User, port: int) -> None:
        self.user = user
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {"Authorization": f"Bearer {user.token}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[str, bytes]:
        """ETag and body.

        Raises:
            RuntimeError: any answer but a 2xx one.
        """
        content = None if body is None else json.dumps(body).encode()
        self.connection.request(method, f"/api/v1{path}", content, self.headers | headers)
        answer = self.connection.getresponse()
        read = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {read[:300]!r}")
        return answer.getheader("ETag") or "", read


def over_http(user: User, port: int, role: str) -> Mapping[str, Step]:
    """The steps of a user."""
    client = Http(user, port)
    at: dict[str, Any] = {}

    def queue(_: random.Random) -> None:
        client.ask("GET", f"/cases?state=rectifying&limit={PAGE}")

    def page(rng: random.Random) -> None:
        at["id"] = rng.choice(user.work)
        at["tag"] = client.ask("GET", f"/cases/{at['id']}")[0]

    def events(_: random.Random) -> None:
        client.ask("GET", f"/cases/{at['id']}/events?limit=100")

    def possible(_: random.Random) -> None:
        client.ask("GET", f"/cases/{at['id']}/transitions")

    def transition(_: random.Random) -> None:
        body = {"command": "report_progress", "fields": {"progress": "设备已拆除，开始覆土", "percent": 40}}
        client.ask("POST", f"/cases/{at['id']}/transitions", body, **{"If-Match": str(at["tag"])})

    def desk(_: random.Random) -> None:
        client.ask("GET", f"/detections?state=new&sort=severity&limit={PAGE}")

    def detection(_: random.Random) -> None:
        at["id"] = user.work.pop()
        at["tag"] = client.ask("GET", f"/detections/{at['id']}")[0]

    def claim(_: random.Random) -> None:
        client.ask("POST", f"/detections/{at['id']}/start-review", {}, **{"If-Match": str(at["tag"])})

    return _steps(role, (queue, page, events, possible, transition), (desk, detection, claim))


def _steps(role: str, clerk: Sequence[Step], officer: Sequence[Step]) -> Mapping[str, Step]:
    return dict(
        zip(KINDS[:OF_CLERKS] if role == CLERK else KINDS[OF_CLERKS:], clerk if role == CLERK else officer, strict=True)
    )


# -- in SQL alone ----------------------------------------------------------------------------------------------------

ENTER = "select set_config('redline.scope', %s, true), set_config('redline.units', %s, true)"
WHO = (
    "select a.id, a.role, u.id, u.code, u.level from tokens t join accounts a on a.id = t.account_id"
    " join units u on u.id = a.unit_id where t.account_id = %s limit 1"
)
CASE = (
    "id, number, state, version, detection_id, simulated, activity, priority, supervision_source, lead_unit_id,"
    " accepting_unit_id, dispatching_unit_id, area_m2, opened_at, first_due_on, due_on, notice_until"
)
UNITS = "select id, code, name, level, parent_id, valid_from, valid_to from units where id = any(%s)"
EVENTS = "select * from case_events where case_id = %s order by case_sequence limit 101"
HISTORY = (
    "select kind, actor_id, recorded_at, occurred_on, state_before, state_after from case_events where case_id = %s"
    " order by case_sequence"
)
PARTS = "select kind, unit_id from case_participations where case_id = %s"
TAKE = (
    "update ledger_head set sequence = sequence + 1, recorded_at = greatest(clock_timestamp(), recorded_at +"
    " interval '1 microsecond') where id = %s returning sequence, recorded_at"
)
ADD = (
    "insert into case_events (sequence, id, case_id, case_sequence, kind, actor_id, actor_role, actor_unit_id,"
    " recorded_at, occurred_on, state_before, state_after, payload, previous_hash, hash)"
    " values (%s, %s, %s, %s, 'report_progress', %s, 'county', %s, %s, current_date, 'rectifying', 'rectifying',"
    " %s, %s, %s)"
)
REVIEWED = (
    "insert into review_events (sequence, id, detection_id, detection_sequence, kind, actor_id, actor_role,"
    " actor_unit_id, recorded_at, state_before, state_after, payload, previous_hash, hash)"
    " values (%s, %s, %s, 1, 'claim', %s, 'officer', %s, %s, 'new', 'reviewing', '{}', %s, %s)"
)


class Bare:
    """One connection of a user to the database, as the role of the service."""

    def __init__(self, user: User, url: str) -> None:
        self.user = user
        self.connection: psycopg.Connection[Any] = connect(url)
        self.connection.execute("set plan_cache_mode = force_custom_plan; set jit = off")

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """A transaction of the user: who it is, and what it may see."""
        scope = "all" if self.user.units is None else "units"
        listed = "{" + ",".join(map(str, self.user.units or ())) + "}"
        with self.connection.transaction():
            self.connection.execute(WHO, (self.user.account,)).fetchall()
            self.connection.execute(ENTER, (scope, listed))
            yield self.connection


def in_sql(user: User, url: str, role: str) -> Mapping[str, Step]:
    """The same steps as `over_http`, by the statements that they cannot do without."""
    client = Bare(user, url)
    at: dict[str, Any] = {}

    def queue(_: random.Random) -> None:
        with client.transaction() as connection:
            where = "state = 'rectifying' and unit_ids && %s"
            rows = connection.execute(
                f"select {CASE} from cases where {where} order by id desc limit {PAGE + 1}", (user.units,)
            ).fetchall()
            connection.execute(UNITS, (list({unit for row in rows for unit in row[9:12]}),)).fetchall()

    def page(rng: random.Random) -> None:
        at["id"] = rng.choice(user.work)
        with client.transaction() as connection:
            row = connection.execute(
                f"select {CASE}, geom, facts, plan from cases where id = %s and unit_ids && %s", (at["id"], user.units)
            ).fetchone()
            assert row
            connection.execute(PARTS, (at["id"],)).fetchall()
            connection.execute(UNITS, (list(row[9:12]),)).fetchall()

    def events(_: random.Random) -> None:
        with client.transaction() as connection:
            connection.execute("select 1 from cases where id = %s", (at["id"],)).fetchall()
            rows = connection.execute(EVENTS, (at["id"],)).fetchall()
            actors = list({event[5] for event in rows})
            connection.execute("select id, display_name from accounts where id = any(%s)", (actors,)).fetchall()

    def possible(_: random.Random) -> None:
        with client.transaction() as connection:
            connection.execute("select state, version from cases where id = %s", (at["id"],)).fetchall()
            connection.execute(HISTORY, (at["id"],)).fetchall()
            connection.execute(PARTS, (at["id"],)).fetchall()

    def transition(_: random.Random) -> None:
        with client.transaction() as connection:
            columns = f"{CASE}, geom, facts, plan"
            statement = f"select {columns} from cases where id = %s and unit_ids && %s for update"
            row = connection.execute(statement, (at["id"], user.units)).fetchone()
            assert row
            connection.execute(PARTS, (at["id"],)).fetchall()
            last = connection.execute(
                "select case_sequence, hash from case_events where case_id = %s order by case_sequence desc limit 1",
                (at["id"],),
            ).fetchone()
            assert last
            connection.execute(HISTORY, (at["id"],)).fetchall()
            connection.execute("update cases set version = version + 1 where id = %s", (at["id"],))
            head = connection.execute(TAKE, (1,)).fetchone()
            assert head
            payload = json.dumps({"progress": "设备已拆除，开始覆土", "percent": 40}, ensure_ascii=False)
            values = (head[0], new_id(), at["id"], last[0] + 1, user.account, user.unit, head[1], payload)
            connection.execute(ADD, (*values, last[1], bytes(32)))
            connection.execute(UNITS, (list(row[9:12]),)).fetchall()

    def desk(_: random.Random) -> None:
        with client.transaction() as connection:
            rows = connection.execute(
                "select d.* from detections d left join reviews r on r.detection_id = d.id where withdrawn_at is null"
                " and coalesce(r.state, 'new') = 'new' order by case severity when 'high' then 3 when 'medium' then 2"
                f" when 'low' then 1 else 0 end desc, d.id desc limit {PAGE + 1}"
            ).fetchall()
            assert rows

    def detection(_: random.Random) -> None:
        at["id"] = user.work.pop()
        with client.transaction() as connection:
            connection.execute("select * from detections where id = %s", (at["id"],)).fetchall()
            connection.execute("select * from reviews where detection_id = %s", (at["id"],)).fetchall()
            connection.execute(UNITS, ([user.unit],)).fetchall()

    def claim(_: random.Random) -> None:
        with client.transaction() as connection:
            one = "select * from detections where id = %s for no key update"
            connection.execute(one, (at["id"],)).fetchall()
            connection.execute(
                "insert into reviews (id, detection_id, state, version, claimed_by, claimed_at, decided_by)"
                " values (%s, %s, 'reviewing', 1, %s, now(), %s)",
                (new_id(), at["id"], user.account, user.account),
            )
            connection.execute("update detections set held_at = now() where id = %s", (at["id"],))
            head = connection.execute(TAKE, (2,)).fetchone()
            assert head
            values = (head[0], new_id(), at["id"], user.account, user.unit, head[1], bytes(32), bytes(32))
            connection.execute(REVIEWED, values)

    return _steps(role, (queue, page, events, possible, transition), (desk, detection, claim))


# -- the run ---------------------------------------------------------------------------------------------------------


def people(urls: ClusterUrls) -> list[tuple[str, User]]:
    """Clerks of the counties with the most to do, and officers of the province, signed in, with work for all rounds."""
    database = Database(urls.application)
    found: list[tuple[str, User]] = []
    with database.transaction(see_all=True) as session, connect(urls.superuser) as connection:
        accounts = {account.username: account for account in session.scalars(select(Account))}

        def user(account: Account, work: list[UUID]) -> User:
            caller = access.caller_of(session, account)
            secret, _ = access.issue_token(session, account, "bench", timedelta(hours=12))
            units = None if caller.units is None else list(caller.units)
            return User(secret, account.id, caller.unit_id, units, work)

        busiest: Any = connection.execute(
            "select u.code, array_agg(c.id) from cases c join units u on u.id = c.lead_unit_id"
            " where c.state = 'rectifying' group by u.code order by count(*) desc limit %s",
            (CLERKS,),
        ).fetchall()
        found += [(CLERK, user(accounts[f"county-{code}"], list(ids))) for code, ids in busiest]
        asked: Any = connection.execute(
            "select id from detections d where not exists (select 1 from reviews where detection_id = d.id) order by id"
        )
        waiting = [row[0] for row in asked]
        for k in range(OFFICERS):
            found.append((OFFICER, user(accounts["officer-220000"], waiting[k::OFFICERS])))
    database.dispose()
    return found


def main(cases: int = CASES) -> None:
    """Fill, ask, print the table."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        with EmbeddedCluster(folder / "cluster") as cluster:
            urls = cluster.create_database("bench")
            upgrade(urls.owner)
            began = time.perf_counter()
            filled = fill(urls.superuser, cases, EVENTS_A_CASE, waiting=WAITING * cases // CASES, reviewed=True)
            print(
                f"{filled.cases:,} cases, {filled.events:,} events, {filled.waiting:,} detections waiting; made in"
                f" {time.perf_counter() - began:.0f} s. {CLERKS} clerks, {OFFICERS} officers, {THINKING:.0f} s of"
                f" thinking, {SECONDS:.0f} s\n"
            )
            at_desks = people(urls)
            with ours(urls, folder) as ports:
                steps = [over_http(user, ports[k % len(ports)], role) for k, (role, user) in enumerate(at_desks)]
                at_work(steps, WARM_SECONDS, THINKING / 4)
                http_times = at_work(steps, SECONDS, THINKING)
            bare = [in_sql(user, urls.application, role) for role, user in at_desks]
            at_work(bare, WARM_SECONDS, THINKING / 4)
            bare_times = at_work(bare, SECONDS, THINKING)
            table(http_times, bare_times)


def table(http_times: Times, bare: Times) -> None:
    """Milliseconds; the target is p95 of at most three times the bare statements and 10 ms more."""
    rows = []
    for kind in KINDS:
        p50, p95 = (http_times.percentile(kind, share) for share in (50, 95))
        bare50, bare95 = (bare.percentile(kind, share) for share in (50, 95))
        allowed = 3 * bare95 + 10
        rows.append(
            [kind, str(len(http_times.seconds[kind])), f"{p50:.1f}", f"{p95:.1f}", f"{bare50:.1f}", f"{bare95:.1f}",
             f"{allowed:.1f}", ratio(p95, allowed)]
        )  # fmt: skip
    show(("step, ms", "asked", "p50", "p95", "SQL p50", "SQL p95", "3 SQL + 10", "of that"), rows)
