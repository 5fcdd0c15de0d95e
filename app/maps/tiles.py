"""Vector tiles: what a layer looks like in one tile, by one statement, and what changes whenever it may look otherwise.

What of a feature cannot be seen at a zoom is not sent; docs/maps.md says what that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Double,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from app.access.service import Caller
from app.boundaries.models import Layer, LayerVersion, PermitRevocation, VersionStatus
from app.boundaries.service import in_force, versions_in_force
from app.casework.models import Case
from app.casework.review_models import Review
from app.foundation.database import run_sql
from app.foundation.errors import NotFound
from app.foundation.geometry import SRID
from app.maps.collections import COLLECTIONS, Collection, base_statement
from app.maps.frozen import ON, UNIT, Frozen, asking
from app.maps.tile_grid import BUFFER, EXTENT, PIXEL, TileAddress
from app.monitoring.models import Detection

# Goes up when the same rows make other tiles: no cache may answer with those of before.
TILE_VERSION = 1
# One unit is 0.15 m of the projection here: viewers enlarge these tiles rather than ask for finer ones.
FINEST_ZOOM = 16
# From here on what lies outside a tile costs more to project than to cut off.
CUT_FROM_ZOOM = 10
MAX_FEATURES, MAX_BYTES = 20_000, 2**21
# How often a tile over the limits is made again; each time what is kept is four times as long.
ROUNDS = 4
_TOLERANCE = 2  # units


@dataclass(frozen=True, eq=False)
class TileLayer:
    """A collection as a layer of tiles.

    Attributes:
        fields: the properties that its features carry.
        gravest: of many points in one place, the one with the largest value stands for all. None: what is too small
            to be drawn is left out, and not a point.
        max_age_s: how long a client need not ask again.
    """

    collection: Collection
    fields: tuple[str, ...]
    gravest: ColumnElement[Any] | None = None
    max_age_s: int = 300

    @property
    def id(self) -> str:
        return self.collection.id

    @property
    def descriptions(self) -> dict[str, str]:
        """Of the fields of a feature, for TileJSON."""
        known = {name: f"{entry.zh} {entry.en}" for name, entry in self.collection.queryables.items()}
        more = {} if self.gravest is None else {"count": "How many a point stands for; it shows the gravest of them"}
        return {name: known[name] for name in self.fields} | more

    @property
    def area_m2(self) -> ColumnElement[Any]:
        return self.collection.queryables["area_m2"].expression

    def rows(self, caller: Caller, on: date, *columns: Any) -> Select[Any]:
        """What of the layer a caller sees; of boundaries, what is in force on a day."""
        statement = base_statement(self.collection, caller, *columns)
        layer = self.collection.layer
        return statement if layer is None else statement.where(in_force(layer, on))


def _layers() -> dict[str, TileLayer]:
    layers = []
    for collection in COLLECTIONS.values():
        wanted = ("id", "code", "name", "level", "main_function", "zone", "permit_kind")
        if collection.layer is not None:
            layers.append(TileLayer(collection, tuple(name for name in wanted if name in collection.queryables)))
    severity = case({"high": 3, "medium": 2, "low": 1}, value=sql_cast(Detection.severity, Text), else_=0)
    detection = ("id", "activity", "verdict", "severity", "confidence", "review_state", "first_seen_on")
    layers.append(TileLayer(COLLECTIONS["detections"], detection, severity, max_age_s=15))
    priority = case({"urgent": 2, "high": 1}, value=sql_cast(Case.priority, Text), else_=0)
    layers.append(
        TileLayer(COLLECTIONS["cases"], ("id", "number", "state", "activity", "priority"), priority, max_age_s=15)
    )
    return {layer.id: layer for layer in layers}


LAYERS = _layers()


def find_layer(name: str) -> TileLayer:
    """Raises: NotFound: there are no such tiles."""
    if name not in LAYERS:
        raise NotFound()
    return LAYERS[name]


def _value(name: str, kind: type[TypeEngine[Any]] = Double) -> BindParameter[Any]:
    return bindparam(name, type_=kind(), required=True)


def _box(name: str) -> ColumnElement[Any]:
    sides = (_value(f"{name}_{side}") for side in ("west", "south", "east", "north"))
    return cast("ColumnElement[Any]", func.ST_MakeEnvelope(*sides, SRID))


def _meets(collection: Collection) -> ColumnElement[bool]:
    """Written with `&&`, which alone finds the index behind row-level security."""
    return cast("ColumnElement[bool]", collection.geom.op("&&")(_box("box")))


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
    found = _stamp(layer, caller.units is None).run(session, _values(caller, tile, on))
    units = "all" if caller.units is None else ",".join(sorted(unit.hex for unit in caller.units))
    return sha256(repr((TILE_VERSION, layer.id, tile, on, units, *found)).encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def _stamp(layer: TileLayer, whole: bool) -> Frozen:
    boundary = layer.collection.layer
    return Frozen(_row_stamp(layer.collection, asking(whole)) if boundary is None else _boundary_stamp(boundary))


def _boundary_stamp(layer: Layer) -> Select[Any]:
    versions = versions_in_force(layer, ON).subquery()
    ids = sql_cast(versions.c.id, Text)
    # Divisions decide whose every feature is (boundaries.units), whatever layer it is of.
    divisions = select(func.count()).where(
        LayerVersion.layer == Layer.divisions, LayerVersion.status == VersionStatus.confirmed
    )
    columns: list[Any] = [
        select(func.array_agg(ids)).scalar_subquery(),
        divisions.scalar_subquery(),
    ]
    if layer is Layer.permits:
        columns.append(select(func.count()).select_from(PermitRevocation).scalar_subquery())
    return select(*columns)


def _row_stamp(collection: Collection, caller: Caller) -> Select[Any]:
    """Count and sum of hashes of (id, xmin): xmin is the transaction that wrote a row last."""
    # `Placed`, the type of an entity, is a mixin without a table of its own.
    table = collection.entity.__tablename__  # type: ignore[attr-defined]
    marks: list[Any] = [sql_cast(collection.row_id, Text), literal_column(f"{table}.xmin::text")]
    if collection.entity is Detection:
        review: Select[Any] = select(literal_column("reviews.xmin::text")).where(Review.detection_id == Detection.id)
        marks.append(review.scalar_subquery())
    digest = func.hashtextextended(func.concat_ws("/", *marks), literal(0, BigInteger))
    return base_statement(collection, caller, func.count(), sql_cast(func.sum(digest), Text)).where(_meets(collection))


@lru_cache(maxsize=256)
def _tile(layer: TileLayer, whole: bool, cut: bool, exact: bool) -> Frozen:
    return Frozen(tile_statement(asking(whole), layer, ON, cut=cut, exact=exact))


def tile_statement(caller: Caller, layer: TileLayer, on: date, *, cut: bool, exact: bool) -> Select[Any]:
    """The statement of a tile: its bytes, and how many features it has.

    It takes the values of `tile_values`.

    Args:
        cut: whether features are cut to the tile before they are projected.
        exact: whether they keep every vertex.
    """
    known = layer.collection.queryables
    columns = [known[name].expression.label(name) for name in layer.fields]
    columns += [layer.collection.geom.label("shape"), layer.area_m2.label("area")]
    if layer.gravest is not None:
        columns.append(layer.gravest.label("gravest"))
    rows = layer.rows(caller, on, *columns).where(_meets(layer.collection))
    most = _value("most", Integer)
    if layer.gravest is None:
        rows = rows.where(layer.area_m2 >= _value("smallest")).order_by(layer.area_m2.desc()).limit(most)
        drawn = _drawn_polygons(rows.subquery("chosen"), cut, exact)
        features = select(*_fields(drawn, [*layer.fields, "geom"])).where(drawn.c.geom.is_not(None))
    else:
        drawn = _drawn_with_points(rows.subquery("chosen"), cut, exact)
        features = select(*_fields(drawn, [*layer.fields, "count", "geom"]))
        features = features.where(drawn.c.geom.is_not(None), drawn.c.place == 1)
        features = features.order_by(drawn.c.gravest.desc(), drawn.c.area.desc()).limit(most)
    made = func.ST_AsMVT(literal_column("tile.*"), layer.id, EXTENT, "geom")
    return select(made, func.count()).select_from(features.subquery("tile"))


def _fields(drawn: Any, names: Sequence[str]) -> list[Any]:
    """Columns as ST_AsMVT takes them: it knows text, numbers and booleans."""
    return [
        sql_cast(drawn.c[name], Text).label(name) if name in ("id", "first_seen_on") else drawn.c[name]
        for name in names
    ]


def _in_tile(shape: Any) -> Any:
    """A shape in units of the tile, cut to it and its buffer; NULL where nothing is left."""
    envelope = func.ST_TileEnvelope(*(_value(name, Integer) for name in "zxy"))
    # As WGS 84: the coordinates come out the same, and PROJ opens that transformation twice as fast.
    projected = func.ST_Transform(func.ST_SetSRID(shape, 4326), 3857)
    return func.ST_AsMVTGeom(projected, envelope, EXTENT, BUFFER, True)


def _polygon_in_tile(chosen: Any, cut: bool, exact: bool) -> Any:
    shape = func.ST_ClipByBox2D(chosen.c.shape, _box("cut")) if cut else chosen.c.shape
    return _in_tile(shape if exact else func.ST_Simplify(shape, _value("tolerance")))


def _drawn_polygons(chosen: Any, cut: bool, exact: bool) -> Any:
    return _once(select(*chosen.c, _polygon_in_tile(chosen, cut, exact).label("geom"))).subquery("drawn")


def _once(statement: Select[Any]) -> Select[Any]:
    """Keeps PostgreSQL from writing a geometry's expression wherever it is named, to be evaluated there each time."""
    return statement.offset(literal_column("0", Integer))


