"""Files by their content, and the rows that name them: whoever names a file holds it, and what no row names goes.

A file is stored before the transaction that names it begins. Should that fail, the file is removed, unless another row
names the same content: evidence of another case, or a list of clues. One lock for each content keeps the two apart. Who
names a file takes the lock and sees that the file is there; who removes one takes it and sees that no row is.

A process that dies between the two steps leaves a file that no row names. It is whole, nobody is shown it, and it is
used when the same content comes again, or removed when that is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import or_, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.casework.clue_models import ClueList
from app.casework.models import Evidence
from app.foundation.database import Database, impatient_transaction, set_scope
from app.foundation.errors import Busy
from app.foundation.storage import Storage, StorageAway, StoredBlob

log = logging.getLogger(__name__)


def lock_content(session: Session, sha256: str) -> None:
    """Hold a content until the transaction ends: nobody else names it first, or removes its file."""
    session.execute(text("select pg_advisory_xact_lock(:number)"), {"number": int(sha256[:15], 16)})


def hold(session: Session, storage: Storage, blob: StoredBlob) -> None:
    """Hold a file that the transaction is about to name; the first of its locks.

    Raises:
        Busy: it was removed since it was stored, by another request that had stored the same and was refused.
    """
    lock_content(session, blob.sha256)
    if not storage.exists(blob.key):
        raise Busy("The file was removed while it was written down; send it again.", headers={"Retry-After": "1"})


@contextmanager
def unless_recorded(database: Database, storage: Storage, blob: StoredBlob) -> Iterator[None]:
    """What is done to name a stored file; when it fails, the file is removed unless another row names it."""
    try:
        yield
    except BaseException:
        _remove(database, storage, blob)
        raise


def _remove(database: Database, storage: Storage, blob: StoredBlob) -> None:
    try:
        with impatient_transaction(database) as session:
            # Rows of any place keep a file.
            set_scope(session, None)
            lock_content(session, blob.sha256)
            names = or_(
                select(Evidence.id).where(Evidence.sha256 == blob.sha256).exists(),
                select(ClueList.id).where(ClueList.sha256 == blob.sha256).exists(),
            )
            if not session.scalar(select(names)):
                storage.delete(blob.key)
    except (SQLAlchemyError, StorageAway):
        # What made the recording fail may stand in the way of this, too, and is what the sender is told.
        log.warning("a file that was not recorded could not be removed: %s", blob.sha256)
