"""The life of a case (DESIGN section 7), as data. That of a detection's review stands in `review_lifecycle`.

`TRANSITIONS` is the whole of it: which command leads from which state to which, who may give it, what it must be
given, what is checked and who is barred because of an earlier deed. `app.casework.transitions` is its only reader
that decides; `app.casework.lifecycle_docs` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from app.access.models import Role


class ReviewState(StrEnum):
    new = "new"
    reviewing = "reviewing"
    # Wait for a second account (DESIGN section 6).
    dismissal_proposed = "dismissal_proposed"
    authorisation_proposed = "authorisation_proposed"
    dismissed = "dismissed"
    authorised = "authorised"
    linked = "linked"
    dispatched = "dispatched"
    # A duplicate of another detection; cut into several.
    merged = "merged"
    split_ = "split"


class CaseState(StrEnum):
    dispatched = "dispatched"
    returned = "returned"
    verifying = "verifying"
    unfounded_proposed = "unfounded_proposed"
    permitted_proposed = "permitted_proposed"
    unfounded = "unfounded"
    permitted = "permitted"
    confirmed = "confirmed"
    planned = "planned"
    rectifying = "rectifying"
    closure_requested = "closure_requested"
    accepted = "accepted"
    publicised = "publicised"
    closed = "closed"
    reopened = "reopened"
    merged = "merged"
    withdrawn = "withdrawn"


REVIEW_STATE_LABELS: Mapping[ReviewState, str] = MappingProxyType(
    {
        ReviewState.new: "待研判",
        ReviewState.reviewing: "研判中",
        ReviewState.dismissal_proposed: "拟排除，待复核",
        ReviewState.authorisation_proposed: "拟认定合规，待复核",
        ReviewState.dismissed: "已排除",
        ReviewState.authorised: "已认定合规",
        ReviewState.linked: "已关联",
        ReviewState.dispatched: "已派发",
        ReviewState.merged: "已并入",
        ReviewState.split_: "已拆分",
    }
)
STATE_LABELS: Mapping[CaseState, str] = MappingProxyType(
    {
        CaseState.dispatched: "已派发",
        CaseState.returned: "退回",
        CaseState.verifying: "核查中",
        CaseState.unfounded_proposed: "不属实待认定",
        CaseState.permitted_proposed: "合规待认定",
        CaseState.unfounded: "不属实",
        CaseState.permitted: "合规",
        CaseState.confirmed: "属实",
        CaseState.planned: "方案待批",
        CaseState.rectifying: "整改中",
        CaseState.closure_requested: "申请销号",
        CaseState.accepted: "已验收",
        CaseState.publicised: "公示",
        CaseState.closed: "已销号",
        CaseState.reopened: "反弹重启",
        CaseState.merged: "并案",
        CaseState.withdrawn: "撤销",
    }
)


class Command(StrEnum):
    return_ = "return"
    redispatch = "redispatch"
    start_verification = "start_verification"
    propose_unfounded = "propose_unfounded"
    propose_permitted = "propose_permitted"
    uphold_proposal = "uphold_proposal"
    reject_proposal = "reject_proposal"
    take_up_again = "take_up_again"
    confirm = "confirm"
    submit_plan = "submit_plan"
    approve_plan = "approve_plan"
    return_plan = "return_plan"
    report_progress = "report_progress"
    request_closure = "request_closure"
    accept = "accept"
    return_closure = "return_closure"
    publicise = "publicise"
    return_acceptance = "return_acceptance"
    close = "close"
    uphold_objection = "uphold_objection"
    reopen = "reopen"
    resume = "resume"
    merge = "merge"
    withdraw = "withdraw"


class Actor(StrEnum):
    """As what an account's unit must take part in the case. `ROLES` says which roles may speak for it."""

    lead = "lead"
    responsible = "responsible"
    accepting = "accepting"
    dispatching = "dispatching"
    unit_above = "unit_above"
    province = "province"


