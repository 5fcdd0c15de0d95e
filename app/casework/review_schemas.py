"""What the desk takes and gives besides the single decisions: its ledger, drawn dismissals, figures, many at once."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.access.models import Role
from app.casework.lifecycle import ReviewState
from app.casework.review_lifecycle import MOST_AT_ONCE, BulkCommand
from app.casework.schemas import ReviewAnswer
from app.casework.vocabulary import AuditOutcome, DismissReason, Words


class ReviewEventAnswer(BaseModel):
    """An event of the reviews' ledger, with everything that its hash covers."""

    sequence: int
    id: UUID
    detection_id: UUID
    detection_sequence: int
    kind: str = Field(examples=["dismiss"])
    actor: str = Field(description="Display name of the account")
    actor_id: UUID
    actor_role: Role
    actor_unit_id: UUID
    recorded_at: datetime
    state_before: ReviewState
    state_after: ReviewState
    note: str | None
    payload: dict[str, Any]
    previous_hash: str = Field(description="Hexadecimal")
    hash: str = Field(description="SHA-256 over the hash before it and the canonical JSON of the event, hexadecimal")


class AuditAnswer(BaseModel):
    """A dismissal that was drawn to be looked at again."""

    id: UUID
    detection_id: UUID
    review_version: int = Field(description="Of the detection's review by the dismissal: what to send as If-Match")
    reason: DismissReason
    dismissed_by: str = Field(description="Display name of the account")
    drawn_at: datetime
    outcome: AuditOutcome | None = Field(description="Null: not decided yet")
    note: str | None
    decided_by: str | None
    decided_at: datetime | None


class AuditRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    outcome: AuditOutcome
    note: Words | None = Field(None, description="`overturned` needs one")


class DismissalRow(BaseModel):
    """Detections that officers decided on, and dismissals that were looked at again."""

    key: str | None = Field(description="Reason, activity, recogniser (with version) or detector; null: all")
    decided: int = Field(description="Decided and standing: dismissed, authorised, linked, dispatched")
    dismissed: int = Field(description="Of these dismissed: false alarms as the desk says")
    drawn: int = Field(description="Dismissals that were drawn at random to be looked at again")
    upheld: int
    overturned: int = Field(description="Of those drawn, dismissed wrongly; they are no longer among the dismissed")


class DismissalFigures(BaseModel):
    since: date | None
    total: DismissalRow
    by_reason: list[DismissalRow] = Field(description="`decided` are the dismissed ones alone here")
    by_activity: list[DismissalRow]
    by_recogniser: list[DismissalRow] = Field(description="Of the activity that was ranked first")
    by_detector: list[DismissalRow]


class BulkItem(BaseModel):
    model_config = ConfigDict(extra="forbid")

    detection_id: UUID
    version: int = Field(ge=0, le=999_999_999, description="Of its review: what the decision is made on")
    fields: dict[str, Any] = Field({}, description="What the single command takes as its body")


class BulkRequest(BaseModel):
    """One command on many detections."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "command": "dismiss",
                    "items": [
                        {
                            "detection_id": "0190f3a0-0000-7000-8000-000000000001",
                            "version": 0,
                            "fields": {"reason": "snow"},
                        }
                    ],
                }
            ]
        },
    )

    command: BulkCommand
    atomic: bool = Field(False, description="All or nothing; else each item stands for itself")
    items: list[BulkItem] = Field(min_length=1, max_length=MOST_AT_ONCE)


class BulkItemAnswer(BaseModel):
    detection_id: UUID
    status: int = Field(description="What the single command would have answered with", examples=[200])
    review: ReviewAnswer | None = Field(description="As it is now; null where the command failed")
    problem: dict[str, Any] | None = Field(description="Why it failed, as a problem (RFC 9457)")


class BulkAnswer(BaseModel):
    done: int
    failed: int
    items: list[BulkItemAnswer] = Field(description="In the order of the request")
