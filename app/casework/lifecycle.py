"""The life of a case (DESIGN section 7), as data. That of a detection's review stands in `review_lifecycle`.

`TRANSITIONS` is the whole of it: which command leads from which state to which, who may give it, what it must be
given, what is checked and who is barred because of an earlier deed. `app.casework.transitions` is its only reader
that decides; `app.casework.lifecycle_docs` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.access.models import Role
from app.casework.chain import CHAIN as CHAIN


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


# Reached only through `confirmed`; an imported case may enter in a later one of them.
CONFIRMED_STATES = (
    CaseState.confirmed,
    CaseState.planned,
    CaseState.rectifying,
    CaseState.closure_requested,
    CaseState.accepted,
    CaseState.publicised,
    CaseState.closed,
    CaseState.reopened,
)

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
    record_objection = "record_objection"
    dismiss_objection = "dismiss_objection"
    uphold_objection = "uphold_objection"
    reopen = "reopen"
    resume = "resume"
    merge = "merge"
    withdraw = "withdraw"
    transfer = "transfer"
    split_ = "split"
    supervise = "supervise"
    add_source = "add_source"
    make_primary = "make_primary"


class Actor(StrEnum):
    """As what an account's unit must take part in the case. `ROLES` says which roles may speak for it.

    Who accepts, publicises, closes and re-checks, the case's chain says (`chain.CHAIN`).
    """

    lead = "lead"
    responsible = "responsible"
    accepting = "accepting"
    publicising = "publicising"
    closing = "closing"
    rechecking = "rechecking"
    dispatching = "dispatching"
    directing = "directing"
    unit_above = "unit_above"
    province = "province"


_DOERS = frozenset({Role.county, Role.agency, Role.department})
ROLES: Mapping[Actor, frozenset[Role]] = MappingProxyType(
    {
        Actor.lead: _DOERS,
        Actor.responsible: _DOERS,
        Actor.accepting: frozenset({Role.prefecture, Role.province}),
        Actor.publicising: frozenset({Role.prefecture, Role.province}),
        Actor.closing: frozenset({Role.prefecture, Role.province}),
        Actor.rechecking: frozenset({Role.prefecture, Role.province}),
        Actor.dispatching: frozenset({Role.officer, Role.province}),
        Actor.directing: frozenset({Role.officer, Role.province}),
        Actor.unit_above: frozenset({Role.prefecture, Role.province}),
        Actor.province: frozenset({Role.province}),
    }
)
ACTOR_LABELS: Mapping[Actor, str] = MappingProxyType(
    {
        Actor.lead: "the case's lead unit",
        Actor.responsible: "the case's lead unit or a co-responsible one",
        Actor.accepting: "the case's accepting unit",
        Actor.publicising: "who publicises by the case's chain",
        Actor.closing: "who closes by the case's chain",
        Actor.rechecking: "who re-checks by the case's chain",
        Actor.dispatching: "the unit that dispatched the case",
        Actor.directing: "the unit that dispatched the case, or the province",
        Actor.unit_above: "a unit above the lead unit",
        Actor.province: "the province",
    }
)


class Deed(StrEnum):
    """What an account did in a case that bars it from judging its own work later."""

    dispatched = "dispatched"
    proposed = "proposed"
    planned = "planned"
    applied = "applied"
    accepted = "accepted"


# Ledger events by which an account did it. Whoever imports a case answers for the steps that the import stands for.
DEEDS: Mapping[Deed, frozenset[str]] = MappingProxyType(
    {
        Deed.dispatched: frozenset({"dispatch", "redispatch", "transfer", "split", "imported"}),
        Deed.proposed: frozenset({"propose_unfounded", "propose_permitted"}),
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
    area_is_plausible = "area_is_plausible"
    restoration_fits = "restoration_fits"
    within_the_list = "within_the_list"
    finding_is_overtaken = "finding_is_overtaken"
    completion_evidence = "completion_evidence"
    notice_is_over = "notice_is_over"
    no_open_objection = "no_open_objection"
    objection_is_open = "objection_is_open"
    received_in_notice = "received_in_notice"
    merge_target = "merge_target"
    signal_is_raised = "signal_is_raised"
    look_back_stands = "look_back_stands"
    another_lead = "another_lead"
    level_is_theirs = "level_is_theirs"
    source_is_new = "source_is_new"
    source_of_case = "source_of_case"


# Beyond these an area is taken for a slip of units: a mu is 667 square metres, a hectare 10 000.
AREA_FACTOR = 10
RESTORATION_FACTOR = 2
# A photo of the ground may be taken from the next ridge, metres; one from elsewhere shows nothing of it.
PHOTO_NEAR_M = 10_000.0
MOST_PLAN_YEARS = 10

GUARD_LABELS: Mapping[Guard, str] = MappingProxyType(
    {
        Guard.positioned_evidence: "at least one photo with a position near the ground, or a field record",
        Guard.happened_already: "the interval of occurrence does not end in the future",
        Guard.permit_is_known: "a named permit is in the register, on the case's ground, and not revoked",
        Guard.due_in_future: f"the due date lies ahead, at most {MOST_PLAN_YEARS} years",
        Guard.area_is_plausible: f"the area is within {AREA_FACTOR} times the ground's, or a reason is given",
        Guard.restoration_fits: f"restored is no more than {RESTORATION_FACTOR} times the case's area",
        Guard.within_the_list: "due no later than the earliest date ahead of the lists in which the case stands",
        Guard.finding_is_overtaken: "the evidence or the detection came after the finding, or the permit is revoked",
        Guard.completion_evidence: "evidence of this case, newer than the plan's approval and any sustained objection",
        Guard.notice_is_over: "the notice period is over, on the day of closing too",
        Guard.no_open_objection: "every objection is decided",
        Guard.objection_is_open: "an objection to this case that is not decided",
        Guard.received_in_notice: "received since the notice began, and not in the future",
        Guard.merge_target: "the other case is a different one that is worked on, simulated like this",
        Guard.signal_is_raised: "a named rebound signal is one of this case that nobody has decided",
        Guard.look_back_stands: "a named look-back is one of this closure and found it incomplete or rebounded",
        Guard.another_lead: "the new lead unit is not the present one",
        Guard.level_is_theirs: "a prefecture sets or lifts its own supervision only",
        Guard.source_is_new: "the case does not stand in that list under that number yet",
        Guard.source_of_case: "a list in which the case stands, not its primary one",
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
UNDER_WAY = _OPEN | {_S.reopened}
_LIVING = frozenset(_S) - {_S.merged, _S.withdrawn}
# What was proposed, applied for or publicised is of the whole case: it is sent back before the case is cut.
_DIVISIBLE = frozenset({_S.dispatched, _S.returned, _S.verifying, _S.confirmed, _S.planned, _S.rectifying, _S.reopened})


def _staying(states: frozenset[CaseState]) -> dict[CaseState, CaseState]:
    return {state: state for state in states}


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
_PROPOSING = (Deed.dispatched, Deed.proposed)
_DOING = (Deed.applied, Deed.dispatched, Deed.planned)
_TABLE = (
    _row(_C.start_verification, _S.dispatched, _S.verifying, _A.lead, "NoFields"),
    _row(_C.return_, _S.dispatched, _S.returned, _A.lead, "ReturnFields"),
    _row(_C.redispatch, _S.returned, _S.dispatched, _A.dispatching, "RedispatchFields"),
    _row(_C.propose_unfounded, _S.verifying, _S.unfounded_proposed, _A.lead, "ReasonFields"),
    _row(_C.propose_permitted, _S.verifying, _S.permitted_proposed, _A.lead, "PermitFields", _G.permit_is_known),
    _row(_C.uphold_proposal, frozenset(_PROPOSED), _PROPOSED, _A.unit_above, "ReasonFields", never=_PROPOSING),
    _row(_C.reject_proposal, frozenset(_PROPOSED), _S.verifying, _A.unit_above, "ReasonFields", never=_PROPOSING),
    _row(
        _C.take_up_again,
        frozenset(_PROPOSED.values()),
        _S.verifying,
        _A.province,
        "TakeUpFields",
        _G.finding_is_overtaken,
    ),
    _row(
        _C.confirm,
        _S.verifying,
        _S.confirmed,
        _A.lead,
        "ConfirmFields",
        _G.happened_already,
        _G.area_is_plausible,
        _G.positioned_evidence,
    ),
    _row(
        _C.submit_plan,
        _S.confirmed,
        _S.planned,
        _A.lead,
        "PlanFields",
        _G.due_in_future,
        _G.within_the_list,
        _G.restoration_fits,
        _G.permit_is_known,
    ),
    _row(
        _C.approve_plan,
        _S.planned,
        _S.rectifying,
        _A.accepting,
        "NoFields",
        _G.due_in_future,
        _G.within_the_list,
        never=(Deed.planned,),
    ),
    _row(_C.return_plan, _S.planned, _S.confirmed, _A.accepting, "ReasonFields"),
    _row(_C.report_progress, _S.rectifying, _S.rectifying, _A.responsible, "ProgressFields"),
    _row(_C.request_closure, _S.rectifying, _S.closure_requested, _A.lead, "ClosureFields", _G.completion_evidence),
    _row(_C.accept, _S.closure_requested, _S.accepted, _A.accepting, "OpinionFields", never=_DOING),
    _row(_C.return_closure, _S.closure_requested, _S.rectifying, _A.accepting, "ReasonFields"),
    _row(_C.publicise, _S.accepted, _S.publicised, _A.publicising, "NoticeFields"),
    _row(_C.return_acceptance, _S.accepted, _S.rectifying, _A.publicising, "ReasonFields"),
    # No county closes its own case, and no account closes what it accepted.
    _row(
        _C.close,
        _S.publicised,
        _S.closed,
        _A.closing,
        "NoFields",
        _G.notice_is_over,
        _G.no_open_objection,
        never=(Deed.accepted,),
    ),
    _row(
        _C.record_objection,
        _S.publicised,
        _S.publicised,
        _A.publicising,
        "RecordObjectionFields",
        _G.received_in_notice,
    ),
    _row(
        _C.dismiss_objection,
        _S.publicised,
        _S.publicised,
        _A.publicising,
        "DismissObjectionFields",
        _G.objection_is_open,
        never=(Deed.accepted,),
    ),
    _row(
        _C.uphold_objection,
        _S.publicised,
        _S.rectifying,
        _A.publicising,
        "UpholdObjectionFields",
        _G.objection_is_open,
    ),
    _row(_C.reopen, _S.closed, _S.reopened, _A.rechecking, "ReopenFields", _G.signal_is_raised, _G.look_back_stands),
    _row(_C.resume, _S.reopened, _S.verifying, _A.lead, "NoFields"),
    _row(_C.merge, _OPEN, _S.merged, _A.province, "MergeFields", _G.merge_target),
    _row(_C.withdraw, _OPEN, _S.withdrawn, _A.province, "ReasonFields"),
    _row(
        _C.transfer,
        UNDER_WAY,
        _staying(UNDER_WAY) | {_S.returned: _S.dispatched},
        _A.province,
        "TransferFields",
        _G.another_lead,
    ),
    _row(_C.split_, _DIVISIBLE, _staying(_DIVISIBLE), _A.directing, "SplitFields"),
    _row(_C.supervise, UNDER_WAY, _staying(UNDER_WAY), _A.unit_above, "SuperviseFields", _G.level_is_theirs),
    _row(_C.add_source, _LIVING, _staying(_LIVING), _A.province, "AddSourceFields", _G.source_is_new),
    _row(_C.make_primary, _LIVING, _staying(_LIVING), _A.province, "MakePrimaryFields", _G.source_of_case),
)
TRANSITIONS: Mapping[Command, Transition] = MappingProxyType({row.command: row for row in _TABLE})


def commands_from(state: CaseState) -> list[Command]:
    """The commands that leave (or stay in) a state, in the table's order."""
    return [row.command for row in _TABLE if state in row.sources]
