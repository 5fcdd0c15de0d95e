"""The conditions of `lifecycle.Guard`: each names what is missing, or lets the command pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller, in_jurisdiction
from app.boundaries.models import BoundaryFeature, Layer, PermitRevocation
from app.casework.commands import (
    AddSourceFields,
    ClosureFields,
    ConfirmFields,
    DismissObjectionFields,
    Fields,
    MakePrimaryFields,
    PermitFields,
    PlanFields,
    RecordObjectionFields,
    ReopenFields,
    SuperviseFields,
    TakeUpFields,
    TransferFields,
    UpholdObjectionFields,
)
from app.casework.lifecycle import (
    AREA_FACTOR,
    MOST_PLAN_YEARS,
    PHOTO_NEAR_M,
    RESTORATION_FACTOR,
    CaseState,
    Guard,
)
from app.casework.models import Case, CaseEvent, CaseSource, Evidence
from app.casework.supervision_models import LookBack, ReboundSignal
from app.casework.vocabulary import LookBackOutcome, SignalState, SupervisionLevel, TakeUpBasis
from app.foundation.errors import Conflict, Forbidden, Invalid
from app.foundation.geometry import from_database, geodesic_area_m2
from app.foundation.time import legal_day

if TYPE_CHECKING:
    # It counts clocks, whose units are found by what is imported from here.
    from app.casework.lookups import Lookups

F = TypeVar("F", bound=Fields)


@dataclass(frozen=True)
class Context:
    """Everything a guard or an effect may look at.

    Attributes:
        history: the case's events as `ledger.history` gives them.
        lookups: what is read of this case together with the others of the request.
        other: the case that `merge` names, locked.
        today: the legal day.
        day: when the command is said to have been carried out; `today`, or a day before it.
        notice_days: length of the public notice when the service is set to another than the chain's, else None.
    """

    session: Session
    caller: Caller
    case: Case
    fields: Fields
    history: Sequence[Row[Any]]
    lookups: Lookups
    other: Case | None
    today: date
    day: date
    notice_days: int | None = None

    def given(self, kind: type[F]) -> F:
        assert isinstance(self.fields, kind)
        return self.fields


def invalid(pointer: str, detail: str) -> Invalid:
    """A problem with one field of a command."""
    return Invalid(f"Mend these fields: {pointer}.", errors=[{"pointer": pointer, "detail": detail}])


def _positioned_evidence(context: Context) -> None:
    found = context.lookups.positions(context.case)
    if found.proven:
        return
    nearest = found.nearest_m
    far = "" if nearest is None else f" The nearest photo there is was taken {nearest / 1000:.0f} km away."
    raise Invalid(
        f"Upload at least one photo with a position within {PHOTO_NEAR_M / 1000:.0f} km of the ground, or a field "
        f"record, before the case is confirmed.{far}"
    )


def _happened_already(context: Context) -> None:
    if context.given(ConfirmFields).occurred_to > context.today:
        raise invalid("fields/occurred_to", "lies in the future")


def _permit_is_known(context: Context) -> None:
    assert isinstance(context.fields, PermitFields | PlanFields)
    require_permit(context.session, context.caller, context.fields.permit_code, context.case.geom, context.today)


def require_permit(session: Session, caller: Caller, code: str | None, ground: Any, today: date) -> None:
    """Refuse a permit's code that says nothing for a ground: it is not in the register of the caller's jurisdiction,
    was given for other ground, or is revoked. None passes.
    """
    if code is None:
        return
    permits = select(BoundaryFeature.id).where(BoundaryFeature.layer == Layer.permits, BoundaryFeature.code == code)
    permits = in_jurisdiction(permits, caller, BoundaryFeature).limit(1)
    if session.scalar(permits) is None:
        raise invalid("fields/permit_code", "there is no permit with this code in the register")
    # `&&` for itself: under row-level security no other function uses the index.
    here = (BoundaryFeature.geom.op("&&")(ground), func.ST_Intersects(BoundaryFeature.geom, ground))
    if session.scalar(permits.where(*here)) is None:
        raise invalid("fields/permit_code", "the permit with this code was given for other ground")
    if is_revoked(session, caller, code, today):
        raise invalid("fields/permit_code", "the permit with this code is revoked")


def is_revoked(session: Session, caller: Caller, code: str | None, today: date) -> bool:
    """Whether a permit of the caller's jurisdiction is revoked on a day."""
    revoked = select(PermitRevocation.id).where(PermitRevocation.code == code, PermitRevocation.revoked_on <= today)
    return session.scalar(in_jurisdiction(revoked, caller, PermitRevocation).limit(1)) is not None


