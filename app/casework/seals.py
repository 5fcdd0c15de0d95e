"""Seals: what both ledgers held at an instant, stated and signed (DESIGN section 7).

A seal names the last sequence of each ledger, a Merkle root over the heads of all chains, a digest of the hashes of
the events since the seal before, and that seal's digest. Whoever keeps a seal's file can prove later that nothing
before it was changed, cut off or put in between (`verify_with_seals`), whoever owns the database.

Sequences are given out under a head's lock that is held until commit, so all events up to a committed head are there
to see: a seal takes no lock that a writer waits for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.casework import seal_files
from app.casework.hash_chain import BOOKS, CASES, REVIEWS, Book, canonical, instant
from app.casework.merkle import leaf_hash, root
from app.casework.models import LedgerHead, LedgerSeal
from app.casework.seal_files import FORMAT, Leaf, digest, leaf
from app.casework.signing import Jwk, Signer, SigningKeyMissing, create_key, following_path, load_signer
from app.foundation.database import Database
from app.foundation.errors import NotFound, Problem
from app.foundation.time import legal_day, utc_now
from app.settings import Settings

log = logging.getLogger(__name__)

# One seal at a time; any number will do, as long as nothing else locks it.
_SEALING = 0x5EA1
# Files written in one go; the next look writes the others.
MOST_FILES = 5


def newest(session: Session) -> LedgerSeal | None:
    return session.scalar(select(LedgerSeal).order_by(LedgerSeal.number.desc()).limit(1))


def by_number(session: Session, number: int | str) -> LedgerSeal:
    """
    Raises:
        NotFound: there is no such seal.
    """
    known = re.fullmatch("[0-9]{1,9}", str(number))
    row = session.get(LedgerSeal, int(number)) if known else None
    if row is None:
        raise NotFound("There is no such seal.")
    return row


def document_of(row: LedgerSeal) -> dict[str, Any]:
    return dict(json.loads(row.document))


def public_keys(session: Session, signer: Signer | None) -> list[Jwk]:
    """Every key that signed a seal or was announced by one, oldest first, and the one that signs now."""
    keys: dict[str, Jwk] = {}
    for row in session.scalars(select(LedgerSeal.document).order_by(LedgerSeal.number)):
        document = json.loads(row)
        for key in (document["key"], document["next_key"]):
            if key is not None:
                keys.setdefault(key["kid"], key)
    if signer is not None:
        keys.setdefault(signer.jwk["kid"], signer.jwk)
    return list(keys.values())


def open_signer(session: Session, settings: Settings) -> Signer:
    """The key that signs now. Made on first use where the settings name none and nothing was sealed yet; a following
    key that the newest seal announced takes its place.

    Raises:
        SigningKeyMissing: there is none to be had.
    """
    path = settings.signing_key
    signer, last = load_signer(path), newest(session)
    if signer is None:
        if last is not None:
            raise SigningKeyMissing(
                "The key of the ledger is missing, and seals were made with it. Put its file back, or begin with a new "
                "one that no seal announced (`redline ledger key create --replace`)."
            )
        if settings.ledger_key is not None:
            raise SigningKeyMissing("There is no key of the ledger yet; make one with `redline ledger key create`.")
        try:
            signer = Signer(create_key(path))
            log.info("made the key of the ledger", extra={"kid": signer.jwk["kid"]})
        except FileExistsError:
            signer = load_signer(path)
        except OSError:
            raise SigningKeyMissing("The key of the ledger cannot be made: its folder cannot be written.") from None
    elif last is not None and signer.following == document_of(last)["next_key"] is not None:
        with suppress(FileNotFoundError):
            # Another process may have been quicker.
            following_path(path).replace(path)
        signer = load_signer(path)
    if signer is None:
        raise SigningKeyMissing("The key of the ledger went away while it was looked for.")
    return signer


def seal(session: Session, signer: Signer) -> LedgerSeal:
    """State what both ledgers hold now, signed; the session must see every row."""
    session.execute(select(func.pg_advisory_xact_lock(_SEALING)))
    last = newest(session)
    before = document_of(last) if last else None
    up_to = {row.id: row.sequence for row in session.execute(select(LedgerHead.id, LedgerHead.sequence))}
    sealed_at = session.scalar(select(func.clock_timestamp()))
    assert sealed_at is not None
    document: dict[str, Any] = {
        "format": FORMAT,
        "number": last.number + 1 if last else 1,
        "sealed_at": instant(sealed_at),
        "previous": digest(before) if before else None,
        "key": signer.jwk,
        "next_key": signer.following,
    }
    for book in BOOKS:
        document[book.name] = _state(session, book, up_to[book.head], before[book.name]["sequence"] if before else 0)
    row = LedgerSeal(
        number=document["number"],
        sealed_at=sealed_at,
        sequence=document[CASES.name]["sequence"],
        review_sequence=document[REVIEWS.name]["sequence"],
        document=canonical(document).decode(),
        jws=signer.sign(document),
    )
    session.add(row)
    session.flush()
    return row


def _state(session: Session, book: Book, sequence: int, since: int) -> dict[str, Any]:
    events = 0
    hashes = []
    for subject, number, head in heads_at(session, book, sequence):
        events += number
        hashes.append(leaf_hash(leaf(book, subject, number, head)))
    new = hashlib.sha256()
    for block in _hashes(session, book, since, sequence):
        new.update(block)
    return {
        "sequence": sequence,
        "since": since,
        "events": events,
        "subjects": len(hashes),
        "root": root(hashes).hex(),
        "new_digest": new.hexdigest(),
    }


def heads_at(session: Session, book: Book, sequence: int) -> Iterator[Leaf]:
    """The head of every chain as of a sequence, in the order of ids."""
    # Names of a book are constants (`hash_chain`): nothing that was sent is in the statement.
    statement = text(
        f"select e.{book.subject}, e.{book.number}, e.hash from (select {book.subject} as subject,"  # noqa: S608  # see above
        f" max({book.number}) as number from {book.table} where sequence <= :sequence group by 1) last"
        f" join {book.table} e on e.{book.subject} = last.subject and e.{book.number} = last.number order by 1"
    )
    for subject, number, head in session.execute(statement.execution_options(yield_per=5000), {"sequence": sequence}):
        yield subject, number, bytes(head)


def _hashes(session: Session, book: Book, since: int, until: int) -> Iterator[bytes]:
    statement = text(f"select hash from {book.table} where sequence > :since and sequence <= :until order by sequence")  # noqa: S608  # constants
    rows = session.execute(statement.execution_options(yield_per=5000), {"since": since, "until": until})
    for row in rows:
        yield bytes(row[0])


# What `file_name` gives.
FILES = "seal-*.jsonl.gz"


def file_name(number: int) -> str:
    return f"seal-{number:06d}.jsonl.gz"


def file_lines(session: Session, row: LedgerSeal) -> Iterator[bytes]:
    """The lines of a seal's file, made from the ledger as it is now (`seal_files`)."""
    document = document_of(row)
    books = []
    for book in BOOKS:
        stated = document[book.name]
        hashes = b"".join(_hashes(session, book, stated["since"], stated["sequence"]))
        books.append((book, heads_at(session, book, stated["sequence"]), hashes))
    return seal_files.lines(document, row.jws, books)


