"""`redline statistics snapshot`: whether the ledger still supports what was kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from app.cli_ledger import KeyFiles, public_keys

if TYPE_CHECKING:
    from app.statistics.models import Snapshot
    from app.statistics.snapshot_checks import SnapshotReport

snapshot = typer.Typer(no_args_is_help=True, help="Figures that were kept.")


@snapshot.command("check")
def snapshot_check(
    snapshot_id: Annotated[UUID | None, typer.Argument(metavar="ID", help="One snapshot")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every snapshot; the ledger is read once")] = False,
    kept: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Its signed export, kept elsewhere")
    ] = None,
    key: KeyFiles = None,
) -> None:
    """Compare snapshots with the ledger; exit 1 where one does not hold, and name the cases.

    With an export that somebody else kept, the ledger is compared with that, whatever became of the snapshot here.
    """
    from app.cli import open_settings_and_database
    from app.statistics.models import Snapshot
    from app.statistics.snapshot_checks import check_all, checker

    if (snapshot_id is None) != every or (every and kept is not None):
        raise typer.BadParameter("Name one snapshot, or say --all; an export is compared with one.")
    exported = _sound(kept, key) if kept is not None else None
    if exported is not None and exported["document"]["id"] != str(snapshot_id):
        raise typer.BadParameter("The export is of another snapshot.")
    sound = True
    with open_settings_and_database() as (settings, database), database.transaction(see_all=True) as session:
        if every:
            for row, report in check_all(session, settings):
                sound &= _tell(row, report)
        else:
            found = session.get(Snapshot, snapshot_id)
            if found is None:
                raise typer.BadParameter("There is no such snapshot.")
            sound = _tell(found, checker(session, settings).check(found, exported))
    if not sound:
        raise typer.Exit(1)


@snapshot.command("verify")
def snapshot_verify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A snapshot's signed export")],
    key: KeyFiles = None,
) -> None:
    """Check a snapshot's signed export, without the service; exit 1 where it does not hold."""
    from app.statistics.snapshot_export import BadExport, check, read

    try:
        content = read(file)
    except BadExport as error:
        raise typer.BadParameter(str(error)) from None
    faults = check(content, public_keys(key))
    document = content["document"]
    _say(f"{document['name']}, {len(content['cases'])} cases: " + ("BROKEN" if faults else "it holds"))
    if not key:
        _say("  Without --key the signature proves nothing: the key came with the export.")
    for fault in faults:
        _say(f"  {fault}")
    if faults:
        raise typer.Exit(1)


def _sound(file: Path, key: list[Path] | None) -> dict[str, Any]:
    from app.statistics.snapshot_export import BadExport, check, read

    try:
        content = read(file)
    except BadExport as error:
        raise typer.BadParameter(str(error)) from None
    faults = check(content, public_keys(key))
    if faults:
        raise typer.BadParameter(f"{file.name} does not hold by itself: {faults[0]}")
    return content


def _tell(row: Snapshot, report: SnapshotReport) -> bool:
    _say(f"{row.id} {row.name}, {row.cases} cases: " + ("it holds" if report.holds else "DOES NOT HOLD"))
    for fault in report.faults:
        _say(f"  {fault}")
    return report.holds


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
