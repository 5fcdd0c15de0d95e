"""What the API of the desk's and the clues' figures gives."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from app.statistics.figure_schemas import MeasureAnswer, Value


class DeskGroup(BaseModel):
    """The figures of one group."""

    key: str = Field(examples=["phenology"])
    name: str | None = Field(description="What people call it", examples=["物候变化"])
    figures: dict[str, Value]


class DeskAnswer(BaseModel):
    """Figures of what came in, as of an instant."""

    title: str
    as_of: datetime = Field(description="The instant asked for")
    effective_as_of: datetime = Field(
        description="The instant answered for: as_of, or the last one of the ledger that the figures rest on"
    )
    group_by: str
    grouping: str = Field(description="What a group is")
    measures: list[MeasureAnswer]
    notes: list[str] = Field(description="What has to be known to read the figures; what a past instant cannot tell")
    total: dict[str, Value]
    groups: list[DeskGroup] = Field(description="By key; they add up to the total. Empty when group_by is none")
