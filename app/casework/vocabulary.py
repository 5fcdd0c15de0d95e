"""The closed lists that casework speaks in (DESIGN section 5), and the texts that people write."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

from app.foundation.errors import plain
from app.monitoring.activities import human_activities


def _human_activity(value: str) -> str:
    there_are = human_activities()
    if value not in there_are:
        raise ValueError(f"there is no activity {value!r}; there are {', '.join(there_are)}")
    return value


# What somebody answers for, out of the one table that recognisers name from (app.monitoring.activities).
Activity = Annotated[
    str, AfterValidator(_human_activity), WithJsonSchema({"type": "string", "enum": human_activities()})
]


class SupervisionSource(StrEnum):
    """问题来源"""

    satellite_monitoring = "satellite_monitoring"
    green_shield = "green_shield"
    central_inspection_1 = "central_inspection_1"
    central_inspection_1_look_back = "central_inspection_1_look_back"
    central_inspection_2 = "central_inspection_2"
    provincial_inspection = "provincial_inspection"
    provincial_inspection_look_back = "provincial_inspection_look_back"
    grand_survey = "grand_survey"
    national_platform = "national_platform"
    forest_inspection = "forest_inspection"
    public_report = "public_report"
    media = "media"
    routine_patrol = "routine_patrol"


class CaseOrigin(StrEnum):
    """How a case came into the ledger."""

    detection = "detection"
    clue_list = "clue_list"
    report = "report"
    split_ = "split"
    new_offender = "new_offender"
    imported = "imported"


class Outline(StrEnum):
    """How the ground of a case is known."""

    drawn = "drawn"
    circle = "circle"


class SupervisionLevel(StrEnum):
    """挂牌督办"""

    ordinary = "ordinary"
    prefecture = "prefecture"
    province = "province"


class CaseLinkKind(StrEnum):
    """What a case has to do with an older one."""

    split_from = "split_from"
    new_offender = "new_offender"
    merged_into = "merged_into"


class ClueState(StrEnum):
    """What became of an item of a list (线索)."""

    pending = "pending"
    opened = "opened"
    linked = "linked"
    rejected = "rejected"


class AuditOutcome(StrEnum):
    """What a second officer found of a dismissal drawn at random."""

    upheld = "upheld"
    overturned = "overturned"


class TrackKind(StrEnum):
    """What runs beside a case (DESIGN section 7)."""

    penalty = "penalty"
    transfer = "transfer"
    procuratorial = "procuratorial"
    compensation = "compensation"
    accountability = "accountability"


class LookBackOutcome(StrEnum):
    """What a look-back (回头看) found."""

    holds = "holds"
    incomplete = "incomplete"
    rebound = "rebound"


class SignalState(StrEnum):
    """What the province made of a rebound signal (反弹)."""

    raised = "raised"
    affirmed = "affirmed"
    rejected = "rejected"


class ObjectionState(StrEnum):
    """What became of an objection to a closure that was publicised."""

    open = "open"
    sustained = "sustained"
    dismissed = "dismissed"


class Priority(StrEnum):
    ordinary = "ordinary"
    high = "high"
    urgent = "urgent"


class DismissReason(StrEnum):
    """Why a detection is no problem. What each says stands in `DISMISS_REASONS`."""

    cloud = "cloud"
    shadow = "shadow"
    snow = "snow"
    phenology = "phenology"
    water_level = "water_level"
    crop = "crop"
    fire = "fire"
    misregistration = "misregistration"
    other = "other"


class ReasonKind(StrEnum):
    """What a reason for a dismissal speaks of; the rules on permits and known cases go by it (`review_rules`)."""

    image = "image"
    nature = "nature"
    other = "other"


@dataclass(frozen=True)
class ReasonRow:
    """A reason for a dismissal: its Chinese label, what it speaks of, and what it means."""

    label: str
    kind: ReasonKind
    meaning: str


DISMISS_REASONS: Mapping[DismissReason, ReasonRow] = MappingProxyType(
    {
        DismissReason.cloud: ReasonRow("云", ReasonKind.image, "cloud or haze that the mask missed"),
        DismissReason.shadow: ReasonRow("阴影", ReasonKind.image, "shadow of cloud, slope or building"),
        DismissReason.snow: ReasonRow("积雪", ReasonKind.image, "snow or ice on one of the images"),
        DismissReason.misregistration: ReasonRow("配准误差", ReasonKind.image, "the images do not lie on each other"),
        DismissReason.phenology: ReasonRow("物候变化", ReasonKind.nature, "leaf-out, leaf fall, a dry year"),
        DismissReason.water_level: ReasonRow("水位变化", ReasonKind.nature, "the water rose or fell"),
        DismissReason.crop: ReasonRow("农作物轮作翻耕", ReasonKind.nature, "a field's own calendar"),
        DismissReason.fire: ReasonRow("火烧迹地", ReasonKind.nature, "burnt ground, nothing built or cleared"),
        DismissReason.other: ReasonRow("其他", ReasonKind.other, "needs words"),
    }
)


class ReturnReason(StrEnum):
    not_ours = "not_ours"
    wrong_department = "wrong_department"
    duplicate = "duplicate"
    other = "other"


class ReopenBasis(StrEnum):
    rebound_signal = "rebound_signal"
    look_back = "look_back"


class TakeUpBasis(StrEnum):
    """Why a case that was found unfounded or permitted is looked at again."""

    new_evidence = "new_evidence"
    new_detection = "new_detection"
    revoked_permit = "revoked_permit"


class MeasureKind(StrEnum):
    """整改措施. A later permit and a moved boundary are documented, end no case, and are counted apart."""

    cessation = "cessation"
    demolition = "demolition"
    clearance = "clearance"
    restoration = "restoration"
    relocation = "relocation"
    later_permit = "later_permit"
    boundary_change = "boundary_change"
    other = "other"


class RestorationKind(StrEnum):
    """What the ground becomes again (宜林则林、宜草则草)."""

    forest = "forest"
    grassland = "grassland"
    wetland = "wetland"
    cropland = "cropland"
    bare = "bare"
    none = "none"


def _writable(value: str) -> str:
    if "\0" in value:
        raise ValueError("may not contain the character U+0000")
    return value


# Text that PostgreSQL can hold: never empty, no U+0000.
Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), AfterValidator(_writable)
]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_writable)]
UnitCode = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,40}$")]


def pointers(errors: list[Any], prefix: str) -> list[dict[str, str]]:
    """Pydantic's errors as the `errors` of a problem: where, and what to mend."""
    return [
        {"pointer": "/".join([prefix, *(str(part) for part in error["loc"])]), "detail": plain(str(error["msg"]))}
        for error in errors
    ]


class DeadlineState(StrEnum):
    """`met`: the step was taken, in time or late; `ended`: it is no longer waited for."""

    running = "running"
    paused = "paused"
    met = "met"
    ended = "ended"


class RequestKind(StrEnum):
    """What is asked for on a deadline: 延期, 中止, 扣除期间."""

    extension = "extension"
    pause = "pause"
    exclusion = "exclusion"


class RequestState(StrEnum):
    open = "open"
    approved = "approved"
    refused = "refused"
    withdrawn = "withdrawn"


class NoticeKind(StrEnum):
    """到期提醒, 逾期, 逾期上报"""

    reminder = "reminder"
    overdue = "overdue"
    escalation = "escalation"
