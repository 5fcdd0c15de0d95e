"""Rows of a clue list read as items: number, ground, unit, activity; what cannot be read is a problem of its row.

Formats are told apart by content: XLSX and CSV (`clue_tables`), zipped Shapefile and GeoPackage (`app.boundaries`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely import MultiPolygon, Point
from shapely.geometry.base import BaseGeometry

from app.boundaries.archive import ArchiveKind, kind_of_archive
from app.boundaries.columns import read_date
from app.boundaries.coordinates import EXTENT, Placing, settle
from app.boundaries.files import codec_of, is_text, open_file
from app.boundaries.ground import clean_geometries
from app.boundaries.offsets import TO_WGS84
from app.casework.clue_schemas import ClueMapping, ProblemCode
from app.casework.clue_tables import MOST_COLUMNS, MOST_ROWS, ListTable, plain_cell, read_csv, read_workbook
from app.casework.clue_words import (
    SQUARE_METRES,
    AreaUnit,
    ClueField,
    activities_named,
    area_unit,
    field_of,
    normal,
    output_of,
    rank_of,
)
from app.casework.ground import circle
from app.casework.vocabulary import Outline
from app.foundation.errors import Invalid
from app.foundation.geometry import CRS, as_multipolygon, geodesic_area_m2

_MOST_UNPACKED = 256 * 2**20
# A circle of 10,000 km² is no problem's ground.
_MOST_AREA_M2 = 1e10
# Beyond them lies a slip, or the end of the calendar, which would break the judging of every row.
_YEARS = range(1900, 2200)
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
_DMS = re.compile(
    r"""([0-9]{1,3})\s*[°º度d]\s*([0-9]{1,2}(?:\.[0-9]+)?)\s*(?:[′'’分m]\s*(?:([0-9]{1,2}(?:\.[0-9]+)?)\s*(?:[″"”秒s]|′′|'')?)?)?""",
    re.IGNORECASE,
)
_CHINESE_DAY = re.compile(r"([0-9]{4})[年./-]([0-9]{1,2})[月./-]([0-9]{1,2})日?")


@dataclass
class ReadItem:
    """A row of a list. `values` as in the file; `facts` what was read of them; `problems` in words."""

    row_number: int
    values: dict[str, Any]
    item_number: str | None = None
    geometry: MultiPolygon | None = None
    outline: Outline | None = None
    point: Point | None = None
    area_m2: float | None = None
    unit_code: str | None = None
    unit_name: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)

    def say(self, code: ProblemCode, detail: str) -> None:
        self.problems.append({"code": code, "detail": detail})


@dataclass
class ReadList:
    """A list as it was read."""

    items: list[ReadItem]
    mapping: ClueMapping
    layout: dict[str, Any]
    warnings: list[str]


@dataclass
class _Opened:
    table: ListTable
    # By row; of files with geometry alone.
    shapes: dict[int, BaseGeometry | None] | None = None
    place: Callable[[npt.NDArray[np.float64]], Placing] | None = None


def read_list(
    path: Path,
    *,
    given: ClueMapping | None,
    known: Callable[[Sequence[str]], ClueMapping | None],
    crs: str | None,
) -> ReadList:
    """Read a list.

    Args:
        given: the caller's mapping; what it leaves open is guessed by the headings.
        known: the mapping with which a list of these columns was read before.
        crs: what the coordinates are in, where the file does not say; of degrees in a spreadsheet EPSG:4490.

    Raises:
        Invalid: the file as a whole cannot be used.
    """
    asked = given or ClueMapping()
    opened = _open(path, asked, crs)
    mapping = settle_mapping(opened.table.columns, given, known(opened.table.columns))
    items = [
        _read_row(number, opened.table.rows[number], opened.table.filled[number], mapping)
        for number in sorted(opened.table.rows)
    ]
    for item in items:
        for said in opened.table.problems.get(item.row_number, []):
            item.say("formula", said)
    warnings = list(opened.table.warnings)
    if opened.shapes is not None and opened.place is not None:
        _place_shapes(items, opened.shapes, opened.place, mapping, warnings)
    else:
        _place_points(items, mapping, crs, warnings)
    _tell_repeats(items)
    return ReadList(items, mapping, opened.table.layout, warnings)


def _open(path: Path, asked: ClueMapping, crs: str | None) -> _Opened:
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise Invalid("The file is empty.")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise Invalid("The file is a workbook of the old format (XLS), or one with a password; save it as XLSX.")
    if head.startswith(b"SQLite format 3\x00"):
        return _open_layer(path, asked, "gpkg", crs)
    if head.startswith(b"PK"):
        if _has_shapefile(path):
            return _open_layer(path, asked, "shp", crs)
        return _Opened(read_workbook(path, asked.sheet, asked.header_row))
    codec = codec_of(asked.encoding) if asked.encoding else None
    return _Opened(read_csv(path, codec, asked.header_row))


