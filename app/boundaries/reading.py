"""From a layer file to clean features, or to a refusal that names every feature to mend and why."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from app.boundaries.columns import COLUMNS, known_columns, match_columns, read_coded, read_date, read_text
from app.boundaries.files import WGS84, RawLayer, is_text, read_file, texts
from app.boundaries.models import Layer
from app.foundation.errors import Invalid
from app.foundation.geometry import CRS as STORED_CRS
from app.foundation.geometry import as_multipolygon
from app.settings import get_settings

MAX_ERRORS = 20
# A repair may change a polygon's area by this share; beyond it nobody knows what was meant.
REPAIR_TOLERANCE = 0.001
# West, south, east, north of where EPSG:4490 is used (EPSG: China, onshore and offshore), with a degree to spare and
# south to the last islands.
_EXTENT = (72.6, 2.4, 136.1, 54.6)


@dataclass(frozen=True)
class Feature:
    """A polygon of a layer, valid, in EPSG:4490 (longitude, latitude)."""

    code: str
    name: str
    level: str | None
    category: str | None
    holder: str | None
    document: str | None
    valid_from: date | None
    valid_to: date | None
    attributes: dict[str, Any]
    geometry: MultiPolygon
    established_on: date | None = None

    def digest(self) -> str:
        """SHA-256 of the content, the same for any order of columns, rings and parts."""
        facts = [self.code, self.name, self.level, self.category, self.holder, self.document]
        days = [day.isoformat() if day else None for day in (self.valid_from, self.valid_to, self.established_on)]
        told = json.dumps([*facts, *days, self.attributes], sort_keys=True, ensure_ascii=False)
        return sha256(told.encode() + shapely.normalize(self.geometry).wkb).hexdigest()


@dataclass(frozen=True)
class LayerFile:
    """What a layer file holds. `warnings` say what was mended on the way in."""

    features: list[Feature]
    warnings: list[str]


@dataclass
class _Findings:
    """Problems and mendings found so far."""

    errors: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self, index: int, code: str | None, reason: str) -> None:
        self.errors.append({"pointer": f"features/{index}", "feature": index, "code": code, "detail": reason})

    def mend(self, index: int, code: str | None, what: str) -> None:
        self.warnings.append(f"{_label(index, code)}: {what}")

    def raise_if_any(self) -> None:
        if not self.errors:
            return
        first = self.errors[0]
        count = len(self.errors)
        more = f" and {count - 1} more" if count > 1 else ""
        raise Invalid(
            f"{_label(first['feature'], first['code'])}: {first['detail']}{more}. Nothing was imported.",
            errors=self.errors[:MAX_ERRORS],
            error_count=count,
        )


def _label(index: int, code: str | None) -> str:
    return f"Feature {index} ({code})" if code else f"Feature {index}"


def read_layer(
    path: Path,
    layer: Layer,
    *,
    crs: str | None = None,
    encoding: str | None = None,
    max_unpacked_bytes: int | None = None,
) -> LayerFile:
    """Read a GeoPackage, a zipped Shapefile or GeoJSON as features of a layer.

    Args:
        crs: coordinate reference system of a file that declares none, such as `EPSG:4549`.
        encoding: `UTF-8` or `GB18030`, for a file that does not say.

    Raises:
        Invalid: the file cannot be used; `errors` lists up to 20 findings as feature (from 1), code and detail.
    """
    limit = max_unpacked_bytes or get_settings().max_unpacked_bytes
    raw = read_file(path, encoding, limit)
    findings = _Findings()
    _check_text(raw, findings)
    findings.raise_if_any()
    if not raw.records:
        raise Invalid("The file holds no feature.")
    names = match_columns(layer, raw.columns, raw.limit)
    _check_columns(layer, raw, names)
    transformer = _transformer(raw, crs)
    features = [
        _feature(layer, index, record, geometry, names, transformer, findings)
        for index, (record, geometry) in enumerate(zip(raw.records, raw.geometries, strict=True), start=1)
    ]
    _check_identity(layer, features, findings)
    findings.raise_if_any()
    return LayerFile([feature for feature in features if feature is not None], findings.warnings)


def _check_text(raw: RawLayer, findings: _Findings) -> None:
    for index, record in enumerate(raw.records, start=1):
        broken = next((column for column, text in texts(record) if not is_text(text)), None)
        if broken is not None:
            column = broken.encode("utf-8", "replace").decode()
            reason = f"the text in column {column!r} does not decode; name the encoding that the file was written in"
            findings.refuse(index, None, f"{reason} (UTF-8 or GB18030)")


def _check_columns(layer: Layer, raw: RawLayer, names: dict[str, str]) -> None:
    missing = [column for column in COLUMNS[layer].required if column not in names.values()]
    if missing:
        reason = "the required column is missing"
        raise Invalid(
            f"The file lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. "
            f"A file of {layer.value} needs {', '.join(COLUMNS[layer].required)}; "
            f"this one has {', '.join(raw.columns[:40]) or 'none'}. Nothing was imported.",
            errors=[{"pointer": column, "feature": None, "code": None, "detail": reason} for column in missing],
        )
    doubled = sorted({ours for ours in names.values() if list(names.values()).count(ours) > 1})
    if doubled:
        raise Invalid(f"The file has more than one column for {', '.join(doubled)}; leave one.")


def _check_identity(layer: Layer, features: list[Feature | None], findings: _Findings) -> None:
    seen: dict[tuple[str | None, ...], int] = {}
    by_zone = len(COLUMNS[layer].identity) > 1
    for index, feature in enumerate(features, start=1):
        if feature is None:
            continue
        first = seen.setdefault((feature.code, feature.category if by_zone else None), index)
        if first != index:
            what = " and ".join(COLUMNS[layer].identity)
            findings.refuse(index, feature.code, f"the same {what} as feature {first}")


# Coordinate reference system


def _transformer(raw: RawLayer, named: str | None) -> Transformer | None:
    """What takes the file's coordinates to EPSG:4490; None when they stand in it already."""
    declared = None if raw.crs_is_default and named else raw.crs
    crs = declared
    if named:
        try:
            crs = CRS.from_user_input(named)
        except CRSError:
            raise Invalid(f"{named[:60]!r} is not a coordinate reference system; name one such as EPSG:4490.") from None
        if declared is not None and not _same(declared, crs):
            raise Invalid(
                f"The file declares {declared.name}, and {crs.name} was named for it. Leave the name out, "
                "or write the file again with the right reference system."
            )
    if crs is None:
        raise Invalid(
            "The file declares no coordinate reference system. Write it again with one, or name it with `crs` "
            "(such as EPSG:4490, or EPSG:4549 for a Gauss-Krüger zone)."
        )
    # WGS 84 and CGCS2000 agree to within a metre, and PROJ has no transformation between them. Any other datum needs
    # a real one: without it PROJ would leave an offset of up to half a kilometre in silence.
    stored = CRS.from_user_input(STORED_CRS)
    if any(
        crs.equals(known, ignore_axis_order=True) for known in (stored, CRS.from_epsg(4326), CRS.from_user_input(WGS84))
    ):
        return None
    datum = crs.geodetic_crs.datum.name if crs.geodetic_crs and crs.geodetic_crs.datum else ""
    alike = datum.startswith(("World Geodetic System 1984", "D_WGS_1984", "WGS_1984", "WGS 84"))
    try:
        return Transformer.from_crs(crs, stored, always_xy=True, allow_ballpark=alike)
    except ProjError:
        raise Invalid(
            f"There is no public transformation from {crs.name} to CGCS2000; convert the file to EPSG:4490 first."
        ) from None


