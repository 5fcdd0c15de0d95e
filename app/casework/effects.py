"""What a command writes into its case beside the state, and adds to its event's payload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from app.access.models import Unit
from app.casework.chain import rule_of
from app.casework.commands import (
    AddSourceFields,
    ConfirmFields,
    DismissObjectionFields,
    MakePrimaryFields,
    MergeFields,
    NoticeFields,
    PlanFields,
    RecordObjectionFields,
    RedispatchFields,
    ReopenFields,
    SplitFields,
    SuperviseFields,
    TransferFields,
    UpholdObjectionFields,
)
from app.casework.guards import Context
from app.casework.ledger import append
from app.casework.lifecycle import Command
from app.casework.models import CaseLink, CaseParticipation, Participation
from app.casework.participation import assign, find_lead, find_units
from app.casework.parties import party_key
from app.casework.recovery_curve import summary
from app.casework.sources import SourceEntry, copy_sources, enter_source, make_primary
from app.casework.splitting import split
from app.casework.supervision_models import Objection, ReboundSignal
from app.casework.vocabulary import CaseLinkKind, ObjectionState, SignalState
from app.foundation.identity import new_id

Payload = dict[str, Any]


def _redispatch(context: Context) -> Payload:
    assert isinstance(context.fields, RedispatchFields | TransferFields)
    lead = find_lead(context.session, context.caller, context.fields.lead_unit)
    return _hand_over(context, lead, context.fields.co_responsible)


def _hand_over(context: Context, lead: Unit, joining: list[str]) -> Payload:
    """`lead` leads from now on; whoever was co-responsible stays so, others join. Figures follow the event."""
    session, case = context.session, context.case
    joined = session.scalars(
        select(Unit)
        .join(CaseParticipation, CaseParticipation.unit_id == Unit.id)
        .where(CaseParticipation.case_id == case.id, CaseParticipation.kind == Participation.co_responsible)
    )
    assign(session, case, lead, [*joined, *find_units(session, context.caller, joining)])
    return {"lead_unit_id": str(case.lead_unit_id), "accepting_unit_id": str(case.accepting_unit_id)}


def _confirm(context: Context) -> Payload:
    fields = context.given(ConfirmFields)
    context.case.facts = fields.model_dump(mode="json", exclude_none=True)
    context.case.area_m2 = fields.area_m2
    context.case.party_key, context.case.party_code = party_key(fields.party), fields.party_code
    if fields.activity is not None:
        context.case.activity = fields.activity
    return {}


def _submit_plan(context: Context) -> Payload:
    context.case.plan = context.given(PlanFields).model_dump(mode="json")
    return {}


def _approve_plan(context: Context) -> Payload:
    case = context.case
    case.due_on = date.fromisoformat(str(case.plan["due_on"]))
    # The first approved due date is kept for ever, whatever is approved later.
    case.first_due_on = case.first_due_on or case.due_on
    return {
        "due_on": case.due_on.isoformat(),
        "first_due_on": case.first_due_on.isoformat(),
        # What is approved; figures count measures that are documents alone apart.
        "approved_measures": case.plan.get("measure_kinds", []),
        "restoration_area_m2": case.plan.get("restoration_area_m2"),
    }


def _request_closure(context: Context) -> Payload:
    """Whoever accepts reads in the event how much had come back by then; nothing where no satellite has looked."""
    case = context.case
    curve = context.lookups.curve(case)
    told: Payload = {"recovery": summary(curve)} if curve.site is not None else {}
    # A pause ends with what it paused. If the closure is returned, the plan's day is the one that was granted.
    day = context.lookups.day_after_pause(case)
    if day is None or day == case.due_on:
        return told
    case.due_on = day
    first = case.first_due_on
    return told | {"due_on": day.isoformat(), "first_due_on": first.isoformat() if first else None}


def _publicise(context: Context) -> Payload:
    # The notice runs from the day it is recorded: a day given as occurred_on cannot shorten it.
    rule = rule_of(context.case)
    days = rule.notice_days if context.notice_days is None else context.notice_days
    context.case.notice_until = context.today + timedelta(days=days)
    assert context.given(NoticeFields)
    return {
        "notice_days": days,
        "notice_until": context.case.notice_until.isoformat(),
        "chain": rule.version,
    }


def _end_notice(context: Context) -> Payload:
    context.case.notice_until = None
    return {}


def _record_objection(context: Context) -> Payload:
    fields = context.given(RecordObjectionFields)
    objection = Objection(
        id=new_id(),
        case_id=context.case.id,
        objector=fields.objector,
        content=fields.content,
        received_on=fields.received_on,
        recorded_by=context.caller.account_id,
    )
    context.session.add(objection)
    return {"objection_id": str(objection.id)}


def _dismiss_objection(context: Context) -> Payload:
    fields = context.given(DismissObjectionFields)
    _decide_objection(context, fields.objection_id, ObjectionState.dismissed, fields.answer)
    return {}


def _uphold_objection(context: Context) -> Payload:
    fields = context.given(UpholdObjectionFields)
    _decide_objection(context, fields.objection_id, ObjectionState.sustained, fields.reason)
    return _end_notice(context)


def _decide_objection(context: Context, objection_id: UUID, state: ObjectionState, answer: str) -> None:
    objection = context.session.get_one(Objection, objection_id)
    objection.state = state
    objection.answer = answer
    objection.decided_by = context.caller.account_id
    objection.decided_at = context.session.scalars(select(func.clock_timestamp())).one()


def _reopen(context: Context) -> Payload:
    """However it comes to be reopened, no rebound signal of the case is left to decide: all are affirmed by it."""
    changed = _end_notice(context)
    fields, session = context.given(ReopenFields), context.session
    raised = (
        select(ReboundSignal)
        .where(ReboundSignal.case_id == context.case.id, ReboundSignal.state == SignalState.raised)
        .order_by(ReboundSignal.id)
        .with_for_update()
    )
    signals = list(session.scalars(raised))
    now = session.scalars(select(func.clock_timestamp())).one()
    for signal in signals:
        signal.state, signal.reason = SignalState.affirmed, fields.reason
        signal.version += 1
        signal.decided_by, signal.decided_at = context.caller.account_id, now
    return changed | ({"signal_ids": [str(signal.id) for signal in signals]} if signals else {})


def _merge(context: Context) -> Payload:
    """The other case stands in the lists of this one too; its number leads on."""
    session, case, other = context.session, context.case, context.other
    assert other is not None
    session.add(CaseLink(case_id=case.id, other_case_id=other.id, kind=CaseLinkKind.merged_into))
    payload = {
        # By id alone: who reads one of both cases may not see the other, and a number names its unit (`links`).
        "case_id": str(case.id),
        "reason": context.given(MergeFields).reason,
        "added_sources": copy_sources(session, case, other),
    }
    append(
        session,
        context.caller,
        other,
        "case_merged_in",
        state_before=other.state,
        occurred_on=context.today,
        payload=payload,
    )
    return {}


def _split(context: Context) -> Payload:
    fields = context.given(SplitFields)
    return split(context.session, context.caller, context.case, fields, context.history, context.today)


def _supervise(context: Context) -> Payload:
    before = context.case.supervision_level
    context.case.supervision_level = context.given(SuperviseFields).level
    return {"level_before": before.value}


def _add_source(context: Context) -> Payload:
    fields = context.given(AddSourceFields)
    entry = SourceEntry(fields.source, fields.round, fields.item_number, fields.due_on)
    row = enter_source(context.session, context.case, entry, primary=False)
    context.session.flush()
    return {"source_id": str(row.id)}


def _make_primary(context: Context) -> Payload:
    """Roll-ups and the chain's rule follow the primary list, and so may who accepts."""
    session, case = context.session, context.case
    row = make_primary(session, case, context.given(MakePrimaryFields).source_id)
    handed = _hand_over(context, session.get_one(Unit, case.lead_unit_id), [])
    return {"supervision_source": row.source.value, "accepting_unit_id": handed["accepting_unit_id"]}


EFFECTS: Mapping[Command, Callable[[Context], Payload]] = MappingProxyType(
    {
        Command.redispatch: _redispatch,
        Command.confirm: _confirm,
        Command.submit_plan: _submit_plan,
        Command.approve_plan: _approve_plan,
        Command.request_closure: _request_closure,
        Command.publicise: _publicise,
        Command.record_objection: _record_objection,
        Command.dismiss_objection: _dismiss_objection,
        Command.uphold_objection: _uphold_objection,
        Command.reopen: _reopen,
        Command.merge: _merge,
        Command.transfer: _redispatch,
        Command.split_: _split,
        Command.supervise: _supervise,
        Command.add_source: _add_source,
        Command.make_primary: _make_primary,
    }
)