def _area_is_plausible(context: Context) -> None:
    fields = context.given(ConfirmFields)
    ground = geodesic_area_m2(from_database(context.case.geom))
    if fields.area_reason is None and not ground / AREA_FACTOR <= fields.area_m2 <= ground * AREA_FACTOR:
        raise invalid(
            "fields/area_m2",
            f"{fields.area_m2:.0f} m² is stated, the case's ground measures {ground:.0f} m²; "
            "mend the area (a mu is 667 m², a hectare 10 000 m²), or say why in area_reason",
        )


def _restoration_fits(context: Context) -> None:
    restored, area = context.given(PlanFields).restoration_area_m2, context.case.area_m2
    if restored > area * RESTORATION_FACTOR:
        raise invalid(
            "fields/restoration_area_m2",
            f"{restored:.0f} m² is more than {RESTORATION_FACTOR} times the case's area of {area:.0f} m²",
        )


def _within_the_list(context: Context) -> None:
    """A date of a list that has passed can be kept by no plan; it is the extension's to deal with."""
    ahead = context.lookups.listed_until(context.case)
    planned = isinstance(context.fields, PlanFields)
    due = context.given(PlanFields).due_on if planned else date.fromisoformat(str(context.case.plan["due_on"]))
    if ahead is None or due <= ahead:
        return
    if planned:
        raise invalid("fields/due_on", f"is later than {ahead}, by when a list wants the case closed")
    raise Conflict(f"The plan is due after {ahead}, by when a list wants the case closed; return the plan.")


def _finding_is_overtaken(context: Context) -> None:
    """What the case is looked at again for came after the finding that it was unfounded or permitted."""
    fields = context.given(TakeUpFields)
    found = [event for event in context.history if event.state_after != event.state_before][-1]
    if fields.basis is TakeUpBasis.new_evidence:
        uploaded = select(Evidence.uploaded_at).where(
            Evidence.id == fields.evidence_id, Evidence.case_id == context.case.id
        )
        uploaded_at = context.session.scalar(uploaded)
        if uploaded_at is None:
            raise invalid("fields/evidence_id", "is not evidence of this case")
        if uploaded_at <= found.recorded_at:
            raise invalid("fields/evidence_id", "was known when the case was found unfounded or permitted")
    elif fields.basis is TakeUpBasis.new_detection:
        later = [event for event in context.history if event.recorded_at > found.recorded_at]
        if not any(event.kind in ("detection_linked", "detection_grown") for event in later):
            raise invalid(
                "fields/basis", "no detection was linked to the case, and none of its grew, since the finding"
            )
    elif not is_revoked(context.session, context.caller, fields.permit_code, context.today):
        raise invalid("fields/permit_code", "no permit with this code is revoked")


def _due_in_future(context: Context) -> None:
    if isinstance(context.fields, PlanFields):
        if context.fields.due_on <= context.today:
            raise invalid("fields/due_on", "lies not in the future")
        if context.fields.due_on.year - context.today.year > MOST_PLAN_YEARS:
            raise invalid("fields/due_on", f"lies more than {MOST_PLAN_YEARS} years ahead")
    elif date.fromisoformat(str(context.case.plan["due_on"])) <= context.today:
        raise Conflict("The plan's due date has passed; return the plan.")


