"""Both ledgers against what was sealed: with the seals in the database, and with those that somebody else kept.

What lies before the newest kept seal cannot have been changed, cut off, put in or re-hashed without being named here,
whoever did it. Since a seal in the database is as safe as its owner, only kept ones (and a public key that came
another way) prove anything against the owner. The service keeps its own as files: who owns the database alone cannot
change these, so that rewriting a seal, or having the service seal what was rewritten before, is found without anybody
else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.casework.hash_chain import BOOKS, CASES, Book, canonical, instant
from app.casework.merkle import leaf_hash, root
from app.casework.models import LedgerSeal, LedgerVerification
from app.casework.seal_files import BadSeal, KeptBook, KeptSeal, digest, head_of, leaf
from app.casework.seals import FILES, seal_and_write
from app.casework.signing import BadSignature, Jwk, verify_jws
from app.casework.verifying import MOST_BREAKS, Heads, Mark, Span, VerifyReport, Watch, scan
from app.foundation.time import utc_now
from app.foundation.timetable import Job
from app.settings import Settings

log = logging.getLogger(__name__)

# Of the breaks of a verification that is kept.
MOST_KEPT = 100


def verify_with_seals(
    session: Session, kept: Sequence[KeptSeal] = (), trusted: Sequence[Jwk] = (), *, directory: Path | None = None
) -> VerifyReport:
    """Prove both ledgers, the table of seals, and that the ledgers still hold what the seals say.

    Args:
        kept: seals from elsewhere (`seal_files.read`).
        directory: where the service writes the files of its seals; what they state must stand in the table.
        trusted: public keys from elsewhere; the seals must be signed by one of them, or by one that a seal so signed
            announced.
    """
    report = VerifyReport()
    rows = session.scalars(select(LedgerSeal).order_by(LedgerSeal.number)).all()
    documents = _check_table(rows, report)
    _check_kept(rows, kept, report)
    if directory is not None:
        _check_files(rows, directory, report)
    if trusted:
        _check_keys(documents, kept, {key["kid"] for key in trusted}, report)
    for book in BOOKS:
        proofs = [_KeptProof(book, one, report) for one in kept]
        marks: list[tuple[int, Mark]] = [(proof.sequence, proof.compare) for proof in proofs]
        if documents and documents[-1]["number"] not in {one.number for one in kept}:
            marks.append(_newest(book, documents[-1], report))
        scan(session, book, report, marks=marks, spans=_spans(book, documents, report), watch=_watch(proofs))
        for proof in proofs:
            proof.tell()
    _check_evidence(session, report)
    report.seals = sorted({*(one["number"] for one in documents[-1:]), *(one.number for one in kept)})
    return report


def keep_verification(session: Session, _tick: datetime | None = None, *, settings: Settings) -> None:
    """Verify everything that can be without a seal that somebody else kept, and keep what was found."""
    started = utc_now()
    report = verify_with_seals(session, directory=settings.seals)
    session.add(
        LedgerVerification(
            started_at=started,
            finished_at=utc_now(),
            events=report.events,
            review_events=report.review_events,
            cases=report.cases,
            reviews=report.reviews,
            seal=report.seals[-1] if report.seals else None,
            breaks=[
                asdict(found) | {"subject": str(found.subject) if found.subject else None}
                for found in report.breaks[:MOST_KEPT]
            ],
        )
    )
    if not report.intact:
        log.error("the ledger does not hold: %s", report.breaks[0])


def timetable(settings: Settings) -> list[Job]:
    """Seal daily (looked at often: a worker may have been away, or a key), verify every night."""
    return [
        Job("ledger-seal", "*/10 * * * *", partial(seal_and_write, settings=settings)),
        Job("ledger-verification", "40 1 * * *", partial(keep_verification, settings=settings)),
    ]


def _check_table(rows: Sequence[LedgerSeal], report: VerifyReport) -> list[dict[str, Any]]:
    """Numbers without gaps, each row as it was signed, each seal naming the one before and not falling behind it; the
    documents up to the first that is not so."""
    documents: list[dict[str, Any]] = []
    for expected, row in enumerate(rows, start=1):
        if row.number != expected:
            report.add(None, None, f"seal {expected} is missing before {row.number}", seal=expected)
            break
        fault = _fault_of(row, documents[-1] if documents else None)
        if fault:
            report.add(None, None, fault, seal=row.number)
            break
        documents.append(json.loads(row.document))
    return documents


def _fault_of(row: LedgerSeal, before: dict[str, Any] | None) -> str | None:
    try:
        document = json.loads(row.document)
        key, books = document["key"], [document[book.name]["sequence"] for book in BOOKS]
        stated = (document["number"], document["sealed_at"], *books)
        announced = (before["key"]["kid"], (before["next_key"] or before["key"])["kid"]) if before else (key["kid"],)
        verify_jws(row.jws, document, key)
    except BadSignature as error:
        return f"the seal does not hold: {error}"
    except (ValueError, KeyError, TypeError):
        return "the seal cannot be read"
    if stated != (row.number, instant(row.sealed_at), row.sequence, row.review_sequence):
        return "the seal's row says other than what was signed"
    if canonical(document).decode() != row.document:
        return "the seal is not in the form that was signed"
    if document["previous"] != (digest(before) if before else None):
        return "the seal does not follow from the seal before it"
    if key["kid"] not in announced:
        return "the seal is signed by a key that the seal before it did not announce"
    if before and any(document[book.name]["sequence"] < before[book.name]["sequence"] for book in BOOKS):
        return "the seal covers less than the seal before it"
    return None


def _check_kept(rows: Sequence[LedgerSeal], kept: Sequence[KeptSeal], report: VerifyReport) -> None:
    there = {row.number: row for row in rows}
    for one in kept:
        row = there.get(one.number)
        if row is None:
            report.add(None, None, "the kept seal is not in the database: seals were cut off", seal=one.number)
        elif row.document != canonical(one.document).decode():
            report.add(None, None, "the seal in the database was replaced: it is not the kept one", seal=one.number)


def _check_files(rows: Sequence[LedgerSeal], directory: Path, report: VerifyReport) -> None:
    """Each file of the service's own names a seal that stands in the table as it was written."""
    there = {row.number: row for row in rows}
    for path in sorted(directory.glob(FILES)):
        try:
            document = head_of(path)
            row = there.get(document["number"])
        except BadSeal as error:
            report.add(None, None, f"the file of a seal does not hold: {error}")
            continue
        if row is None:
            what = f"the seal of {path.name} is not in the database: seals were cut off"
            report.add(None, None, what, seal=document["number"])
        elif row.document != canonical(document).decode():
            what = f"the seal in the database was replaced: it is not that of {path.name}"
            report.add(None, None, what, seal=row.number)


