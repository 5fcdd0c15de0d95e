"""The life of a detection's review (DESIGN sections 6 and 7), as data.

`REVIEW_TRANSITIONS` is the whole of it: which command leads from which state to which, which roles may give it, whose
hand it needs, and where a second account has to affirm it first. `app.casework.review_guards` is its only reader that
decides; `app.casework.lifecycle_docs` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.access.models import Role
from app.boundaries.models import Severity
from app.casework.lifecycle import ReviewState

# How long a detection stays on a desk that nothing leaves; then any officer may take it.
CLAIM_LASTS: Final = timedelta(hours=24)
# Of the dismissals that need no second account, the share that is looked at again (DESIGN section 6).
AUDITED_SHARE: Final = 0.05
# Ground and severity on which nobody alone says that nothing is wrong (DESIGN section 6).
GRAVE_GROUNDS: Final = frozenset({"core_protection", "reserve_core"})
GRAVE_SEVERITIES: Final = frozenset({Severity.high})
# Detections of one bulk command: it holds the ledger's head until its end.
MOST_AT_ONCE: Final = 200


class ReviewCommand(StrEnum):
    start_review = "start_review"
    release = "release"
    dismiss = "dismiss"
    authorise = "authorise"
    link = "link"
    dispatch = "dispatch"
    withdraw_proposal = "withdraw_proposal"
    uphold_review = "uphold_review"
    reject_review = "reject_review"
    uphold_audit = "uphold_audit"
    overturn_audit = "overturn_audit"


class BulkCommand(StrEnum):
    """What may be given on many detections at once."""

    start_review = "start_review"
    release = "release"
    dismiss = "dismiss"
    authorise = "authorise"
    link = "link"
    dispatch = "dispatch"
    withdraw_proposal = "withdraw_proposal"
    uphold_review = "uphold_review"
    reject_review = "reject_review"


class Hand(StrEnum):
    """Whose hand a command needs, by what an account did with the detection before."""

    free = "free"
    claimant = "claimant"
    proposer = "proposer"
    second = "second"
    auditor = "auditor"


HAND_LABELS: Mapping[Hand, str] = MappingProxyType(
    {
        Hand.free: "anyone, unless another account has claimed it",
        Hand.claimant: "the account that claimed it, or one of a unit above that account's",
        Hand.proposer: "the account that proposed it",
        Hand.second: "another account than the proposer's, of a unit above the proposer's where there is one",
        Hand.auditor: "another account than the one that dismissed it, while the dismissal is drawn and undecided",
    }
)


@dataclass(frozen=True)
class ReviewTransition:
    """One row of the review's table.

    Attributes:
        target: the state it leads to; by source state where it depends on it.
        proposes: the state it leads to instead where a second account has to affirm it (`GRAVE_GROUNDS`,
            `GRAVE_SEVERITIES`).
        claims: whether it lies on the account's desk afterwards; else on nobody's.
        words: whether it needs a note.
    """

    command: ReviewCommand
    sources: frozenset[ReviewState]
    target: ReviewState | Mapping[ReviewState, ReviewState]
    roles: frozenset[Role]
    hand: Hand = Hand.free
    proposes: ReviewState | None = None
    claims: bool = False
    words: bool = False

    def leads_to(self, source: ReviewState) -> ReviewState:
        return self.target if isinstance(self.target, ReviewState) else self.target[source]


_S, _C = ReviewState, ReviewCommand
# On nobody's desk, or on somebody's.
OPEN_REVIEW: Final = frozenset({_S.new, _S.reviewing})
PROPOSED: Final[Mapping[ReviewState, ReviewState]] = MappingProxyType(
    {_S.dismissal_proposed: _S.dismissed, _S.authorisation_proposed: _S.authorised}
)
_WAITING, _DISMISSED = frozenset(PROPOSED), frozenset({_S.dismissed})
_OFFICERS = frozenset({Role.officer})
# Whoever looks at what an officer decided.
_JUDGES = frozenset({Role.officer, Role.province})
_TABLE = (
    ReviewTransition(_C.start_review, OPEN_REVIEW | _DISMISSED, _S.reviewing, _OFFICERS, claims=True),
    ReviewTransition(_C.release, frozenset({_S.reviewing}), _S.reviewing, _JUDGES, Hand.claimant),
    ReviewTransition(_C.dismiss, OPEN_REVIEW, _S.dismissed, _OFFICERS, proposes=_S.dismissal_proposed),
    ReviewTransition(_C.authorise, OPEN_REVIEW, _S.authorised, _OFFICERS, proposes=_S.authorisation_proposed),
    ReviewTransition(_C.link, OPEN_REVIEW, _S.linked, _OFFICERS),
    ReviewTransition(_C.dispatch, OPEN_REVIEW, _S.dispatched, _OFFICERS),
    ReviewTransition(_C.withdraw_proposal, _WAITING, _S.reviewing, _OFFICERS, Hand.proposer, claims=True),
    ReviewTransition(_C.uphold_review, _WAITING, PROPOSED, _JUDGES, Hand.second),
    ReviewTransition(_C.reject_review, _WAITING, _S.reviewing, _JUDGES, Hand.second, words=True),
    ReviewTransition(_C.uphold_audit, _DISMISSED, _S.dismissed, _JUDGES, Hand.auditor),
    ReviewTransition(_C.overturn_audit, _DISMISSED, _S.reviewing, _JUDGES, Hand.auditor, words=True),
)
REVIEW_TRANSITIONS: Mapping[ReviewCommand, ReviewTransition] = MappingProxyType({row.command: row for row in _TABLE})


def review_commands_from(state: ReviewState) -> list[ReviewCommand]:
    """The commands that leave (or stay in) a state, in the table's order; those on a drawn dismissal stand apart."""
    return [row.command for row in _TABLE if state in row.sources and row.hand is not Hand.auditor]