_DOERS = frozenset({Role.county, Role.agency, Role.department})
ROLES: Mapping[Actor, frozenset[Role]] = MappingProxyType(
    {
        Actor.lead: _DOERS,
        Actor.responsible: _DOERS,
        Actor.accepting: frozenset({Role.prefecture, Role.province}),
        Actor.dispatching: frozenset({Role.officer, Role.province}),
        Actor.unit_above: frozenset({Role.prefecture, Role.province}),
        Actor.province: frozenset({Role.province}),
    }
)
ACTOR_LABELS: Mapping[Actor, str] = MappingProxyType(
    {
        Actor.lead: "the case's lead unit",
        Actor.responsible: "the case's lead unit or a co-responsible one",
        Actor.accepting: "the case's accepting unit",
        Actor.dispatching: "the unit that dispatched the case",
        Actor.unit_above: "a unit above the lead unit",
        Actor.province: "the province",
    }
)


class Deed(StrEnum):
    """What an account did in a case that bars it from judging its own work later."""

    dispatched = "dispatched"
    planned = "planned"
    applied = "applied"
    accepted = "accepted"


# Ledger events by which an account did it. Whoever imports a case answers for the steps that the import stands for.
DEEDS: Mapping[Deed, frozenset[str]] = MappingProxyType(
    {
        Deed.dispatched: frozenset({"dispatch", "redispatch", "imported"}),
        Deed.planned: frozenset({"submit_plan"}),
        Deed.applied: frozenset({"request_closure"}),
        Deed.accepted: frozenset({"accept", "imported"}),
    }
)


class Guard(StrEnum):
    """A condition on the case and what the command was given; `app.casework.guards` checks it."""

    positioned_evidence = "positioned_evidence"
    happened_already = "happened_already"
    permit_is_known = "permit_is_known"
    due_in_future = "due_in_future"
    completion_evidence = "completion_evidence"
    notice_is_over = "notice_is_over"
    merge_target = "merge_target"
    look_back_stands = "look_back_stands"


GUARD_LABELS: Mapping[Guard, str] = MappingProxyType(
    {
        Guard.positioned_evidence: "at least one photo with a position, or a field record",
        Guard.happened_already: "the interval of occurrence does not end in the future",
        Guard.permit_is_known: "a named permit is in the register",
        Guard.due_in_future: "the due date lies ahead",
        Guard.completion_evidence: "evidence of this case, uploaded after the plan was approved",
        Guard.notice_is_over: "the notice period is over",
        Guard.merge_target: "the other case is a different, living one",
        Guard.look_back_stands: "a named look-back is one of this closure and found it incomplete or rebounded",
    }
)


@dataclass(frozen=True)
class Transition:
    """One row of the case table.

    Attributes:
        target: the state it leads to; by source state where it depends on it.
        fields: name of the schema of `fields` in `app.casework.commands`.
        never: deeds in this case that bar an account from this command (separation of duties).
    """

    command: Command
    sources: frozenset[CaseState]
    target: CaseState | Mapping[CaseState, CaseState]
    actor: Actor
    fields: str
    guards: tuple[Guard, ...] = ()
    never: tuple[Deed, ...] = ()

    @property
    def roles(self) -> frozenset[Role]:
        return ROLES[self.actor]

    def leads_to(self, source: CaseState) -> CaseState:
        return self.target if isinstance(self.target, CaseState) else self.target[source]


_S = CaseState
_PROPOSED = {_S.unfounded_proposed: _S.unfounded, _S.permitted_proposed: _S.permitted}
# "Any state before closed": what is final already, or was closed once, is neither merged nor withdrawn.
_OPEN = frozenset(_S) - {_S.unfounded, _S.permitted, _S.closed, _S.reopened, _S.merged, _S.withdrawn}


def _row(
    command: Command,
    sources: CaseState | frozenset[CaseState],
    target: CaseState | Mapping[CaseState, CaseState],
    actor: Actor,
    fields: str,
    *guards: Guard,
    never: tuple[Deed, ...] = (),
) -> Transition:
    froms = frozenset({sources}) if isinstance(sources, CaseState) else sources
    return Transition(command, froms, target, actor, fields, guards, never)


