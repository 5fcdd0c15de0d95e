"""Proof that the ledgers hold: every hash, every chain, the order of all events, and what stands where.

One pass in the order of the sequence, in one statement a ledger, so that writers at work cause no false alarm. The
database composes the canonical text of an event from its columns (`_CONTENT`; texts of payloads are kept as they were
hashed), the hash is made here. Memory: some 400 bytes a case, however many events it has.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.casework.hash_chain import CASES, ORIGIN, REVIEWS, Book

# Enough to find a break by; a ledger that is broken everywhere need not fill the memory.
MOST_BREAKS = 1000
# The head of a chain: how many events, hash of the last, state after it.
Head = tuple[int, bytes, bytes]
Heads = dict[bytes, Head]


@dataclass(frozen=True)
class Break:
    """Where a ledger does not hold: the case or detection (None: the ledger as a whole), the sequence, what is wrong,
    and, where a kept seal shows it, which seal."""

    subject: UUID | None
    sequence: int | None
    what: str
    book: str = CASES.name
    # Number of the event within its case or detection.
    event: int | None = None
    seal: int | None = None

    @property
    def case(self) -> UUID | None:
        return self.subject if self.book == CASES.name else None

    def __str__(self) -> str:
        where = [f"{'case' if self.book == CASES.name else 'detection'} {self.subject}"] if self.subject else []
        where += [f"event {self.event}"] if self.event is not None else []
        where += [f"sequence {self.sequence} of {self.book}"] if self.sequence is not None else []
        where += [f"seal {self.seal}"] if self.seal is not None else []
        return f"{', '.join(where) or self.book}: {self.what}"


@dataclass
class VerifyReport:
    """What a verification read and found. `breaks` ends at `MOST_BREAKS`."""

    events: int = 0
    cases: int = 0
    review_events: int = 0
    reviews: int = 0
    # Numbers of the seals whose every head was compared.
    seals: list[int] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.breaks

    def add(
        self,
        subject: UUID | None,
        sequence: int | None,
        what: str,
        *,
        book: Book = CASES,
        event: int | None = None,
        seal: int | None = None,
    ) -> None:
        if len(self.breaks) < MOST_BREAKS:
            self.breaks.append(Break(subject, sequence, what, book.name, event, seal))


# Called when all events up to a sequence were read, with the heads as they stood then.
Mark = Callable[[Heads], None]
# Called then, with the digest (SHA-256, hex) of the hashes of the events since the span before it.
Span = Callable[[str], None]
# Called with each event: sequence, subject, its number there, hash.
Watch = Callable[[int, bytes, int, bytes], None]


def verify(session: Session) -> VerifyReport:
    """Prove both ledgers by themselves; the session must see every row. `seals.verify_with_seals` compares seals too.

    Checked: hashes, each chain and its numbering from its first event, states of neighbours, the state of each case
    and review against its last event, gaps of the sequence, growing instants, and the heads.
    """
    report = VerifyReport()
    for book in (CASES, REVIEWS):
        scan(session, book, report)
    return report


def verify_one(session: Session, book: Book, subject: UUID) -> VerifyReport:
    """Prove the chain of one case, or of one detection's review."""
    report = VerifyReport()
    scan(session, book, report, only=[subject])
    return report


def scan(
    session: Session,
    book: Book,
    report: VerifyReport,
    *,
    marks: Sequence[tuple[int, Mark]] = (),
    spans: Sequence[tuple[int, Span]] = (),
    watch: Watch | None = None,
    only: Collection[UUID] | None = None,
) -> Heads:
    """Read a ledger once, tell the report what does not hold; the heads of all chains.

    Args:
        only: read the chains of these cases or detections, at least one, and of no others.
    """
    return _Scan(book, report, marks, spans, watch, only).read(session)


# Kinds of rows of the statement, in their order.
_HEAD, _STANDS, _EVENT = 0, 1, 2


