"""The periodic bulletin (通报): what stands in it, every figure by `figures.counted` at one instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import nulls_last
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller
from app.casework.interval_models import CaseInterval
from app.casework.lifecycle import CaseState
from app.documents.drawing import NoChineseFont
from app.documents.templates import Picture, fill
from app.documents.words import count, day, moment, mu, percent, short_day
from app.foundation.time import legal_day, utc_now
from app.statistics.dimensions import UNRECORDED, Dimension
from app.statistics.documents.bulletin_template import BULLETIN
from app.statistics.documents.charts import Bar, charts
from app.statistics.documents.definitions import DEFINITIONS
from app.statistics.documents.rows import CaseRow, rows_of
from app.statistics.documents.standing import Standing, pinned, scope_name, standing_of
from app.statistics.figures import Question, cell, counted
from app.statistics.reports import Report

MOST_OVERDUE, TYPICAL = 50, 5
_REPORTS = (Report.closure, Report.timeliness, Report.new_problems, Report.areas)
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Bulletin:
    """All that a bulletin says but its charts, and what they are drawn from. Knows no database."""

    context: Mapping[str, Any]
    bars: Sequence[Bar]
    last: date


def collect(session: Session, caller: Caller, question: Question) -> Bulletin:
    """Count what a bulletin says.

    Args:
        question: instant, filters, period and days; its report and dimensions are the bulletin's.

    Raises:
        Invalid: as `figures.counted`.
    """
    first = counted(session, caller, _by_unit(question, Report.closure))
    standing = standing_of(session, caller, first)
    asked = pinned(question, first)
    found = {report: counted(session, caller, _by_unit(asked, report)) for report in _REPORTS}
    total: dict[str, Any] = {}
    units: dict[str, dict[str, Any]] = {}
    for each in found.values():
        total |= each.figures[None,]
        for (key,), figures in each.figures.items():
            if key is not None:
                units.setdefault(key, {}).update(figures)
    names = {name: told for each in found.values() for name, told in each.units.names.items()}
    counties = ranked(units, names)
    days = first.days
    made_by = session.get_one(Unit, caller.unit_id)
    overdue = _overdue(session, caller, asked, days.today)
    context = {
        "scope": scope_name(session, caller, question),
        "period": {
            "first": day(days.first),
            "last": day(days.last),
            "as_of": day(legal_day(min(standing.asked, utc_now()))),
            "on": day(days.today),
        },
        "made": {"unit": made_by.name, "on": day(legal_day(utc_now()))},
        "simulated": total["simulated"],
        "total": _worded(total),
        "counties": [{**_worded(row), "name": row["name"], "rank": row["rank"]} for row in counties],
        "overdue": overdue,
        "overdue_more": total["overdue"] > len(overdue),
        "open_cases": _typical(session, caller, asked, closed=None),
        "closed_cases": _typical(session, caller, asked, closed=(days.first, days.last)),
        "definitions": [{"label": word.label, "definition": word.definition} for word in DEFINITIONS.values()],
        "ledger": _ledger(standing),
    }
    return Bulletin(context, [_bar(row) for row in counties], days.last)


def write(bulletin: Bulletin, templates: Path | None) -> bytes:
    """The DOCX, with its charts drawn.

    Raises:
        TemplateBroken: as `templates.fill`.
    """
    try:
        drawn = charts(bulletin.bars)
        reason = ""
    except NoChineseFont:
        drawn, reason = [], "服务器未安装中文字体（fonts-noto-cjk）"
    told = [{"title": one.title, "picture": Picture(one.content, one.width_mm)} for one in drawn]
    return fill(BULLETIN, templates, {**bulletin.context, "charts": told, "charts_reason": reason})


def _by_unit(question: Question, report: Report) -> Question:
    return Question(
        report,
        question.as_of,
        Dimension.unit,
        None,
        question.units,
        question.filters,
        question.period,
        question.on,
    )


def ranked(units: Mapping[str, Figures], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The counties in the order of the bulletin, with their ranks: by closure rate, those alike share one.

    Whoever has no confirmed problem has no rate, and no rank; they come last, by code.
    """
    rows = [
        {**figures, "code": code, "name": "未记录" if code == UNRECORDED else names.get(code, code)}
        for code, figures in units.items()
    ]

    def order(row: Mapping[str, Any]) -> tuple[bool, float, int, str]:
        rate = row["closure_rate"]
        return rate is None, -(rate or 0.0), -row["ever_confirmed"], row["code"]

    rows.sort(key=order)
    rank: int | None = None
    before: float | None = None
    for place, row in enumerate(rows, 1):
        if row["closure_rate"] != before:
            rank, before = place, row["closure_rate"]
        row["rank"] = None if row["closure_rate"] is None else rank
    return rows


