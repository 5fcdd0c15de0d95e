"""The weekly digest of an account: what is open, due, late, new and rebounding in its jurisdiction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from app.access.service import Caller, in_jurisdiction
from app.casework.deadline_models import Deadline
from app.casework.lifecycle import STATE_LABELS, UNDER_WAY, CaseState
from app.casework.models import Case
from app.casework.supervision_models import ReboundSignal
from app.casework.vocabulary import DeadlineState, SignalState
from app.foundation.time import SHANGHAI
from app.messages.mail import Letter

# Cases that a section names; the figure above it counts all.
MOST_NAMED: Final = 20


@dataclass(frozen=True)
class Section:
    title: str
    count: int
    cases: Sequence[Any] = ()


@dataclass(frozen=True)
class Digest:
    """Figures of one account on one day.

    Attributes:
        by_state: open cases.
    """

    week: str
    by_state: dict[CaseState, int]
    overdue: Section
    due: Section
    new: Section
    rebounds: Section


def week_of(day: date) -> str:
    """The ISO week of a day: 2026-W48."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def read(session: Session, caller: Caller, week: str, today: date) -> Digest:
    """The figures, within the caller's jurisdiction."""
    sunday = today + timedelta(days=7 - today.isoweekday())
    since = datetime.combine(today - timedelta(days=7), datetime.min.time(), SHANGHAI)
    grouped = select(Case.state, func.count().label("number")).where(Case.state.in_(UNDER_WAY)).group_by(Case.state)
    counts = {row.state: row.number for row in session.execute(in_jurisdiction(grouped, caller, Case))}
    # A signal waits on a closed case.
    raised = select(ReboundSignal.id).where(ReboundSignal.case_id == Case.id, ReboundSignal.state == SignalState.raised)
    late = _due(before=today)
    open_ = Case.state.in_(UNDER_WAY)
    return Digest(
        week=week,
        by_state={state: counts[state] for state in CaseState if state in counts},
        overdue=_section(session, caller, "已逾期", open_, late),
        due=_section(session, caller, "本周到期", open_, ~late, _due(before=sunday + timedelta(days=1))),
        new=_section(session, caller, "近七日新增", Case.opened_at >= since),
        rebounds=_section(session, caller, "待处理反弹线索", raised.exists()),
    )


def _due(before: date) -> ColumnElement[bool]:
    """Cases whose own due day, or that of a clock that runs on them, lies before a day."""
    running = select(Deadline.id).where(
        Deadline.case_id == Case.id, Deadline.state == DeadlineState.running, Deadline.due_on < before
    )
    return or_(func.coalesce(Case.due_on < before, False), running.exists())


def _section(session: Session, caller: Caller, title: str, *conditions: ColumnElement[bool]) -> Section:
    counted = in_jurisdiction(select(func.count()).select_from(Case).where(*conditions), caller, Case)
    named = in_jurisdiction(select(Case.id, Case.number, Case.state, Case.due_on).where(*conditions), caller, Case)
    rows = session.execute(named.order_by(Case.due_on.asc().nulls_last(), Case.id).limit(MOST_NAMED)).all()
    return Section(title, session.scalars(counted).one(), rows)


def letter(digest: Digest, to: str, display_name: str, service_url: str | None) -> Letter:
    """The digest as a mail, plain text and HTML."""
    total = sum(digest.by_state.values())
    states = [(STATE_LABELS[state], count) for state, count in digest.by_state.items()]
    sections = (digest.overdue, digest.due, digest.new, digest.rebounds)
    head = f"{display_name}，您好！以下是 {digest.week} 周的问题台账摘要。"
    foot = "如不再需要，请在消息设置中关闭每周摘要。"
    lines = [head, "", f"在办问题：{total} 件", *(f"  {label}：{count}" for label, count in states)]
    parts = [f"<p>{escape(head)}</p><h3>在办问题：{total} 件</h3><ul>"]
    parts += [f"<li>{escape(label)}：{count}</li>" for label, count in states]
    parts.append("</ul>")
    for section in sections:
        lines += ["", f"{section.title}：{section.count} 件"]
        parts.append(f"<h3>{escape(section.title)}：{section.count} 件</h3><ul>")
        for case in section.cases:
            words = f"{case.number}（{STATE_LABELS[case.state]}）" + (f" 期限 {case.due_on}" if case.due_on else "")
            address = f"{service_url.rstrip('/')}/api/v1/cases/{case.id}" if service_url else ""
            lines.append(f"  {words}" + (f" {address}" if address else ""))
            linked = f'<a href="{escape(address)}">{escape(words)}</a>' if address else escape(words)
            parts.append(f"<li>{linked}</li>")
        if section.count > len(section.cases):
            lines.append("  ……")
            parts.append("<li>……</li>")
        parts.append("</ul>")
    lines += ["", foot]
    parts.append(f"<p>{escape(foot)}</p>")
    page = f'<!doctype html><html lang="zh-CN"><meta charset="utf-8"><body>{"".join(parts)}</body></html>'
    return Letter(
        to, f"每周摘要 {digest.week}：在办 {total} 件，逾期 {digest.overdue.count} 件", "\n".join(lines), page
    )