_C, _A, _G = Command, Actor, Guard
_TABLE = (
    _row(_C.start_verification, _S.dispatched, _S.verifying, _A.lead, "NoFields"),
    _row(_C.return_, _S.dispatched, _S.returned, _A.lead, "ReturnFields"),
    _row(_C.redispatch, _S.returned, _S.dispatched, _A.dispatching, "RedispatchFields"),
    _row(_C.propose_unfounded, _S.verifying, _S.unfounded_proposed, _A.lead, "ReasonFields"),
    _row(_C.propose_permitted, _S.verifying, _S.permitted_proposed, _A.lead, "PermitFields", _G.permit_is_known),
    _row(_C.uphold_proposal, frozenset(_PROPOSED), _PROPOSED, _A.unit_above, "ReasonFields", never=(Deed.dispatched,)),
    _row(
        _C.reject_proposal, frozenset(_PROPOSED), _S.verifying, _A.unit_above, "ReasonFields", never=(Deed.dispatched,)
    ),
    _row(_C.take_up_again, frozenset(_PROPOSED.values()), _S.verifying, _A.province, "ReasonFields"),
    _row(
        _C.confirm,
        _S.verifying,
        _S.confirmed,
        _A.lead,
        "ConfirmFields",
        _G.happened_already,
        _G.positioned_evidence,
    ),
    _row(_C.submit_plan, _S.confirmed, _S.planned, _A.lead, "PlanFields", _G.due_in_future),
    _row(_C.approve_plan, _S.planned, _S.rectifying, _A.accepting, "NoFields", _G.due_in_future),
    _row(_C.return_plan, _S.planned, _S.confirmed, _A.accepting, "ReasonFields"),
    _row(_C.report_progress, _S.rectifying, _S.rectifying, _A.responsible, "ProgressFields"),
    _row(_C.request_closure, _S.rectifying, _S.closure_requested, _A.lead, "ClosureFields", _G.completion_evidence),
    _row(
        _C.accept,
        _S.closure_requested,
        _S.accepted,
        _A.accepting,
        "OpinionFields",
        never=(Deed.applied, Deed.dispatched, Deed.planned),
    ),
    _row(_C.return_closure, _S.closure_requested, _S.rectifying, _A.accepting, "ReasonFields"),
    _row(_C.publicise, _S.accepted, _S.publicised, _A.province, "NoticeFields"),
    _row(_C.return_acceptance, _S.accepted, _S.rectifying, _A.province, "ReasonFields"),
    # No county closes its own case: closing is the province's alone, and never of the account that accepted.
    _row(_C.close, _S.publicised, _S.closed, _A.province, "NoFields", _G.notice_is_over, never=(Deed.accepted,)),
    _row(_C.uphold_objection, _S.publicised, _S.rectifying, _A.province, "ReasonFields"),
    _row(_C.reopen, _S.closed, _S.reopened, _A.province, "ReopenFields", _G.look_back_stands),
    _row(_C.resume, _S.reopened, _S.verifying, _A.lead, "NoFields"),
    _row(_C.merge, _OPEN, _S.merged, _A.province, "MergeFields", _G.merge_target),
    _row(_C.withdraw, _OPEN, _S.withdrawn, _A.province, "ReasonFields"),
)
TRANSITIONS: Mapping[Command, Transition] = MappingProxyType({row.command: row for row in _TABLE})


@dataclass(frozen=True)
class ChainRule:
    """How long a closure is publicised, by supervision source and protected-area level; None means any.

    Attributes:
        notice_days: calendar days in Asia/Shanghai; the case may be closed on the day after the last of them.
    """

    version: str
    valid_from: date
    source: str | None
    level: str | None
    notice_days: int


CHAIN: tuple[ChainRule, ...] = (ChainRule("2020-01", date(2020, 1, 1), None, None, notice_days=5),)


def chain_rule(source: str, level: str | None, on: date, chain: tuple[ChainRule, ...] = CHAIN) -> ChainRule:
    """The rule in force on a day: the most specific one, the newest of equals."""
    fitting = [
        rule
        for rule in chain
        if rule.valid_from <= on and rule.source in (None, source) and rule.level in (None, level)
    ]
    return max(fitting, key=lambda rule: (rule.source is not None, rule.level is not None, rule.valid_from))


def commands_from(state: CaseState) -> list[Command]:
    """The commands that leave (or stay in) a state, in the table's order."""
    return [row.command for row in _TABLE if state in row.sources]
