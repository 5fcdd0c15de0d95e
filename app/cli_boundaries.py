"""`redline versions …`: versions of layers, what they change, and the decision on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.boundaries.vocabulary import Layer, VersionStatus

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.boundaries.models import LayerVersion

versions = typer.Typer(no_args_is_help=True, help="Versions of layers: list, compare, confirm, discard.")
LayerArgument = Annotated[Layer, typer.Argument(metavar="LAYER", help=" | ".join(Layer))]
NumberArgument = Annotated[int, typer.Argument(min=1, help="Of the version within its layer")]


@contextmanager
def _version(layer: Layer, number: int) -> Iterator[tuple[Session, LayerVersion]]:
    from sqlalchemy import select

    from app.boundaries.models import LayerVersion
    from app.cli import open_settings_and_database
    from app.foundation.errors import NotFound

    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        chosen = select(LayerVersion).where(LayerVersion.layer == layer, LayerVersion.number == number)
        version = session.scalar(chosen)
        if version is None:
            raise NotFound(f"There is no version {number} of {layer}; see `redline versions list {layer}`.")
        yield session, version


@versions.command("list")
def list_versions(layer: LayerArgument) -> None:
    """The versions of a layer, newest first."""
    from rich.table import Table

    from app.boundaries.models import LayerVersion
    from app.boundaries.versions import select_versions
    from app.cli import open_settings_and_database, say

    table = Table("number", "status", "kind", "valid from", "features", "source document")
    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        statement = select_versions(layer, see_undecided=True).order_by(LayerVersion.number.desc())
        for row in session.scalars(statement):
            table.add_row(
                str(row.number), row.status, row.kind, row.valid_from.isoformat(), f"{row.feature_count:,}",
                row.source_document,
            )  # fmt: skip
    say.print(table)


@versions.command("confirm")
def confirm_version(layer: LayerArgument, number: NumberArgument) -> None:
    """Let a proposed version count from its day on."""
    from app.boundaries.versions import confirm
    from app.cli import say

    with _version(layer, number) as (session, version):
        confirm(session, version, None)
    say.print(f"Version {number} of {layer} is confirmed; it counts from {version.valid_from}.")


@versions.command("discard")
def discard_version(layer: LayerArgument, number: NumberArgument) -> None:
    """Give a proposed version up."""
    from app.boundaries.versions import discard
    from app.cli import say

    with _version(layer, number) as (session, version):
        discard(session, version, None)
    say.print(f"Version {number} of {layer} is discarded.")


@versions.command("compare")
def compare_version(
    layer: LayerArgument,
    number: NumberArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole comparison to standard output")] = False,
) -> None:
    """What a version changes; of a proposed one, worked out anew."""
    from app.boundaries.comparison import compare
    from app.boundaries.version_schemas import Comparison
    from app.cli import print_json, progress_bar
    from app.foundation.errors import NotFound

    with _version(layer, number) as (session, version):
        if version.status is VersionStatus.proposed:
            with progress_bar("counties") as advance:
                compare(session, version, advance)
        if version.comparison is None:
            raise NotFound(f"Version {number} of {layer} was imported without a preview, so nothing was compared.")
        told = Comparison.model_validate(version.comparison)
    if as_json:
        print_json(told)
    else:
        _print_comparison(told)


def _print_comparison(told: Any) -> None:
    from rich.table import Table

    from app.cli import say

    against = f"version {told.base.number}" if told.base else "nothing: it is the first"
    say.print(f"Against {against}. Unchanged features: {told.unchanged:,}.")
    features = Table("features", "count", "largest", "gained m²", "lost m²")
    for kind in told.features:
        first = kind.largest[0] if kind.largest else None
        areas = (f"{first.gained_m2:,.0f}", f"{first.lost_m2:,.0f}") if first else ("", "")
        features.add_row(kind.kind, f"{kind.count:,}", first.code if first else "", *areas)
    counties = Table("county", "name", "before m²", "after m²", "gained m²", "lost m²")
    for row in told.counties:
        if row.before_m2 or row.after_m2:
            areas_m2 = (row.before_m2, row.after_m2, row.gained_m2, row.lost_m2)
            counties.add_row(row.unit_code, row.unit_name, *(f"{area:,.0f}" for area in areas_m2))
    say.print(features)
    say.print(counties)
    _print_misfits(told, say.print)


def _print_misfits(told: Any, write: Callable[[str], None]) -> None:
    """The largest of what does not fit; all that are listed are in the JSON."""
    for row in told.overlaps.largest[:10]:
        write(f"{row.first.code} and {row.second.code} overlap by {row.area_m2:,.0f} m².")
    for row in told.gaps.largest[:10]:
        write(f"A gap of {row.area_m2:,.0f} m² at {row.longitude}, {row.latitude}.")
    for row in told.outside.largest[:10]:
        write(f"{row.code} has {row.area_m2:,.0f} m² in no county.")
    write(f"{told.overlaps.count} overlaps, {told.gaps.count} gaps, {told.outside.count} features outside.")
