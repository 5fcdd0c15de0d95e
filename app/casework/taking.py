"""A request that makes evidence of one file, in transactions of its own, under an idempotency key if it has one.

No transaction is open while the file comes, is looked into, or is stored. The case is looked at in a first one, and the
file is written down in a second, which looks again. The key's answer is written with the evidence: of two requests with
one key, both may store the file, and the second to write it down is answered as the first was.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from sqlalchemy.orm import Session

from app.access.idempotency import Named, digest_form, name_request
from app.access.routes import signed_in
from app.access.service import Caller
from app.casework import evidence, kept_files
from app.casework.schemas import EvidenceAnswer
from app.foundation.storage import Storage
from app.foundation.time import legal_day, utc_now
from app.settings import Settings


@dataclass
class Taking:
    """One request, of a caller by a token, for a case."""

    request: Request
    token: str | None
    case_id: UUID
    key: str | None

    @property
    def settings(self) -> Settings:
        settings: Settings = self.request.app.state.settings
        return settings

    @property
    def storage(self) -> Storage:
        storage: Storage = self.request.app.state.storage
        return storage

    def enter(self) -> AbstractContextManager[tuple[Session, Caller]]:
        """A transaction of the caller's, to be committed at the end."""
        return signed_in(self.request, self.token)

    def digest(self, caller: Caller) -> bytes:
        """What tells this request from another one with the same key."""
        return digest_form(self.request, caller, [])

    def named(self, session: Session, caller: Caller) -> Named | None:
        """The request by its key; None: it has none."""
        if self.key is None:
            return None
        return name_request(session, caller, self.request, self.key, self.digest(caller))

    def recall(self) -> Response | None:
        """What was answered to this request before.

        Raises:
            StillInProgress, KeyReused: as `Named.recall`.
        """
        with self.enter() as (session, caller):
            named = self.named(session, caller)
            return named.recall() if named else None

    def record(self, sent: evidence.Sent, kept: evidence.Kept, told: Mapping[str, Any] | None = None) -> Response:
        """Write a stored file down, and answer. The file goes if that fails.

        Raises:
            NotFound, Forbidden, Conflict, Busy: as `evidence.record`.
            StillInProgress, KeyReused: as `Named.recall`.
        """
        database = self.request.app.state.database
        with kept_files.unless_recorded(database, self.storage, kept.blob), self.enter() as (session, caller):
            named = self.named(session, caller)
            before = named.recall() if named else None
            if before is not None:
                return before
            today = legal_day(utc_now())
            added = evidence.record(
                session, self.settings, self.storage, caller, self.case_id, sent, kept, today=today, told=told
            )
            location = self.request.url_for("show_evidence", case_id=self.case_id, evidence_id=added.id).path
            content = EvidenceAnswer.model_validate(added).model_dump_json()
            response = Response(content, 201, {"Location": location}, "application/json")
            if named is not None:
                named.remember(response)
            return response