def _completion_evidence(context: Context) -> None:
    evidence_id: UUID = context.given(ClosureFields).evidence_id
    evidence = context.lookups.evidence(evidence_id)
    if evidence is None or evidence.case_id != context.case.id:
        raise invalid("fields/evidence_id", "is not evidence of this case")
    uploaded_at = evidence.uploaded_at
    approvals = [event.recorded_at for event in context.history if _approves(event)]
    if approvals and uploaded_at <= approvals[-1]:
        raise invalid("fields/evidence_id", "was uploaded before the plan was approved")
    if approvals and (number := context.lookups.shown_before(evidence, approvals[-1])):
        raise invalid("fields/evidence_id", f"is a file that case {number} had before this plan was approved")
    # An objection that was sustained says that what was shown before did not prove it.
    sustained = [event.recorded_at for event in context.history if event.kind == "uphold_objection"]
    if sustained and uploaded_at <= sustained[-1]:
        raise invalid("fields/evidence_id", "was uploaded before the objection was sustained; show what was done since")


def _approves(event: Row[Any]) -> bool:
    """A plan was approved, or the case came into the ledger with one: imported, or cut from another."""
    return event.kind in ("approve_plan", "imported") or (event.kind == "split" and event.state_before is None)


def _notice_is_over(context: Context) -> None:
    until = context.case.notice_until
    if until is None or context.today < until:
        raise Conflict(
            f"The public notice runs until {until}; the case cannot be closed before.", notice_until=str(until)
        )
    if context.day < until:
        raise invalid("occurred_on", f"lies before {until}, when the public notice was over")


def _merge_target(context: Context) -> None:
    other = context.other
    if other is None:
        raise invalid("fields/into_case_id", "there is no such case")
    if other.id == context.case.id:
        raise invalid("fields/into_case_id", "is this case itself")
    if other.state in (CaseState.merged, CaseState.withdrawn):
        raise invalid("fields/into_case_id", f"that case is {other.state} itself")
    if other.simulated != context.case.simulated:
        raise invalid("fields/into_case_id", "one of both cases rests on simulated imagery")
    # Else a problem that nobody solved would count as one that was.
    if other.state in (CaseState.closed, CaseState.unfounded, CaseState.permitted):
        raise Conflict(
            f"Case {other.number} is {other.state}: reopen it or take it up again first.", state=other.state.value
        )


def _signal_is_raised(context: Context) -> None:
    signal_id = context.given(ReopenFields).signal_id
    if signal_id is None:
        return
    # After its case, whose row is locked already.
    state = context.session.scalar(
        select(ReboundSignal.state)
        .where(ReboundSignal.id == signal_id, ReboundSignal.case_id == context.case.id)
        .with_for_update()
    )
    if state is None:
        raise invalid("fields/signal_id", "is not a rebound signal of this case")
    if state is not SignalState.raised:
        raise Conflict(f"The rebound signal is {state} already.", state=state.value)


def _look_back_stands(context: Context) -> None:
    look_back_id = context.given(ReopenFields).look_back_id
    if look_back_id is None:
        return
    case_id, session = context.case.id, context.session
    outcome = session.execute(
        select(LookBack.outcome).where(LookBack.id == look_back_id, LookBack.case_id == case_id)
    ).one_or_none()
    if outcome is None:
        raise invalid("fields/look_back_id", "is not a look-back of this case")
    if outcome[0] not in (LookBackOutcome.incomplete, LookBackOutcome.rebound):
        found = "has not been reported" if outcome[0] is None else f"found that it {outcome[0]}"
        raise Conflict(f"The look-back {found}; it gives no reason to reopen.")
    # One that was reported on an earlier closure was answered by the reopening that followed.
    reported_at = session.scalar(
        select(CaseEvent.recorded_at).where(
            CaseEvent.case_id == case_id,
            CaseEvent.kind == "look_back_reported",
            CaseEvent.payload["look_back_id"].astext == str(look_back_id),
        )
    )
    closings = [
        event.recorded_at
        for event in context.history
        if event.state_after == CaseState.closed and event.state_before != CaseState.closed
    ]
    if reported_at is None or reported_at < closings[-1]:
        raise Conflict("The look-back was about an earlier closure; order another.")


