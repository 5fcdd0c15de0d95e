"""Whether the ledger still supports a snapshot, and which case does not.

Three things are compared: the snapshot with its own digest and signature; the chains of its cases, computed again from
their events, with the heads that it keeps; and what the ledger gives today for its question with what it told then.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.service import Caller, enter
from app.casework.hash_chain import CASES, canonical, instant
from app.casework.merkle import leaf_hash, root
from app.casework.seal_files import BadSeal, head_of, leaf
from app.casework.seal_files import read as read_seal
from app.casework.seals import FILES, heads_at, public_keys
from app.casework.signing import BadSignature, Jwk, load_signer, verify_jws
from app.casework.verifying import Break, VerifyReport, scan
from app.foundation.database import set_scope
from app.foundation.timetable import Job
from app.settings import Settings
from app.statistics.figures import recounted, told
from app.statistics.models import Snapshot
from app.statistics.snapshot_cases import CountedCase, ids_of, kept, root_of, rows_of, statement
from app.statistics.snapshots import FORMAT, question_of, state_of_ledger, units_of

log = logging.getLogger(__name__)
MOST_FAULTS = 1000
# Chains of more cases are found faster by reading the whole ledger.
MOST_SINGLE_CHAINS = 5000


@dataclass(frozen=True)
class Fault:
    """Number of the case (None: the snapshot or the ledger as a whole), and what is wrong."""

    case: str | None
    what: str

    def __str__(self) -> str:
        return f"case {self.case}: {self.what}" if self.case else self.what


@dataclass
class SnapshotReport:
    """What a check found. `faults` ends at `MOST_FAULTS`."""

    seal: int | None = None
    faults: list[Fault] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.faults

    def add(self, case: str | None, what: str) -> None:
        fault = Fault(case, what)
        if len(self.faults) < MOST_FAULTS and fault not in self.faults[-20:]:
            self.faults.append(fault)


@dataclass(frozen=True)
class Checker:
    """What snapshots are checked against.

    Attributes:
        directory: where the service writes the files of its seals.
        keys: that signed seals, or sign now.
        breaks: of both whole ledgers, where they were read already.
    """

    session: Session
    directory: Path
    keys: Sequence[Jwk]
    breaks: Sequence[Break] | None = None

    def check(self, row: Snapshot, exported: Mapping[str, Any] | None = None) -> SnapshotReport:
        """Check a snapshot; the session must see every row.

        Args:
            exported: its export, kept elsewhere and found sound (`snapshot_export`): the ledger is compared with that,
                whatever became of the snapshot here.
        """
        report = SnapshotReport()
        document = self._document(row, report)
        rows = rows_of(self.session, kept(row.id))
        if exported is not None:
            if document != exported["document"]:
                report.add(None, "it is not the one that was exported")
            document, rows = exported["document"], (CountedCase.of(case) for case in exported["cases"])
        if document is None:
            return report
        there = {case.case_id: case for case in rows}
        count, root_ = root_of(there.values())
        if {"count": count, "root": root_} != document["cases"]:
            report.add(None, "the cases that were kept with it are no longer those that it counted")
        try:
            self._compare_chains(row, there, report)
            self._compare_cases(row, document, there, report)
            self._compare_figures(row, document, report)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            report.add(None, "its document no longer says what was asked")
        if state_of_ledger(self.session, row.sequence) != document["ledger"]:
            report.add(None, f"the ledger up to event {row.sequence} is not the one that it was bound to")
        self._compare_seal(there, report)
        return report

    def _document(self, row: Snapshot, report: SnapshotReport) -> dict[str, Any] | None:
        if hashlib.sha256(row.document.encode()).hexdigest() != row.digest:
            report.add(None, "its digest does not fit its document")
        try:
            document = dict(json.loads(row.document))
            whole = {"id", "name", "units"} <= document.keys() and all(
                isinstance(document[part], dict) for part in ("answer", "cases", "key", "ledger", "question", "unit")
            )
            if document["format"] != FORMAT or not whole or canonical(document).decode() != row.document:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            report.add(None, "its document is not in the form that was signed")
            return None
        try:
            known = {key["kid"]: key for key in self.keys}.get(document["key"]["kid"])
            if known is None:
                report.add(None, "it is signed by a key that the service never sealed with")
            verify_jws(row.jws, document, known or document["key"])
        except (BadSignature, TypeError, KeyError) as error:
            report.add(None, f"its signature does not hold: {error}")
        if _says(document) != _stands(row):
            report.add(None, "its row says other than what was signed")
        return document

    def _compare_chains(self, row: Snapshot, there: dict[UUID, CountedCase], report: SnapshotReport) -> None:
        """Hashes and chains, computed again from the events."""
        for found in self._breaks(there):
            if found.subject in there and found.sequence is not None and found.sequence <= row.sequence:
                report.add(there[found.subject].number, f"event {found.event} {found.what}")

    def _breaks(self, there: dict[UUID, CountedCase]) -> Iterable[Break]:
        if self.breaks is not None or not there:
            return self.breaks or ()
        found = VerifyReport()
        scan(self.session, CASES, found, only=list(there) if len(there) <= MOST_SINGLE_CHAINS else None)
        return found.breaks

    def _compare_cases(
        self, row: Snapshot, document: dict[str, Any], there: dict[UUID, CountedCase], report: SnapshotReport
    ) -> None:
        """The same cases, each with the same events by then and counted alike."""
        among = None if document["whole_ledger"] else ids_of(row.id)
        found = statement(question_of(document), row.sequence, None, units_of(document), among)
        missing = dict(there)
        for case in rows_of(self.session, found):
            then = missing.pop(case.case_id, None)
            for what in _amiss(then, case):
                report.add(case.number, what)
        for then in missing.values():
            report.add(then.number, "it was counted, and the ledger as of then no longer gives it")

    def _compare_figures(self, row: Snapshot, document: dict[str, Any], report: SnapshotReport) -> None:
        among = None if document["whole_ledger"] else ids_of(row.id)
        again = told(self.session, recounted(self.session, question_of(document), units_of(document), among))
        now = _figures(json.loads(canonical(again.model_dump(mode="json"))))
        for (keys, name), value in _figures(document["answer"]).items():
            other = now.pop((keys, name), None)
            if value != other:
                report.add(None, f"{name} of {_named(keys)} was {value} and is {other} when counted again")
        for (keys, name), value in now.items():
            report.add(None, f"{name} of {_named(keys)} was not told and is {value} when counted again")

    def _compare_seal(self, there: dict[UUID, CountedCase], report: SnapshotReport) -> None:
        """That the newest seal which the service keeps as a file still holds, and if not, for which of the cases."""
        path = max(self.directory.glob(FILES), default=None)
        if path is None:
            return
        try:
            document = head_of(path)
            report.seal, stated = document["number"], document[CASES.name]
            heads = {subject: (number, head) for subject, number, head in
                     heads_at(self.session, CASES, stated["sequence"])}  # fmt: skip
            leaves = [leaf_hash(leaf(CASES, subject, *head)) for subject, head in heads.items()]
            if root(leaves).hex() == stated["root"]:
                return
            sealed = read_seal(path).books[CASES.name].heads
        except BadSeal as error:
            report.add(None, f"the newest kept seal does not hold: {error}")
            return
        report.add(None, f"the ledger is not the one of seal {document['number']}")
        for case in there.values():
            if heads.get(case.case_id) != sealed.get(case.case_id.bytes):
                report.add(case.number, f"its events are not those of seal {document['number']}")


def check(session: Session, caller: Caller, row: Snapshot, settings: Settings) -> SnapshotReport:
    """Check a snapshot that the caller may see, against the whole ledger."""
    set_scope(session, None)
    try:
        return checker(session, settings).check(row)
    finally:
        enter(session, caller)


def checker(session: Session, settings: Settings, breaks: Sequence[Break] | None = None) -> Checker:
    return Checker(session, settings.seals, public_keys(session, load_signer(settings.signing_key)), breaks)


def check_all(session: Session, settings: Settings) -> Iterator[tuple[Snapshot, SnapshotReport]]:
    """Check every snapshot, oldest first; the ledger is read once. The session must see every row."""
    ids = session.scalars(select(Snapshot.id).order_by(Snapshot.id)).all()
    if not ids:
        return
    found = VerifyReport()
    scan(session, CASES, found)
    against = checker(session, settings, found.breaks)
    for snapshot_id in ids:
        row = session.get_one(Snapshot, snapshot_id)
        yield row, against.check(row)
        session.expunge(row)


def timetable(settings: Settings) -> list[Job]:
    """Checks every night, and says what does not hold."""

    def work(session: Session, tick: datetime, *, settings: Settings) -> None:
        for row, report in check_all(session, settings):
            if not report.holds:
                log.error("a snapshot does not hold: %s, %s", row.id, report.faults[0])

    return [Job("snapshots checked", "20 19 * * *", partial(work, settings=settings))]


def _says(document: dict[str, Any]) -> tuple[Any, ...]:
    asked, ledger = document["question"], document["ledger"]
    return (
        document["id"], document["name"], asked.get("report"), asked.get("as_of"), ledger.get("sequence"),
        document["cases"].get("count"), document.get("taken_by"), document.get("taken_at"),
        document["unit"].get("id"),
    )  # fmt: skip


def _stands(row: Snapshot) -> tuple[Any, ...]:
    return (
        str(row.id), row.name, row.report, instant(row.effective_as_of), row.sequence, row.cases, str(row.taken_by),
        instant(row.taken_at), str(row.unit_id),
    )  # fmt: skip


def _amiss(then: CountedCase | None, now: CountedCase) -> Iterator[str]:
    if then is None:
        yield "it was not counted, and the ledger as of then gives it now: it, or what moves it here, was put in"
        return
    if now.events < then.events:
        yield f"events {now.events + 1} to {then.events}, recorded by then, are cut off"
    elif now.events > then.events:
        yield f"{now.events - then.events} events were put in before that instant; it had {then.events}"
    elif now.head != then.head:
        yield f"one of its events 1 to {then.events} was changed, and the chain hashed again"
    if now.number != then.number:
        yield f"its number was {then.number}"
    differing = [name for name in ("state", "counted", "groups", "interval_sequence")
                 if getattr(then, name) != getattr(now, name)]  # fmt: skip
    if differing:
        yield f"it is counted otherwise now: {', '.join(differing)}"


Keys = tuple[str | None, str | None]


def _figures(answer: dict[str, Any]) -> dict[tuple[Keys, str], Any]:
    groups = [answer["total"], *answer["groups"]]
    return {
        ((group["row"], group["column"]), name): value for group in groups for name, value in group["figures"].items()
    }


def _named(keys: Keys) -> str:
    return " × ".join(key for key in keys if key is not None) or "the whole"
