"""Words of the boundaries. Apart from the tables, so that the command line has them without a database library."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

AxisOrder = Literal["xy", "yx"]
"""Which of a file's coordinates stands first: "xy" is longitude or easting, "yx" latitude or northing."""
OffsetSaid = Literal["none", "gcj02", "bd09"]
"""What the caller says of a file's offset: that of a web map, which is converted, or none."""


class Layer(StrEnum):
    """A layer's code: the word of `redline import`, and the HTTP path."""

    divisions = "divisions"
    redlines = "redlines"
    protected_areas = "protected-areas"
    key_function_zones = "key-function-zones"
    biodiversity_priority_areas = "biodiversity-priority-areas"
    scenic_areas = "scenic-areas"
    drinking_water_sources = "drinking-water-sources"
    important_wetlands = "important-wetlands"
    permits = "permits"


LAYER_LABELS: dict[Layer, str] = {
    Layer.divisions: "监管单元",
    Layer.redlines: "生态保护红线",
    Layer.protected_areas: "自然保护地",
    Layer.key_function_zones: "重点生态功能区",
    Layer.biodiversity_priority_areas: "生物多样性优先区",
    Layer.scenic_areas: "风景名胜区",
    Layer.drinking_water_sources: "饮用水水源保护区",
    Layer.important_wetlands: "重要湿地",
    Layer.permits: "有限人为活动认定/审批",
}
# What restricts activity on its ground. Divisions say who answers, permits what is allowed.
RESTRICTING: tuple[Layer, ...] = tuple(layer for layer in Layer if layer not in (Layer.divisions, Layer.permits))


class VersionStatus(StrEnum):
    """What became of an import: nothing but a confirmed version judges anything."""

    proposed = "proposed"
    confirmed = "confirmed"
    discarded = "discarded"


class VersionKind(StrEnum):
    """Whether a version is its whole layer, or adds to the newest whole version before it (the register of permits)."""

    whole = "whole"
    addition = "addition"


class Verdict(StrEnum):
    """合规判定"""

    prohibited = "prohibited"
    needs_recognition = "needs_recognition"
    allowed = "allowed"
    boundary = "boundary"
    undetermined = "undetermined"


VERDICT_LABELS: dict[Verdict, str] = {
    Verdict.prohibited: "禁止",
    Verdict.needs_recognition: "待认定",
    Verdict.allowed: "合规",
    Verdict.boundary: "压线",
    Verdict.undetermined: "无法判定",
}


class Severity(StrEnum):
    """How grave a finding is, by the rule that decided; `none` where nothing restricts or only a border is touched."""

    none = "none"
    low = "low"
    medium = "medium"
    high = "high"


class Establishment(StrEnum):
    """Whether the activity was there before the area was established (历史遗留) or came after (新增)."""

    legacy = "legacy"
    new = "new"


class PermitKind(StrEnum):
    """Kinds of permit: the ten limited human activities of 自然资发〔2022〕142号, and two rights beside them.

    The labels are short forms; the texts of the notice were not checked against the gazette.
    """

    residents_living = "residents_living"
    resource_survey = "resource_survey"
    research_monitoring = "research_monitoring"
    archaeology_heritage = "archaeology_heritage"
    low_impact_tourism = "low_impact_tourism"
    linear_infrastructure = "linear_infrastructure"
    mineral_survey = "mineral_survey"
    restoration = "restoration"
    border_survey = "border_survey"
    other_allowed = "other_allowed"
    national_major_project = "national_major_project"
    lawful_right = "lawful_right"


PERMIT_LABELS: dict[PermitKind, str] = {
    PermitKind.residents_living: "原住民生产生活",
    PermitKind.resource_survey: "自然资源调查监测",
    PermitKind.research_monitoring: "科研监测采集",
    PermitKind.archaeology_heritage: "考古与文物保护",
    PermitKind.low_impact_tourism: "适度参观旅游",
    PermitKind.linear_infrastructure: "线性基础设施",
    PermitKind.mineral_survey: "矿产勘查开采",
    PermitKind.restoration: "生态修复",
    PermitKind.border_survey: "边界勘界",
    PermitKind.other_allowed: "其他准许活动",
    PermitKind.national_major_project: "国家重大项目",
    PermitKind.lawful_right: "原有合法权益",
}