def _drawn_with_points(chosen: Any, cut: bool, exact: bool) -> Any:
    """The chosen rows with their geometry in the tile: a point where the polygon is too small.

    Also `place` and `count`: a point's rank among those of its cell, and how many these are; 1 and 1 of a polygon.
    """
    polygon = _polygon_in_tile(chosen, cut, exact)
    point = _in_tile(func.ST_Centroid(func.ST_Envelope(chosen.c.shape)))
    # A polygon that is larger, but so thin that nothing of it is left, is a point too.
    geom = case((chosen.c.area < _value("small"), point), else_=func.coalesce(polygon, point))
    placed = _once(select(*chosen.c, geom.label("geom"))).subquery("placed")
    is_point = func.ST_Dimension(placed.c.geom) == 0
    cell = (func.floor(axis(placed.c.geom) / _value("cell")) for axis in (func.ST_X, func.ST_Y))
    cells = [*(case((is_point, place)) for place in cell), case((~is_point, placed.c.id))]
    rank = [placed.c.gravest.desc(), placed.c.area.desc(), placed.c.id]
    first = func.row_number().over(partition_by=cells, order_by=rank)
    many = func.count().over(partition_by=cells)
    return select(*placed.c, first.label("place"), many.label("count")).subquery("drawn")


def make_tile(session: Session, caller: Caller, layer: TileLayer, tile: TileAddress, on: date) -> bytes:
    """The tile's bytes (Mapbox Vector Tile 2.1), empty where there is nothing.

    Over `MAX_FEATURES` features, boundaries are the largest ones, and points stand for larger cells. Over `MAX_BYTES`
    bytes the tile is made again: coarser, with fewer features.
    """
    # A helper process would open PROJ's data anew for every tile: 50 ms.
    run_sql(session, "set local max_parallel_workers_per_gather = 0")
    most = MAX_FEATURES
    made = b""
    for round_ in range(ROUNDS):
        statement = _tile(layer, caller.units is None, *how_made(tile, round_))
        row: Any = statement.run(session, tile_values(caller, tile, on, round_, most))
        made, count = bytes(row[0] or b""), int(row[1])
        if len(made) > MAX_BYTES:
            most = max(1, int(0.9 * count * MAX_BYTES / len(made)))
        elif layer.gravest is None or count < most:
            break
    return made


