"""Seeded random samples of cases for the inspection team, which anyone with the seed draws again.

The population is what the ledger knew at a sequence, read from events alone, so that it comes out the same for ever.
Each case gets a ticket, SHA-256 over `<seed>:<case id>` (UTF-8, the id as lower-case text); the smallest tickets are
drawn. Tickets by hash are independent of each other and of the cases to anyone who cannot choose the seed after the
population is fixed, so the draw is a simple random sample without replacement (permanent random numbers: Ohlsson,
"Coordination of samples using permanent random numbers", 1995; tickets by SHA-256 as in election audits: Rivest,
"Consistent sampling with replacement", arXiv 1808.10016). A seed drawn in public after the name of the sample was
announced keeps the inspector, too, from choosing.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Row, cast, func, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.orm import Session

from app.access.models import Role, Unit
from app.access.service import Caller, units_below
from app.casework.guards import invalid
from app.casework.ledger import CASES_HEAD, append
from app.casework.lifecycle import CaseState
from app.casework.look_back_schemas import SampleCheck, SampleFilters, SampleRequest
from app.casework.models import Case, CaseEvent, LedgerHead
from app.casework.supervision_models import Sample, SampledCase
from app.casework.transitions import lock_cases
from app.foundation.errors import Conflict, NotFound
from app.foundation.identity import new_id

# Case and lead unit, as the ledger knew them.
Population = dict[UUID, UUID]
# What the payload of an event says about its case from then on, by the filter that reads it.
_ATTRIBUTES = {"source": "supervision_source", "activity": "activity", "protected_area_level": "protected_area_level"}
_OUT = (CaseState.merged.value, CaseState.withdrawn.value)


def draw_sample(session: Session, caller: Caller, body: SampleRequest, *, today: date) -> Sample:
    """Draw a sample, and tell the ledger of each case that it was drawn.

    Raises:
        Forbidden: the caller is no inspector.
        Conflict: there is a sample of this name.
        Invalid: an unknown unit, or fewer cases than are to be drawn.
    """
    caller.require(Role.inspector)
    _take_time(session)
    filters = _frozen(session, body.filters) | {"stratify_by_unit": body.stratify_by_unit}
    # The head's row is locked until commit by whoever writes, so that every event up to the value seen here is there.
    sequence = session.scalars(select(LedgerHead.sequence).where(LedgerHead.id == CASES_HEAD)).one()
    population = population_at(session, filters, sequence)
    seed = body.seed or secrets.token_hex(32)
    drawn = draw(population, seed, body.size, stratify=body.stratify_by_unit)
    cases = lock_cases(session, caller, drawn)
    values = {
        "id": new_id(),
        "name": body.name,
        "seed": seed,
        "size": body.size,
        "filters": filters,
        "ledger_sequence": sequence,
        "population": len(population),
        "population_digest": digest(population),
        "drawn_by": caller.account_id,
    }
    statement = insert(Sample).values(values).on_conflict_do_nothing(index_elements=[Sample.name])
    sample: Sample | None = session.scalar(statement.returning(Sample))
    if sample is None:
        raise Conflict(f"There is a sample named {body.name} already.")
    for position, case_id in enumerate(drawn, 1):
        session.add(SampledCase(sample_id=sample.id, position=position, case_id=case_id))
    told = _told(sample)
    for position, case_id in enumerate(drawn, 1):
        case = cases[case_id]
        payload = told | {"position": position}
        append(session, caller, case, "sampled", state_before=case.state, occurred_on=today, payload=payload)
    return sample


def _told(sample: Sample) -> dict[str, Any]:
    """What each drawn case's ledger keeps of the draw, so that the sample's row cannot be changed unnoticed."""
    return {
        "sample_id": str(sample.id),
        "seed": sample.seed,
        "size": sample.size,
        "ledger_sequence": sample.ledger_sequence,
        "population": sample.population,
        "population_digest": sample.population_digest,
    }


def _frozen(session: Session, filters: SampleFilters) -> dict[str, Any]:
    """The filters with the units as they stand: a unit that is merged later takes nothing with it into this sample."""
    frozen = filters.model_dump(mode="json", exclude_none=True)
    if filters.unit is not None:
        top = session.scalar(select(Unit.id).where(Unit.code == filters.unit))
        if top is None:
            raise invalid("filters/unit", "there is no supervising unit with this code")
        frozen["unit_ids"] = sorted(str(unit_id) for unit_id in units_below(session, top))
    return frozen


def _take_time(session: Session) -> None:
    """The whole ledger is read, which at millions of events takes half a minute; nothing is locked meanwhile."""
    session.execute(text("set local statement_timeout = '5min'"))


def population_at(session: Session, filters: Mapping[str, Any], sequence: int) -> Population:
    """The cases that fit the filters as the ledger knew them when it held this many events, with their lead units."""
    asked = {name: key for name, key in _ATTRIBUTES.items() if name in filters}
    is_dated = "closed_from" in filters or "closed_to" in filters
    closing = (CaseEvent.state_after == CaseState.closed) & CaseEvent.state_before.is_distinct_from(CaseState.closed)
    columns = [
        _latest(CaseEvent.state_after).label("state"),
        _latest(CaseEvent.payload["lead_unit_id"].astext).label("lead_unit_id"),
        *(_latest(CaseEvent.payload[key].astext).label(name) for name, key in asked.items()),
        *([_latest(CaseEvent.occurred_on, closing).label("closed_on")] if is_dated else []),
    ]
    known = (
        select(CaseEvent.case_id, *columns).where(CaseEvent.sequence <= sequence).group_by(CaseEvent.case_id).subquery()
    )
    state = filters.get("state", CaseState.closed if is_dated else None)
    statement = select(known.c.case_id, known.c.lead_unit_id)
    statement = statement.where(known.c.state == state if state else known.c.state.not_in(_OUT))
    for name in asked:
        statement = statement.where(known.c[name] == filters[name])
    if "unit_ids" in filters:
        statement = statement.where(known.c.lead_unit_id.in_(filters["unit_ids"]))
    if "closed_from" in filters:
        statement = statement.where(known.c.closed_on >= cast(filters["closed_from"], Date))
    if "closed_to" in filters:
        statement = statement.where(known.c.closed_on <= cast(filters["closed_to"], Date))
    return {row.case_id: UUID(row.lead_unit_id) for row in session.execute(statement)}


def _latest(value: ColumnElement[Any] | Any, where: ColumnElement[bool] | None = None) -> ColumnElement[Any]:
    """The newest value that an event of the case gave, of those events that fit."""
    known = value.is_not(None) if where is None else where
    newest: ColumnElement[Any] = func.array_agg(aggregate_order_by(value, CaseEvent.case_sequence.desc())).filter(
        known
    )[1]
    return newest


def draw(population: Population, seed: str, size: int, *, stratify: bool) -> list[UUID]:
    """The cases drawn, smallest ticket first.

    Args:
        stratify: draw from each lead unit by itself, as many as `quotas` says.

    Raises:
        Invalid: fewer cases than are to be drawn, or, stratified, fewer to be drawn than there are units.
    """
    if size > len(population):
        raise invalid("size", f"only {len(population)} cases fit the filters")
    ordered = sorted(population, key=lambda case_id: ticket(seed, case_id))
    if not stratify:
        return ordered[:size]
    strata = Counter(population.values())
    if size < len(strata):
        raise invalid("size", f"the cases are led by {len(strata)} units; draw at least one of each")
    left = quotas(strata, size)
    drawn = []
    for case_id in ordered:
        if left[population[case_id]]:
            left[population[case_id]] -= 1
            drawn.append(case_id)
    return drawn


def ticket(seed: str, case_id: UUID) -> str:
    """SHA-256 over `<seed>:<case id>`, hexadecimal."""
    return hashlib.sha256(f"{seed}:{case_id}".encode()).hexdigest()


def quotas(strata: Mapping[UUID, int], size: int) -> dict[UUID, int]:
    """How many to draw of each stratum: at least one, the rest in proportion, never more than there are.

    The method of equal proportions (Huntington and Hill, 2 U.S.C. § 2a): the next goes to the largest n²/(q(q+1)),
    exactly; of equals, to the smaller id.
    """
    given = dict.fromkeys(strata, 1)
    waiting = [(-_priority(strata[unit], 1), unit.hex, unit) for unit in strata if strata[unit] > 1]
    heapq.heapify(waiting)
    for _ in range(size - len(given)):
        _, _, unit = heapq.heappop(waiting)
        given[unit] += 1
        if given[unit] < strata[unit]:
            heapq.heappush(waiting, (-_priority(strata[unit], given[unit]), unit.hex, unit))
    return given


def _priority(count: int, given: int) -> Fraction:
    return Fraction(count * count, given * (given + 1))


def digest(population: Iterable[UUID]) -> str:
    """SHA-256 over the sorted ids, each followed by a line feed; hexadecimal."""
    return hashlib.sha256("".join(f"{case_id}\n" for case_id in sorted(population)).encode()).hexdigest()


def get_sample(session: Session, caller: Caller, sample_id: UUID) -> Sample:
    """One sample.

    Raises:
        NotFound: none, or the caller is not of the province.
    """
    sample = session.get(Sample, sample_id) if caller.is_provincial else None
    if sample is None:
        raise NotFound()
    return sample


def cases_of(session: Session, sample: Sample) -> Sequence[Row[int, Case]]:
    """Position and case of what a sample drew, in the order of the draw."""
    statement = select(SampledCase.position, Case).join(Case, Case.id == SampledCase.case_id)
    return session.execute(statement.where(SampledCase.sample_id == sample.id).order_by(SampledCase.position)).all()


def check_sample(session: Session, sample: Sample) -> SampleCheck:
    """Draw a sample again from the ledger, and compare it with what was kept of it."""
    _take_time(session)
    population = population_at(session, sample.filters, sample.ledger_sequence)
    found = digest(population)
    differences = []
    if len(population) != sample.population:
        differences.append(f"the population was {sample.population} cases, the ledger gives {len(population)}")
    if found != sample.population_digest:
        differences.append("the digest of the population is another")
    kept = [case.id for _, case in cases_of(session, sample)]
    stratify = bool(sample.filters["stratify_by_unit"])
    if sample.size > len(population) or draw(population, sample.seed, sample.size, stratify=stratify) != kept:
        differences.append("other cases are drawn, or in another order")
    differences += _ledger_differs(session, sample, kept)
    return SampleCheck(
        same=not differences, differences=differences, population=len(population), population_digest=found
    )


def _ledger_differs(session: Session, sample: Sample, kept: Sequence[UUID]) -> list[str]:
    """Whether the ledgers of the drawn cases tell of the draw as the sample's row does."""
    events = session.execute(
        select(CaseEvent.case_id, CaseEvent.payload).where(
            CaseEvent.kind == "sampled",
            CaseEvent.sequence > sample.ledger_sequence,
            CaseEvent.payload["sample_id"].astext == str(sample.id),
        )
    )
    told = {row.case_id: row.payload for row in events}
    expected = {case_id: _told(sample) | {"position": position} for position, case_id in enumerate(kept, 1)}
    return [] if told == expected else ["the ledgers of the cases tell of another draw"]