def _same(one: CRS, other: CRS) -> bool:
    if one.equals(other, ignore_axis_order=True):
        return True
    code = one.to_epsg(min_confidence=60)
    return code is not None and code == other.to_epsg(min_confidence=60)


# One feature


def _feature(
    layer: Layer,
    index: int,
    record: dict[str, Any],
    geometry: BaseGeometry | None,
    names: dict[str, str],
    transformer: Transformer | None,
    findings: _Findings,
) -> Feature | None:
    """A clean feature, or None with the reasons added to the findings."""
    columns = COLUMNS[layer]
    before = len(findings.errors)
    values = {ours: record.get(theirs) for theirs, ours in names.items()}
    code = read_text(values.get("code"))
    told: dict[str, str | None] = {}
    for column in dict.fromkeys((*columns.required, *known_columns(layer))):
        text = read_text(values.get(column))
        if text is None and column in columns.required and column not in columns.may_be_blank:
            findings.refuse(index, code, f"{column} is blank")
        elif text is not None and column in columns.vocabularies:
            vocabulary = columns.vocabularies[column]
            coded = read_coded(text, vocabulary)
            if coded is None:
                findings.refuse(index, code, f"{column} is {text[:40]!r}; it must be one of {', '.join(vocabulary)}")
            text = coded
        told[column] = text
    valid_from, valid_to, established_on = (
        _day(column, told[column], index, code, findings) for column in ("valid_from", "valid_to", "established_on")
    )
    if valid_from and valid_to and valid_to < valid_from:
        findings.refuse(index, code, "valid_to lies before valid_from")
    cleaned = _clean_geometry(index, code, geometry, transformer, findings)
    if len(findings.errors) > before or cleaned is None:
        return None
    own = known_columns(layer)
    return Feature(
        code=told["code"] or "",
        name=told["name"] or "",
        level=told["level"],
        category=told[columns.category] if columns.category else None,
        holder=told["holder"],
        document=told["document"],
        valid_from=valid_from,
        valid_to=valid_to,
        attributes={
            **{column: told[column] for column in columns.required if column not in own},
            **{name: value for name, value in record.items() if name not in names},
        },
        geometry=cleaned,
        established_on=established_on,
    )


