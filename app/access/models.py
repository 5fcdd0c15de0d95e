"""Tables of who may do what where: supervising units, accounts, tokens."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    event,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, QueryContext, declared_attr, mapped_column

from app.access.vocabulary import Role as Role
from app.access.vocabulary import UnitLevel as UnitLevel
from app.foundation.database import Base
from app.foundation.identity import new_id


def text_enum(kind: type[StrEnum], name: str) -> Enum:
    """A text column that takes the values of a StrEnum, checked by the database."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=40,
        values_callable=lambda members: [member.value for member in members],
    )


class Unit(Base):
    """A supervising unit (监管单元). Its ground stands in the boundary layer `divisions`, by code."""

    __tablename__ = "units"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    code: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    level: Mapped[UnitLevel] = mapped_column(text_enum(UnitLevel, "level"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"), index=True)
    # Who approves plans and accepts for it; the parent unless said otherwise.
    accepting_unit_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))
    valid_from: Mapped[date] = mapped_column()
    valid_to: Mapped[date | None] = mapped_column()


@event.listens_for(Unit, "load")
def _keep(unit: Unit, context: QueryContext) -> None:
    """A session forgets what nobody holds, and would read the same few units again and again in one request."""
    context.session.info.setdefault("units", []).append(unit)


class UnitPeriod(Base):
    """What a unit was called, and under whom it stood, from a day on until its next row."""

    __tablename__ = "unit_periods"

    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"), primary_key=True)
    since: Mapped[date] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("units.id"))


class UnitSuccession(Base):
    """A unit whose ground, cases and history passed to another (renamed, moved, merged, split) on a day.

    The predecessor has ended. Several may follow one, and one may follow several.
    """

    __tablename__ = "unit_successions"

    predecessor_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"), primary_key=True)
    successor_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"), primary_key=True, index=True)
    on: Mapped[date] = mapped_column()


class Account(Base):
    """Somebody who signs in: with a password here, or as `subject` of the OpenID Connect provider `issuer`."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    username: Mapped[str] = mapped_column(Text, unique=True)
    display_name: Mapped[str] = mapped_column(Text)
    # Empty: no password fits.
    password_hash: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str | None] = mapped_column(Text)
    subject: Mapped[str | None] = mapped_column(Text)
    role: Mapped[Role] = mapped_column(text_enum(Role, "role"))
    unit_id: Mapped[UUID] = mapped_column(ForeignKey("units.id"))
    is_demo: Mapped[bool] = mapped_column(default=False)
    is_active: Mapped[bool] = mapped_column(default=True)
    # Given out by somebody else: good for nothing but choosing another.
    password_is_temporary: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Token(Base):
    """A bearer token; only the SHA-256 of its secret is kept."""

    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    # What it may be used for (`vocabulary.Scope`).
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    # Given out for a password; what may make other tokens.
    is_sign_in: Mapped[bool] = mapped_column(default=False)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (CheckConstraint("octet_length(digest) = 32", name="digest_is_sha256"),)


class SignInFailure(Base):
    """Wrong passwords in a row, by name and by address; what slows the next try down."""

    __tablename__ = "sign_in_failures"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column()
    last_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    blocked_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class AccessEvent(Base):
    """Who signed in, and who changed whose account or token. Written once."""

    __tablename__ = "access_events"
    __table_args__ = (Index("ix_access_events_account_id", "account_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    recorded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    kind: Mapped[str] = mapped_column(Text)
    # Who did it; None: nobody was signed in, or the operator's command.
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    # To whose account; None: to none that there is.
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    address: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)


class IdempotencyKey(Base):
    """The answer to a request that an account named by a key, given again when it comes again (24 h)."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    # Method and path.
    route: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    # SHA-256 of what was sent: body, query and preconditions.
    request_digest: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column()
    headers: Mapped[dict[str, Any]] = mapped_column(JSONB)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Placed:
    """Mixin of every table that holds a place.

    `unit_ids` are the supervising units that the place touches, or that take part in it. Both walls read it: the
    base statement of every query (`app.access.service.in_jurisdiction`) and the table's row-level security policy.
    Empty means outside the province: provincial roles alone see it.
    """

    @declared_attr
    def unit_ids(cls) -> Mapped[list[UUID]]:
        return mapped_column(ARRAY(PG_UUID(as_uuid=True)), default=list)

    @classmethod
    def touches(cls, units: list[UUID]) -> ColumnElement[bool]:
        column: Any = cls.unit_ids
        touched: ColumnElement[bool] = column.overlap(units)
        return touched
