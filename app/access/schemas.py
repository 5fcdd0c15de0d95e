"""What the access API takes and gives."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.access.models import Role, UnitLevel
from app.access.passwords import MAX_LENGTH, MIN_LENGTH
from app.access.vocabulary import AccessKind, Scope

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")
]
UnitCode = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f]+$")]


class TokenAnswer(BaseModel):
    """RFC 6749, section 5.1."""

    access_token: str = Field(examples=["rl_4Zk…"])
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # the name of a scheme, not a secret
    expires_in: int = Field(description="Seconds", examples=[43200])
    scope: str = Field(description="What it may be used for", examples=["read detections cases administration"])


class UnitAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    code: str = Field(examples=["220621"])
    name: str = Field(examples=["抚松县"])
    level: UnitLevel


class AccountAnswer(BaseModel):
    username: str = Field(examples=["officer"])
    display_name: str
    role: Role
    unit: UnitAnswer
    scopes: list[Scope] = Field(description="What the token that was sent may be used for")
    must_change_password: bool = Field(description="Nothing else is possible before `POST /api/v1/auth/password`")


class TokenInfo(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    scopes: list[Scope]
    is_sign_in: bool = Field(description="Given out for a password, and not made by name")
    created_at: datetime
    expires_at: datetime


class TokenRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="What it is for", examples=["monthly report"])
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope), examples=[["read"]])
    expires_in_days: float = Field(gt=0, allow_inf_nan=False, le=3660, examples=[90])


class NewToken(TokenInfo):
    token: str = Field(description="The secret. It is shown this once and never again", examples=["rl_4Zk…"])


class PasswordRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    old_password: str = Field(max_length=MAX_LENGTH)
    new_password: str = Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH, examples=["four words that nobody says"])


class AccountInfo(BaseModel):
    """An account as administrators see it; its owner sees it too."""

    id: UUID
    version: int
    username: str
    display_name: str
    role: Role
    unit: UnitAnswer
    is_active: bool
    is_demo: bool
    must_change_password: bool
    issuer: str | None = Field(description="The OpenID Connect provider that it signs in at")
    subject: str | None
    created_at: datetime


class AccountRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    username: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", examples=["wang.li"])
    display_name: Name | None = Field(None, examples=["王丽"])
    role: Role
    unit: UnitCode = Field(description="Code of the supervising unit", examples=["220621"])


class AccountChangeRequest(BaseModel):
    """What is to be different."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"is_active": False}]})

    display_name: Name | None = None
    role: Role | None = None
    unit: UnitCode | None = Field(None, description="Code of the supervising unit")
    is_active: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, value: Any) -> Any:
        if isinstance(value, dict) and not any(given is not None for given in value.values()):
            raise ValueError("say at least one thing to change; nothing can be set to null")
        return value


class OneTimePassword(BaseModel):
    account: AccountInfo
    one_time_password: str = Field(
        description="Shown this once; good for signing in and choosing another", examples=["k3m9x-…"]
    )


class AccessEventAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    recorded_at: datetime
    kind: AccessKind
    actor_id: UUID | None = Field(description="Who did it; null: nobody signed in, or an operator's command")
    account_id: UUID | None = Field(description="To whose account; null: to none that there is")
    address: str | None
    details: dict[str, Any]