def _day(column: str, text: str | None, index: int, code: str | None, findings: _Findings) -> date | None:
    try:
        return read_date(text)
    except ValueError:
        findings.refuse(index, code, f"{column} is {str(text)[:40]!r}; write a day as YYYY-MM-DD")
        return None


# Geometry


def _clean_geometry(
    index: int, code: str | None, geometry: BaseGeometry | None, transformer: Transformer | None, findings: _Findings
) -> MultiPolygon | None:
    if geometry is None or geometry.is_empty:
        findings.refuse(index, code, "it has no geometry, or one that cannot be read")
        return None
    if not isinstance(geometry, Polygon | MultiPolygon):
        findings.refuse(index, code, f"its geometry is a {geometry.geom_type}; only polygons have a place here")
        return None
    if geometry.has_z:
        geometry = shapely.force_2d(geometry)
        findings.mend(index, code, "heights were dropped")
    moved = _to_stored_crs(geometry, transformer)
    reason = _misplaced(moved)
    if reason:
        findings.refuse(index, code, reason)
        return None
    assert isinstance(moved, Polygon | MultiPolygon)
    if moved.is_valid:
        return as_multipolygon(moved)
    repaired = repair(moved)
    where = shapely.is_valid_reason(moved)
    if repaired is None:
        findings.refuse(
            index, code, f"its polygon crosses itself and cannot be mended without changing its area ({where})"
        )
        return None
    findings.mend(index, code, f"its polygon was mended ({where})")
    return repaired


def _to_stored_crs(geometry: BaseGeometry, transformer: Transformer | None) -> BaseGeometry:
    if transformer is None:
        return geometry
    return shapely.transform(
        geometry, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], errcheck=False))
    )


def _misplaced(geometry: BaseGeometry) -> str | None:
    """Why coordinates (EPSG:4490) cannot be right; None when they can."""
    coordinates = shapely.get_coordinates(geometry)
    if not np.isfinite(coordinates).all():
        return "its coordinates lie outside the range of its coordinate reference system"
    (left, bottom), (right, top) = coordinates.min(axis=0), coordinates.max(axis=0)
    if left >= _EXTENT[0] and bottom >= _EXTENT[1] and right <= _EXTENT[2] and top <= _EXTENT[3]:
        return None
    swapped = left >= _EXTENT[1] and right <= _EXTENT[3] and bottom >= _EXTENT[0] and top <= _EXTENT[2]
    if swapped:
        return "its latitude stands before its longitude; write longitude first"
    return (
        f"it lies at {left:.3f}, {bottom:.3f} (longitude, latitude), outside the area of CGCS2000; "
        "look at the coordinate reference system and the order of the axes"
    )


def repair(geometry: Polygon | MultiPolygon) -> MultiPolygon | None:
    """Mend an invalid polygon, or None when its area depends on how its rings are read.

    Three readings must agree to within `REPAIR_TOLERANCE`: the shoelace area of the rings as written, the even-odd
    area, and the area inside any shell and no hole. They agree on a spike or a doubled vertex; on a bow-tie the
    shoelace area is that of the lobes' difference.
    """
    written = geometry.area
    even_odd = shapely.make_valid(geometry, method="linework")
    nonzero = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    areas = (written, even_odd.area, nonzero.area)
    if nonzero.area <= 0 or max(areas) - min(areas) > REPAIR_TOLERANCE * nonzero.area:
        return None
    return as_multipolygon(nonzero)