def _no_open_objection(context: Context) -> None:
    if waiting := context.lookups.open_objections(context.case):
        raise Conflict(
            f"Objections are not decided yet: {len(waiting)}; sustain or dismiss each before the case is closed.",
            objections=[str(objection_id) for objection_id in waiting],
        )


def _objection_is_open(context: Context) -> None:
    assert isinstance(context.fields, DismissObjectionFields | UpholdObjectionFields)
    if context.fields.objection_id not in context.lookups.open_objections(context.case):
        raise invalid("fields/objection_id", "is not an objection to this case that waits for a decision")


def _received_in_notice(context: Context) -> None:
    received = context.given(RecordObjectionFields).received_on
    if received > context.today:
        raise invalid("fields/received_on", "lies in the future")
    begun = [event.recorded_at for event in context.history if event.kind == "publicise"]
    # A case imported as publicised brings no day on which its notice began.
    if begun and received < legal_day(begun[-1]):
        raise invalid("fields/received_on", f"lies before {legal_day(begun[-1])}, when the notice began")


def _another_lead(context: Context) -> None:
    if context.session.get_one(Unit, context.case.lead_unit_id).code == context.given(TransferFields).lead_unit:
        raise invalid("fields/lead_unit", "leads this case already")


def _level_is_theirs(context: Context) -> None:
    levels = {context.given(SuperviseFields).level, context.case.supervision_level}
    if SupervisionLevel.province in levels and not context.caller.is_provincial:
        raise Forbidden("Supervision by the province (省级挂牌督办) is set and lifted by the province.")


def _source_is_new(context: Context) -> None:
    fields = context.given(AddSourceFields)
    same = select(CaseSource.id).where(
        CaseSource.case_id == context.case.id,
        CaseSource.source == fields.source,
        CaseSource.round.is_not_distinct_from(fields.round),
        CaseSource.item_number.is_not_distinct_from(fields.item_number),
    )
    if context.session.scalar(same.limit(1)) is not None:
        raise Conflict("The case stands in that list, round and number already.")


def _source_of_case(context: Context) -> None:
    row = context.session.get(CaseSource, context.given(MakePrimaryFields).source_id)
    if row is None or row.case_id != context.case.id:
        raise invalid("fields/source_id", "is not a list in which this case stands")
    if row.is_primary:
        raise invalid("fields/source_id", "is the primary one already")


GUARDS: Mapping[Guard, Callable[[Context], None]] = MappingProxyType(
    {
        Guard.positioned_evidence: _positioned_evidence,
        Guard.happened_already: _happened_already,
        Guard.permit_is_known: _permit_is_known,
        Guard.due_in_future: _due_in_future,
        Guard.area_is_plausible: _area_is_plausible,
        Guard.restoration_fits: _restoration_fits,
        Guard.within_the_list: _within_the_list,
        Guard.finding_is_overtaken: _finding_is_overtaken,
        Guard.completion_evidence: _completion_evidence,
        Guard.notice_is_over: _notice_is_over,
        Guard.no_open_objection: _no_open_objection,
        Guard.objection_is_open: _objection_is_open,
        Guard.received_in_notice: _received_in_notice,
        Guard.merge_target: _merge_target,
        Guard.signal_is_raised: _signal_is_raised,
        Guard.look_back_stands: _look_back_stands,
        Guard.another_lead: _another_lead,
        Guard.level_is_theirs: _level_is_theirs,
        Guard.source_is_new: _source_is_new,
        Guard.source_of_case: _source_of_case,
    }
)
