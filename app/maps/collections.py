"""What maps are made of: the one table of collections, and the one place where their rows meet jurisdiction.

Items, tiles and exports read their rows through `base_statement`, nothing else: it limits them to the caller's
jurisdiction in the query, and row-level security does so again in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, Text, func, literal_column, select, type_coerce

from app.access.models import Placed, Unit
from app.access.service import Caller, in_jurisdiction
from app.boundaries.columns import COLUMNS
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, VersionStatus
from app.boundaries.vocabulary import LAYER_LABELS, VERDICT_LABELS
from app.casework.lifecycle import STATE_LABELS, ReviewState
from app.casework.models import Case
from app.casework.review_models import Review
from app.foundation.errors import NotFound
from app.foundation.geometry import SRID
from app.monitoring.activities import known_activities
from app.monitoring.models import Detection


class Kind(StrEnum):
    """What a property holds."""

    text = "text"
    uuid = "uuid"
    number = "number"
    integer = "integer"
    boolean = "boolean"
    day = "day"
    instant = "instant"
    # JSON of no fixed form: shown, not to be queried.
    object = "object"


def _no_labels() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Property:
    """A property of a collection's features.

    Attributes:
        expression: its SQL value.
        labels: the Chinese of each code, of a property that holds codes.
    """

    name: str
    kind: Kind
    zh: str
    en: str
    expression: ColumnElement[Any]
    labels: Callable[[], Mapping[str, str]] = field(default=_no_labels, compare=False)

    @property
    def is_queryable(self) -> bool:
        return self.kind is not Kind.object


@dataclass(frozen=True, eq=False)
class Collection:
    """Features of one kind.

    Attributes:
        id: as in addresses.
        entity: the table; it holds a place, so it has `unit_ids`, `id` and a polygon `geom` (EPSG:4490).
        layer: of a boundary layer; what `datetime` asks for is then what was in force.
        moment: the property that `datetime` asks for, of any other collection.
        shown: further condition on the rows that lists show.
    """

    id: str
    zh: str
    en: str
    entity: type[Placed]
    properties: tuple[Property, ...]
    layer: Layer | None = None
    moment: str | None = None
    shown: ColumnElement[bool] | None = None

    @property
    def row_id(self) -> ColumnElement[Any]:
        return cast("ColumnElement[Any]", cast("Any", self.entity).id)

    @property
    def geom(self) -> ColumnElement[Any]:
        return cast("ColumnElement[Any]", cast("Any", self.entity).geom)

    @cached_property
    def queryables(self) -> dict[str, Property]:
        """What filters may name, besides `geometry`."""
        identifier = Property("id", Kind.uuid, "标识", "Identifier", self.row_id)
        return {entry.name: entry for entry in (identifier, *self.properties) if entry.is_queryable}


def base_statement(collection: Collection, caller: Caller, *columns: Any) -> Select[Any]:
    """Select `columns` of the rows that lists and maps of a collection show to a caller, whatever their time.

    The one place that limits items, tiles and exports to the caller's jurisdiction. It says nothing of time:
    `app.maps.moments.condition` does.
    """
    statement = select(*columns).select_from(collection.entity)
    if collection.layer is not None:
        statement = statement.where(BoundaryFeature.layer == collection.layer)
    if collection.shown is not None:
        statement = statement.where(collection.shown)
    return in_jurisdiction(statement, caller, collection.entity)


def one_statement(collection: Collection, caller: Caller, row_id: Any, *columns: Any) -> Select[Any]:
    """Select `columns` of the row with an id, of whatever time; of a boundary, of any version but a mere proposal."""
    statement = select(*columns).select_from(collection.entity).where(collection.row_id == row_id)
    if collection.layer is not None:
        confirmed = select(LayerVersion.id).where(LayerVersion.status == VersionStatus.confirmed)
        statement = statement.where(
            BoundaryFeature.layer == collection.layer, BoundaryFeature.version_id.in_(confirmed)
        )
    return in_jurisdiction(statement, caller, collection.entity)


def meets_box(collection: Collection, box: tuple[Any, Any, Any, Any]) -> ColumnElement[bool]:
    """The condition that a feature meets west, south, east, north; the index serves its first half.

    Row-level security hides the index from functions that may leak, so `&&` is written out (DESIGN section 6).
    """
    envelope = func.ST_MakeEnvelope(*box, SRID)
    meets = collection.geom.op("&&")(envelope) & func.ST_Intersects(collection.geom, envelope)
    return cast("ColumnElement[bool]", meets)


def find_collection(name: str) -> Collection:
    """Raises: NotFound: there is no such collection."""
    found = COLLECTIONS.get(name)
    if found is None:
        raise NotFound()
    return found


def _text(column: Any) -> ColumnElement[Any]:
    # A column that takes the words of an enumeration refuses to be compared with any other word.
    return type_coerce(column, Text)


def _of_row(column: Any) -> ColumnElement[Any]:
    """A column of the row at hand, by the table's name alone: a page of items is no table that SQLAlchemy knows by it,
    and a subquery that named the mapped column would look through the whole table again.
    """
    return literal_column(f"{column.class_.__tablename__}.{column.key}", column.type)


def _unit_code(column: Any) -> ColumnElement[Any]:
    return select(Unit.code).where(Unit.id == _of_row(column)).scalar_subquery()


def _unit_name(column: Any) -> ColumnElement[Any]:
    return select(Unit.name).where(Unit.id == _of_row(column)).scalar_subquery()


_CATEGORIES = {
    "main_function": ("主导功能", "Main function"),
    "zone": ("分区", "Zone"),
    "permit_kind": ("认定类型", "Kind of permit"),
}
_LAYER_TITLES = {
    Layer.divisions: "Supervising units",
    Layer.redlines: "Ecological red lines",
    Layer.protected_areas: "Protected areas and their zones",
    Layer.key_function_zones: "Key ecological function zones",
    Layer.biodiversity_priority_areas: "Biodiversity priority areas",
    Layer.scenic_areas: "Scenic areas",
    Layer.drinking_water_sources: "Drinking-water source areas",
    Layer.important_wetlands: "Important wetlands",
    Layer.permits: "Permits",
}


def _boundary(layer: Layer) -> Collection:
    columns = COLUMNS[layer]
    row = BoundaryFeature

    def labels(column: str) -> Callable[[], Mapping[str, str]]:
        return lambda: columns.vocabularies.get(column, {})

    properties = [
        Property("code", Kind.text, "编码", "Code", row.code.expression),
        Property("name", Kind.text, "名称", "Name", row.name.expression),
        Property("level", Kind.text, "级别", "Level", row.level.expression, labels("level")),
    ]
    if columns.category:
        zh, en = _CATEGORIES[columns.category]
        properties.append(
            Property(columns.category, Kind.text, zh, en, row.category.expression, labels(columns.category))
        )
    if layer is Layer.permits:
        properties.append(Property("holder", Kind.text, "持有人", "Holder", row.holder.expression))
    properties += [
        Property("document", Kind.text, "文件", "Document", row.document.expression),
        Property("valid_from", Kind.day, "生效日期", "First day in force", row.valid_from.expression),
        Property("valid_to", Kind.day, "失效日期", "Last day in force", row.valid_to.expression),
        Property("established_on", Kind.day, "设立日期", "Day of establishment", row.established_on.expression),
        Property("area_m2", Kind.number, "面积_平方米", "Geodesic area, m²", row.area_m2.expression),
        Property("version_id", Kind.uuid, "版本标识", "Version that it came with", row.version_id.expression),
        Property("attributes", Kind.object, "其他属性", "Further columns of the file", row.attributes.expression),
    ]
    return Collection(layer.value, LAYER_LABELS[layer], _LAYER_TITLES[layer], row, tuple(properties), layer=layer)


def _activity_labels() -> Mapping[str, str]:
    return {code: known.cause.label for code, known in known_activities().items()}


def _verdict_labels() -> Mapping[str, str]:
    return {verdict.value: label for verdict, label in VERDICT_LABELS.items()}


def _state_labels() -> Mapping[str, str]:
    return {state.value: label for state, label in STATE_LABELS.items()}


def _coded(**labels: str) -> Callable[[], Mapping[str, str]]:
    return lambda: labels


_DETECTION = (
    Property("activity", Kind.text, "活动类型", "Activity", Detection.activity.expression, _activity_labels),
    Property(
        "change_type", Kind.text, "变化类型", "Change", _text(Detection.change_type),
        _coded(new="新增", expanded="扩大"),
    ),
    Property(
        "confidence", Kind.text, "置信度", "Confidence", _text(Detection.confidence), _coded(low="低", high="高")
    ),
    Property("last_clear_on", Kind.day, "前次清晰影像日期", "Last clear view", Detection.last_clear_on.expression),
    Property("first_seen_on", Kind.day, "首次发现日期", "First seen", Detection.first_seen_on.expression),
    Property("confirmed_on", Kind.day, "确认日期", "Confirmed", Detection.confirmed_on.expression),
    Property("published_at", Kind.instant, "发布时间", "Published", Detection.published_at.expression),
    Property("area_m2", Kind.number, "面积_平方米", "Geodesic area, m²", Detection.area_m2.expression),
    Property("verdict", Kind.text, "合规判定", "Verdict", _text(Detection.verdict), _verdict_labels),
    Property("verdict_now", Kind.text, "现时判定", "Verdict by now", _text(Detection.verdict_now), _verdict_labels),
    Property("verdict_ground_zh", Kind.text, "判定依据", "Ground, Chinese", Detection.verdict_ground_zh.expression),
    Property("verdict_ground", Kind.text, "判定依据_英文", "Ground, English", Detection.verdict_ground.expression),
    Property(
        "severity", Kind.text, "严重程度", "Severity", _text(Detection.severity),
        _coded(none="无", low="低", medium="中", high="高"),
    ),
    Property(
        "establishment", Kind.text, "历史遗留或新增", "Before or after the area was established",
        _text(Detection.establishment), _coded(legacy="历史遗留", new="新增"),
    ),
    Property(
        "redline_distance_m", Kind.number, "距红线_米", "To the nearest red line, m",
        Detection.redline_distance_m.expression,
    ),
    Property("lead_unit", Kind.text, "牵头单位编码", "Lead unit, code", _unit_code(Detection.lead_unit_id)),
    Property("lead_unit_name", Kind.text, "牵头单位", "Lead unit", _unit_name(Detection.lead_unit_id)),
    Property(
        "review_state", Kind.text, "研判状态", "State of the review",
        func.coalesce(
            select(_text(Review.state)).where(Review.detection_id == _of_row(Detection.id)).scalar_subquery(),
            ReviewState.new.value,
            type_=Text,
        ),
    ),
    Property("simulated", Kind.boolean, "模拟数据", "Simulated", Detection.simulated.expression),
    Property("plan_id", Kind.uuid, "监测方案标识", "Monitoring plan", Detection.plan_id.expression),
)  # fmt: skip
_CASE = (
    Property("number", Kind.text, "问题编号", "Number", Case.number.expression),
    Property("state", Kind.text, "状态", "State", _text(Case.state), _state_labels),
    Property("activity", Kind.text, "活动类型", "Activity", Case.activity.expression, _activity_labels),
    Property("priority", Kind.text, "优先级", "Priority", Case.priority.expression,
             _coded(ordinary="一般", high="较高", urgent="紧急")),
    Property("supervision_source", Kind.text, "问题来源", "Source", Case.supervision_source.expression),
    Property("lead_unit", Kind.text, "牵头单位编码", "Lead unit, code", _unit_code(Case.lead_unit_id)),
    Property("lead_unit_name", Kind.text, "牵头单位", "Lead unit", _unit_name(Case.lead_unit_id)),
    Property("accepting_unit", Kind.text, "验收单位编码", "Accepting unit, code", _unit_code(Case.accepting_unit_id)),
    Property("opened_at", Kind.instant, "立案时间", "Opened", Case.opened_at.expression),
    Property("first_due_on", Kind.day, "首次整改期限", "First approved due date", Case.first_due_on.expression),
    Property("due_on", Kind.day, "整改期限", "Due date", Case.due_on.expression),
    Property("notice_until", Kind.day, "公示截止", "End of the public notice", Case.notice_until.expression),
    Property("area_m2", Kind.number, "面积_平方米", "Geodesic area, m²", Case.area_m2.expression),
    Property("version", Kind.integer, "版本号", "Version", Case.version.expression),
    Property("simulated", Kind.boolean, "模拟数据", "Simulated", Case.simulated.expression),
    Property("detection_id", Kind.uuid, "图斑标识", "Detection", Case.detection_id.expression),
)  # fmt: skip

COLLECTIONS: dict[str, Collection] = {
    **{layer.value: _boundary(layer) for layer in Layer},
    "detections": Collection(
        "detections",
        "疑似问题图斑",
        "Suspected sites found by monitoring",
        Detection,
        _DETECTION,
        moment="first_seen_on",
        # What was a mere suspicion and is gone from the imagery stays out of maps; it can be had by its id.
        shown=Detection.withdrawn_at.is_(None),
    ),
    "cases": Collection("cases", "问题台账", "Cases under supervision", Case, _CASE, moment="opened_at"),
}
