"""What the access API takes and gives."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.access.models import Role, UnitLevel


class TokenAnswer(BaseModel):
    """RFC 6749, section 5.1."""

    access_token: str = Field(examples=["rl_4Zk…"])
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # the name of a scheme, not a secret
    expires_in: int = Field(description="Seconds", examples=[43200])


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


class TokenInfo(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    created_at: datetime
    expires_at: datetime
