"""What the API of side tracks takes and gives. Names of field schemas stand in `track_lifecycle.STEPS`."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.casework.track_lifecycle import TrackCommand
from app.casework.vocabulary import Name, TrackKind, Words
from app.foundation.time import Instant

# Chinese yuan with fen; kept as text, so that no amount is ever rounded.
Yuan = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=2, examples=["12000.00"])]


class TrackFields(BaseModel):
    """Days of documents may not lie in the future; the one guarded function checks that."""

    model_config = ConfigDict(extra="forbid")


class SummaryFields(TrackFields):
    summary: Words


class TrackReasonFields(TrackFields):
    reason: Words


class DocumentFields(TrackFields):
    document_number: Name
    document_on: date


class RefusalFields(DocumentFields):
    reason: Words


class RevocationFields(DocumentFields):
    """撤销处罚决定: by the authority, on reconsideration or by a court."""

    reason: Words


class ExtensionFields(TrackFields):
    """延期"""

    days: int = Field(ge=1, le=90)
    reason: Words
    approved_by: Name


class PenaltyDecisionFields(TrackFields):
    """行政处罚决定"""

    decision_number: Name = Field(examples=["抚环罚〔2024〕12号"])
    document_on: date
    amount_yuan: Yuan = Field(description="The fine; 0 where other penalties alone were imposed")
    other_penalties: Words | None = None


class NotImposedFields(TrackFields):
    reason: Words
    decision_number: Name | None = None
    document_on: date | None = None


class ExecutionKind(StrEnum):
    paid = "paid"
    court_enforced = "court_enforced"
    performed_otherwise = "performed_otherwise"


class ExecutionFields(TrackFields):
    how: ExecutionKind
    amount_yuan: Yuan


class HeadApprovalFields(TrackFields):
    approved_by: Name
    approved_at: Instant = Field(description="The 24 hours for sending count from here")


class SendingFields(TrackFields):
    """案件移送"""

    police: Name = Field(examples=["抚松县公安局"])
    document_number: Name
    document_on: date
    sent_at: Instant


class CriminalOutcome(StrEnum):
    convicted = "convicted"
    acquitted = "acquitted"
    not_prosecuted = "not_prosecuted"
    # No crime after all: back to the administrative authority.
    handed_back = "handed_back"


class CriminalOutcomeFields(DocumentFields):
    outcome: CriminalOutcome


class ReplyFields(TrackFields):
    """书面回复"""

    document_number: Name | None = None
    document_on: date
    summary: Words


class SuitFields(TrackFields):
    court: Name
    document_number: Name | None = None


class SuitOutcome(StrEnum):
    upheld = "upheld"
    dismissed = "dismissed"
    withdrawn = "withdrawn"


class SuitOutcomeFields(DocumentFields):
    outcome: SuitOutcome


class AppraisalFields(DocumentFields):
    appraiser: Name
    damage_yuan: Yuan


class NegotiationFields(TrackFields):
    obligor: Name = Field(description="赔偿义务人")


class AgreementFields(DocumentFields):
    """赔偿协议"""

    amount_yuan: Yuan
    due_on: date = Field(description="By when it has to be performed")


class CompensationJudgmentFields(AgreementFields):
    """判决"""


class PerformanceFields(TrackFields):
    summary: Words
    amount_yuan: Yuan


class AccountabilityOutcome(StrEnum):
    criticism = "criticism"
    admonition = "admonition"
    organisational = "organisational"
    party_discipline = "party_discipline"
    administrative_sanction = "administrative_sanction"
    referred_to_justice = "referred_to_justice"


class HandledFields(DocumentFields):
    persons: int = Field(ge=1, le=10_000)
    outcome: AccountabilityOutcome = Field(description="The heaviest")


STEP_FIELDS: dict[str, type[TrackFields]] = {
    kind.__name__: kind
    for kind in (
        SummaryFields,
        TrackReasonFields,
        DocumentFields,
        RefusalFields,
        RevocationFields,
        ExtensionFields,
        PenaltyDecisionFields,
        NotImposedFields,
        ExecutionFields,
        HeadApprovalFields,
        SendingFields,
        CriminalOutcomeFields,
        ReplyFields,
        SuitFields,
        SuitOutcomeFields,
        AppraisalFields,
        NegotiationFields,
        AgreementFields,
        CompensationJudgmentFields,
        PerformanceFields,
        HandledFields,
    )
}


class _Opening(BaseModel):
    model_config = ConfigDict(extra="forbid")

    authority: Name = Field(description="Whose procedure it is", examples=["抚松县林业局"])
    reference: Name | None = Field(None, description="Its number there", examples=["抚林罚立〔2024〕7号"])
    occurred_on: date | None = Field(None, description="The day it began, if not today: clocks count from it")
    note: Words | None = None


class OpenPenalty(_Opening):
    """行政处罚立案"""

    kind: Literal[TrackKind.penalty]
    cause: Words = Field(examples=["未经批准占用林地采石"])
    party: Name | None = None


class OpenTransfer(_Opening):
    """涉嫌犯罪案件移送: the written report to the head"""

    kind: Literal[TrackKind.transfer]
    offence: Words = Field(description="Suspected", examples=["非法占用农用地"])


class OpenProcuratorial(_Opening):
    """检察建议, received; `authority` is the procuratorate"""

    kind: Literal[TrackKind.procuratorial]
    recommendation: Words
    urgent: bool = Field(False, description="Damage goes on growing: 15 days instead of two months")


class OpenCompensation(_Opening):
    """生态环境损害赔偿线索"""

    kind: Literal[TrackKind.compensation]
    clue: Words


class OpenAccountability(_Opening):
    """问责线索移交; `authority` is who decides on it"""

    kind: Literal[TrackKind.accountability]
    grounds: Words
    due_on: date | None = Field(None, description="By when the referral asks for an answer")


OpenTrackBody = Annotated[
    OpenPenalty | OpenTransfer | OpenProcuratorial | OpenCompensation | OpenAccountability,
    Field(discriminator="kind"),
]


class TrackStepBody(BaseModel):
    """A command; what `fields` must hold is told by `GET …/transitions` as a JSON Schema."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"command": "finish_investigation", "fields": {"summary": "现场勘验和询问已完成"}}]
        },
    )

    command: TrackCommand
    fields: dict[str, Any] = Field(default_factory=dict)
    note: Words | None = None
    occurred_on: date | None = Field(None, description="The day it happened, if not today")


class TrackAnswer(BaseModel):
    """A side track of a case"""

    id: UUID
    case_id: UUID
    case_number: str = Field(examples=["RL-220621-2024-0001"])
    kind: TrackKind
    kind_label: str = Field(examples=["行政处罚"])
    state: str = Field(examples=["filed"])
    state_label: str = Field(examples=["立案"])
    version: int
    authority: str
    reference: str | None
    opened_on: date
    clock: str | None = Field(
        description="The clock that runs, by its name in docs/tracks.md", examples=["police_decision"]
    )
    clock_started_on: date | None
    due_on: date | None = Field(description="Last day of that clock, extensions and excluded time counted")
    due_at: datetime | None = Field(description="Where the clock counts hours")
    overdue: bool
    ended_on: date | None
    outcome: str | None
    facts: dict[str, Any] = Field(description="What the opening and each command gave, the last of each command")
    extensions: list[dict[str, Any]]


class PossibleStep(BaseModel):
    """A command that the caller may give on a track now."""

    command: TrackCommand
    target: str | None = Field(description="The state it leads to; null: it stays")
    fields: str = Field(examples=["PenaltyDecisionFields"])
    fields_schema: dict[str, Any] = Field(description="JSON Schema of `fields`")
    law: str
