"""What people call the keys of groups."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.boundaries.columns import AREA_LEVELS, ZONES
from app.boundaries.law.files import SEVERITY_LABELS
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion
from app.boundaries.vocabulary import VERDICT_LABELS
from app.casework.green_shield import KEY_PROBLEMS
from app.casework.lifecycle import STATE_LABELS
from app.casework.vocabulary import SupervisionLevel, SupervisionSource
from app.casework.words import WORDS
from app.monitoring.activities import known_activities
from app.statistics.dimensions import DIMENSIONS, UNRECORDED, Dimension
from app.statistics.unit_keys import UnitTable

_SOURCES = {source.value: label for source, label in WORDS[SupervisionSource].items()}
_FIXED: Mapping[Dimension, Mapping[str, str]] = MappingProxyType(
    {
        Dimension.supervision_source: _SOURCES,
        Dimension.any_source: _SOURCES,
        Dimension.supervision_level: {level.value: label for level, label in WORDS[SupervisionLevel].items()},
        Dimension.severity: SEVERITY_LABELS,
        Dimension.verdict: {verdict.value: label for verdict, label in VERDICT_LABELS.items()},
        Dimension.state: {state.value: label for state, label in STATE_LABELS.items()},
        Dimension.key_problem: {name: kind.label for name, kind in KEY_PROBLEMS.items()},
        Dimension.protected_area_level: AREA_LEVELS,
        Dimension.zone: ZONES,
        Dimension.priority: {"ordinary": "一般", "high": "较高", "urgent": "紧急"},
        Dimension.origin: {
            "detection": "图斑",
            "clue_list": "线索清单",
            "report": "报告",
            "split": "拆分",
            "new_offender": "新主体",
            "imported": "导入",
        },
    }
)
_LAYERS = {Dimension.protected_area: Layer.protected_areas, Dimension.redline: Layer.redlines}


class Labels:
    """Names by dimension and key; those of protected areas and red lines are the newest version's."""

    def __init__(self, session: Session, units: UnitTable) -> None:
        self._session = session
        self._units = units
        self._features: dict[Dimension, dict[str, str]] = {}

    def of(self, dimension: Dimension, key: str) -> str | None:
        """What people call a group; None: by its key."""
        if key == UNRECORDED:
            return "未记录"
        if DIMENSIONS[dimension].by_unit:
            return self._units.names.get(key)
        if dimension is Dimension.activity:
            known = known_activities().get(key)
            return known.cause.label if known else None
        if dimension in _LAYERS:
            return self._named(dimension).get(key)
        return _FIXED.get(dimension, {}).get(key)

    def _named(self, dimension: Dimension) -> dict[str, str]:
        if dimension not in self._features:
            statement = (
                select(BoundaryFeature.code, BoundaryFeature.name)
                .join(LayerVersion, LayerVersion.id == BoundaryFeature.version_id)
                .where(LayerVersion.layer == _LAYERS[dimension])
                .order_by(LayerVersion.valid_from, LayerVersion.number)
            )
            self._features[dimension] = {row.code: row.name for row in self._session.execute(statement)}
        return self._features[dimension]