def write_missing(session: Session, directory: Path) -> list[Path]:
    """Write the files of committed seals that are not in the directory yet, at most `MOST_FILES`.

    A file that would not hold by itself, because the ledger is no longer what was sealed, is not left there.
    """
    written = []
    there = {path.name for path in directory.glob(FILES)}
    numbers = session.scalars(select(LedgerSeal.number).order_by(LedgerSeal.number)).all()
    for number in [n for n in numbers if file_name(n) not in there][:MOST_FILES]:
        path = directory / file_name(number)
        if _write_whole(session, path, number):
            written.append(path)
    return written


def _write_whole(session: Session, path: Path, number: int) -> bool:
    draft = path.with_name(f"unchecked-{secrets.token_hex(8)}-{path.name}")
    try:
        seal_files.write(draft, file_lines(session, by_number(session, number)))
        seal_files.read(draft)
        draft.replace(path)
    except seal_files.BadSeal as error:
        log.error("the ledger no longer holds what seal %s states: %s", number, error)
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


class SealNotWhole(Problem):
    """The ledger no longer holds what was sealed"""

    status, code = 409, "seal-not-whole"


def file_of(database: Database, settings: Settings, number: int) -> Path:
    """The file of a committed seal, written now where it is not there yet.

    Raises:
        SealNotWhole: it was never written, and the ledger is no longer what was sealed.
    """
    path = settings.seals / file_name(number)
    if not path.exists():
        with database.transaction(see_all=True) as session:
            if not _write_whole(session, path, number):
                raise SealNotWhole(f"What the ledgers hold is no longer what seal {number} states; verify them.")
    return path


def is_due(session: Session, now: datetime) -> bool:
    """There is something to seal, and nothing was sealed on this legal day."""
    last = newest(session)
    if last is not None:
        return legal_day(last.sealed_at) < legal_day(now)
    return bool(session.scalar(select(func.max(LedgerHead.sequence))))


def seal_and_write(session: Session, _tick: datetime, *, settings: Settings) -> None:
    """The timetable's step: write what an earlier step sealed, seal where it is due. Without a key, say so."""
    try:
        write_missing(session, settings.seals)
    except OSError as error:
        log.error("seals wait to be written: %s", error.strerror)
    if not is_due(session, utc_now()):
        return
    try:
        row = seal(session, open_signer(session, settings))
    except SigningKeyMissing as error:
        log.error("sealing the ledger is overdue: %s", error.detail)
        return
    log.info("sealed the ledger", extra={"seal": row.number})


def heads_of(session: Session, book: Book, row: LedgerSeal) -> list[tuple[UUID, int, bytes]]:
    """The heads that a seal covers, in the order of its leaves."""
    return list(heads_at(session, book, document_of(row)[book.name]["sequence"]))
