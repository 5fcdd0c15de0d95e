"""Commands on many cases together do what they do one by one: to cases, clocks and events, and in what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from app.access import service as access
from app.access.models import Account
from app.casework.deadline_models import Deadline, DeadlineRequest
from app.casework.ledger import histories
from app.casework.lifecycle import TRANSITIONS, CaseState, Command
from app.casework.lookups import Lookups
from app.casework.models import Case, CaseEvent, CaseSource, Evidence, EvidenceKind
from app.casework.opening import import_case
from app.casework.participation import actors_of_many
from app.casework.recovery_models import RecoveryReading, RecoverySite
from app.casework.supervision_models import Objection
from app.casework.transitions import Asked, carry_out, execute, lock_cases, read_fields, record
from app.casework.vocabulary import (
    DeadlineState,
    ObjectionState,
    RequestKind,
    RequestState,
    SupervisionSource,
)
from app.foundation.database import set_scope
from app.foundation.errors import Problem
from app.foundation.identity import new_id
from app.foundation.time import utc_now
from tests.casework_steps import GROUND, fields_of, today
from tests.conftest import COUNTY, World

Commands = dict[UUID, tuple[str, dict[str, Any]]]
"""By case a command and its fields."""
Said = dict[UUID, str]
# By who gives them: the state that a case is in, and the command.
STEPS: dict[str, tuple[tuple[CaseState, str], ...]] = {
    "county": (
        (CaseState.dispatched, "start_verification"),
        (CaseState.verifying, "propose_unfounded"),
        (CaseState.verifying, "confirm"),
        (CaseState.confirmed, "submit_plan"),
        (CaseState.rectifying, "report_progress"),
        (CaseState.rectifying, "request_closure"),
        (CaseState.reopened, "resume"),
        (CaseState.publicised, "close"),  # not theirs
    ),
    "province": (
        (CaseState.publicised, "close"),
        (CaseState.publicised, "record_objection"),
        (CaseState.publicised, "dismiss_objection"),
        (CaseState.publicised, "uphold_objection"),
        (CaseState.accepted, "publicise"),
        (CaseState.accepted, "close"),  # not yet
    ),
}


@dataclass(frozen=True)
class Setting:
    """A case and the command on it.

    Attributes:
        age: days for which its clock has run.
        pause: days for which its clock is paused; 0: it runs.
        objections: to its closure, undecided.
        evidence: a photo on the ground, or a document; None: nothing.
        shared: another case had the same file before.
        readings: of its recovery curve; 0: no satellite has looked.
        listed: days until a list wants it closed; 0: none does.
    """

    state: CaseState
    command: str
    age: int = 40
    pause: int = 0
    objections: int = 0
    evidence: EvidenceKind | None = EvidenceKind.document
    shared: bool = False
    readings: int = 90
    listed: int = 0


@st.composite
def cases_with_commands(draw: st.DrawFn, who: str) -> Setting:
    state, command = draw(st.sampled_from(STEPS[who]))
    age = draw(st.sampled_from([0, 3, 40]))
    evidence = draw(st.sampled_from([None, EvidenceKind.photo, EvidenceKind.document, EvidenceKind.document]))
    return Setting(
        state, command, age,
        pause=draw(st.sampled_from([0, 0, 5])) if age > 5 else 0,
        objections=draw(st.integers(0, 2)) if state is CaseState.publicised else 0,
        evidence=evidence,
        shared=draw(st.booleans()) if evidence else False,
        readings=draw(st.sampled_from([0, 0, 50, 90])),
        listed=draw(st.sampled_from([0, 20, 400])),
    )  # fmt: skip


BATCHES = st.sampled_from(sorted(STEPS)).flatmap(
    lambda who: st.tuples(st.just(who), st.lists(cases_with_commands(who), min_size=2, max_size=7))
)


def _case(session: Session, importer: access.Caller, account: UUID, given: Setting) -> tuple[UUID, dict[str, Any]]:
    """The case as it is set, and the fields of its command."""
    began = today() - timedelta(days=given.age)
    case = import_case(
        session, importer, state=given.state, lead_unit=COUNTY, geometry=GROUND, activity="quarry",
        supervision_source=SupervisionSource.green_shield, occurred_on=began, today=today(),
        due_on=began + timedelta(days=30), notice_until=began,
    )  # fmt: skip
    fields = fields_of(given.command)
    for clock in session.scalars(select(Deadline).where(Deadline.case_id == case.id)).all() if given.pause else ():
        clock.state = DeadlineState.paused
        since = today() - timedelta(days=given.pause)
        session.add(
            DeadlineRequest(
                case_id=case.id, deadline_id=clock.id, kind=RequestKind.pause, from_on=since, ground="weather",
                reason="冻土", state=RequestState.approved, unit_id=case.lead_unit_id, requested_by=account,
                decided_at=utc_now(),
            )
        )  # fmt: skip
    instants = [utc_now() - timedelta(hours=2 - n) for n in range(given.objections)]
    objections = [_objection(case, account, instant) for instant in instants]
    session.add_all(objections)
    if given.command in ("dismiss_objection", "uphold_objection"):
        # The younger one where there are two: the clock of the older goes on.
        fields |= {"objection_id": str(objections[-1].id if objections else new_id())}
    if given.command == "request_closure":
        fields |= {"evidence_id": str(_evidence(session, case, account, given) or new_id())}
    elif given.evidence:
        _evidence(session, case, account, given)
    if given.readings:
        _curve(session, case, given.readings)
    if given.listed:
        day = today() + timedelta(days=given.listed)
        session.add(
            CaseSource(case_id=case.id, source=SupervisionSource.media, item_number="1", due_on=day, is_primary=False)
        )
    session.flush()
    return case.id, fields


def _objection(case: Case, account: UUID, instant: datetime) -> Objection:
    return Objection(
        id=new_id(), case_id=case.id, objector="李某", content="弃渣", received_on=today(), recorded_by=account,
        state=ObjectionState.open, recorded_at=instant,
    )  # fmt: skip


def _evidence(session: Session, case: Case, account: UUID, given: Setting) -> UUID | None:
    if given.evidence is None:
        return None
    sha256 = "0" * 64 if given.shared else new_id().hex * 2
    evidence = Evidence(
        id=new_id(), case_id=case.id, kind=given.evidence, filename="f", media_type="image/jpeg", size_bytes=1,
        sha256=sha256, distance_m=12.0 if given.evidence is EvidenceKind.photo else None, uploaded_by=account,
        uploaded_at=utc_now() + timedelta(minutes=1),
    )  # fmt: skip
    session.add(evidence)
    return evidence.id


def _curve(session: Session, case: Case, count: int) -> None:
    site = RecoverySite(
        id=new_id(), case_id=case.id, subject_digest="d", last_clear_on=date(2023, 12, 20), grid={},
        first_seen_on=date(2024, 1, 5), looked_at=utc_now(), inside_px=100, ring_px=300, is_behind=False,
    )  # fmt: skip
    session.add(site)
    session.flush()
    for number in range(count):
        day = date(2020, 4, 1) + timedelta(days=number * 2200 // count)
        green = 0.7 - 0.3 * math.cos((day.timetuple().tm_yday - 20) / 58.1)
        inside = green if day < date(2024, 1, 1) else green * min(0.3 + (day - date(2024, 1, 1)).days / 1500, 0.9)
        session.add(
            RecoveryReading(
                site_id=site.id, case_id=case.id, acquired_on=day, mission="sentinel-2", scene_ids=[str(number)],
                digest="d", inside_ndvi=inside, ring_ndvi=green, clear_inside=1.0, clear_ring=1.0,
            )
        )  # fmt: skip


def _one_by_one(session: Session, caller: access.Caller, asked: Commands) -> Said:
    said = {}
    for case_id, (command, fields) in asked.items():
        try:
            with session.begin_nested():
                execute(
                    session, caller, case_id, Command(command), fields, expected_version=1, occurred_on=None,
                    note="说明", today=today(),
                )  # fmt: skip
            said[case_id] = "done"
        except Problem as problem:
            said[case_id] = f"{type(problem).__name__}: {problem.detail} {problem.members}"
    return said


def _together(session: Session, caller: access.Caller, asked: Commands) -> Said:
    """As a sheet is carried out, except that what is refused keeps nothing else back."""
    cases = lock_cases(session, caller, list(asked))
    past, actors = histories(session, list(cases)), actors_of_many(session, caller, list(cases.values()))
    given = {}
    for case_id, (command, fields) in asked.items():
        transition = TRANSITIONS[Command(command)]
        given[case_id] = Asked(transition, read_fields(transition, fields), 1, None, "说明")
    lookups = Lookups(session, caller, [(cases[case_id], one.fields) for case_id, one in given.items()], today())
    said, entries = {}, []
    with session.no_autoflush:
        for case_id, one in given.items():
            try:
                entries.append(
                    carry_out(
                        session, caller, cases[case_id], one, actors[case_id], past[case_id], lookups,
                        today=today(), notice_days=None,
                    )
                )  # fmt: skip
                said[case_id] = "done"
            except Problem as problem:
                said[case_id] = f"{type(problem).__name__}: {problem.detail} {problem.members}"
    record(session, caller, entries)
    return said


def _standing(session: Session, case_ids: list[UUID]) -> dict[str, list[Any]]:
    """What stands in the database, without the ids and instants that every run makes anew."""
    session.flush()
    session.expire_all()
    unlike = {Deadline: {"id"}, CaseEvent: {"id", "recorded_at", "hash", "previous_hash"}, Case: set()}
    found: dict[str, list[Any]] = {}
    for entity, left_out in unlike.items():
        columns = [column for column in entity.__table__.columns if column.name not in left_out]
        of_case = entity.__table__.c["id" if entity is Case else "case_id"]
        rows = session.execute(select(*columns).where(of_case.in_(case_ids)))
        found[entity.__name__] = sorted(({**row._mapping} for row in rows), key=str)
    for one in found["CaseEvent"]:
        one["payload"].pop("objection_id", None)
    return found


# Applications for closure whose curves are read, and some of whose clocks are paused.
CLOSURES = [
    Setting(CaseState.rectifying, "request_closure", pause=5 * (number % 2), readings=60 + 5 * number)
    for number in range(10)
]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=BATCHES)
@example(batch=("county", CLOSURES[:4]))
def test_many_are_as_one_by_one(world: World, batch: tuple[str, list[Setting]]) -> None:
    who, cases = batch
    importer, caller = world.caller("province-other"), world.caller(who)
    with world.database.session() as session, session.begin() as everything:
        set_scope(session, None)
        account = session.scalars(select(Account.id).limit(1)).one()
        _neighbour(session, importer, account)
        asked = {}
        for one in cases:
            case_id, fields = _case(session, importer, account, one)
            asked[case_id] = (one.command, fields)
        with session.begin_nested() as first:
            alone = _one_by_one(session, caller, asked), _standing(session, list(asked))
            first.rollback()
        session.expire_all()
        with session.begin_nested() as second:
            together = _together(session, caller, asked), _standing(session, list(asked))
            second.rollback()
        everything.rollback()
    assert together[0] == alone[0]
    assert together[1] == alone[1]


def _neighbour(session: Session, importer: access.Caller, account: UUID) -> None:
    """A case of the same county that had a file long before."""
    case = import_case(
        session, importer, state=CaseState.closed, lead_unit=COUNTY, geometry=GROUND, activity="quarry",
        supervision_source=SupervisionSource.green_shield, occurred_on=today(), today=today(),
        due_on=today(), notice_until=None,
    )  # fmt: skip
    evidence = Evidence(
        id=new_id(), case_id=case.id, kind=EvidenceKind.document, filename="f", media_type="image/jpeg", size_bytes=1,
        sha256="0" * 64, uploaded_by=account, uploaded_at=utc_now() - timedelta(days=90),
    )  # fmt: skip
    session.add(evidence)
    session.flush()


def test_closures_of_many_take_as_many_statements_as_of_one(world: World) -> None:
    importer, caller = world.caller("province-other"), world.caller("county")
    counts = []
    for many in (1, 9):
        with world.database.session() as session, session.begin() as everything:
            set_scope(session, None)
            account = session.scalars(select(Account.id).limit(1)).one()
            asked = {}
            for one in CLOSURES[-many:]:
                case_id, fields = _case(session, importer, account, one)
                asked[case_id] = (one.command, fields)
            session.expire_all()
            sent: list[str] = []

            def listener(*told: Any, sent: list[str] = sent) -> None:
                sent.append(told[2])

            event.listen(world.database.engine, "before_cursor_execute", listener)
            assert set(_together(session, caller, asked).values()) == {"done"}
            session.flush()
            event.remove(world.database.engine, "before_cursor_execute", listener)
            counts.append(len(sent))
            everything.rollback()
    assert counts[1] <= counts[0] + 2, counts
