"""The conditions of `lifecycle.Guard`: each names what is missing, or lets the command pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row, or_, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.boundaries.models import BoundaryFeature, Layer
from app.casework.commands import ClosureFields, ConfirmFields, Fields, PermitFields, PlanFields, ReopenFields
from app.casework.lifecycle import CaseState, Guard
from app.casework.models import Case, CaseEvent, Evidence, EvidenceKind
from app.casework.supervision_models import LookBack
from app.casework.vocabulary import LookBackOutcome
from app.foundation.errors import Conflict, Invalid

F = TypeVar("F", bound=Fields)


@dataclass(frozen=True)
class Context:
    """Everything a guard or an effect may look at.

    Attributes:
        history: the case's events as `ledger.history` gives them.
        other: the case that `merge` names, locked.
        today: the legal day.
        notice_days: length of the public notice when the service is set to another than the chain's, else None.
    """

    session: Session
    caller: Caller
    case: Case
    fields: Fields
    history: Sequence[Row[Any]]
    other: Case | None
    today: date
    notice_days: int | None = None

    def given(self, kind: type[F]) -> F:
        assert isinstance(self.fields, kind)
        return self.fields


def invalid(pointer: str, detail: str) -> Invalid:
    """A problem with one field of a command."""
    return Invalid(f"Mend these fields: {pointer}.", errors=[{"pointer": pointer, "detail": detail}])


def _positioned_evidence(context: Context) -> None:
    photo = (Evidence.kind == EvidenceKind.photo) & Evidence.longitude.is_not(None)
    proof = select(Evidence.id).where(
        Evidence.case_id == context.case.id, or_(photo, Evidence.kind == EvidenceKind.field_record)
    )
    if context.session.scalar(proof.limit(1)) is None:
        raise Invalid("Upload at least one photo with a position, or a field record, before the case is confirmed.")


def _happened_already(context: Context) -> None:
    if context.given(ConfirmFields).occurred_to > context.today:
        raise invalid("fields/occurred_to", "lies in the future")


def _permit_is_known(context: Context) -> None:
    require_permit(context.session, context.caller, context.given(PermitFields).permit_code)


def require_permit(session: Session, caller: Caller, code: str | None) -> None:
    """Refuse a permit's code that is not in the register of the caller's jurisdiction; None passes."""
    if code is None:
        return
    permits = select(BoundaryFeature.id).where(BoundaryFeature.layer == Layer.permits, BoundaryFeature.code == code)
    if session.scalar(in_jurisdiction(permits, caller, BoundaryFeature).limit(1)) is None:
        raise invalid("fields/permit_code", "there is no permit with this code in the register")


def _due_in_future(context: Context) -> None:
    if isinstance(context.fields, PlanFields):
        if context.fields.due_on <= context.today:
            raise invalid("fields/due_on", "lies not in the future")
    elif date.fromisoformat(str(context.case.plan["due_on"])) <= context.today:
        raise Conflict("The plan's due date has passed; return the plan.")


def _completion_evidence(context: Context) -> None:
    evidence_id: UUID = context.given(ClosureFields).evidence_id
    uploaded_at = context.session.scalar(
        select(Evidence.uploaded_at).where(Evidence.id == evidence_id, Evidence.case_id == context.case.id)
    )
    if uploaded_at is None:
        raise invalid("fields/evidence_id", "is not evidence of this case")
    approvals = [event.recorded_at for event in context.history if event.kind in ("approve_plan", "imported")]
    if approvals and uploaded_at <= approvals[-1]:
        raise invalid("fields/evidence_id", "was uploaded before the plan was approved")


def _notice_is_over(context: Context) -> None:
    until = context.case.notice_until
    if until is None or context.today < until:
        raise Conflict(
            f"The public notice runs until {until}; the case cannot be closed before.", notice_until=str(until)
        )


def _merge_target(context: Context) -> None:
    other = context.other
    if other is None:
        raise invalid("fields/into_case_id", "there is no such case")
    if other.id == context.case.id:
        raise invalid("fields/into_case_id", "is this case itself")
    if other.state in (CaseState.merged, CaseState.withdrawn):
        raise invalid("fields/into_case_id", f"that case is {other.state} itself")


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


GUARDS: Mapping[Guard, Callable[[Context], None]] = MappingProxyType(
    {
        Guard.positioned_evidence: _positioned_evidence,
        Guard.happened_already: _happened_already,
        Guard.permit_is_known: _permit_is_known,
        Guard.due_in_future: _due_in_future,
        Guard.completion_evidence: _completion_evidence,
        Guard.notice_is_over: _notice_is_over,
        Guard.merge_target: _merge_target,
        Guard.look_back_stands: _look_back_stands,
    }
)
