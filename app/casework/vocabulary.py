"""The closed lists that casework speaks in (DESIGN section 5), and the texts that people write."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

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


class Priority(StrEnum):
    ordinary = "ordinary"
    high = "high"
    urgent = "urgent"


class DismissReason(StrEnum):
    cloud = "cloud"
    shadow = "shadow"
    snow = "snow"
    phenology = "phenology"
    water_level = "water_level"
    crop = "crop"
    fire = "fire"
    misregistration = "misregistration"
    other = "other"


class ReturnReason(StrEnum):
    not_ours = "not_ours"
    wrong_department = "wrong_department"
    duplicate = "duplicate"
    other = "other"


class ReopenBasis(StrEnum):
    rebound_signal = "rebound_signal"
    look_back = "look_back"


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
        {"pointer": "/".join([prefix, *(str(part) for part in error["loc"])]), "detail": str(error["msg"])}
        for error in errors
    ]
