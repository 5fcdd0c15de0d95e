"""Vector tiles: what a layer looks like in one tile, by one statement.

A tile is 4,096 units wide with 64 units around it, drawn as 512 pixels: a pixel is 8 units. What of a feature cannot
be seen at a zoom is not sent; docs/maps.md says what that is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    String,
    Text,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from app.access.models import Placed
from app.access.service import Caller, in_jurisdiction
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, PermitRevocation, VersionStatus
from app.boundaries.service import in_force, versions_in_force
from app.boundaries.vocabulary import LAYER_LABELS
from app.casework.models import Case, Review
from app.foundation.geometry import SRID
from app.monitoring.models import Detection

# Goes up when the same rows make other tiles: no cache may answer with those of before.
TILE_VERSION = 1

MIN_ZOOM, MAX_ZOOM = 0, 22
# One unit is 0.15 m of the projection here: viewers enlarge these tiles rather than ask for finer ones.
FINEST_ZOOM = 16
EXTENT, BUFFER, PIXEL = 4096, 64, 8
MAX_FEATURES, MAX_BYTES = 10_000, 2**20
# Each round keeps vertices, and features, that are four times as large; the last shows the largest of what is left.
ROUNDS = 4
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


def _meets(layer: TileLayer, tile: TileAddress) -> ColumnElement[bool]:
    """Written with `&&`, which alone finds the index behind row-level security."""
    west, south, east, north = tile.box(BUFFER)
    envelope = func.ST_MakeEnvelope(
        bindparam("west", west), bindparam("south", south), bindparam("east", east), bindparam("north", north), SRID
    )
    return cast("ColumnElement[bool]", layer.geom.op("&&")(envelope))


def stamp(session: Session, caller: Caller, layer: TileLayer, tile: TileAddress, on: date) -> str:
    """What changes whenever the tile may: known without making it.

    Of a boundary layer: the versions in force, and what else moves its features (divisions, revoked permits) or the
    day's choice among them. Of detections and cases: the ids and row versions of what lies in the tile. All with the
    caller's jurisdiction, so that no two callers who may see different rows share one.
    """
    statement = _boundary_stamp(Layer(layer.name), on) if layer.entity is BoundaryFeature else _row_stamp(layer, tile)
    if layer.entity is not BoundaryFeature:
        statement = in_jurisdiction(statement, caller, layer.entity)
    units = "all" if caller.units is None else ",".join(sorted(unit.hex for unit in caller.units))
    parts = (TILE_VERSION, layer.name, tile, on, units, *session.execute(statement).one())
    return sha256(repr(parts).encode()).hexdigest()[:32]


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


def _row_stamp(layer: TileLayer, tile: TileAddress) -> Select[Any]:
    """Count and sum of hashes of (id, xmin): xmin is the transaction that wrote a row last."""
    rows = layer.entity.__table__.name  # type: ignore[attr-defined]
    marks = [sql_cast(layer.id, Text), literal_column(f"{rows}.xmin::text")]
    statement = select().select_from(layer.entity)
    if layer.joined:
        statement = statement.outerjoin(Review, Review.detection_id == Detection.id)
        marks.append(func.coalesce(literal_column("reviews.xmin::text"), ""))
    digest = func.hashtextextended(func.concat_ws("/", *marks), literal(0, BigInteger))
    return statement.add_columns(func.count(), sql_cast(func.sum(digest), Text)).where(_meets(layer, tile))


def tile_statement(
    caller: Caller, layer: TileLayer, tile: TileAddress, on: date, *, coarseness: int = 0
) -> Select[Any]:
    """The statement of one tile: its bytes, and the number of features before those over the limit were left out.

    Args:
        coarseness: 0, and up to `ROUNDS` - 1 where the tile was too large.
    """
    scale = 4**coarseness
    small_m2 = (tile.unit_m * PIXEL * scale) ** 2
    rows = layer.rows(
        caller,
        on,
        *(column.label(name) for name, column in layer.fields.items()),
        layer.geom.label("shape"),
        layer.area_m2.label("area"),
        *((layer.gravest.label("gravest"),) if layer.gravest is not None else ()),
    ).where(_meets(layer, tile))
    if not layer.points:
        rows = rows.where(layer.area_m2 >= bindparam("smallest", small_m2 / 4))
    rows = rows.order_by(layer.area_m2.desc()).limit(MAX_FEATURES + 1 if not layer.points else None)
    chosen = rows.subquery("chosen")
    drawn = _drawn(layer, chosen, tile, scale, small_m2)
    names = [*layer.fields, *(["count"] if layer.points else []), "geom"]
    features = select(*(drawn.c[name] for name in names)).where(drawn.c.geom.is_not(None))
    if layer.points:
        features = features.where(drawn.c.place == 1)
    tiled = features.limit(MAX_FEATURES + 1).subquery("tile")
    made = func.ST_AsMVT(literal_column("tile.*"), layer.name, EXTENT, "geom")
    return select(made, func.count()).select_from(tiled)


def _drawn(layer: TileLayer, chosen: Any, tile: TileAddress, scale: int, small_m2: float) -> Any:
    """The chosen rows with their geometry in units of the tile, and for points the place within their cell."""
    envelope = func.ST_TileEnvelope(tile.z, tile.x, tile.y)

    def in_tile(shape: Any) -> Any:
        # As WGS 84, from which EPSG:4490 differs by less than a millimetre: PROJ opens that one twice as fast.
        projected = func.ST_Transform(func.ST_SetSRID(shape, 4326), 3857)
        return func.ST_AsMVTGeom(projected, envelope, EXTENT, BUFFER, True)

    polygon = in_tile(_simplified(chosen.c.shape, tile, scale))
    if not layer.points:
        return select(*chosen.c, polygon.label("geom")).subquery("drawn")
    point = in_tile(func.ST_Centroid(func.ST_Envelope(chosen.c.shape)))
    # A polygon that is larger, but so thin that nothing of it is left, is a point too.
    geom = case((chosen.c.area < bindparam("small", 4 * small_m2), point), else_=func.coalesce(polygon, point))
    placed = select(*chosen.c, geom.label("geom")).subquery("placed")
    is_point = func.ST_Dimension(placed.c.geom) == 0
    cell = [
        case((is_point, sql_cast(func.floor(axis(placed.c.geom) / scale), BigInteger)))
        for axis in (func.ST_X, func.ST_Y)
    ]
    cells = [*cell, case((is_point, None), else_=placed.c.id)]
    window: dict[str, Any] = {"partition_by": cells}
    first = func.row_number().over(**window, order_by=[placed.c.gravest.desc(), placed.c.area.desc(), placed.c.id])
    many = func.count().over(**window)
    return select(*placed.c, first.label("place"), many.label("count")).subquery("drawn")


def _simplified(shape: Any, tile: TileAddress, scale: int) -> Any:
    if tile.z >= 10:
        # What lies far outside costs more to project than to cut off. Twice the buffer: the sides of this cut are cut
        # off again.
        shape = func.ST_ClipByBox2D(shape, func.ST_MakeEnvelope(*tile.box(2 * BUFFER), SRID))
    tolerance = tile.degrees / EXTENT * _TOLERANCE * scale
    return shape if tile.z >= FINEST_ZOOM and scale == 1 else func.ST_Simplify(shape, bindparam("tolerance", tolerance))


def make_tile(session: Session, caller: Caller, layer: TileLayer, tile: TileAddress, on: date) -> bytes:
    """The tile's bytes (Mapbox Vector Tile 2.1), empty where there is nothing.

    A tile of more than `MAX_FEATURES` features or `MAX_BYTES` bytes is made again, coarser.
    """
    # A helper process would open PROJ's data anew for every tile: 50 ms.
    session.execute(text("set local max_parallel_workers_per_gather = 0"))
    made = b""
    for coarseness in range(ROUNDS):
        row = session.execute(tile_statement(caller, layer, tile, on, coarseness=coarseness)).one()
        made, count = bytes(row[0] or b""), row[1]
        if count <= MAX_FEATURES and len(made) <= MAX_BYTES:
            break
    return made


def extent(session: Session, caller: Caller, layer: TileLayer, on: date) -> tuple[float, float, float, float] | None:
    """West, south, east, north in degrees of what the caller sees of a layer; None where that is nothing."""
    box = layer.rows(caller, on, func.ST_Extent(layer.geom).label("box")).subquery()
    corner = (getattr(func, f"ST_{side}")(box.c.box) for side in ("XMin", "YMin", "XMax", "YMax"))
    row = session.execute(select(*corner)).one()
    return None if row[0] is None else (row[0], row[1], row[2], row[3])