def _has_shapefile(path: Path) -> bool:
    import zipfile

    if kind_of_archive(path) is not ArchiveKind.shapefile:
        raise Invalid("The archive holds neither a workbook (XLSX) nor a Shapefile.")
    with zipfile.ZipFile(path) as archive:
        return any(name.lower().endswith(".shp") for name in archive.namelist())


def _open_layer(path: Path, asked: ClueMapping, kind: str, crs: str | None) -> _Opened:
    rows: dict[int, dict[str, Any]] = {}
    problems: dict[int, list[str]] = {}
    shapes: dict[int, BaseGeometry | None] = {}
    with open_file(path, asked.encoding, _MOST_UNPACKED, asked.sheet) as source:
        if len(source.columns) > MOST_COLUMNS:
            raise Invalid(f"The layer has more than {MOST_COLUMNS} columns.")
        if broken := [name for name in source.columns if not is_text(name)]:
            raise Invalid(
                f"{len(broken)} names of columns do not decode; name the encoding of the file (UTF-8 or GB18030)."
            )
        for batch in source.batches():
            for place in range(len(batch)):
                number = batch.first + place
                rows[number] = {
                    name: plain_cell(values[place])
                    for name, values in batch.columns.items()
                    if values[place] is not None
                }
                shapes[number] = batch.geometries[place]
                if place in batch.broken:
                    raise Invalid(f"Feature {number}: {batch.broken[place]}. Nothing was imported.")
            if len(rows) > MOST_ROWS:
                raise Invalid(f"The layer has more than {MOST_ROWS:,} features; hand it in in parts.")
        warnings, declared, by_default = list(source.warnings), source.crs, source.crs_is_default
        columns = list(source.columns)
    if not rows:
        raise Invalid("The layer holds no feature.")
    layout = {"format": kind, "columns": columns, "layer": asked.sheet, "encoding": asked.encoding}

    def place_by(corners: npt.NDArray[np.float64]) -> Placing:
        return settle(corners, declared, named=crs, declared_by_default=by_default, axis_order=asked.axis_order)

    return _Opened(ListTable(columns, rows, rows, layout, warnings, problems), shapes, place_by)


# Which column says what


def settle_mapping(columns: Sequence[str], given: ClueMapping | None, known: ClueMapping | None) -> ClueMapping:
    """The mapping to read by: the caller's, else that of the list before, else what the headings say.

    Raises:
        Invalid: it names a heading that the file does not have.
    """
    by_name = {normal(column): column for column in columns}
    guessed = guess_mapping(columns)
    base = known or guessed
    if given is None:
        return base
    errors = []
    for kind, told in (("columns", given.columns), ("outputs", given.outputs)):
        for ours, heading in told.items():
            if heading and normal(heading) not in by_name:
                errors.append((f"mapping/{kind}/{ours}", f"the file has no column {heading[:60]!r}"))
    if errors:
        shown = ", ".join(columns[:40])
        raise Invalid(
            f"The mapping names columns that the file does not have; it has {shown}.",
            errors=[{"pointer": at, "detail": said} for at, said in errors],
        )
    # An empty heading says that nothing tells it, whatever would be guessed.
    fields = {**base.columns, **{ours: by_name.get(normal(told), "") for ours, told in given.columns.items()}}
    outputs = {**base.outputs, **{ours: by_name.get(normal(told), "") for ours, told in given.outputs.items()}}
    settled = given.model_copy(
        update={
            "columns": {ours: told for ours, told in fields.items() if told},
            "outputs": {ours: told for ours, told in outputs.items() if told},
        }
    )
    _refuse_overwriting(settled)
    if settled.area_unit is None and (told_by := settled.columns.get(ClueField.area)):
        settled.area_unit = area_unit(told_by) or (
            base.area_unit if base.columns.get(ClueField.area) == told_by else None
        )
    return settled


def _refuse_overwriting(mapping: ClueMapping) -> None:
    """An export writes results over what stood in their columns: never over what the list itself says of its items."""
    theirs = {heading: ours for ours, heading in mapping.columns.items()}
    errors = [
        {"pointer": f"mapping/outputs/{output}", "detail": f"{heading[:60]!r} tells the {theirs[heading]} of an item"}
        for output, heading in mapping.outputs.items()
        if heading in theirs
    ]
    if errors:
        raise Invalid("The mapping lets an export write over what the list says.", errors=errors)


