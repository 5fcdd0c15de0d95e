"""What the desk takes and gives besides the single decisions: its ledger, drawn dismissals, figures, many at once."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.access.models import Role
from app.casework.lifecycle import ReviewState
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
