"""What is sent and answered about webhooks, deliveries, inbox and mail."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.casework.lifecycle import CaseState
from app.messages.vocabulary import DeliveryState, Event
from app.settings import is_mail_address


def _chosen(events: list[Event] | None) -> list[Event] | None:
    if events is not None and Event.ping in events:
        raise ValueError("`ping` is sent by hand and cannot be chosen")
    return None if events is None else sorted(set(events))


def _address(text: str) -> str:
    if not is_mail_address(text):
        raise ValueError("it is no mail address like name@example.org")
    return text


Events = Annotated[
    list[Event] | None,
    Field(min_length=1, max_length=len(Event), description="What is sent; null: everything"),
    AfterValidator(_chosen),
]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description="https://, of a host in the public internet or in a network that the operator allows",
        examples=["https://93.184.215.14/redline"],
    ),
]
Description = Annotated[str | None, Field(max_length=200, examples=["局办公系统"])]


class NewWebhook(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: Url
    events: Events = None
    description: Description = None


class WebhookChange(BaseModel):
    """What is not named stays."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    events: Events = None
    description: Description = None
    is_active: bool | None = Field(None, description="Off: what is pending waits, and nothing new is made")


class WebhookAnswer(BaseModel):
    id: UUID
    version: int
    url: str
    events: list[Event] | None
    description: str | None
    is_active: bool
    gone_at: datetime | None = Field(description="When the receiver answered 410, which switched the webhook off")
    old_secret_until: datetime | None = Field(description="Until when the secret before this one signs, too")
    created_at: datetime
    pending: int = Field(description="Messages not delivered yet")
    dead: int = Field(description="Messages given up, which may be replayed")


class WebhookWithSecret(WebhookAnswer):
    secret: str = Field(description="Key of the signatures (Standard Webhooks); shown this once", examples=["whsec_…"])


class Rotation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    overlap_hours: float = Field(
        24, ge=0, le=168, description="How long messages carry a signature by the old secret, too"
    )


class DeliveryAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="The message's `webhook-id`, the same at every attempt")
    event: Event
    case_id: UUID | None
    state: DeliveryState
    attempts: int
    next_at: datetime = Field(description="Of a pending one, when it is tried next")
    last_status: int | None = Field(description="The receiver's HTTP status at the last attempt; null: no answer")
    last_error: str | None
    made_at: datetime
    done_at: datetime | None
    body: str = Field(description="As it is sent")


class Replayed(BaseModel):
    count: int = Field(description="Messages that will be sent again")


class InboxAnswer(BaseModel):
    id: UUID
    event: Event
    title: str = Field(examples=["状态变更"])
    body: str = Field(examples=["问题 RL-220621-2024-0001 现为：申请销号。"])
    title_en: str
    body_en: str
    case_id: UUID
    case_number: str
    state: CaseState | None = Field(description="Of the case after the event; null: a deadline's notice")
    due_on: date | None
    made_at: datetime
    read_at: datetime | None


class Unread(BaseModel):
    unread: int


class ReadUpTo(BaseModel):
    model_config = ConfigDict(extra="forbid")

    up_to: UUID = Field(description="Id of the newest message to mark; it and all older ones become read")


class MailChoice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    address: Annotated[str, AfterValidator(_address), Field(max_length=254, examples=["wang@example.org"])] | None
    weekly_digest: bool


class MailAnswer(BaseModel):
    version: int
    address: str | None
    is_confirmed: bool = Field(
        description="Whether the code sent to the address came back; nothing else is sent before"
    )
    bounced_at: datetime | None = Field(description="When its server refused the address for good; give another")
    weekly_digest: bool
    service_sends_mail: bool = Field(description="Whether the operator has named a mail server")


class Confirmation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: str = Field(min_length=1, max_length=40, examples=["K7QMA-2XPDB"])
