"""What a command writes into its case beside the state, and adds to its event's payload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select

from app.access.models import Unit
from app.casework.commands import ConfirmFields, MergeFields, NoticeFields, PlanFields, RedispatchFields, ReopenFields
from app.casework.guards import Context
from app.casework.ledger import append
from app.casework.lifecycle import Command, chain_rule
from app.casework.models import CaseParticipation, Participation
from app.casework.participation import assign, find_lead, find_units
from app.casework.parties import party_key
from app.casework.supervision_models import ReboundSignal
from app.casework.vocabulary import SignalState

Payload = dict[str, Any]


def _redispatch(context: Context) -> Payload:
    fields = context.given(RedispatchFields)
    case = context.case
    lead = find_lead(context.session, context.caller, fields.lead_unit)
    joined = context.session.scalars(
        select(Unit)
        .join(CaseParticipation, CaseParticipation.unit_id == Unit.id)
        .where(CaseParticipation.case_id == case.id, CaseParticipation.kind == Participation.co_responsible)
    )
    named = find_units(context.session, context.caller, fields.co_responsible)
    assign(context.session, case, lead, [*joined, *named])
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
    return {"due_on": case.due_on.isoformat(), "first_due_on": case.first_due_on.isoformat()}


def _publicise(context: Context) -> Payload:
    # The notice runs from the day it is recorded: a day given as occurred_on cannot shorten it.
    rule = chain_rule(context.case.supervision_source, None, context.today)
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
    other = context.other
    assert other is not None
    reason = context.given(MergeFields).reason
    append(
        context.session,
        context.caller,
        other,
        "case_merged_in",
        state_before=other.state,
        occurred_on=context.today,
        payload={"case_id": str(context.case.id), "number": context.case.number, "reason": reason},
    )
    return {"into_number": other.number}


EFFECTS: Mapping[Command, Callable[[Context], Payload]] = MappingProxyType(
    {
        Command.redispatch: _redispatch,
        Command.confirm: _confirm,
        Command.submit_plan: _submit_plan,
        Command.approve_plan: _approve_plan,
        Command.publicise: _publicise,
        Command.uphold_objection: _end_notice,
        Command.reopen: _reopen,
        Command.merge: _merge,
    }
)
