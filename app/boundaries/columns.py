"""What columns each layer's file must have, and how their values are read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from app.access.models import UnitLevel
from app.boundaries.models import Layer
from app.boundaries.vocabulary import PERMIT_LABELS

# DESIGN section 5; the labels are accepted beside the codes.
ZONES = {
    "core_protection": "核心保护区",
    "general_control": "一般控制区",
    "reserve_core": "核心区",
    "reserve_buffer": "缓冲区",
    "reserve_experimental": "实验区",
}
AREA_LEVELS = {"national": "国家级", "provincial": "省级", "prefecture": "市级", "county": "县级"}
# 风景名胜区总体规划标准 GB/T 50298-2018: the first-grade zone is the core scenic area.
SCENIC_ZONES = {"scenic_core": "核心景区", "scenic_general": "一般景区"}
# 水污染防治法 第六十三条
WATER_ZONES = {"water_grade_1": "一级保护区", "water_grade_2": "二级保护区", "water_quasi": "准保护区"}
WETLAND_LEVELS = {"international": "国际重要湿地", "national": "国家重要湿地", "provincial": "省级重要湿地"}
_UNIT_LEVELS = {level.value: level.value for level in UnitLevel}
_DATE = re.compile(r"(\d{4})[-/]?(\d{2})[-/]?(\d{2})(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")


@dataclass(frozen=True)
class LayerColumns:
    """Columns of one layer's file.

    Attributes:
        required: must be there.
        may_be_blank: of the required ones, those that may be empty in a feature.
        category: the column that becomes a feature's `category`.
        vocabularies: by column, the codes it may hold with their Chinese labels.
        identity: the columns that together tell one feature from another.
    """

    required: tuple[str, ...]
    may_be_blank: tuple[str, ...] = ()
    category: str | None = None
    vocabularies: dict[str, dict[str, str]] = field(default_factory=dict)
    identity: tuple[str, ...] = ("code",)


COLUMNS: dict[Layer, LayerColumns] = {
    Layer.divisions: LayerColumns(
        ("code", "name", "level", "parent"), may_be_blank=("parent",), vocabularies={"level": _UNIT_LEVELS}
    ),
    Layer.redlines: LayerColumns(("code", "name", "main_function"), category="main_function"),
    # A protected area has one code and several zones.
    Layer.protected_areas: LayerColumns(
        ("code", "name", "level", "zone"),
        category="zone",
        vocabularies={"level": AREA_LEVELS, "zone": ZONES},
        identity=("code", "zone"),
    ),
    Layer.key_function_zones: LayerColumns(("code", "name", "main_function"), category="main_function"),
    Layer.biodiversity_priority_areas: LayerColumns(("code", "name")),
    Layer.scenic_areas: LayerColumns(
        ("code", "name", "level", "zone"),
        category="zone",
        vocabularies={"level": AREA_LEVELS, "zone": SCENIC_ZONES},
        identity=("code", "zone"),
    ),
    Layer.drinking_water_sources: LayerColumns(
        ("code", "name", "zone"),
        category="zone",
        vocabularies={"level": AREA_LEVELS, "zone": WATER_ZONES},
        identity=("code", "zone"),
    ),
    Layer.important_wetlands: LayerColumns(("code", "name", "level"), vocabularies={"level": WETLAND_LEVELS}),
    Layer.permits: LayerColumns(
        ("code", "name", "permit_kind", "holder", "document", "valid_from", "valid_to"),
        may_be_blank=("valid_to",),  # a right without an end
        category="permit_kind",
        vocabularies={"permit_kind": {kind.value: label for kind, label in PERMIT_LABELS.items()}},
    ),
}
_KNOWN = ("code", "name", "level", "holder", "document", "valid_from", "valid_to", "established_on")


def known_columns(layer: Layer) -> tuple[str, ...]:
    """Columns that have a place of their own in a feature; all others go to its attributes."""
    category = COLUMNS[layer].category
    return (*_KNOWN, category) if category else _KNOWN


def match_columns(layer: Layer, found: list[str], limit: int | None) -> dict[str, str]:
    """Our name of each column of a file that we know, by the file's name.

    Case does not matter; `limit` is the length to which the format cuts names (10 in a Shapefile).
    """
    ours = {name.casefold()[:limit]: name for name in dict.fromkeys((*COLUMNS[layer].required, *known_columns(layer)))}
    return {name: ours[name.casefold()] for name in found if name.casefold() in ours}


def read_text(value: Any) -> str | None:
    """Text of a cell; None when blank. Numbers are written out, as codes are often stored as numbers."""
    if value is None or isinstance(value, bool | list | dict):
        return None
    return str(value).strip() or None


def read_date(value: Any) -> date | None:
    """A day written YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD; None when blank.

    Raises:
        ValueError: it is none of these, or no such day exists.
    """
    text = read_text(value)
    if text is None:
        return None
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return datetime.strptime("".join(match.groups()), "%Y%m%d").date()  # noqa: DTZ007  # a day has no time zone


def read_coded(value: str, vocabulary: dict[str, str]) -> str | None:
    """The code that a value, itself a code or its label, stands for; None when it is neither."""
    if value in vocabulary:
        return value
    return next((code for code, label in vocabulary.items() if label == value), None)
