"""Snapshots: figures that are kept as they were told, bound to the ledger that they rest on.

A snapshot's document holds the question, the whole answer, the units by which it was grouped, a root over the cases
that it looked at, and a root over the heads of all chains of the ledger then, as a seal has it (`app.casework.seals`).
It is signed with the key that signs seals, which is not in the database: whoever owns the database can change it, and
cannot make it fit.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, insert, literal, select
from sqlalchemy.orm import Session, defer

from app.access.models import Role, Unit
from app.access.service import Caller, enter, get_placed, in_jurisdiction
from app.casework.hash_chain import CASES, canonical, instant
from app.casework.merkle import leaf_hash, root
from app.casework.models import CaseEvent
from app.casework.seal_files import leaf
from app.casework.seals import heads_at
from app.casework.signing import Signer
from app.foundation.database import set_scope
from app.foundation.errors import Invalid, Problem
from app.foundation.identity import new_id
from app.foundation.paging import PageRequest, fetch_page
from app.statistics.dimensions import DIMENSIONS, Dimension
from app.statistics.figures import Question, recounted, settled, told
from app.statistics.models import Snapshot, SnapshotCase
from app.statistics.reports import Report
from app.statistics.schemas import UnitsAsOf
from app.statistics.snapshot_cases import COLUMNS, ids_of, kept, root_of, rows_of, statement
from app.statistics.snapshot_schemas import SnapshotRequest
from app.statistics.unit_keys import KeptUnits, UnitKeys

FORMAT = "redline-figures-snapshot/1"
# Who may take one.
ROLES = (Role.province, Role.inspector, Role.prefecture, Role.county)


class SnapshotUnreadable(Problem):
    """The snapshot can no longer be read"""

    status, code = 409, "snapshot-unreadable"


def take(session: Session, caller: Caller, asked: SnapshotRequest, signer: Signer) -> Snapshot:
    """Count what is asked for and keep it.

    Raises:
        Forbidden: the role takes no snapshots.
        Invalid: as `figures.counted`.
    """
    caller.require(*ROLES)
    wanted = asked.question()
    try:
        question = settled(session, wanted)
    except Invalid as error:
        raise _of_the_body(error) from None
    assert question.as_of is not None
    snapshot_id, taken_at = new_id(), session.scalar(select(func.clock_timestamp()))
    assert taken_at is not None
    units = _units(session, question)
    # The heads of all chains are bound, whoever asks; the caller's own wall stands in the statement of the cases.
    set_scope(session, None)
    try:
        ledger = state_of_ledger(session, sequence_at(session, question.as_of))
        _keep_cases(session, snapshot_id, statement(question, ledger["sequence"], caller, units, None))
        among = ids_of(snapshot_id) if caller.units is not None else None
        answer = told(session, recounted(session, question, units, among))
        cases, cases_root = root_of(rows_of(session, kept(snapshot_id)))
    finally:
        enter(session, caller)
    document: dict[str, Any] = {
        "format": FORMAT,
        "id": str(snapshot_id),
        "name": asked.name,
        "taken_at": instant(taken_at),
        "taken_by": str(caller.account_id),
        "unit": {"id": str(caller.unit_id), "code": caller.unit_code},
        "whole_ledger": caller.units is None,
        "question": _asked(question) | {"asked_as_of": instant(wanted.as_of) if wanted.as_of else None},
        "answer": answer.model_dump(mode="json"),
        "units": _told_units(units),
        "ledger": ledger,
        "cases": {"count": cases, "root": cases_root},
        "key": signer.jwk,
    }
    content = canonical(document)
    row = Snapshot(
        id=snapshot_id,
        name=asked.name,
        report=question.report.value,
        unit_id=caller.unit_id,
        unit_ids=[caller.unit_id],
        taken_by=caller.account_id,
        taken_at=taken_at,
        effective_as_of=question.as_of,
        sequence=ledger["sequence"],
        cases=cases,
        document=content.decode(),
        digest=hashlib.sha256(content).hexdigest(),
        jws=signer.sign(document),
    )
    session.add(row)
    session.flush()
    return row


# Where a body says what a query calls otherwise.
_PLACES = {"unit": "filters/unit", "from": "period/0", "to": "period/1"}


def _of_the_body(error: Invalid) -> Invalid:
    """What figures refuse of a query, as a fault of the body."""
    names = [(one, one["pointer"].removeprefix("query/")) for one in error.members["errors"]]
    return Invalid(error.detail, errors=[one | {"pointer": f"body/{_PLACES.get(name, name)}"} for one, name in names])


def get(session: Session, caller: Caller, snapshot_id: UUID) -> Snapshot:
    """
    Raises:
        NotFound: there is none, or the caller does not see all that it counted.
    """
    row: Snapshot = get_placed(session, caller, Snapshot, snapshot_id)
    return row


def newest(session: Session, caller: Caller, page: PageRequest) -> tuple[list[Snapshot], str | None]:
    """One page of the snapshots that the caller sees, newest first, without their documents."""
    # What is left alone weighs: an answer may have thousands of groups.
    found = select(Snapshot).options(defer(Snapshot.document), defer(Snapshot.jws))
    return fetch_page(session, in_jurisdiction(found, caller, Snapshot), page, Snapshot.id)


def document_of(row: Snapshot) -> dict[str, Any]:
    """
    Raises:
        SnapshotUnreadable: somebody changed it into something else.
    """
    try:
        return dict(json.loads(row.document))
    except (ValueError, TypeError):
        raise SnapshotUnreadable("What was kept is no longer a document; check the snapshot.") from None


def unit_codes(session: Session, rows: list[Snapshot]) -> dict[UUID, str]:
    wanted = {row.unit_id for row in rows}
    return {unit.id: unit.code for unit in session.scalars(select(Unit).where(Unit.id.in_(wanted)))}


def question_of(document: dict[str, Any]) -> Question:
    """The settled question of a snapshot's document."""
    asked = document["question"]
    first, last = asked["period"]
    return Question(
        report=Report(asked["report"]),
        as_of=datetime.fromisoformat(asked["as_of"]),
        rows=Dimension(asked["rows"]) if asked["rows"] else None,
        columns=Dimension(asked["columns"]) if asked["columns"] else None,
        units=UnitsAsOf(asked["units"]),
        filters={Dimension(name): list(keys) for name, keys in asked["filters"].items()},
        period=(date.fromisoformat(first), date.fromisoformat(last)),
        on=date.fromisoformat(asked["on"]),
    )