def how_made(tile: TileAddress, round_: int = 0) -> tuple[bool, bool]:
    """Whether a tile's features are cut first, and whether they keep every vertex (`tile_statement`)."""
    return tile.z >= CUT_FROM_ZOOM, round_ == 0 and tile.z >= FINEST_ZOOM


def tile_values(
    caller: Caller, tile: TileAddress, on: date, round_: int = 0, most: int = MAX_FEATURES
) -> dict[Any, Any]:
    """What the statement of a tile takes. Each round all that is kept is four times as long."""
    scale = 4**round_
    pixel_m2 = (tile.unit_m * PIXEL) ** 2
    return _values(caller, tile, on) | {
        # A quarter of a pixel; four pixels.
        "smallest": pixel_m2 / 4,
        "small": 4 * pixel_m2 * scale**2,
        "tolerance": tile.degrees / EXTENT * _TOLERANCE * scale,
        "cell": float(scale),
        "most": most,
    }


def extent(session: Session, caller: Caller, layer: TileLayer, on: date) -> tuple[float, float, float, float] | None:
    """West, south, east, north in degrees of what the caller sees of a layer; None where that is nothing."""
    box = layer.rows(caller, on, func.ST_Extent(layer.collection.geom).label("box")).subquery()
    corner = (getattr(func, f"ST_{side}")(box.c.box) for side in ("XMin", "YMin", "XMax", "YMax"))
    row = session.execute(select(*corner)).one()
    return None if row[0] is None else (row[0], row[1], row[2], row[3])