def _statement(book: Book, only: Collection[UUID] | None) -> str:
    """Head, what stands where, and all events, in one snapshot: the parts of a UNION ALL come in their order."""
    version = "version" if book is REVIEWS else "0"
    key, where, stands_where = ("id" if book is CASES else book.subject), "", ""
    if only is not None:
        # A UUID's text holds nothing to escape.
        listed = ", ".join(f"'{subject}'" for subject in only)
        where, stands_where = f" where {book.subject} in ({listed})", f" where {key} in ({listed})"
    head = (
        f"select {_HEAD}::int2, sequence, 0::int4, recorded_at, '{UUID(int=0)}'::uuid, ''::bytea, ''::bytea, '', '',"  # noqa: S608
        f" '' from ledger_head where id = {book.head}"
    )
    stands = (
        f"select {_STANDS}::int2, 0::int8, {version}::int4, 'epoch'::timestamptz, {key}, ''::bytea, ''::bytea, '',"  # noqa: S608
        f" state, '' from {book.subjects}{stands_where}"
    )
    events = (
        f"select {_EVENT}::int2, sequence, {book.number}, recorded_at, {book.subject}, hash, previous_hash,"  # noqa: S608
        f" coalesce(state_before, ''), state_after, {_content(book)} from {book.table}{where} order by sequence"
    )
    parts = ([] if only else [head]) + [stands, events]
    return " union all ".join(f"({part})" for part in parts)


def _content(book: Book) -> str:
    """SQL of an event's canonical text: as RFC 8785 writes it, `to_json` escapes what has to be, and nothing else."""
    written = {
        "note": "coalesce(to_json(note)::text, 'null')",
        "payload": "payload::text",
        "sequence": "sequence::text",
        book.number: f"{book.number}::text",
        "recorded_at": """'"' || to_char(recorded_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"'""",
        "occurred_on": """'"' || occurred_on::text || '"'""",
        "kind": "to_json(kind)::text",
        "actor_role": "to_json(actor_role)::text",
        "state_before": "coalesce(to_json(state_before)::text, 'null')",
        "state_after": "to_json(state_after)::text",
    }
    ids = """'"' || {}::text || '"'"""
    pieces = [f"""'{"," if k else "{"}"{name}":' || """ + written.get(name, ids.format(name)) for k, name in
              enumerate(book.fields)]  # fmt: skip
    return " || ".join(pieces) + " || '}'"


# Of COPY's binary form: number of fields, then length and value of each; the first five and the hash have one length.
_FIXED = struct.Struct(">hihiqiiiqi16si")
_LENGTH = struct.Struct(">i")
_HASHES = struct.Struct(">32si32si")
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER = len(_SIGNATURE) + 8


def _rows(session: Session, statement: str) -> Iterator[bytes]:
    connection: Any = session.connection().connection.driver_connection
    with connection.cursor() as cursor:
        # Instants are written in UTC; the parts come one after the other.
        cursor.execute(
            "set local timezone = 'UTC'; set local datestyle = 'ISO'; set local max_parallel_workers_per_gather = 0;"
            " set local enable_parallel_append = off"
        )
        with cursor.copy(f"copy ({statement}) to stdout (format binary)") as copy:
            for block in copy:
                row = bytes(block)
                if row.startswith(_SIGNATURE):
                    row = row[_HEADER:]
                if len(row) > 2:
                    yield row


def _values(row: bytes, at: int) -> list[bytes]:
    """The fields from `at` on, where a length stands before each."""
    values = []
    while at < len(row):
        (length,) = _LENGTH.unpack_from(row, at)
        at += 4
        values.append(row[at : at + max(length, 0)])
        at += max(length, 0)
    return values