def units_of(document: dict[str, Any]) -> KeptUnits:
    """The units by which a snapshot was grouped."""
    told_ = document["units"]
    return KeptUnits(
        changes=[date.fromisoformat(day) for day in told_["changes"]],
        kept=[(UUID(unit), period, *codes) for unit, period, *codes in told_["rows"]],
    )


def sequence_at(session: Session, at: datetime) -> int:
    """Of the newest event by an instant; 0: there is none. Instants grow with the sequence."""
    statement_ = select(CaseEvent.sequence).where(CaseEvent.recorded_at <= at).order_by(CaseEvent.recorded_at.desc())
    return session.scalar(statement_.limit(1)) or 0


def state_of_ledger(session: Session, sequence: int) -> dict[str, Any]:
    """What binds the ledger of cases as of a sequence: the root over the heads of all chains, as a seal has it."""
    events, hashes = 0, []
    for subject, number, head in heads_at(session, CASES, sequence):
        events += number
        hashes.append(leaf_hash(leaf(CASES, subject, number, head)))
    return {"sequence": sequence, "events": events, "subjects": len(hashes), "root": root(hashes).hex()}


def _keep_cases(session: Session, snapshot_id: UUID, found: Select[Any]) -> None:
    values = found.subquery()
    rows = select(func.gen_random_uuid(), literal(snapshot_id), *values.c)
    into = insert(SnapshotCase).from_select(["id", "snapshot_id", *COLUMNS], rows, include_defaults=False)
    session.execute(into)


def _units(session: Session, question: Question) -> KeptUnits:
    """The units by which it is grouped or filtered; none where it is not."""
    found = UnitKeys(session, question.units, question.on or date.max)
    rows = found.rows()
    if not any(DIMENSIONS[each].by_unit for each in (*question.by, *question.filters)):
        return KeptUnits([], [], found.names)
    return KeptUnits(found.changes, rows, found.names)


def _told_units(units: KeptUnits) -> dict[str, Any]:
    rows = sorted([str(unit), period, *codes] for unit, period, *codes in units.kept)
    return {"changes": [day.isoformat() for day in units.changes], "rows": rows}


def _asked(question: Question) -> dict[str, Any]:
    assert question.as_of is not None and question.period is not None and question.on is not None
    return {
        "report": question.report.value,
        "as_of": instant(question.as_of),
        "rows": question.rows.value if question.rows else None,
        "columns": question.columns.value if question.columns else None,
        "units": question.units.value,
        "filters": {name.value: list(keys) for name, keys in question.filters.items()},
        "period": [day.isoformat() for day in question.period],
        "on": question.on.isoformat(),
    }
