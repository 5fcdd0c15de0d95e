"""What becomes of a version."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from app.boundaries.divisions import take_effect
from app.boundaries.models import Layer, LayerVersion, VersionStatus
from app.foundation.time import utc_now


def confirm(session: Session, version: LayerVersion, account_id: UUID | None) -> None:
    """Put a version in force; of divisions, the units change with it."""
    version.status = VersionStatus.confirmed
    version.decided_at, version.decided_by = utc_now(), account_id
    session.flush()
    if version.layer is Layer.divisions:
        take_effect(session, version)
