"""The dossier of a case (一案一档): what stands in it, read as the case's ledger has it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Account, Unit
from app.access.service import Caller
from app.casework import chips
from app.casework.calendars import calendar_of
from app.casework.chips import ChipMoment, Site
from app.casework.deadline_models import Deadline
from app.casework.deadline_rules import rule_of
from app.casework.deadlines import OPEN, days_left
from app.casework.dossier_law import law_of
from app.casework.dossier_map import WIDTH_MM, Place, draw, place_of
from app.casework.dossier_template import DOSSIER
from app.casework.event_words import event_word
from app.casework.ledger_sheet import PRIORITY_WORDS, activity_words
from app.casework.lifecycle import STATE_LABELS
from app.casework.models import Case, CaseEvent, CaseParticipation, Evidence, EvidenceKind, Participation
from app.casework.sources import sources_of
from app.casework.supervision_models import Track
from app.casework.track_lifecycle import KIND_LABELS, STATES
from app.casework.vocabulary import (
    DeadlineState,
    MeasureKind,
    ReopenBasis,
    RestorationKind,
    ReturnReason,
    SupervisionLevel,
    SupervisionSource,
    TakeUpBasis,
)
from app.casework.words import WORDS
from app.documents.drawing import NoChineseFont
from app.documents.templates import Picture, fill
from app.documents.words import area, day, moment, mu, short_day
from app.foundation.errors import NotFound, Problem
from app.foundation.time import legal_day
from app.imagery.chip_choice import day_of
from app.imagery.chips import Style

_CHIP_PIXELS, _CHIP_MM = 1024, 105.0
EVIDENCE_WORDS: Mapping[EvidenceKind, str] = {
    EvidenceKind.photo: "照片",
    EvidenceKind.document: "文件",
    EvidenceKind.field_record: "现场记录",
    EvidenceKind.video: "视频",
}
_CLOCK_WORDS = {
    DeadlineState.running: "计时中",
    DeadlineState.paused: "已中止",
    DeadlineState.met: "已办结",
    DeadlineState.ended: "已终止",
}
# A narrow column of more than this is a page of its own.
_LONGEST_NOTE = 300
_PAIR = (ChipMoment.before, ChipMoment.after)


@dataclass(frozen=True)
class Dossier:
    """All that a dossier says but its pictures, and what they are drawn from. Knows no database.

    Attributes:
        context: by the names of docs/documents.md.
    """

    number: str
    context: Mapping[str, Any]
    place: Place
    site: Site


def collect(session: Session, caller: Caller, case: Case, now: datetime) -> Dossier:
    """Read what the dossier of a case that the caller may see says."""
    today = legal_day(now)
    events = list(
        session.scalars(select(CaseEvent).where(CaseEvent.case_id == case.id).order_by(CaseEvent.case_sequence))
    )
    people = _People(session, case, events, caller)
    lead = session.get_one(Unit, case.lead_unit_id)
    context = {
        "case": _case(session, case, people),
        "made": {"unit": people.unit(caller.unit_id), "on": day(today)},
        "facts": _facts(case),
        "plan": _plan(case),
        "sources": _sources(session, case),
        "law": law_of(session, caller, case, events[0] if events else None),
        "events": [_event(row, people) for row in events],
        "deadlines": _deadlines(session, case, now),
        "tracks": _tracks(session, case),
        "evidence": _evidence(session, case),
        "ledger": _ledger(events),
    }
    return Dossier(
        case.number, context, place_of(session, caller, case, lead, today), chips.site_of_case(session, caller, case)
    )


def write(dossier: Dossier, templates: Path | None) -> bytes:
    """The DOCX, with its pictures drawn: they are read from the images, over the network perhaps.

    Raises:
        TemplateBroken: as `templates.fill`.
    """
    pictures: dict[str, Any] = {"place": dossier.place.words, "map": None, "map_reason": ""}
    try:
        pictures["map"] = Picture(draw(dossier.place), WIDTH_MM)
    except NoChineseFont:
        pictures["map_reason"] = "服务器未安装中文字体（fonts-noto-cjk）"
    for name in _PAIR:
        pictures[name.value], pictures[f"{name.value}_words"] = _chip(dossier.site, name)
    return fill(DOSSIER, templates, {**dossier.context, "pictures": pictures})


def _chip(site: Site, name: ChipMoment) -> tuple[Picture | None, str]:
    """The picture of a moment and its words; without one, why."""
    shown = chips.show_all(site, [name])[0]
    if shown.choice is None or not shown.styles:
        return None, "没有能够显示该时点的清晰影像"
    style = Style.true_colour if Style.true_colour in shown.styles else shown.styles[0]
    try:
        _, content = chips.picture(site, name, style, _CHIP_PIXELS, lambda key: False)
    except NotFound:
        return None, "没有能够显示该时点的清晰影像"
    except Problem:
        return None, "影像暂时无法读取"
    assert content is not None
    image = shown.choice.acquisition
    first = image.scenes[0]
    words = f"{short_day(day_of(image))}，{first.platform or '卫星'}，来源：{'、'.join(chips.sources_of(site, image))}"
    return Picture(content, _CHIP_MM), words + ("，模拟影像" if site.simulated else "")


class _People:
    """Names of the accounts and units that a case speaks of."""

    def __init__(self, session: Session, case: Case, events: Sequence[CaseEvent], caller: Caller) -> None:
        accounts = session.execute(
            select(Account.id, Account.display_name).where(Account.id.in_({row.actor_id for row in events}))
        )
        self._accounts = {row.id: row.display_name for row in accounts}
        parts = session.execute(
            select(CaseParticipation.kind, CaseParticipation.unit_id)
            .where(CaseParticipation.case_id == case.id)
            .order_by(CaseParticipation.id)
        )
        self._parts = [(row.kind, row.unit_id) for row in parts]
        wanted = {unit_id for _, unit_id in self._parts} | {row.actor_unit_id for row in events}
        wanted |= {case.lead_unit_id, case.accepting_unit_id, case.dispatching_unit_id, caller.unit_id}
        units = session.execute(select(Unit.id, Unit.name).where(Unit.id.in_(wanted)))
        self._units: dict[UUID, str] = {row.id: row.name for row in units}

    def unit(self, unit_id: UUID) -> str:
        return self._units[unit_id]

    def taking_part(self, kind: Participation) -> list[str]:
        return [self._units[unit_id] for of, unit_id in self._parts if of is kind]

    def actor(self, event: CaseEvent) -> str:
        return f"{self._accounts.get(event.actor_id, '')}（{self._units[event.actor_unit_id]}）"


def _case(session: Session, case: Case, people: _People) -> dict[str, Any]:
    return {
        "id": str(case.id),
        "number": case.number,
        "state": STATE_LABELS[case.state],
        "activity": activity_words().get(case.activity, case.activity),
        "lead_unit": people.unit(case.lead_unit_id),
        "co_units": "、".join(people.taking_part(Participation.co_responsible)),
        "accepting_unit": people.unit(case.accepting_unit_id),
        "dispatching_unit": people.unit(case.dispatching_unit_id),
        "source": WORDS[SupervisionSource][SupervisionSource(case.supervision_source)],
        "level": WORDS[SupervisionLevel][case.supervision_level],
        "priority": PRIORITY_WORDS[case.priority],
        "opened_on": day(legal_day(case.opened_at)),
        "first_due_on": day(case.first_due_on),
        "due_on": day(case.due_on),
        "notice_until": day(case.notice_until),
        "area_m2": area(case.area_m2),
        "area_mu": mu(case.area_m2),
        "description": case.description or "",
        "simulated": case.simulated,
    }


def _facts(case: Case) -> dict[str, Any]:
    """The five precisions; empty before they were confirmed."""
    told = case.facts
    if not told.get("problem"):
        return {}
    party = told.get("party")
    code = f"（统一社会信用代码{told['party_code']}）" if told.get("party_code") else ""
    why = f"；{told['area_reason']}" if told.get("area_reason") else ""
    return {
        "problem": told["problem"],
        "occurred": f"{told.get('occurred_from', '')}至{told.get('occurred_to', '')}之间",
        "area": f"{area(told.get('area_m2'))}平方米（{mu(told.get('area_m2'))}亩）{why}",
        "party": f"{party}{code}" if party else f"尚未查明：{told.get('unknown_reason', '')}",
        "government": told.get("responsible_government"),
        "measure": told.get("immediate_measure"),
    }


def _plan(case: Case) -> dict[str, Any]:
    """The plan that was handed in last; empty before that."""
    told = case.plan
    if not told.get("measures"):
        return {}
    kinds = [WORDS[MeasureKind][MeasureKind(kind)] for kind in told.get("measure_kinds") or []]
    restoration = WORDS[RestorationKind][RestorationKind(told["restoration_kind"])]
    if told["restoration_kind"] == RestorationKind.none:
        restored = f"{restoration}（{told.get('no_restoration_reason') or ''}）"
    else:
        restored = f"{restoration}，{area(told['restoration_area_m2'])}平方米"
    named = [f"{one['title']}（{one['due_on']}）" for one in told.get("milestones") or []]
    return {
        "measures": told["measures"],
        "kinds": "、".join(kinds) or "—",
        "unit": told["responsible_unit"],
        "person": told["responsible_person"],
        "restoration": restored,
        "due_on": told["due_on"],
        "milestones": "；".join(named) or "无",
    }


def _sources(session: Session, case: Case) -> list[dict[str, Any]]:
    return [
        {
            "source": WORDS[SupervisionSource][row.source],
            "round": row.round,
            "item_number": row.item_number,
            "due_on": short_day(row.due_on),
            "primary": "是" if row.is_primary else "",
        }
        for row in sources_of(session, case.id)
    ]


def _event(row: CaseEvent, people: _People) -> dict[str, Any]:
    before, after = row.state_before, STATE_LABELS[row.state_after]
    is_first = row.case_sequence == 1
    reason = row.payload.get("reason")
    said = [row.note, _REASONS.get(str(reason), reason), *(row.payload.get(name) for name in _SAID)]
    words = "；".join(dict.fromkeys(text for text in said if isinstance(text, str) and text))
    return {
        "number": row.case_sequence,
        "sequence": row.sequence,
        "occurred_on": short_day(row.occurred_on),
        "recorded_at": moment(row.recorded_at),
        "kind": event_word(row.kind, is_first=is_first),
        "state": after if before in (None, row.state_after) else f"{STATE_LABELS[before]}→{after}",
        "actor": people.actor(row),
        "note": words if len(words) <= _LONGEST_NOTE else f"{words[:_LONGEST_NOTE]}……（全文见台账）",
        "full_note": words,
        "hash": row.hash.hex(),
    }


# Words of an event's payload that tell people what was decided and why; codes and ids do not.
_CODED = (ReturnReason, TakeUpBasis, ReopenBasis)
_REASONS = {code.value: word for kind in _CODED for code, word in WORDS[kind].items()}
_SAID = (
    "text",
    "problem",
    "measures",
    "explanation",
    "opinion",
    "progress",
    "summary",
    "answer",
    "content",
    "published_at",
    "filename",
)


def _deadlines(session: Session, case: Case, now: datetime) -> list[dict[str, Any]]:
    rows = session.scalars(select(Deadline).where(Deadline.case_id == case.id).order_by(Deadline.started_sequence))
    calendar, today = calendar_of(session), legal_day(now)
    told = []
    for row in rows:
        rule = rule_of(row.rule, row.rule_version)
        state = _CLOCK_WORDS[row.state]
        if row.state in OPEN:
            left = days_left(calendar, rule, row.due_on, today)
            if row.state is DeadlineState.running and not rule.lapses:
                state += f"，剩余{left}天" if left >= 0 else f"，逾期{-left}天"
        elif row.was_late:
            state += "（逾期）"
        told.append(
            {
                "label": rule.label,
                "started_on": short_day(row.started_on),
                "first_due_on": short_day(row.first_due_on),
                "due_on": short_day(row.due_on),
                "state": state,
            }
        )
    return told


def _tracks(session: Session, case: Case) -> list[dict[str, Any]]:
    rows = session.scalars(select(Track).where(Track.case_id == case.id).order_by(Track.id))
    return [
        {
            "kind": KIND_LABELS[row.kind],
            "state": STATES[row.kind][row.state].label,
            "authority": "，".join(text for text in (row.authority, row.reference) if text),
            "opened_on": short_day(row.opened_on),
            "due_on": short_day(row.due_on),
            "ended_on": short_day(row.ended_on),
            "outcome": row.outcome,
        }
        for row in rows
    ]


def _evidence(session: Session, case: Case) -> list[dict[str, Any]]:
    rows = session.scalars(select(Evidence).where(Evidence.case_id == case.id).order_by(Evidence.id))
    return [
        {
            "number": number,
            "name": row.filename,
            "kind": EVIDENCE_WORDS[row.kind],
            "taken": moment(row.taken_at),
            "uploaded": moment(row.uploaded_at),
            "distance": "" if row.distance_m is None else f"{row.distance_m:,.0f}",
            "size": row.size_bytes,
            "description": row.description,
            "sha256": row.sha256,
        }
        for number, row in enumerate(rows, 1)
    ]


def _ledger(events: Sequence[CaseEvent]) -> dict[str, Any]:
    """The head of the case's chain, whole and in parts that fit a line."""
    if not events:
        return {"events": 0, "sequence": 0, "recorded_at": "", "head": "", "head_parts": []}
    last = events[-1]
    head = last.hash.hex()
    return {
        "events": len(events),
        "sequence": last.sequence,
        "recorded_at": moment(last.recorded_at),
        "head": head,
        "head_parts": [head[start : start + 32] for start in range(0, len(head), 32)],
    }