class _Scan:
    def __init__(
        self,
        book: Book,
        report: VerifyReport,
        marks: Sequence[tuple[int, Mark]],
        spans: Sequence[tuple[int, Span]],
        watch: Watch | None,
        only: Collection[UUID] | None,
    ) -> None:
        self.book, self.report, self.watch, self.only = book, report, watch, only
        self.stops: list[tuple[int, Callable[[], None]]] = [
            *((sequence, partial(self._end_span, span)) for sequence, span in spans),
            *((sequence, partial(self._call, mark)) for sequence, mark in marks),
        ]
        self.stops.sort(key=lambda stop: stop[0])
        self.new = hashlib.sha256()
        self.heads: Heads = {}
        # State and version of the case or review.
        self.stands: dict[bytes, tuple[bytes, int]] = {}
        self.head: tuple[int, int] | None = None
        self.events = 0
        # Of the event before, whosever it was.
        self.sequence, self.recorded = 0, -(2**62)

    def add(self, subject: bytes | None, sequence: int | None, what: str, event: int | None = None) -> None:
        known = UUID(bytes=subject) if subject is not None else None
        self.report.add(known, sequence, what, book=self.book, event=event)

    def read(self, session: Session) -> Heads:
        unpack, hashes, at, sha256 = _FIXED.unpack_from, _HASHES.unpack_from, _FIXED.size, hashlib.sha256
        heads, watch, whole = self.heads, self.watch, self.only is None
        first = (0, ORIGIN, b"" if self.book is CASES else b"new")
        stop, feed = self.stops[0][0] if self.stops else 2**63, self.new.update
        for row in _rows(session, _statement(self.book, self.only)):
            _, _, kind, _, sequence, _, number, _, recorded, _, subject, length = unpack(row)
            if kind != _EVENT:
                self._set_out(kind, sequence, number, recorded, subject, row)
                continue
            while sequence > stop:
                stop = self._pass_stop()
                feed = self.new.update
            own, previous, before, after, content = b"", b"", b"", b"", b""
            if length == 32:
                own, length, previous, size = hashes(row, at)
            if length == 32:
                # Two short texts, the state before and after, and the content to the end.
                end = at + 72 + size
                before = row[at + 72 : end]
                start = end + 4 + int.from_bytes(row[end : end + 4])
                after, content = row[end + 4 : start], row[start + 4 :]
            else:
                own, previous, before, after, content = _values(row, at - 4)
            last = heads.get(subject, first)
            if whole and sequence != self.sequence + 1:
                self.add(None, self.sequence + 1, f"the sequence jumps from {self.sequence} to {sequence}")
            if (
                number != last[0] + 1
                or previous != last[1]
                or before != last[2]
                or recorded <= self.recorded
                or sha256(previous + content).digest() != own
            ):
                self._explain(subject, sequence, number, recorded, last, (own, previous, before, content))
            feed(own)
            heads[subject] = (number, own, after)
            self.sequence, self.recorded = sequence, recorded
            self.events += 1
            if watch is not None:
                watch(sequence, subject, number, own)
        while self.stops:
            self._pass_stop()
        self._finish()
        return heads

    def _pass_stop(self) -> int:
        """Tell who asked that all events up to the stop were read; the next stop."""
        self.stops.pop(0)[1]()
        return self.stops[0][0] if self.stops else 2**63

    def _call(self, mark: Mark) -> None:
        mark(self.heads)

    def _end_span(self, span: Span) -> None:
        span(self.new.hexdigest())
        self.new = hashlib.sha256()

    def _set_out(self, kind: int, sequence: int, number: int, recorded: int, subject: bytes, row: bytes) -> None:
        if kind == _HEAD:
            self.head = (sequence, recorded)
        else:
            self.stands[subject] = (_values(row, _FIXED.size - 4)[3], number)

    def _explain(
        self,
        subject: bytes,
        sequence: int,
        number: int,
        recorded: int,
        last: Head,
        row: tuple[bytes, bytes, bytes, bytes],
    ) -> None:
        own, previous, before, content = row
        one = "case" if self.book is CASES else "detection"
        if number != last[0] + 1:
            self.add(subject, sequence, f"event {last[0] + 1} of the {one} is missing before {number}", number)
        if previous != last[1]:
            self.add(subject, sequence, "does not follow from the event before it", number)
        if hashlib.sha256(previous + content).digest() != own:
            self.add(subject, sequence, "its content does not match its hash", number)
        # A review from before there was this ledger need not begin as new.
        if before != last[2] and not (self.book is REVIEWS and last[0] == 0):
            self.add(subject, sequence, "does not start from the state that the event before it left", number)
        if recorded <= self.recorded:
            self.add(subject, sequence, "was recorded before the event that it follows", number)

    def _finish(self) -> None:
        if self.book is CASES:
            self.report.events += self.events
            self.report.cases += len(self.heads)
        else:
            self.report.review_events += self.events
            self.report.reviews += len(self.heads)
        for subject, (number, _, after) in self.heads.items():
            self._finish_one(subject, number, after.decode())
        if self.book is CASES:
            for subject in self.stands.keys() - self.heads.keys():
                self.add(subject, None, "the case has no event")
        if self.only is None:
            self._finish_head()

    def _finish_one(self, subject: bytes, number: int, after: str) -> None:
        stands = self.stands.get(subject)
        one = "case" if self.book is CASES else "review"
        if stands is None:
            # A detection that nobody holds any more needs no review.
            if self.book is CASES or after != "new":
                self.add(subject, None, f"there are events, but the {one} is gone")
            return
        state, version = stands[0].decode(), stands[1]
        if state != after:
            self.add(subject, None, f"the {one} is {state}, its last event says {after}", number)
        if self.book is REVIEWS and version < number:
            self.add(subject, None, f"the review is of version {version}, but there are {number} events", number)

    def _finish_head(self) -> None:
        if self.head is None:
            self.add(None, None, "the ledger has no head")
            return
        sequence, recorded = self.head
        if sequence != self.sequence or (self.sequence and recorded != self.recorded):
            self.add(None, sequence, f"the head says {sequence}, the last event is {self.sequence}")
