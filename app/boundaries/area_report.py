"""Whether the red line's area is not reduced (面积不减少): version against version, by county."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app.boundaries.county_areas import Sides, county_areas
from app.boundaries.models import Layer, LayerVersion, VersionKind
from app.boundaries.units import LEAST_CONTACT_M2, newest_divisions
from app.boundaries.version_schemas import AreaReport, ComparedVersion, Comparison, CountyChange, CountyReport
from app.boundaries.versions import get_version, select_versions

_HEADINGS = {
    "en": ("code", "name", "before (m2)", "after (m2)", "difference (m2)", "gained (m2)", "lost (m2)", "reduced"),
    "zh": (
        "行政区划代码",
        "行政区",
        "调整前面积（平方米）",
        "调整后面积（平方米）",
        "面积变化（平方米）",
        "调入面积（平方米）",
        "调出面积（平方米）",
        "面积是否减少",
    ),
}
_YES_NO = {"en": ("no", "yes"), "zh": ("否", "是")}
_TOTAL = {"en": "total", "zh": "合计"}


def report_areas(
    session: Session,
    layer: Layer,
    *,
    from_version: UUID | None,
    to_version: UUID | None,
    units: Collection[UUID] | None,
) -> AreaReport:
    """The areas of two confirmed versions against each other, by the counties of now.

    Args:
        from_version, to_version: None: the two newest by the day from which they count.
        units: the counties that may be seen; None: all.

    Raises:
        NotFound: no confirmed version has this id.
    """
    newest = session.scalars(
        select_versions(layer, see_undecided=False)
        .where(LayerVersion.kind == VersionKind.whole)
        .order_by(LayerVersion.valid_from.desc(), LayerVersion.number.desc())
    ).all()
    after = get_version(session, layer, to_version, see_undecided=False) if to_version else next(iter(newest), None)
    if from_version is not None:
        before: LayerVersion | None = get_version(session, layer, from_version, see_undecided=False)
    else:
        before = _next_older(newest, after)
    counties = [_report(row) for row in _changes(session, layer, before, after, units)]
    total = _report(_total(counties))
    return AreaReport(
        from_version=ComparedVersion.model_validate(before, from_attributes=True) if before else None,
        to_version=ComparedVersion.model_validate(after, from_attributes=True) if after else None,
        counties=counties,
        total=total,
        reduced=total.reduced,
        counties_reduced=[row.unit_code for row in counties if row.reduced],
    )


def as_csv(report: AreaReport, language: str) -> bytes:
    """The report as a spreadsheet program reads it: UTF-8 with its mark, a line a county, the total last."""
    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerow(_HEADINGS[language])
    for row in (*report.counties, report.total):
        areas = (row.before_m2, row.after_m2, row.difference_m2, row.gained_m2, row.lost_m2)
        name = row.unit_name or _TOTAL[language]
        writer.writerow(
            [_plain(row.unit_code), _plain(name), *(f"{area:.2f}" for area in areas), _YES_NO[language][row.reduced]]
        )
    return sink.getvalue().encode("utf-8-sig")


def _plain(text: str) -> str:
    """Text that no spreadsheet program takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" and text else text


def _next_older(newest: Sequence[LayerVersion], after: LayerVersion | None) -> LayerVersion | None:
    if after is None:
        return None
    older = [row for row in newest if (row.valid_from, row.number) < (after.valid_from, after.number)]
    return next(iter(older), None)


def _changes(
    session: Session,
    layer: Layer,
    before: LayerVersion | None,
    after: LayerVersion | None,
    units: Collection[UUID] | None,
) -> list[CountyChange]:
    if after is None:
        return []
    if units is None and after.kind is VersionKind.whole and after.comparison is not None:
        known = Comparison.model_validate(after.comparison)
        # It was worked out when the version was proposed, and neither versions nor grounds ever change.
        if known.before_ids == ([before.id] if before else []) and known.divisions_id == newest_divisions(session):
            return known.counties
    sides = Sides(layer, (before.id,) if before else (), (after.id,))
    found = county_areas(session, sides, units=units)
    return [CountyChange.model_validate(row, from_attributes=True) for row in found]


def _total(rows: Sequence[CountyReport]) -> CountyChange:
    return CountyChange(
        unit_code="",
        unit_name="",
        before_m2=sum(row.before_m2 for row in rows),
        after_m2=sum(row.after_m2 for row in rows),
        gained_m2=sum(row.gained_m2 for row in rows),
        lost_m2=sum(row.lost_m2 for row in rows),
    )


def _report(row: CountyChange) -> CountyReport:
    difference = row.gained_m2 - row.lost_m2
    return CountyReport(**row.model_dump(), difference_m2=difference, reduced=difference < -LEAST_CONTACT_M2)