def _worded(figures: Figures) -> dict[str, Any]:
    """Figures as text, by their names; areas in mu beside the square metres."""
    told: dict[str, Any] = {}
    for name, value in figures.items():
        if name in ("name", "code", "rank"):
            continue
        if "rate" in name or "ratio" in name or "share" in name:
            told[name] = percent(value)
        elif name.endswith("_m2"):
            told[name] = f"{float(value):,.1f}"
            told[f"{name.removesuffix('_m2')}_mu"] = mu(value)
        else:
            told[name] = count(int(value) if value is not None else None)
    fewer, smaller = figures["new"] < figures["new_before"], figures["new_area_m2"] < figures["new_area_before_m2"]
    return told | {
        "has_overdue": bool(figures["overdue"]),
        "new_change": _change(figures["new"], figures["new_before"]),
        "new_area_change": _change(figures["new_area_m2"], figures["new_area_before_m2"]),
        "both_fell": "双下降" if fewer and smaller else _half(fewer, smaller, figures),
    }


def _half(fewer: bool, smaller: bool, figures: Figures) -> str:
    if not figures["new_before"] and not figures["new"]:
        return "两期均无"
    return "仅数量下降" if fewer else "仅面积下降" if smaller else "未下降"


def _change(now: Any, before: Any) -> str:
    """How much it rose or fell against the year before."""
    if now == before:
        return "同比持平"
    if not before:
        return "上年同期为零"
    share = abs(float(now) - float(before)) / float(before)
    return f"同比{'下降' if now < before else '上升'}{percent(share)}"


def _bar(row: Figures) -> Bar:
    return Bar(
        row["name"],
        row["closure_rate"],
        row["ever_confirmed"] - row["closed"],
        row["overdue"],
        row["new"],
        row["new_before"],
    )


def _overdue(session: Session, caller: Caller, question: Question, today: date) -> list[dict[str, Any]]:
    """The cases longest overdue."""
    asked = _plain(question, Report.timeliness)
    effective, statement = cell(session, caller, asked, "overdue")
    ordered = statement.order_by(CaseInterval.due_on, CaseInterval.case_id).limit(MOST_OVERDUE)
    rows = rows_of(session, asked, session.execute(ordered).all(), effective)
    return [_told(row) | {"days_overdue": row.days_overdue(today)} for row in rows]


def _typical(
    session: Session, caller: Caller, question: Question, *, closed: tuple[date, date] | None
) -> list[dict[str, Any]]:
    """The largest cases that are open, or were closed within some days."""
    asked = _plain(question, Report.closure)
    effective, statement = cell(session, caller, asked, "closed" if closed else "ever_confirmed")
    if closed:
        statement = statement.where(CaseInterval.closed_on.between(*closed))
    else:
        statement = statement.where(CaseInterval.state != CaseState.closed)
    ordered = statement.order_by(nulls_last(CaseInterval.area_m2.desc()), CaseInterval.case_id).limit(TYPICAL)
    return [_told(row) for row in rows_of(session, asked, session.execute(ordered).all(), effective)]


def _plain(question: Question, report: Report) -> Question:
    return Question(report, question.as_of, None, None, question.units, question.filters, question.period, question.on)


def _told(row: CaseRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "unit": row.unit,
        "activity": row.label(Dimension.activity),
        "source": row.label(Dimension.supervision_source),
        "state": row.label(Dimension.state),
        "area_mu": mu(row.interval.area_m2),
        "due_on": short_day(row.interval.due_on),
        "closed_on": short_day(row.interval.closed_on),
        "problem": row.facts.get("problem"),
        "party": row.facts.get("party"),
        "measures": row.plan.get("measures"),
    }


def _ledger(standing: Standing) -> dict[str, Any]:
    head = standing.head
    return {
        "effective_as_of": moment(standing.effective),
        "instant": standing.effective.isoformat(),
        "sequence": standing.sequence,
        "head": head,
        "head_parts": [head[start : start + 32] for start in range(0, len(head), 32)],
    }
