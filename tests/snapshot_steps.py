"""Cases of two counties in a row of states, and snapshots of them."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from app.casework import transitions
from app.casework.lifecycle import CaseState, Command
from app.casework.models import Case
from app.casework.opening import import_case
from app.casework.vocabulary import SupervisionSource
from app.foundation.time import legal_day, utc_now
from tests.casework_steps import GROUND, Desk, fields_of
from tests.conftest import COUNTY, World

SNAPSHOTS = "/statistics/snapshots"


def add_case(
    world: World,
    state: CaseState = CaseState.dispatched,
    *,
    lead: str = COUNTY,
    source: SupervisionSource = SupervisionSource.media,
    occurred_on: date = date(2022, 3, 1),
    due_on: date | None = date(2030, 1, 1),
) -> tuple[UUID, str]:
    """Import a case in a state; its id and number."""
    with world.database.transaction(see_all=True) as session:
        case = import_case(
            session, world.caller("province"), state=state, lead_unit=lead, geometry=GROUND, activity="mining",
            supervision_source=source, occurred_on=occurred_on, due_on=due_on,
            today=legal_day(utc_now()),
        )  # fmt: skip
        return case.id, case.number


def step(world: World, case_id: UUID, username: str, command: Command) -> None:
    """Give a command that must succeed."""
    with world.database.transaction(see_all=True) as session:
        version = session.get_one(Case, case_id).version
        transitions.execute(
            session, world.caller(username), case_id, command, fields_of(command.value), expected_version=version,
            occurred_on=None, note=None, today=legal_day(utc_now()),
        )  # fmt: skip


def take(desk: Desk, username: str = "province", **asked: Any) -> dict[str, Any]:
    body = {"name": "通报", "report": "closure", "rows": "state"} | asked
    answer = desk.post(username, SNAPSHOTS, body, None)
    assert answer.status_code == 201, answer.text
    taken: dict[str, Any] = answer.json()
    return taken


def check(desk: Desk, taken: dict[str, Any], username: str = "province") -> dict[str, Any]:
    answer = desk.get(username, f"{SNAPSHOTS}/{taken['id']}/check")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
