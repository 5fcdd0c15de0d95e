"""More requests at once than there are threads or connections: each is answered, and none waits for one behind it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import event, text

from app.casework import ledger_export, seals
from app.casework.ledger import CASES_HEAD, next_in
from app.casework.ledger_export import export_case
from app.casework.models import Case
from app.foundation.database import Database
from tests.casework_steps import API, Desk, add_detection
from tests.conftest import World

# Of anyio, by default.
THREADS = 40


def test_more_writers_than_threads(world: World) -> None:
    """Whoever holds the ledger's head goes from thread to thread, while all the others wait for it."""
    desk = Desk(world)
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session).id
    case = desk.dispatch(detection)["id"]
    headers = desk.headers("county")
    start = threading.Barrier(2 * THREADS)

    def comment(number: int) -> int:
        start.wait()
        named = headers | {"Idempotency-Key": f"c-{number}"}
        words = {"text": f"第{number}次"}
        return world.client.post(f"{API}/cases/{case}/comments", headers=named, json=words).status_code

    with ThreadPoolExecutor(2 * THREADS) as pool:
        answers = list(pool.map(comment, range(2 * THREADS)))
    assert answers == [201] * 2 * THREADS


def test_an_export_takes_no_second_connection(world: World) -> None:
    desk = Desk(world)
    with world.database.transaction(see_all=True) as session:
        ids = [add_detection(session).id for _ in range(2)]
    case = desk.dispatch(ids[0])["id"]
    desk.dispatch(ids[1])
    with world.database.transaction(see_all=True) as session:
        signer = seals.open_signer(session, world.settings)
        seals.seal(session, signer)
    caller = world.caller("county")
    one = Database(world.urls.application, pool_size=1)
    one.engine.pool._max_overflow, one.engine.pool._timeout = 0, 1  # type: ignore[attr-defined]
    ledger_export._trees.clear()
    with one.transaction() as session:
        ledger_export.enter(session, caller)
        document = export_case(session, caller, session.get_one(Case, case), signer)["document"]
        assert document["inclusion"]["seal"]["document"]["cases"]["subjects"] == 2
        # Seen as before.
        scope, units = (
            session.scalar(text(f"select current_setting('redline.{name}')")) for name in ("scope", "units")
        )
        assert scope == "units" and str(caller.unit_id) in str(units)
    one.dispose()


def test_the_instant_of_an_event_is_read_under_the_lock(world: World) -> None:
    """Not while it was waited for: it would lie before what was answered meanwhile."""

    def wait() -> tuple[int, float]:
        with world.database.transaction(see_all=True) as session:
            sequence, recorded_at = next_in(session, CASES_HEAD)
            return sequence, recorded_at.timestamp()

    with ThreadPoolExecutor(1) as pool:
        with world.database.transaction(see_all=True) as session:
            before, _ = next_in(session, CASES_HEAD)
            waiting = pool.submit(wait)
            time.sleep(0.3)
            released = session.execute(text("select clock_timestamp()")).scalar_one().timestamp()
        assert waiting.result()[0] == before + 1
        assert waiting.result()[1] > released


def test_a_transition_reads_no_unit_twice(world: World) -> None:
    desk = Desk(world)
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session).id
    case = desk.dispatch(detection)["id"]
    read = Counter[str]()

    def count(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "FROM units" in statement and "WHERE units.id = " in statement:
            read[str(parameters)] += 1

    event.listen(world.database.engine, "before_cursor_execute", count)
    assert desk.post("county", f"/cases/{case}/transitions", {"command": "start_verification"}, 1).status_code == 200
    event.remove(world.database.engine, "before_cursor_execute", count)
    assert set(read.values()) <= {1}, read