def guess_mapping(columns: Sequence[str]) -> ClueMapping:
    """What the headings say by the tables of known ones; of several for one field the surest."""
    fields: dict[ClueField, str] = {}
    for column in columns:
        if (ours := field_of(column)) and (ours not in fields or rank_of(column) < rank_of(fields[ours])):
            fields[ours] = column
    outputs = {}
    for column in columns:
        if (output := output_of(column)) and output not in outputs:
            outputs[output] = column
    unit = area_unit(fields[ClueField.area]) if ClueField.area in fields else None
    return ClueMapping(columns=fields, outputs=outputs, area_unit=unit)


# What a row says


def _read_row(number: int, own: dict[str, Any], filled: Mapping[str, Any], mapping: ClueMapping) -> ReadItem:
    item = ReadItem(number, own)

    def told(ours: ClueField) -> Any:
        heading = mapping.columns.get(ours)
        value = filled.get(heading) if heading else None
        return value.strip() or None if isinstance(value, str) else value

    def text(ours: ClueField) -> str | None:
        value = told(ours)
        return None if value is None else str(value)[:4000]

    item.item_number = (text(ClueField.item_number) or "")[:200] or None
    item.unit_code, item.unit_name = text(ClueField.unit_code), text(ClueField.unit_name)
    item.facts = {
        name.value: words
        for name in (ClueField.description, ClueField.place, ClueField.protected_area, ClueField.unit_name)
        if (words := text(name))
    }
    for day in (ClueField.found_on, ClueField.due_on):
        if (value := told(day)) is None:
            continue
        if (read := read_day(value)) is None or read.year not in _YEARS:
            item.say("day", f"{mapping.columns[day]}: {str(value)[:40]!r} is no day")
        else:
            item.facts[day.value] = read.isoformat()
    _read_activity(item, text(ClueField.activity))
    if (value := told(ClueField.area)) is not None:
        _read_area(item, value, mapping)
    item.facts["point"] = [told(ClueField.longitude), told(ClueField.latitude)]
    if ClueField.item_number in mapping.columns and item.item_number is None:
        item.say("number", "it has no item number")
    return item


def _read_activity(item: ReadItem, words: str | None) -> None:
    if words is None:
        item.say("activity", "what kind of activity it is, is not said; correct the activity")
        return
    item.facts["activity_told"] = words
    codes = activities_named(words)
    if len(codes) == 1:
        item.facts["activity"] = codes[0]
    elif codes:
        item.say("activity", f"{words[:40]!r} names several activities ({', '.join(codes)}); correct the activity")
    else:
        item.say("activity", f"{words[:40]!r} names no activity that is known; correct the activity")


def _read_area(item: ReadItem, value: Any, mapping: ClueMapping) -> None:
    unit: AreaUnit | None = mapping.area_unit
    told = unicodedata.normalize("NFKC", str(value)).replace(",", "").strip()
    number = _NUMBER.match(told)
    if number and (own := area_unit(f"面积({told[number.end() :].strip()})")):
        unit = own
    elif number and told[number.end() :].strip():
        number = None
    if number is None or float(number[0]) <= 0:
        item.say("area", f"{mapping.columns[ClueField.area]}: {str(value)[:40]!r} is no area")
    elif unit is None:
        item.say(
            "area",
            f"the unit of {mapping.columns[ClueField.area]!r} is not said; name it with `area_unit` in the mapping",
        )
    elif (area := float(number[0]) * SQUARE_METRES[unit]) > _MOST_AREA_M2:
        item.say("area", f"its area of {area / 1e6:,.0f} km² is more than is believed; look at the unit")
    else:
        item.area_m2 = area


def read_day(value: Any) -> date | None:
    """A day as lists write it: ISO 8601, 2024年5月1日, 2024.5.1, 20240501; None: it is none."""
    told = unicodedata.normalize("NFKC", str(value)).strip()
    match = _CHINESE_DAY.match(told)
    try:
        if match and (match.end() == len(told) or told[match.end()] in "T "):
            return date(int(match[1]), int(match[2]), int(match[3]))
        return read_date(told)
    except ValueError:
        return None


