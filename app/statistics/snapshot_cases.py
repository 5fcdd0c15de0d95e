"""The cases that figures look at, one by one: what a snapshot keeps of each, and finds again when it is checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, and_, case, cast, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.casework.hash_chain import canonical
from app.casework.interval_models import CaseInterval
from app.casework.lifecycle import CaseState
from app.casework.merkle import leaf_hash, root
from app.casework.models import Case, CaseEvent
from app.statistics.cube import Cut, Population, keys_of, restricted
from app.statistics.dimensions import DIMENSIONS
from app.statistics.figures import Question, measures_of
from app.statistics.measures import Count, Measures, Rate
from app.statistics.models import SnapshotCase
from app.statistics.reports import REPORTS
from app.statistics.unit_keys import UnitTable

_C = CaseInterval
COLUMNS = ("case_id", "number", "interval_sequence", "events", "head", "state", "counted", "groups")


@dataclass(frozen=True)
class CountedCase:
    """One case; the columns of `SnapshotCase` by the same names."""

    case_id: UUID
    number: str
    interval_sequence: int
    events: int
    head: bytes
    state: CaseState
    counted: dict[str, Any]
    groups: list[list[str]]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> CountedCase:
        """As `told` gave it."""
        changed: dict[str, Any] = {
            "case_id": UUID(told["case_id"]),
            "head": bytes.fromhex(told["head"]),
            "state": CaseState(told["state"]),
        }
        return cls(**{name: changed.get(name, told[name]) for name in COLUMNS})

    def told(self) -> dict[str, Any]:
        """As JSON, which is what is hashed."""
        plain = {"case_id": str(self.case_id), "head": self.head.hex(), "state": self.state.value}
        return {name: plain.get(name, getattr(self, name)) for name in COLUMNS}


def statement(
    question: Question, sequence: int, caller: Caller | None, units: UnitTable, among: Select[UUID] | None
) -> Select[Any]:
    """SQL of `COLUMNS`: every case that the question looks at, counted by a measure or not.

    Args:
        question: settled (`figures.settled`).
        sequence: of the newest event by its instant.
        caller, among: as of `cube.count`.
    """
    assert question.as_of is not None
    cut = Cut(question.as_of, filters=question.filters, among=among)
    heads = _heads(sequence)
    found: Any
    head = and_(CaseEvent.case_id == heads.c.case_id, CaseEvent.case_sequence == heads.c.events)
    facts = (_C.case_id, Case.number, _C.sequence, heads.c.events, CaseEvent.hash, _C.state)
    if REPORTS[question.report].population is Population.cases:
        used = set(question.by)
        # Lists of one key, too: every dimension reads alike.
        keys = [
            func.to_jsonb(keys_of(each)) if DIMENSIONS[each].overlaps else func.jsonb_build_array(keys_of(each))
            for each in question.by
        ]
        found = restricted(
            select(*facts, _counted(measures_of(question)), func.jsonb_build_array(*keys)), caller, cut, units, used
        )
    else:
        passages = _passages(question, caller, units, among)
        times = func.jsonb_build_object(cast(literal("passages"), Text), passages.c.times)
        found = restricted(select(*facts, times, _NO_GROUPS), None, Cut(question.as_of), units)
        found = found.join(passages, passages.c.case_id == _C.case_id)
    found = found.join(Case, Case.id == _C.case_id).join(heads, heads.c.case_id == _C.case_id).join(CaseEvent, head)
    statement_: Select[Any] = found
    return statement_


_NO_GROUPS = cast(literal("[]"), JSONB)


def _passages(question: Question, caller: Caller | None, units: UnitTable, among: Select[UUID] | None) -> Any:
    """How often each case left a state; by which groups it was counted, its events say."""
    assert question.as_of is not None
    cut = Cut(question.as_of, Population.passages, question.filters, among)
    each: Any = select(_C.case_id, func.count().label("times"))
    return restricted(each, caller, cut, units).group_by(_C.case_id).subquery()


def _heads(sequence: int) -> Any:
    return (
        select(CaseEvent.case_id, func.max(CaseEvent.case_sequence).label("events"))
        .where(CaseEvent.sequence <= sequence)
        .group_by(CaseEvent.case_id)
        .subquery()
    )


def _counted(measures: Measures) -> ColumnElement[Any]:
    """An object of the measures that count a case; a value that is not known counts nothing."""
    pairs: list[ColumnElement[Any]] = []
    for name, measure in measures.items():
        if not isinstance(measure, Rate):
            value = literal(1) if isinstance(measure, Count) else measure.value
            pairs += [cast(literal(name), Text), case((measure.condition, value))]
    return func.jsonb_strip_nulls(func.jsonb_build_object(*pairs))


def rows_of(session: Session, found: Select[Any]) -> Iterator[CountedCase]:
    """The rows of `statement` in the order of ids."""
    ordered = found.order_by(found.selected_columns[0]).execution_options(yield_per=5000)
    for row in session.execute(ordered):
        values = dict(zip(COLUMNS, row, strict=True))
        yield CountedCase(**values | {"head": bytes(values["head"]), "state": CaseState(values["state"])})


def kept(snapshot_id: UUID) -> Select[Any]:
    """SQL of `COLUMNS` of the cases that a snapshot keeps."""
    return select(*(getattr(SnapshotCase, name) for name in COLUMNS)).where(SnapshotCase.snapshot_id == snapshot_id)


def ids_of(snapshot_id: UUID) -> Select[UUID]:
    """SQL of the cases' ids."""
    return select(SnapshotCase.case_id).where(SnapshotCase.snapshot_id == snapshot_id)


def root_of(rows: Iterable[CountedCase]) -> tuple[int, str]:
    """How many there are, and the root (RFC 9162) over them in the order of ids, in hex."""
    leaves = [leaf_hash(canonical(row.told())) for row in rows]
    return len(leaves), root(leaves).hex()
