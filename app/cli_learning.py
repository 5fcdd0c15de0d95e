"""`redline detectors evaluate` and `calibrate`: what the recognisers learn from the desk."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.casework.evaluation import Group, Share


class By(StrEnum):
    """As in app.casework.evaluation.BY."""

    recogniser = "recogniser"
    area = "area"
    season = "season"
    sensor = "sensor"
    size = "size"
    confidence = "confidence"
    plan = "plan"


Since = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only what was decided on this day or later")
]
Simulated = Annotated[bool, typer.Option("--simulated", help="Decisions on simulated imagery instead of real ones")]


def evaluate(
    by: Annotated[list[By] | None, typer.Option(help="Tables to print; all, unless named")] = None,
    since: Since = None,
    simulated: Simulated = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output")] = False,
) -> None:
    """How often recognisers were right, by what was decided on the desk and in the ledger. Changes nothing."""
    from sqlalchemy import text

    from app.casework.evaluation import evaluate as figures
    from app.casework.labels import collect
    from app.cli import open_settings_and_database, print_json

    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        session.execute(text("set transaction read only"))
        labels = collect(session, since.date() if since else None, simulated=simulated)
        found = figures(labels, [one.value for one in by or By])
    if as_json:
        print_json(found.to_json())
        return
    out = _results()
    out.print(
        f"{found.decided} detections decided, {found.undecided} not yet; ledger up to event {found.ledger_sequence}."
    )
    if not found.decided:
        return
    for name, groups in found.tables.items():
        out.print(_table(name, groups))
    if found.false_alarms:
        out.print(_counts("no activity, because of", found.false_alarms.items()))
    if found.confusion:
        out.print(_counts("named → was", [(f"{named} → {truth}", count) for named, truth, count in found.confusion]))
    error = "unknown" if found.calibration_error is None else f"{found.calibration_error:.3f}"
    out.print(
        f"Expected calibration error of the probabilities as published: {error}. "
        f"{found.without_scores} detections were published before scores were kept: nothing can be learned from them."
    )


def calibrate(
    min_decisions: Annotated[int, typer.Option(min=10, help="Decisions that are needed")] = 50,
    simulated: Simulated = False,
) -> None:
    """Fit the probabilities anew on what was decided, and propose them; an administrator switches them on."""
    from app.casework.labels import collect
    from app.cli import open_settings_and_database
    from app.monitoring.calibrations import is_worse, propose

    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        row = propose(session, collect(session, simulated=simulated).basis(), min_decisions)
        version, basis, worse = row.version, row.basis, is_worse(row)
        other, comparison = row.compared_with, row.comparison or {}
    out = _results()
    out.print(
        f"Set {version} is proposed, fitted on {basis['decisions']} decisions on {basis['sites']} sites. "
        f"On decisions that were held out:"
    )
    out.print(_comparison(str(other), version, comparison))
    if worse:
        out.print(f"It did WORSE than set {other}: do not switch it on without a reason.", style="red")
    out.print(f"An administrator switches it on with POST /api/v1/calibrations/{version}/activate.")


def _results() -> Console:
    """Standard output; wide enough that nothing breaks in a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def _table(title: str, groups: Sequence[Group]) -> Table:
    table = Table(title, "decided", "named rightly", "a human activity", "seen on the ground")
    for group in groups:
        table.add_row(group.name, str(group.right.of), _share(group.right), _share(group.real), str(group.on_ground))
    return table


def _share(share: Share) -> str:
    return f"{share.share:.2f} ({share.low:.2f} to {share.high:.2f})"


def _counts(title: str, rows: Any) -> Table:
    table = Table(title, "number")
    for name, count in rows:
        table.add_row(name, str(count))
    return table


def _comparison(before: str, after: str, comparison: dict[str, Any]) -> Table:
    table = Table("measure", f"set {before}", f"set {after}")
    for key, words in (
        ("log_loss", "log loss"),
        ("accuracy", "most probable was right"),
        ("macro_f1", "macro F1"),
        ("calibration_error", "expected calibration error"),
    ):
        table.add_row(words, f"{comparison['before'][key]:.3f}", f"{comparison['after'][key]:.3f}")
    return table