def _check_keys(
    documents: Sequence[dict[str, Any]], kept: Sequence[KeptSeal], trusted: set[str], report: VerifyReport
) -> None:
    """The newest seal, and each kept one, is signed by a trusted key or by one that such a seal announced."""
    held = [one.document for one in kept]
    for document in sorted([*documents, *held], key=lambda document: int(document["number"])):
        if document["key"]["kid"] in trusted and document["next_key"]:
            trusted.add(document["next_key"]["kid"])
    for document in (*held, *documents[-1:]):
        if document["key"]["kid"] not in trusted:
            report.add(None, None, "the seal is signed by a key that is not the given one", seal=document["number"])


def _newest(book: Book, document: dict[str, Any], report: VerifyReport) -> tuple[int, Mark]:
    """Compare the root alone: the seal in the database names no heads."""
    stated = document[book.name]

    def compare(heads: Heads) -> None:
        leaves = [leaf_hash(leaf(book, UUID(bytes=key), *heads[key][:2])) for key in sorted(heads)]
        if root(leaves).hex() != stated["root"]:
            what = f"the events up to sequence {stated['sequence']} are not those that were sealed"
            report.add(None, None, what, book=book, seal=document["number"])

    return stated["sequence"], compare


# The rows of evidence, which the application may change, beside the events that tell of them: evidence came when its
# event was recorded, and no two events were recorded at the same instant. Payloads are searched and not read, as text.
_EVIDENCE = text(
    "select coalesce(e.case_id, v.case_id), e.sequence, e.case_sequence, case"
    " when v.id is null then 'the evidence that it added is gone, or of another case or time'"
    " when e.case_id is null then 'evidence ' || v.id || ' was put in, no event added it then'"
    " else 'the evidence that it added is another file now' end"
    " from (select case_id, sequence, case_sequence, recorded_at, payload::text as told from case_events"
    " where kind = 'evidence_added') e full join evidence v on v.case_id = e.case_id and v.uploaded_at = e.recorded_at"
    " where v.id is null or e.case_id is null or strpos(e.told, '\"sha256\":\"' || v.sha256 || '\"') = 0"
    " or strpos(e.told, '\"evidence_id\":\"' || v.id || '\"') = 0"
    " order by e.sequence limit :most"
)


