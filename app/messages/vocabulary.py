"""Words of messages: what may be told, by which ledger event and to whom, in Chinese and in English."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.casework.lifecycle import Actor, CaseState
from app.casework.vocabulary import NoticeKind


class Event(StrEnum):
    """What a message tells; what a webhook chooses by."""

    case_opened = "case.opened"
    state_changed = "case.state_changed"
    case_changed = "case.changed"
    evidence_added = "case.evidence_added"
    commented = "case.commented"
    detection_news = "case.detection_news"
    rebound = "case.rebound"
    look_back = "case.look_back"
    objection = "case.objection"
    track = "case.track"
    deadline_reminder = "deadline.reminder"
    deadline_overdue = "deadline.overdue"
    deadline_escalation = "deadline.escalation"
    # Sent by hand, to try a webhook; never chosen.
    ping = "ping"


class Origin(StrEnum):
    """Where a message comes from, whose sequence it carries."""

    ledger = "ledger"
    notice = "notice"
    ping = "ping"


class DeliveryState(StrEnum):
    pending = "pending"
    delivered = "delivered"
    # Given up after the last attempt; may be replayed.
    dead = "dead"
    # Its account no longer sees the case: never sent.
    withheld = "withheld"


class MailKind(StrEnum):
    digest = "digest"
    confirmation = "confirmation"


class MailState(StrEnum):
    pending = "pending"
    sent = "sent"
    failed = "failed"
    # Nothing to send any more: switched off, confirmed by another mail, the account inactive.
    dropped = "dropped"


_NOTICES: Final[Mapping[NoticeKind, Event]] = MappingProxyType(
    {
        NoticeKind.reminder: Event.deadline_reminder,
        NoticeKind.overdue: Event.deadline_overdue,
        NoticeKind.escalation: Event.deadline_escalation,
    }
)
# By the kind of the ledger's event, or how it begins, where the state stays. Any other is `case.changed`.
_KINDS: Final[Mapping[str, Event]] = MappingProxyType(
    {"evidence_added": Event.evidence_added, "comment": Event.commented, "rejudged": Event.detection_news}
)
_BEGINNINGS: Final[tuple[tuple[str, Event], ...]] = (
    ("detection_", Event.detection_news),
    ("rebound_", Event.rebound),
    ("look_back_", Event.look_back),
    ("track_", Event.track),
)
_OBJECTIONS: Final = frozenset({"record_objection", "dismiss_objection", "uphold_objection"})


def event_of_notice(kind: NoticeKind) -> Event:
    return _NOTICES[kind]


def event_of_ledger(kind: str, before: CaseState | None, after: CaseState) -> Event:
    """What a ledger event is told as."""
    if before is None:
        return Event.case_opened
    if before is not after:
        return Event.state_changed
    if kind in _OBJECTIONS:
        return Event.objection
    if kind in _KINDS:
        return _KINDS[kind]
    return next((event for start, event in _BEGINNINGS if kind.startswith(start)), Event.case_changed)


# Who has to act, or at least to know, when a case comes into a state.
ACT_NOW: Final[Mapping[CaseState, Actor]] = MappingProxyType(
    {
        CaseState.dispatched: Actor.lead,
        CaseState.returned: Actor.dispatching,
        CaseState.verifying: Actor.lead,
        CaseState.unfounded_proposed: Actor.unit_above,
        CaseState.permitted_proposed: Actor.unit_above,
        CaseState.unfounded: Actor.lead,
        CaseState.permitted: Actor.lead,
        CaseState.confirmed: Actor.lead,
        CaseState.planned: Actor.accepting,
        CaseState.rectifying: Actor.lead,
        CaseState.closure_requested: Actor.accepting,
        CaseState.accepted: Actor.publicising,
        CaseState.publicised: Actor.closing,
        CaseState.closed: Actor.lead,
        CaseState.reopened: Actor.lead,
        CaseState.merged: Actor.lead,
        CaseState.withdrawn: Actor.lead,
    }
)
# Whom what changes no state concerns; what is not here comes into nobody's inbox.
CONCERNS: Final[Mapping[Event, Actor]] = MappingProxyType(
    {
        Event.rebound: Actor.province,
        Event.look_back: Actor.lead,
        Event.objection: Actor.closing,
        Event.detection_news: Actor.lead,
    }
)


@dataclass(frozen=True)
class Wording:
    """Titles and sentences. `{number}`, `{state}` (label), `{due}` are filled in."""

    title: str
    title_en: str
    body: str
    body_en: str


WORDS: Final[Mapping[Event, Wording]] = MappingProxyType(
    {
        Event.case_opened: Wording(
            "新问题",
            "New case",
            "问题 {number} 已建立，当前状态：{state}。",
            "Case {number} was opened; it is {state_en}.",
        ),
        Event.state_changed: Wording(
            "状态变更", "State changed", "问题 {number} 现为：{state}。", "Case {number} is {state_en} now."
        ),
        Event.detection_news: Wording(
            "影像新情况",
            "News from imagery",
            "问题 {number} 的图斑有新情况。",
            "There is news of case {number}'s detection.",
        ),
        Event.rebound: Wording(
            "反弹线索",
            "Rebound signal",
            "问题 {number} 出现反弹线索变动。",
            "A rebound signal of case {number} changed.",
        ),
        Event.look_back: Wording(
            "回头看", "Look-back", "问题 {number} 的回头看有变动。", "A look-back of case {number} changed."
        ),
        Event.objection: Wording(
            "公示异议", "Objection", "问题 {number} 公示期内的异议有变动。", "An objection to case {number} changed."
        ),
        Event.deadline_reminder: Wording(
            "期限提醒", "Due soon", "问题 {number} 应于 {due} 前完成。", "Case {number} is due on {due}."
        ),
        Event.deadline_overdue: Wording(
            "逾期", "Overdue", "问题 {number} 已逾期（期限 {due}）。", "Case {number} is overdue since {due}."
        ),
        Event.deadline_escalation: Wording(
            "逾期上报",
            "Escalated",
            "问题 {number} 逾期上报（期限 {due}）。",
            "Case {number}, due on {due}, was escalated.",
        ),
    }
)