def read_degrees(value: Any) -> float | None:
    """A coordinate: a number, or degrees, minutes and seconds (127°30′12″, E127°30'12.5", 127度30分12秒)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    told = unicodedata.normalize("NFKC", str(value)).replace("′", "'").replace("″", '"').strip()
    told = told.replace(" ", "").removeprefix("东经").removeprefix("北纬").strip("EeNn:°") or ""
    if _NUMBER.fullmatch(told):
        return float(told)
    match = _DMS.fullmatch(told)
    if match is None:
        return None
    minutes, seconds = float(match[2]), float(match[3] or 0)
    if minutes >= 60 or seconds >= 60:
        return None
    return int(match[1]) + minutes / 60 + seconds / 3600


# Where it lies


def _undone(placing: Placing, mapping: ClueMapping) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    undo = TO_WGS84.get(mapping.offset or "none")
    return (lambda xy: undo(placing.apply(xy))) if undo else placing.apply


def _place_points(items: Sequence[ReadItem], mapping: ClueMapping, crs: str | None, warnings: list[str]) -> None:
    """Circles about the points of a spreadsheet."""
    found: list[tuple[ReadItem, float, float]] = []
    for item in items:
        told = item.facts.pop("point")
        if told == [None, None]:
            item.say("ground", "it has no coordinates; correct its geometry")
            continue
        read = [None if value is None else read_degrees(value) for value in told]
        if read[0] is None or read[1] is None:
            item.say("ground", f"its coordinates cannot be read ({_shown(told[0])}, {_shown(told[1])})")
            continue
        found.append((item, read[0], read[1]))
    if not found:
        return
    corners = np.array([[x, y] for _, x, y in found])
    # A spreadsheet declares nothing. Degrees are those of CGCS2000 unless said otherwise; metres need a name.
    degrees = (np.abs(corners) <= 180).all(axis=1)
    named = crs or (CRS if np.median(degrees) == 1 else None)
    placing = settle(corners, None, named=named, axis_order=mapping.axis_order)
    if crs is None:
        warnings.append("its coordinates were taken for degrees of CGCS2000 (EPSG:4490); name `crs` if they are not")
    warnings += placing.warnings
    places = _undone(placing, mapping)(corners)
    for (item, _, _), (x, y), elsewhere in zip(found, places, placing.outside_zone(corners), strict=True):
        _place_point(item, float(x), float(y), bool(elsewhere))


def _place_point(item: ReadItem, x: float, y: float, elsewhere: bool = False) -> None:
    inside = EXTENT[0] <= x <= EXTENT[2] and EXTENT[1] <= y <= EXTENT[3]
    if elsewhere or not inside:
        swapped = EXTENT[0] <= y <= EXTENT[2] and EXTENT[1] <= x <= EXTENT[3]
        said = "longitude and latitude are swapped" if swapped else "its coordinates lie outside China"
        item.say("ground", f"{said}; correct its geometry")
        return
    item.point = Point(x, y)
    if item.area_m2 is None:
        item.say("ground", "it has a point and no area, so no ground; correct its geometry")
        return
    item.geometry = as_multipolygon(shapely.normalize(circle(x, y, item.area_m2)))
    item.outline = Outline.circle


def _place_shapes(
    items: Sequence[ReadItem],
    shapes: Mapping[int, BaseGeometry | None],
    place: Callable[[npt.NDArray[np.float64]], Placing],
    mapping: ClueMapping,
    warnings: list[str],
) -> None:
    """The polygons of a layer, or circles about its points."""
    geometries = np.full(len(items), None, object)
    geometries[:] = [shapes[item.row_number] for item in items]
    placing = place(shapely.get_coordinates(geometries))
    warnings += placing.warnings
    if undo := TO_WGS84.get(mapping.offset or "none"):
        placing = replace(placing, undo=undo)
    points = shapely.get_type_id(geometries) == shapely.GeometryType.POINT
    for place_, item in enumerate(items):
        item.facts.pop("point")
        if points[place_] and not geometries[place_].is_empty:
            corner = shapely.get_coordinates(geometries[place_])
            ((x, y),) = placing.apply(corner)
            _place_point(item, float(x), float(y), bool(placing.outside_zone(corner)[0]))
    drawn = np.flatnonzero(~points)

    def refuse(at: int, why: str) -> None:
        items[int(drawn[at])].say("ground", why)

    def mend(at: int, what: str) -> None:
        warnings.append(f"feature {items[int(drawn[at])].row_number}: {what}")

    for at, shape in zip(drawn, clean_geometries(geometries[drawn], placing, refuse, mend), strict=True):
        if shape is not None:
            item = items[int(at)]
            item.geometry, item.outline = as_multipolygon(shape), Outline.drawn
            measured = geodesic_area_m2(item.geometry)
            if item.area_m2 and not 0.5 <= item.area_m2 / measured <= 2:
                item.say(
                    "area",
                    f"its polygon measures {measured:,.0f} m², its row says {item.area_m2:,.0f} m²; look at the unit",
                )
            item.facts["area_told_m2"] = item.area_m2
            item.area_m2 = measured


def _tell_repeats(items: Sequence[ReadItem]) -> None:
    rows: dict[str, list[ReadItem]] = {}
    for item in items:
        if item.item_number:
            rows.setdefault(item.item_number, []).append(item)
    for number, same in rows.items():
        if len(same) > 1:
            places = ", ".join(str(item.row_number) for item in same[:10])
            for item in same:
                item.say("number", f"the item number {number[:60]!r} stands in several rows ({places})")


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(str(value)[:30])