def _check_evidence(session: Session, report: VerifyReport) -> None:
    for case, sequence, event, what in session.execute(_EVIDENCE, {"most": MOST_BREAKS}):
        report.add(case, sequence, what, event=event)


def _spans(book: Book, documents: Sequence[dict[str, Any]], report: VerifyReport) -> list[tuple[int, Span]]:
    """Compare what every seal says of the events that were new then; the first that differs is named.

    What was changed before the newest seal was made may be what that one states; it is not what the older ones do.
    """
    differing: list[int] = []

    def compare(document: dict[str, Any], digest_now: str) -> None:
        stated = document[book.name]
        if digest_now != stated["new_digest"] and not differing:
            differing.append(document["number"])
            first, last = stated["since"] + 1, stated["sequence"]
            what = f"the events of sequence {first} to {last} are not those that were sealed"
            report.add(None, None, what, book=book, seal=document["number"])

    return [(document[book.name]["sequence"], partial(compare, document)) for document in documents]


class _KeptProof:
    """One ledger against one kept seal."""

    def __init__(self, book: Book, seal: KeptSeal, report: VerifyReport) -> None:
        self.book, self.number, self.report = book, seal.number, report
        self.kept: KeptBook = seal.books[book.name]
        self.sequence: int = seal.document[book.name]["sequence"]
        self.until = self.kept.first + len(self.kept.hashes) // 32
        # The first event of each chain that is not the sealed one: its number, and its sequence.
        self.changed: dict[bytes, tuple[int, int]] = {}
        self.found: list[tuple[bytes, str, int | None]] = []

    def see(self, sequence: int, subject: bytes, number: int, own: bytes) -> None:
        if self.kept.first <= sequence < self.until and subject not in self.changed:
            at = 32 * (sequence - self.kept.first)
            if self.kept.hashes[at : at + 32] != own:
                self.changed[subject] = (number, sequence)

    def compare(self, heads: Heads) -> None:
        one = "case" if self.book is CASES else "detection"
        for subject, (events, head) in self.kept.heads.items():
            now = heads.get(subject)
            if now is None:
                self.found.append((subject, f"the {one} is gone; it had {events} events when it was sealed", None))
            elif now[0] < events:
                what = f"events {now[0] + 1} to {events} are cut off"
                self.found.append((subject, what, now[0] + 1))
            elif now[0] > events:
                what = f"{now[0] - events} events were put in before the seal, which holds {events}"
                self.found.append((subject, what, None))
            elif now[1] != head:
                what = f"one of events 1 to {events} was changed, and the chain hashed again"
                self.found.append((subject, what, None))
        for subject in heads.keys() - self.kept.heads.keys():
            self.found.append((subject, f"the {one} was put in before the seal, which does not hold it", 1))

    def tell(self) -> None:
        """Report what `compare` found, with the very event where the seal holds its hash."""
        for subject, what, event in self.found:
            number, sequence = self.changed.get(subject, (event, None))
            if sequence is not None:
                what += f"; event {number} is the first that is not the sealed one"
            known = UUID(bytes=subject)
            self.report.add(known, sequence, what, book=self.book, event=number, seal=self.number)


def _watch(proofs: Sequence[_KeptProof]) -> Watch | None:
    watching = [proof for proof in proofs if proof.kept.hashes]
    if not watching:
        return None

    def watch(sequence: int, subject: bytes, number: int, own: bytes) -> None:
        for proof in watching:
            proof.see(sequence, subject, number, own)

    return watch
