"""Vector tiles: what a layer looks like in one tile, by one statement.

A tile is 4,096 units wide with 64 units around it, drawn as 512 pixels: a pixel is 8 units. What of a feature cannot
be seen at a zoom is not sent; docs/maps.md says what that is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Double,
    Integer,
    Row,
    Select,
    String,
    Text,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from app.access.models import Placed, Role, UnitLevel
from app.access.service import Caller, in_jurisdiction
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, PermitRevocation, VersionStatus
from app.boundaries.service import in_force, versions_in_force
from app.boundaries.vocabulary import LAYER_LABELS
from app.casework.models import Case, Review
from app.foundation.database import run_sql
from app.foundation.geometry import SRID
from app.monitoring.models import Detection

# Goes up when the same rows make other tiles: no cache may answer with those of before.
TILE_VERSION = 1

MIN_ZOOM, MAX_ZOOM = 0, 22
# One unit is 0.15 m of the projection here: viewers enlarge these tiles rather than ask for finer ones.
FINEST_ZOOM = 16
EXTENT, BUFFER, PIXEL = 4096, 64, 8
MAX_FEATURES, MAX_BYTES = 20_000, 2**21
# How often a tile over the limits is made again; each time what is kept is four times as long.
ROUNDS = 4
# From here on what lies outside a tile costs more to project than to cut off.
CUT_FROM_ZOOM = 10
_TOLERANCE = 2
_EARTH_M = 2 * math.pi * 6_378_137.0

Geom = ColumnElement[Any]


@dataclass(frozen=True)
class TileAddress:
    """A tile of WebMercatorQuad (OGC 17-083r4): rows count from the north."""

    z: int
    x: int
    y: int

    @classmethod
    def parse(cls, z: str, x: str, y: str) -> TileAddress | None:
        """The tile that three words of a path name; None where there is no such tile."""
        if not all(word.isascii() and word.isdigit() and len(word) <= 8 for word in (z, x, y)):
            return None
        tile = cls(int(z), int(x), int(y))
        there = MIN_ZOOM <= tile.z <= MAX_ZOOM and tile.x < 2**tile.z and tile.y < 2**tile.z
        return tile if there else None

    @property
    def degrees(self) -> float:
        """Width in degrees of longitude."""
        return 360.0 / 2.0**self.z

    def latitude(self, row: float) -> float:
        """Of a row of tiles' northern edge, in degrees; rows beyond the poles' tiles end at them."""
        row = min(max(row, 0.0), 2.0**self.z)
        return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / 2.0**self.z))))

    def box(self, margin: float) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees, with a margin in units around."""
        wide = margin / EXTENT
        west, east = ((column * self.degrees) - 180 for column in (self.x - wide, self.x + 1 + wide))
        return max(west, -180.0), self.latitude(self.y + 1 + wide), min(east, 180.0), self.latitude(self.y - wide)

    @property
    def unit_m(self) -> float:
        """Length of a unit on the ground, in metres, at the tile's middle."""
        return _EARTH_M / 2.0**self.z / EXTENT * math.cos(math.radians(self.latitude(self.y + 0.5)))


# Stand-ins for the day and the units of a caller in a frozen statement.
ON = date(1, 1, 1)
UNIT = UUID(int=0)


class Frozen:
    """A statement written out once. To build and write it takes SQLAlchemy as long as PostGIS takes for a small tile.

    It takes values by the name of a parameter, or by what stands in for them: `ON`, and `UNIT` for a list of units.
    """

    def __init__(self, statement: Select[Any]) -> None:
        compiled = statement.compile(dialect=psycopg.dialect())
        self._sql = str(compiled)
        self._constants: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        for name, value in compiled.construct_params(_check=False).items():
            bound = compiled.binds[name]
            if bound.required:
                self._keys[name] = name
            elif value == ON or value == [UNIT]:
                self._keys[name] = ON if value == ON else UNIT
            else:
                self._constants[name] = value.value if isinstance(value, Enum) else value

    def run(self, session: Session, values: Mapping[Any, Any]) -> Row[Any]:
        """The one row that it gives."""
        given = {name: values[key] for name, key in self._keys.items()}
        return run_sql(session, self._sql, self._constants | given).one()


def _asking(whole: bool) -> Caller:
    """Whose units a frozen statement asks for: everything, or `UNIT`."""
    return Caller(UNIT, "", Role.inspector, UNIT, "", UnitLevel.province, None if whole else (UNIT,))


