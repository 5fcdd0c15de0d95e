"""What a run names a change: by the calibration it began with, and by the plan's thresholds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.foundation.errors import Invalid, NotFound
from app.foundation.time import utc_now
from app.monitoring.calibrations import of_run
from app.monitoring.models import CalibrationSet, Plan, Run
from app.monitoring.schemas import PlanChange, PlanConfiguration
from app.monitoring.service import change_plan
from detectors.calibration import DEFAULT
from detectors.taxonomy import TAXONOMY, Kind
from tests.api.test_publish import SEEN, SURE, Publish
from tests.api.test_publish import publish_boxes as publish_boxes

BOX = ((10, 10, 5, 8), SEEN, SURE)
OTHER_BOX = ((40, 40, 5, 8), SEEN, SURE)

HUMAN = {code for code, cause in TAXONOMY.items() if cause.kind == Kind.human}


def switch_on(session: Session, version: str, **parameters: Any) -> None:
    """Another set is active now."""
    for row in session.scalars(select(CalibrationSet).where(CalibrationSet.status == "active")):
        row.status = "retired"
        session.flush()
    given = DEFAULT.to_json() | {"version": version} | parameters
    session.add(CalibrationSet(version=version, status="active", parameters=given))
    session.flush()


def set_up(publish: Publish, **configuration: Any) -> None:
    plan = publish.plan
    change_plan(publish.session, plan, PlanChange.model_validate(configuration), plan.version)
    publish.session.flush()


def test_the_next_run_goes_by_the_set_that_is_switched_on(publish_boxes: Publish, session: Session) -> None:
    free, held = publish_boxes(BOX, OTHER_BOX)
    assert (free.calibration, held.calibration) == (DEFAULT.version, DEFAULT.version)
    assert all(isinstance(one["score"], float) for one in free.activities)
    first = ("new", free.activity, DEFAULT.version)
    assert [(c.kind, c.activity, c.calibration) for c in publish_boxes.changes(free)] == [first]
    before, named = free.activities, free.activity
    held.held_at = utc_now()
    # Another activity becomes so likely that it is named instead.
    instead = next(one["code"] for one in before if one["code"] in HUMAN - {named, "other"})
    switch_on(session, "2024-001", offsets={instead: 20.0})

    publish_boxes(BOX, OTHER_BOX)
    assert (free.calibration, free.activity) == ("2024-001", instead)
    # The scores are measured, and stay.
    assert {one["code"]: one["score"] for one in free.activities} == {one["code"]: one["score"] for one in before}
    assert [(c.kind, c.activity, c.calibration) for c in publish_boxes.changes(free)][1:] == [
        ("recalibrated", instead, "2024-001")
    ]
    # What somebody works with stands as it was when the decision was made.
    assert (held.calibration, held.activity) == (DEFAULT.version, named)
    publish_boxes(BOX, OTHER_BOX)
    assert len(publish_boxes.changes(free)) == 2
    # A held one that grows is judged anew as a whole.
    publish_boxes(BOX, ((40, 40, 6, 8), SEEN, SURE))
    assert held.calibration == "2024-001"


def test_a_run_ends_with_the_set_that_it_began_with(publish_boxes: Publish, session: Session) -> None:
    switch_on(session, "2024-001", sharpness=1.0)
    begun = Run(plan_id=publish_boxes.plan.id, until=SEEN, calibration=DEFAULT.version)
    assert of_run(session, begun) == DEFAULT
    begun.calibration = "2024-001"
    assert of_run(session, begun).sharpness == 1.0
    begun.calibration = "none"
    with pytest.raises(NotFound):
        of_run(session, begun)


def test_below_its_threshold_a_change_is_other_and_keeps_its_ranking(publish_boxes: Publish) -> None:
    (found,) = publish_boxes(BOX)
    first = found.activities[0]
    assert found.activity == first["code"] != "other"
    set_up(publish_boxes, thresholds={found.activity: first["probability"] + 1e-3})
    publish_boxes(BOX)
    assert (found.activity, found.activities[0]) == ("other", first)
    # Labels are of the name that was decided on, and read it here.
    said = [(c.kind, c.activity) for c in publish_boxes.changes(found)]
    assert said == [("new", first["code"]), ("renamed", "other")]
    # The threshold of one activity counts instead of the general one, upwards and downwards.
    set_up(publish_boxes, min_probability=1.0, thresholds={first["code"]: 0.0})
    publish_boxes(BOX)
    assert found.activity == first["code"]
    set_up(publish_boxes, thresholds={})
    publish_boxes(BOX)
    assert found.activity == "other"


def test_what_a_plan_does_not_report_is_set_aside(publish_boxes: Publish, session: Session) -> None:
    (low,) = publish_boxes((BOX[0], SEEN, None))
    set_up(publish_boxes, not_reported=[low.activity])
    publish_boxes((BOX[0], SEEN, None))
    assert low.withdrawn_reason == f"put down to {low.activity}"
    run = session.scalars(select(Run).order_by(Run.id.desc())).first()
    assert run is not None and [one["cause"] for one in run.set_aside] == [low.activity]


def test_thresholds_name_known_activities(publish_boxes: Publish, session: Session) -> None:
    plan: Plan = publish_boxes.plan
    for faulty in ({"thresholds": {"mineing": 0.5}}, {"not_reported": ["mineing"]}):
        with pytest.raises(Invalid) as refused:
            change_plan(session, plan, PlanChange.model_validate(faulty), plan.version)
        assert "mining" in refused.value.members["errors"][0]["detail"]
    with pytest.raises(Invalid) as refused:
        change_plan(session, plan, PlanChange.model_validate({"not_reported": ["other"]}), plan.version)
    assert "always reported" in refused.value.members["errors"][0]["detail"]
    assert plan.version == 1


def test_what_begins_beside_an_older_change_is_published_as_its_expansion(publish_boxes: Publish) -> None:
    later = timedelta(days=40)
    # A seam of one pixel between them, as mixed pixels leave it; and one far away.
    beside, away = ((10, 19, 5, 8), SEEN + later, SURE + later), ((60, 60, 5, 8), SEEN + later, SURE + later)
    first, *others = publish_boxes(BOX, beside, away)
    found = {int(d.evidence["around"]["changed"] > 0): d for d in others}
    assert (first.change_type, found[1].change_type, found[0].change_type) == ("new", "expanded", "new")
    reason = found[1].evidence["change_type"]
    assert (reason["name"], reason["value"], reason["unit"]) == ("nearest_change", 10.0, "m")


def test_a_plan_names_at_most_a_hundred_activities_that_it_does_not_report() -> None:
    for model in (PlanChange, PlanConfiguration):
        with pytest.raises(ValidationError):
            model.model_validate({"not_reported": ["mining"] * 101})
