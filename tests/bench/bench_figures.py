"""The standard reports at 2 and at 10 users, beside the bare statements that each sends, by as many clients.

200,000 cases with 4 million events and 60 counties (casework_data.py) in an embedded cluster, their intervals written
by `interval_checks.rebuild`; two API processes. Every report by county for the whole province, as of now and as of a
year before. Users ask all of it in an order of their own, thinking in between; in turns with them, as many send the
statements alone, as the role of the service, through row-level security. At the end an event is recorded, and the
figures asked for again.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import event, select

from app.access import service as access
from app.access.models import Account
from app.casework.interval_checks import check, rebuild
from app.casework.intervals import keep
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseEvent
from app.foundation.database import Database, set_scope
from app.foundation.database_setup import connect
from app.foundation.embedded import ClusterUrls, EmbeddedCluster
from app.foundation.identity import new_id
from app.foundation.migrate import upgrade
from app.foundation.time import legal_day
from app.statistics.dimensions import Dimension
from app.statistics.figures import Question, answer
from app.statistics.reports import Report
from app.statistics.service import watermark
from tests.bench.bench_casework import Http, User
from tests.bench.casework_data import fill
from tests.bench.service import ours
from tests.bench.tables import ratio, show
from tests.bench.users import Step, Times, at_work

CASES, EVENTS_A_CASE = 200_000, 20
# How many, and how often each asks everything: more of one than of many, so that there is as much to judge by.
USERS = ((2, 8), (10, 2))
THINKING = 0.3
# Who began a round ends it.
ONE_ROUND = 0.2
TRANSITIONS = 100
YEAR = timedelta(days=365)
ACCOUNT = "province-220000"
# Statements and their parameters, as the driver gets them.
Sent = list[tuple[str, Any]]


class Asked:
    """A question by its name, and what it sends."""

    def __init__(self, report: Report, ago: timedelta, mark: datetime) -> None:
        self.name = f"{report}, {'a year ago' if ago else 'now'}"
        self.at = mark - ago
        self.question = Question(report, as_of=self.at, rows=Dimension.unit)
        asked = {"rows": Dimension.unit.value} | ({"as_of": self.at.isoformat()} if ago else {})
        self.path = f"/statistics/figures/{report}?{urlencode(asked)}"
        self.sent: Sent = []


def questions(database: Database) -> list[Asked]:
    """All questions, each with the statements on intervals that its report sends."""
    with database.transaction(see_all=True) as session:
        account = session.scalars(select(Account).where(Account.username == ACCOUNT)).one()
        caller, mark = access.caller_of(session, account), watermark(session)
        found = [Asked(report, ago, mark) for report in Report for ago in (timedelta(0), YEAR)]
        for each in found:

            def note(_: Any, __: Any, sql: str, values: Any, *___: Any, into: Sent = each.sent) -> None:
                if "case_intervals" in sql:
                    into.append((sql, values))

            event.listen(database.engine, "before_cursor_execute", note)
            answer(session, caller, each.question)
            event.remove(database.engine, "before_cursor_execute", note)
    return found


def over_http(client: Http, asked: list[Asked], seed: int) -> Mapping[str, Step]:
    """A user who asks everything, in an order of its own."""

    def step(path: str) -> Step:
        return lambda _: client.ask("GET", path) and None

    return {each.name: step(each.path) for each in random.Random(seed).sample(asked, len(asked))}


def in_sql(url: str, asked: list[Asked], seed: int) -> Mapping[str, Step]:
    """The same user, by the bare statements."""
    connection: Any = connect(url)
    # As the service's own connections are.
    connection.execute("set plan_cache_mode = force_custom_plan; set jit = off; set work_mem = '32MB'")

    def step(sent: Sent) -> Step:
        def run(_: random.Random) -> None:
            with connection.transaction():
                connection.execute("select set_config('redline.scope', 'all', true)")
                for sql, values in sent:
                    connection.execute(sql, values).fetchall()

        return run

    return {each.name: step(each.sent) for each in random.Random(seed).sample(asked, len(asked))}


def table(users: int, asked: list[Asked], http: Times, bare: Times) -> None:
    """Milliseconds; the target is a p95 of at most 1.3 times that of the bare statements."""
    rows = []
    for name in [*(each.name for each in asked), "all"]:
        if name == "all":
            for times in (http, bare):
                times.seconds["all"] = [one for values in times.seconds.values() for one in values]
        p50, p95 = http.percentile(name, 50), http.percentile(name, 95)
        bare50, bare95 = bare.percentile(name, 50), bare.percentile(name, 95)
        counts = f"{len(http.seconds[name])}/{len(bare.seconds[name])}"
        rows.append(
            [name, counts, f"{p50:.0f}", f"{p95:.0f}", f"{bare50:.0f}", f"{bare95:.0f}", ratio(p50, bare50),
             ratio(p95, bare95)]
        )  # fmt: skip
    show((f"{users} users, ms", "asked", "p50", "p95", "SQL p50", "SQL p95", "of p50", "of p95"), rows)


def seen_at_once(user: User, database: Database, ports: list[int]) -> None:
    """Record a withdrawal with one process, and ask the other for figures."""
    with database.transaction(see_all=True) as session:
        case = session.scalars(select(Case.id).where(Case.state == CaseState.rectifying).limit(1)).one()
    writer, reader = Http(user, ports[0]), Http(user, ports[-1])
    path = "/statistics/figures/closure"

    def figures() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(reader.ask("GET", path)[1])
        return told

    before = figures()
    tag = writer.ask("GET", f"/cases/{case}")[0]
    body = {"command": "withdraw", "fields": {"reason": "基准测试：撤销后统计应立即变化"}}
    began = time.perf_counter()
    writer.ask("POST", f"/cases/{case}/transitions", body, **{"If-Match": tag})
    recorded = time.perf_counter()
    after = figures()
    ended = time.perf_counter()
    one, other = (told["total"]["figures"]["withdrawn"] for told in (before, after))
    verdict = "visible at once" if other == one + 1 else "NOT VISIBLE"
    print(
        f"A new event: recorded in {(recorded - began) * 1000:.0f} ms, figures of the other process"
        f" {(ended - recorded) * 1000:.0f} ms later: withdrawn {one}, then {other}: {verdict}\n"
    )


def added_to_a_transition(database: Database) -> None:
    """What keeping intervals costs a transition: `keep` alone, on cases that exist, taken back at the end."""
    sent: list[str] = []
    with database.session() as session, session.begin() as work:
        set_scope(session, None)
        mark = watermark(session)
        where = select(Case.id).where(Case.state == CaseState.rectifying).limit(TRANSITIONS)
        events = [
            CaseEvent(
                sequence=10**9 + k, case_id=case, kind="withdraw", recorded_at=mark + timedelta(seconds=k),
                occurred_on=legal_day(mark), state_before=CaseState.rectifying,
                state_after=CaseState.withdrawn, payload={}, id=new_id(),
            )
            for k, case in enumerate(session.scalars(where), 1)
        ]  # fmt: skip

        def note(_: Any, __: Any, sql: str, *___: Any) -> None:
            sent.append(sql)

        event.listen(database.engine, "before_cursor_execute", note)
        took = []
        for one in events:
            began = time.perf_counter()
            keep(session, [one])
            took.append(time.perf_counter() - began)
        event.remove(database.engine, "before_cursor_execute", note)
        work.rollback()
    took.sort()
    print(
        f"Intervals add to a transition: {len(sent) / len(took):.0f} statements, {took[len(took) // 2] * 1000:.1f} ms"
        f" (median of {len(took)})\n"
    )


def measure(urls: ClusterUrls, folder: Path) -> None:
    """Ask, print the tables."""
    database = Database(urls.application)
    asked = questions(database)
    with database.transaction(see_all=True) as session:
        account = session.scalars(select(Account).where(Account.username == ACCOUNT)).one()
        secret, _ = access.issue_token(session, account, "bench", timedelta(hours=12))
        user = User(secret, account.id, account.unit_id, None, [])
    added_to_a_transition(database)
    with ours(urls, folder) as ports:

        def http_users(users: int, number: int) -> list[Mapping[str, Step]]:
            # Anew each time: the service drops a connection that waits for the others' turn.
            return [over_http(Http(user, ports[k % len(ports)]), asked, 100 * number + k) for k in range(users)]

        at_work(http_users(2, 0), ONE_ROUND, THINKING)
        for users, rounds in USERS:
            bare_users = [in_sql(urls.application, asked, k) for k in range(users)]
            http, bare = Times(), Times()
            # In turns, so that what else the machine does falls on both alike.
            for number in range(rounds):
                for into, steps in ((http, http_users(users, number)), (bare, bare_users)):
                    for name, seconds in at_work(steps, ONE_ROUND, THINKING).seconds.items():
                        into.seconds[name] += seconds
            table(users, asked, http, bare)
        seen_at_once(user, database, ports)
    database.dispose()


def write_intervals(urls: ClusterUrls) -> None:
    """As an operator does, and compare them with the events."""
    database = Database(urls.application)
    for work in (rebuild, check):
        began = time.perf_counter()
        with database.transaction(see_all=True) as session:
            done: Any = work(session)
        told = f"{done:,} intervals" if isinstance(done, int) else f"{done.intervals:,}, {done.differing} differ"
        print(f"{work.__name__}: {told}, {time.perf_counter() - began:.0f} s", flush=True)
    with connect(urls.superuser) as connection:
        connection.execute("vacuum analyze case_intervals")
    database.dispose()


def main(cases: int = CASES) -> None:
    """Fill, ask, print the tables."""
    with tempfile.TemporaryDirectory(prefix="bench") as name, EmbeddedCluster(Path(name) / "cluster") as cluster:
        urls = cluster.create_database("bench")
        upgrade(urls.owner)
        began = time.perf_counter()
        filled = fill(urls.superuser, cases, EVENTS_A_CASE)
        print(f"{filled.cases:,} cases, {filled.events:,} events; made in {time.perf_counter() - began:.0f} s")
        write_intervals(urls)
        measure(urls, Path(name))