@dataclass(frozen=True)
class TileLayer:
    """A layer of tiles.

    Attributes:
        fields: a feature's properties, by name.
        descriptions: of the fields, for TileJSON.
        condition: which rows, on a day.
        points: whether what is too small to be drawn is a point, and not left out.
        gravest: by what the point is chosen that stands for many.
        joined: the review, of a detection.
    """

    name: str
    title: str
    entity: type[Placed]
    fields: Mapping[str, ColumnElement[Any]]
    descriptions: Mapping[str, str]
    condition: Callable[[date], ColumnElement[bool]]
    points: bool = False
    gravest: ColumnElement[Any] | None = None
    joined: bool = False
    max_age_s: int = 300

    def rows(self, caller: Caller, on: date, *columns: ColumnElement[Any]) -> Select[Any]:
        """The base statement: what of the layer is the caller's to see on a day."""
        statement = select(*columns).select_from(self.entity)
        if self.joined:
            statement = statement.outerjoin(Review, Review.detection_id == Detection.id)
        return in_jurisdiction(statement, caller, self.entity).where(self.condition(on))

    @property
    def geom(self) -> Geom:
        return cast("Geom", cast("Any", self.entity).geom)

    @property
    def area_m2(self) -> ColumnElement[float]:
        return cast("ColumnElement[float]", cast("Any", self.entity).area_m2)

    @property
    def id(self) -> ColumnElement[UUID]:
        return cast("ColumnElement[UUID]", cast("Any", self.entity).id)


_CATEGORIES = {
    Layer.redlines: "main_function",
    Layer.key_function_zones: "main_function",
    Layer.protected_areas: "zone",
    Layer.scenic_areas: "zone",
    Layer.drinking_water_sources: "zone",
    Layer.permits: "permit_kind",
}
_WORDS = {
    "id": "UUID, as in the API",
    "code": "Code of the feature",
    "name": "Name",
    "level": "Level",
    "main_function": "Main function",
    "zone": "Zone",
    "permit_kind": "Kind of permit",
    "activity": "Kind of activity, by code",
    "verdict": "Verdict of the day of the change",
    "severity": "none, low, medium, high",
    "confidence": "low, high",
    "state": "State of the review, or of the case",
    "first_seen_on": "Day on which it was first seen",
    "number": "Number of the case",
    "priority": "Priority",
    "count": "How many a point stands for; the properties are the gravest one's",
}


def _boundary(layer: Layer) -> TileLayer:
    fields: dict[str, ColumnElement[Any]] = {
        "id": sql_cast(BoundaryFeature.id, Text),
        "code": cast("ColumnElement[Any]", BoundaryFeature.code),
        "name": cast("ColumnElement[Any]", BoundaryFeature.name),
        "level": cast("ColumnElement[Any]", BoundaryFeature.level),
    }
    if layer in _CATEGORIES:
        fields[_CATEGORIES[layer]] = cast("ColumnElement[Any]", BoundaryFeature.category)
    return TileLayer(
        name=layer.value,
        title=LAYER_LABELS[layer],
        entity=BoundaryFeature,
        fields=fields,
        descriptions={name: _WORDS[name] for name in fields},
        condition=lambda on: in_force(layer, on),
    )


_SEVERITY_RANK = case({"high": 3, "medium": 2, "low": 1}, value=sql_cast(Detection.severity, String), else_=0)
_DETECTION_FIELDS: dict[str, Any] = {
    "id": sql_cast(Detection.id, Text),
    "activity": Detection.activity,
    "verdict": Detection.verdict,
    "severity": Detection.severity,
    "confidence": Detection.confidence,
    "state": func.coalesce(sql_cast(Review.state, Text), "new"),
    "first_seen_on": sql_cast(Detection.first_seen_on, Text),
}
_CASE_FIELDS: dict[str, Any] = {
    "id": sql_cast(Case.id, Text),
    "number": Case.number,
    "state": Case.state,
    "activity": Case.activity,
    "priority": Case.priority,
}


def _described(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: _WORDS[name] for name in (*fields, "count")}


LAYERS: dict[str, TileLayer] = {layer.value: _boundary(layer) for layer in Layer} | {
    "detections": TileLayer(
        name="detections",
        title="疑似问题图斑",
        entity=Detection,
        fields=_DETECTION_FIELDS,
        descriptions=_described(_DETECTION_FIELDS),
        condition=lambda _: Detection.withdrawn_at.is_(None),
        points=True,
        gravest=_SEVERITY_RANK,
        joined=True,
        max_age_s=15,
    ),
    "cases": TileLayer(
        name="cases",
        title="问题台账",
        entity=Case,
        fields=_CASE_FIELDS,
        descriptions=_described(_CASE_FIELDS),
        condition=lambda _: literal(True),
        points=True,
        gravest=case((Case.priority == "ordinary", 0), else_=1),
        max_age_s=15,
    ),
}


def _value(name: str, kind: type[TypeEngine[Any]] = Double) -> BindParameter[Any]:
    return bindparam(name, type_=kind(), required=True)


