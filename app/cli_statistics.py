"""`redline statistics`: what figures are counted from, compared with the ledger and written anew from it."""

from __future__ import annotations

import sys

import typer

from app.cli_snapshots import snapshot

statistics = typer.Typer(no_args_is_help=True, help="What figures are counted from, and what was kept of them.")
statistics.add_typer(snapshot, name="snapshot")


@statistics.command("check")
def statistics_check() -> None:
    """Compare what figures are counted from with the events of the ledger; exit 1 where they differ."""
    from app.casework.interval_checks import check
    from app.cli import open_settings_and_database, progress_bar

    with (
        open_settings_and_database() as (_, database),
        database.transaction(see_all=True) as session,
        progress_bar("Comparing") as advance,
    ):
        report = check(session, advance)
    amiss = f"{report.differing} DIFFER" if report.differing else "they are those of the events"
    sys.stdout.write(f"{report.intervals} intervals of {report.cases} cases: {amiss}\n")
    for case_id, what in report.differences:
        sys.stdout.write(f"  case {case_id} {what}\n")
    if report.differing:
        raise typer.Exit(1)


@statistics.command("rebuild")
def statistics_rebuild() -> None:
    """Write what figures are counted from anew from the events; nobody writes events meanwhile."""
    from app.casework.interval_checks import rebuild
    from app.cli import open_settings_and_database, progress_bar

    with (
        open_settings_and_database() as (_, database),
        database.transaction(see_all=True) as session,
        progress_bar("Cases") as advance,
    ):
        written = rebuild(session, advance)
    sys.stdout.write(f"{written} intervals\n")
