"""Tables of messages: how far they were made, webhooks and their deliveries, inboxes, mail."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.access.models import text_enum
from app.casework.lifecycle import CaseState
from app.foundation.database import Base
from app.foundation.identity import new_id
from app.messages.vocabulary import DeliveryState, Event, MailKind, MailState, Origin


class MessageCursor(Base):
    """The last event of the cases' ledger of which messages were made. One row; its lock lets one worker make them."""

    __tablename__ = "message_cursors"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)


class ToldNotice(Base):
    """A deadline notice of which messages were made.

    Its sequence is given out before its transaction commits, so a cursor would leave out one that commits late.
    """

    __tablename__ = "told_notices"

    sequence: Mapped[int] = mapped_column(ForeignKey("deadline_notices.sequence"), primary_key=True)


class Webhook(Base):
    """An address to which messages of what its account may see are sent. Seen by its account alone."""

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), index=True)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    # `vocabulary.Event`; None: all.
    events: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    # The key of the signatures, and the one before it while both sign.
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    old_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    old_secret_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    is_active: Mapped[bool] = mapped_column(default=True)
    # The receiver answered 410 then, and wants no more.
    gone_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Delivery(Base):
    """A message on its way to a webhook; `id` is its `webhook-id`. Seen with its case, and by the hook's account alone.

    `position` orders them: of a webhook's messages of one case the oldest that is pending is sent, and no other.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "origin", "source_sequence"),
        Index("ix_deliveries_due", "next_at", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_order", "webhook_id", "case_id", "position", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_leased", "webhook_id", postgresql_where=text("leased_until is not null")),
        Index("ix_deliveries_done_at", "done_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    origin: Mapped[Origin] = mapped_column(text_enum(Origin, "origin"))
    # Of the ledger or of the notices; None: a ping.
    source_sequence: Mapped[int | None] = mapped_column(BigInteger)
    event: Mapped[Event] = mapped_column(text_enum(Event, "event"))
    # As it is sent, byte for byte.
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[DeliveryState] = mapped_column(text_enum(DeliveryState, "state"), default=DeliveryState.pending)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    # Who sends it now, and until when nobody else does.
    lease: Mapped[UUID | None] = mapped_column()
    leased_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_status: Mapped[int | None] = mapped_column()
    last_error: Mapped[str | None] = mapped_column(Text)
    made_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    done_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class InboxMessage(Base):
    """A message in an account's inbox. Seen with its case, and by its account alone."""

    __tablename__ = "inbox_messages"
    __table_args__ = (
        UniqueConstraint("account_id", "origin", "source_sequence"),
        Index("ix_inbox_messages_account_id_id", "account_id", "id"),
        Index("ix_inbox_messages_unread", "account_id", "id", postgresql_where=text("read_at is null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    origin: Mapped[Origin] = mapped_column(text_enum(Origin, "origin"))
    source_sequence: Mapped[int] = mapped_column(BigInteger)
    event: Mapped[Event] = mapped_column(text_enum(Event, "event"))
    # The case's after a ledger event.
    state: Mapped[CaseState | None] = mapped_column(text_enum(CaseState, "case_state"))
    # Of a notice of a deadline.
    due_on: Mapped[date | None] = mapped_column()
    made_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    read_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class MailSettings(Base):
    """Where an account wants its mail, and whether. An address counts once it was confirmed by the code sent to it."""

    __tablename__ = "mail_settings"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    address: Mapped[str | None] = mapped_column(Text)
    confirmed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # SHA-256 of the code that was mailed last, with the account's id.
    code_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    code_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    weekly_digest: Mapped[bool] = mapped_column(default=False)
    # The address was refused for good then.
    bounced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    version: Mapped[int] = mapped_column(default=1)


class Mail(Base):
    """A mail on its way: written when it is sent, from what holds then."""

    __tablename__ = "mails"
    __table_args__ = (
        # A digest once a week; a confirmation once for each version of the settings that asks for one.
        UniqueConstraint("account_id", "kind", "key"),
        Index("ix_mails_due", "next_at", postgresql_where=text("state = 'pending'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[MailKind] = mapped_column(text_enum(MailKind, "kind"))
    # ISO week (2026-W48), or the version of the settings.
    key: Mapped[str] = mapped_column(Text)
    state: Mapped[MailState] = mapped_column(text_enum(MailState, "state"), default=MailState.pending)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    lease: Mapped[UUID | None] = mapped_column()
    leased_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_error: Mapped[str | None] = mapped_column(Text)
    made_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    done_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