def _box(name: str) -> ColumnElement[Any]:
    sides = (_value(f"{name}_{side}") for side in ("west", "south", "east", "north"))
    return cast("ColumnElement[Any]", func.ST_MakeEnvelope(*sides, SRID))


def _meets(layer: TileLayer) -> ColumnElement[bool]:
    """Written with `&&`, which alone finds the index behind row-level security."""
    return cast("ColumnElement[bool]", layer.geom.op("&&")(_box("box")))


def _values(caller: Caller, tile: TileAddress, on: date) -> dict[Any, Any]:
    """By name or stand-in, what the statements of a tile take, but for what depends on how coarse it is."""
    sides = ("west", "south", "east", "north")
    return {
        ON: on,
        UNIT: list(caller.units or ()),
        "z": tile.z,
        "x": tile.x,
        "y": tile.y,
        **{f"box_{side}": degree for side, degree in zip(sides, tile.box(BUFFER), strict=True)},
        # Twice the buffer: the sides of this cut are cut off again.
        **{f"cut_{side}": degree for side, degree in zip(sides, tile.box(2 * BUFFER), strict=True)},
    }


def stamp(session: Session, caller: Caller, layer: TileLayer, tile: TileAddress, on: date) -> str:
    """What changes whenever the tile may: known without making it.

    Of a boundary layer: the versions in force, and what else moves its features (divisions, revoked permits) or the
    day's choice among them. Of detections and cases: the ids and row versions of what lies in the tile. All with the
    caller's jurisdiction, so that no two callers who may see different rows share one.
    """
    statement = _stamp(layer.name, caller.units is None)
    found = statement.run(session, _values(caller, tile, on))
    units = "all" if caller.units is None else ",".join(sorted(unit.hex for unit in caller.units))
    parts = (TILE_VERSION, layer.name, tile, on, units, *found)
    return sha256(repr(parts).encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def _stamp(name: str, whole: bool) -> Frozen:
    layer = LAYERS[name]
    if layer.entity is BoundaryFeature:
        return Frozen(_boundary_stamp(Layer(name), ON))
    return Frozen(in_jurisdiction(_row_stamp(layer), _asking(whole), layer.entity))


def _boundary_stamp(layer: Layer, on: date) -> Select[Any]:
    versions = versions_in_force(layer, on).subquery()
    # Divisions decide whose every feature is (boundaries.units), whatever layer it is of.
    divisions = select(func.count()).where(
        LayerVersion.layer == Layer.divisions, LayerVersion.status == VersionStatus.confirmed
    )
    columns: list[Any] = [
        select(func.string_agg(sql_cast(versions.c.id, Text), ",")).scalar_subquery(),
        divisions.scalar_subquery(),
    ]
    if layer is Layer.permits:
        columns.append(select(func.count()).select_from(PermitRevocation).scalar_subquery())
    return select(*columns)


def _row_stamp(layer: TileLayer) -> Select[Any]:
    """Count and sum of hashes of (id, xmin): xmin is the transaction that wrote a row last."""
    rows = layer.entity.__table__.name  # type: ignore[attr-defined]
    marks = [sql_cast(layer.id, Text), literal_column(f"{rows}.xmin::text")]
    statement = select().select_from(layer.entity)
    if layer.joined:
        statement = statement.outerjoin(Review, Review.detection_id == Detection.id)
        marks.append(func.coalesce(literal_column("reviews.xmin::text"), ""))
    digest = func.hashtextextended(func.concat_ws("/", *marks), literal(0, BigInteger))
    return statement.add_columns(func.count(), sql_cast(func.sum(digest), Text)).where(_meets(layer))


@lru_cache(maxsize=256)
def _tile(name: str, whole: bool, cut: bool, exact: bool) -> Frozen:
    return Frozen(tile_statement(_asking(whole), LAYERS[name], ON, cut=cut, exact=exact))


def tile_statement(caller: Caller, layer: TileLayer, on: date, *, cut: bool, exact: bool) -> Select[Any]:
    """The statement of a tile: its bytes, and how many features it has.

    Args:
        cut: whether features are cut to the tile before they are projected.
        exact: whether they keep every vertex.

    The values it takes: `_values`, and `smallest`, `small` (m2), `tolerance` (degrees), `cell` (units) and `most`.
    """
    rows = layer.rows(
        caller,
        on,
        *(column.label(name) for name, column in layer.fields.items()),
        layer.geom.label("shape"),
        layer.area_m2.label("area"),
        *((layer.gravest.label("gravest"),) if layer.gravest is not None else ()),
    ).where(_meets(layer))
    if not layer.points:
        rows = rows.where(layer.area_m2 >= _value("smallest"))
        rows = rows.order_by(layer.area_m2.desc()).limit(_value("most", Integer))
    drawn = _drawn(layer, rows.subquery("chosen"), cut, exact)
    names = [*layer.fields, *(["count"] if layer.points else []), "geom"]
    features = select(*(drawn.c[name] for name in names)).where(drawn.c.geom.is_not(None))
    if layer.points:
        features = features.where(drawn.c.place == 1).order_by(drawn.c.area.desc()).limit(_value("most", Integer))
    tiled = features.subquery("tile")
    made = func.ST_AsMVT(literal_column("tile.*"), layer.name, EXTENT, "geom")
    return select(made, func.count()).select_from(tiled)


def _drawn(layer: TileLayer, chosen: Any, cut: bool, exact: bool) -> Any:
    """The chosen rows with their geometry in units of the tile, and for points the place within their cell."""
    envelope = func.ST_TileEnvelope(*(_value(name, Integer) for name in "zxy"))

    def in_tile(shape: Any) -> Any:
        # As WGS 84, from which EPSG:4490 differs by less than a millimetre: PROJ opens that one twice as fast.
        projected = func.ST_Transform(func.ST_SetSRID(shape, 4326), 3857)
        return func.ST_AsMVTGeom(projected, envelope, EXTENT, BUFFER, True)

    shape = func.ST_ClipByBox2D(chosen.c.shape, _box("cut")) if cut else chosen.c.shape
    polygon = in_tile(shape if exact else func.ST_Simplify(shape, _value("tolerance")))
    if not layer.points:
        return select(*chosen.c, polygon.label("geom")).subquery("drawn")
    point = in_tile(func.ST_Centroid(func.ST_Envelope(chosen.c.shape)))
    # A polygon that is larger, but so thin that nothing of it is left, is a point too.
    geom = case((chosen.c.area < _value("small"), point), else_=func.coalesce(polygon, point))
    placed = select(*chosen.c, geom.label("geom")).subquery("placed")
    is_point = func.ST_Dimension(placed.c.geom) == 0
    cell = (func.floor(axis(placed.c.geom) / _value("cell")) for axis in (func.ST_X, func.ST_Y))
    cells = [*(case((is_point, place)) for place in cell), case((~is_point, placed.c.id))]
    first = func.row_number().over(
        partition_by=cells, order_by=[placed.c.gravest.desc(), placed.c.area.desc(), placed.c.id]
    )
    many = func.count().over(partition_by=cells)
    return select(*placed.c, first.label("place"), many.label("count")).subquery("drawn")


def make_tile(session: Session, caller: Caller, layer: TileLayer, tile: TileAddress, on: date) -> bytes:
    """The tile's bytes (Mapbox Vector Tile 2.1), empty where there is nothing.

    A tile of more than `MAX_FEATURES` features has the largest ones, points a cell's gravest one. One of more than
    `MAX_BYTES` bytes is made again: coarser, with fewer features.
    """
    # A helper process would open PROJ's data anew for every tile: 50 ms.
    run_sql(session, "set local max_parallel_workers_per_gather = 0")
    most = MAX_FEATURES
    for round_ in range(ROUNDS):
        values, exact = _scaled(tile, 4**round_), round_ == 0 and tile.z >= FINEST_ZOOM
        statement = _tile(layer.name, caller.units is None, tile.z >= CUT_FROM_ZOOM, exact)
        row = statement.run(session, _values(caller, tile, on) | values | {"most": most})
        made, count = bytes(row[0] or b""), row[1]
        if len(made) <= MAX_BYTES and (not layer.points or count < most):
            break
        most = min(most, int(0.9 * count * MAX_BYTES / max(len(made), 1)) + 1) if len(made) > MAX_BYTES else most
    return made


def _scaled(tile: TileAddress, scale: int) -> dict[str, float]:
    """What the statement takes for how coarse a tile is. Lengths go with `scale`, 1 where all is as it should be."""
    pixel_m2 = (tile.unit_m * PIXEL) ** 2
    return {
        "smallest": pixel_m2 / 4,
        "small": 4 * pixel_m2 * scale**2,
        "tolerance": tile.degrees / EXTENT * _TOLERANCE * scale,
        "cell": float(scale),
    }


def extent(session: Session, caller: Caller, layer: TileLayer, on: date) -> tuple[float, float, float, float] | None:
    """West, south, east, north in degrees of what the caller sees of a layer; None where that is nothing."""
    box = layer.rows(caller, on, func.ST_Extent(layer.geom).label("box")).subquery()
    corner = (getattr(func, f"ST_{side}")(box.c.box) for side in ("XMin", "YMin", "XMax", "YMax"))
    row = session.execute(select(*corner)).one()
    return None if row[0] is None else (row[0], row[1], row[2], row[3])
