"""Cases that are closed already, look-backs of them, and samples, for several tests."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from app.casework.lifecycle import CaseState
from app.casework.opening import import_case
from app.casework.vocabulary import SupervisionSource
from tests.casework_steps import GROUND, Desk, today
from tests.conftest import COUNTY, World


def imported(
    world: World,
    *,
    count: int = 1,
    state: CaseState = CaseState.closed,
    lead: str = COUNTY,
    on: date = date(2024, 9, 1),
    source: SupervisionSource = SupervisionSource.green_shield,
    activity: str = "quarry",
    by: str = "province-other",
) -> list[dict[str, Any]]:
    """Cases from before the service, in a state."""
    caller = world.caller(by)
    with world.database.transaction(see_all=True) as session:
        cases = [
            import_case(
                session,
                caller,
                state=state,
                lead_unit=lead,
                geometry=GROUND,
                activity=activity,
                supervision_source=source,
                occurred_on=on,
                today=today(),
                due_on=on,
                notice_until=on,
            )
            for _ in range(count)
        ]
        return [{"id": str(case.id), "number": case.number, "version": case.version} for case in cases]


def ordered(desk: Desk, case: dict[str, Any], who: str = "inspector") -> dict[str, Any]:
    body = {"reason": "省级抽查", "due_on": (today() + timedelta(days=30)).isoformat()}
    answer = desk.post(who, f"/cases/{case['id']}/look-backs", body, None)
    assert answer.status_code == 201, answer.text
    look_back: dict[str, Any] = answer.json()
    return look_back


def report(outcome: str = "holds", **extra: Any) -> dict[str, Any]:
    return {"outcome": outcome, "findings": "现场复查", "looked_on": today().isoformat()} | extra


def drawn(desk: Desk, name: str, size: int, **body: Any) -> dict[str, Any]:
    answer = desk.post("inspector", "/samples", {"name": name, "size": size} | body, None)
    assert answer.status_code == 201, answer.text
    sample: dict[str, Any] = answer.json()
    return sample


def ids(sample: dict[str, Any]) -> list[UUID]:
    return [UUID(case["case_id"]) for case in sample["cases"]]
