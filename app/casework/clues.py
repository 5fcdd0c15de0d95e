"""What becomes of the items of clue lists: corrected, opened as cases, linked to known ones, or rejected.

Locks: items by id, then cases by id, then the ledger's head.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.access.models import Role, Unit
from app.access.service import Caller, get_placed, in_jurisdiction
from app.boundaries.coordinates import AS_STORED
from app.boundaries.ground import clean_geometries
from app.casework import clue_import
from app.casework.clue_matching import proposals
from app.casework.clue_models import ClueItem, ClueList
from app.casework.clue_reading import ReadItem
from app.casework.clue_schemas import (
    BulkLinkRequest,
    BulkOpenRequest,
    CorrectRequest,
    LinkItemRequest,
    OpenRequest,
)
from app.casework.guards import invalid
from app.casework.ledger import append
from app.casework.lifecycle import CaseState
from app.casework.models import Case, CaseSequence
from app.casework.opening import open_reported
from app.casework.participation import find_units
from app.casework.sources import SourceEntry, enter_source
from app.casework.transitions import check_version, lock_cases
from app.casework.vocabulary import CaseOrigin, ClueState, Outline, Priority
from app.foundation.errors import Conflict, Invalid, NotFound
from app.foundation.geometry import as_multipolygon, from_database, geodesic_area_m2, geojson, to_database
from app.foundation.time import utc_now

# Who hands lists in and decides on their items (DESIGN section 6).
DECIDES = Role.officer
# Items whose proposals are looked for at once.
_TOGETHER = 500


def get_item(session: Session, caller: Caller, list_id: UUID, item_id: UUID, *, lock: bool = False) -> ClueItem:
    """An item of a list.

    Raises:
        NotFound: there is none, or it lies outside the caller's jurisdiction.
    """
    item: ClueItem = get_placed(session, caller, ClueItem, item_id, lock=lock)
    if item.list_id != list_id:
        raise NotFound()
    return item


def select_items(
    caller: Caller,
    list_id: UUID,
    *,
    state: ClueState | None = None,
    problems: bool | None = None,
    units: Sequence[UUID] | None = None,
) -> Select[Any]:
    """The items of a list that the caller may see.

    Args:
        problems: whether they have any; None: either.
        units: led by one of these, or touching one.
    """
    statement = in_jurisdiction(select(ClueItem).where(ClueItem.list_id == list_id), caller, ClueItem)
    if state is not None:
        statement = statement.where(ClueItem.state == state)
    if problems is not None:
        count = func.jsonb_array_length(ClueItem.problems)
        statement = statement.where(count > 0 if problems else count == 0)
    if units is not None:
        statement = statement.where(ClueItem.touches(list(units)))
    return statement


def correct(
    session: Session, caller: Caller, list_id: UUID, item_id: UUID, expected: int, given: CorrectRequest, today: date
) -> ClueItem:
    """Say what the list should have said. The file's values stay; what was read before stands in the correction.

    Raises:
        Forbidden, NotFound, StaleVersion.
        Conflict: it was decided already.
        Invalid: a field, or a problem that cannot be taken as it is.
    """
    item = _pending(session, caller, list_id, item_id, expected)
    if given.accept and not given.note:
        raise invalid("note", "say why the problems are taken as they are")
    solved: set[str] = set(given.accept)
    made: list[dict[str, Any]] = []

    def changed(field: str, before: Any, after: Any) -> None:
        made.append({"field": field, "before": before, "after": after})

    if given.item_number is not None and given.item_number != item.item_number:
        changed("item_number", item.item_number, given.item_number)
        item.item_number = given.item_number[:200]
        solved.add("number")
    if given.activity is not None:
        changed("activity", item.facts.get("activity"), given.activity)
        item.facts = item.facts | {"activity": given.activity}
        solved.add("activity")
    if given.geometry is not None:
        before = geojson(from_database(item.geom)) if item.geom is not None else None
        shape = read_geometry(given.geometry)
        changed("geometry", before, geojson(shape))
        item.geom, item.outline = to_database(shape), Outline.drawn
        item.area_m2 = geodesic_area_m2(shape)
        solved |= {"ground", "area"}
    if given.geometry is not None or given.lead_unit is not None:
        solved.add("unit")
    item.problems = [problem for problem in item.problems if problem["code"] not in solved]
    if given.geometry is not None or given.lead_unit is not None:
        before_lead = str(item.lead_unit_id) if item.lead_unit_id else None
        _place_again(session, caller, item, given.lead_unit, today)
        changed("lead_unit_id", before_lead, str(item.lead_unit_id) if item.lead_unit_id else None)
    made += [{"field": "accept", "before": code, "after": None} for code in given.accept]
    if not made:
        raise Invalid("The correction changes nothing.")
    said = {"by": str(caller.account_id), "at": utc_now().isoformat(), "note": given.note}
    item.corrections = [*item.corrections, *(one | said for one in made)]
    item.version += 1
    session.flush()
    return item


def _place_again(session: Session, caller: Caller, item: ClueItem, lead_unit: str | None, today: date) -> None:
    """The unit of an item whose ground or unit an officer named. What he names goes before the ground."""
    shape = as_multipolygon(from_database(item.geom)) if item.geom is not None else None
    read = ReadItem(item.row_number, {}, geometry=shape, facts=item.facts)
    if lead_unit is None:
        read.unit_name = item.facts.get("unit_name")
    (placed,) = clue_import.place(session, caller, [read], today)
    if lead_unit is not None:
        (named,) = find_units(session, caller, [lead_unit], "lead_unit")
        item.lead_unit_id = named.id
        units = [*placed.unit_ids, named.id]
    else:
        item.lead_unit_id, units = (placed.lead.id if placed.lead else None), placed.unit_ids
        if placed.problem:
            item.problems = [*item.problems, {"code": "unit", "detail": placed.problem}]
    # Who saw it goes on to see it: the uploader's unit above all.
    item.unit_ids = list(dict.fromkeys([*item.unit_ids[:1], *units]))
    clue_import.grow(session, item.list_id, item.unit_ids)


def read_geometry(given: dict[str, Any]) -> BaseGeometry:
    """A valid polygon (EPSG:4490) of GeoJSON.

    Raises:
        Invalid: it is none, or lies elsewhere.
    """
    try:
        shape = shapely.from_geojson(json.dumps(given))
    except (shapely.errors.GEOSException, ValueError, TypeError):
        raise invalid("geometry", "is no GeoJSON geometry") from None
    said: list[str] = []
    (clean,) = clean_geometries(np.array([shape], object), AS_STORED, lambda _, why: said.append(why), lambda *_: None)
    if clean is None:
        raise invalid("geometry", said[0] if said else "is no polygon")
    return as_multipolygon(clean)


def open_item(
    session: Session, caller: Caller, list_id: UUID, item_id: UUID, expected: int, given: OpenRequest, today: date
) -> ClueItem:
    """Make a case of an item and send it to its lead unit.

    Raises:
        Forbidden, NotFound, StaleVersion.
        Conflict: it was decided already, or has problems.
    """
    item = _pending(session, caller, list_id, item_id, expected)
    joining = find_units(session, caller, given.co_responsible)
    made = session.get_one(ClueList, list_id)
    return _open(session, caller, made, item, joining, given.priority, given.note, today)


def _open(
    session: Session,
    caller: Caller,
    made: ClueList,
    item: ClueItem,
    joining: Sequence[Unit],
    priority: Priority,
    note: str | None,
    today: date,
) -> ClueItem:
    activity = item.facts.get("activity")
    if item.problems or item.geom is None or item.outline is None or item.lead_unit_id is None or activity is None:
        told = "; ".join(problem["detail"] for problem in item.problems) or "its ground, unit or activity is not known"
        raise Conflict(f"The item has problems; correct them first: {told}.", problems=item.problems)
    (lead,) = find_units(session, caller, [session.get_one(Unit, item.lead_unit_id).code], "lead_unit")
    found_on = item.facts.get("found_on")
    reported = min(date.fromisoformat(found_on), today) if found_on else None
    case = open_reported(
        session,
        caller,
        origin=CaseOrigin.clue_list,
        geometry=from_database(item.geom),
        outline=item.outline,
        area_m2=item.area_m2,
        activity=activity,
        lead=lead,
        co_responsible=joining,
        priority=priority,
        source=entry_of(made, item),
        description=item.facts.get("description") or item.facts.get("activity_told"),
        reported_on=reported,
        note=note,
        today=today,
    )
    return _decided(session, caller, item, ClueState.opened, case_id=case.id)


def entry_of(made: ClueList, item: ClueItem) -> SourceEntry:
    """Where an item stands in its list; its own deadline goes before that of the list."""
    own = item.facts.get("due_on")
    due_on = date.fromisoformat(own) if own else made.due_on
    return SourceEntry(made.source, made.round, item.item_number, due_on, item.id)


def link_item(
    session: Session, caller: Caller, list_id: UUID, item_id: UUID, expected: int, given: LinkItemRequest, today: date
) -> ClueItem:
    """Say that a known case is the item's: the case then stands in this list, too, and its ledger says so.

    Raises:
        Forbidden, NotFound, StaleVersion.
        Conflict: it was decided already, or the case is merged or withdrawn.
        Invalid: no such case in the caller's jurisdiction.
    """
    item = _pending(session, caller, list_id, item_id, expected)
    cases = lock_cases(session, caller, [given.case_id])
    made = session.get_one(ClueList, list_id)
    return _link(session, caller, made, item, _living(cases, given.case_id), given.note, today)


def _living(cases: dict[UUID, Case], case_id: UUID) -> Case:
    case = cases.get(case_id)
    if case is None:
        raise Invalid(
            "Mend these fields: case_id.", errors=[{"pointer": "case_id", "detail": "is not a case of yours"}]
        )
    if case.state in (CaseState.merged, CaseState.withdrawn):
        raise Conflict(f"Case {case.number} is {case.state}; link the item to a living one.")
    return case


def _link(
    session: Session, caller: Caller, made: ClueList, item: ClueItem, case: Case, note: str | None, today: date
) -> ClueItem:
    entry = entry_of(made, item)
    enter_source(session, case, entry, primary=False)
    item = _decided(session, caller, item, ClueState.linked, case_id=case.id)
    append(
        session,
        caller,
        case,
        "source_added",
        state_before=case.state,
        occurred_on=today,
        note=note,
        payload=entry.payload(),
    )
    return item


def reject_item(session: Session, caller: Caller, list_id: UUID, item_id: UUID, expected: int, reason: str) -> ClueItem:
    """Say why no case is made of an item."""
    item = _pending(session, caller, list_id, item_id, expected)
    return _decided(session, caller, item, ClueState.rejected, reason=reason)


def open_many(
    session: Session, caller: Caller, list_id: UUID, given: BulkOpenRequest, today: date
) -> tuple[list[ClueItem], int]:
    """Make cases of the pending items that have neither problems nor proposals, in the order of their rows.

    Returns:
        The items opened, and how many pending ones that the caller may see are left.
    """
    caller.require(DECIDES)
    made: ClueList = get_placed(session, caller, ClueList, list_id)
    ready: list[UUID] = []
    wanted = select_items(caller, list_id, state=ClueState.pending, problems=False).order_by(ClueItem.row_number)
    waiting = list(session.scalars(wanted))
    for begin in range(0, len(waiting), _TOGETHER):
        batch = waiting[begin : begin + _TOGETHER]
        known = proposals(session, caller, batch, made.source)
        ready += [item.id for item in batch if not known[item.id]]
        if len(ready) >= given.limit:
            break
    items = _lock(session, caller, list_id, ready[: given.limit])
    # What was decided or found to be wrong while this waited for its lock is another's.
    mine = [item for item in items.values() if item.state is ClueState.pending and not item.problems]
    _hold_numbers(session, mine, today)
    opened = [
        _open(session, caller, made, item, (), given.priority, given.note, today)
        for item in sorted(mine, key=lambda item: item.row_number)
    ]
    return opened, pending_count(session, caller, list_id)


def _hold_numbers(session: Session, items: Sequence[ClueItem], today: date) -> None:
    """Lock the counters of case numbers that many openings need, in one order and before the ledger's head.

    An opening takes its unit's counter and then the head; a second one in the same transaction would otherwise wait
    for a counter while it holds the head.
    """
    leads = {item.lead_unit_id for item in items if item.lead_unit_id}
    codes = list(session.scalars(select(Unit.code).where(Unit.id.in_(leads)).order_by(Unit.code)))
    for code in codes:
        counter = insert(CaseSequence).values(unit_code=code, year=today.year, last=0)
        # A row that is there is locked by its update to what it is.
        session.execute(
            counter.on_conflict_do_update(
                index_elements=[CaseSequence.unit_code, CaseSequence.year], set_={"last": CaseSequence.last}
            )
        )


def link_many(
    session: Session, caller: Caller, list_id: UUID, given: BulkLinkRequest, today: date
) -> tuple[list[ClueItem], int]:
    """Link items to the cases that are named for them, all or none.

    Raises:
        NotFound: an item is none of this list, or not the caller's to see.
        StaleVersion, Conflict, Invalid: as of `link_item`; the detail names the row.
    """
    caller.require(DECIDES)
    made: ClueList = get_placed(session, caller, ClueList, list_id)
    wanted = {link.item_id: link for link in given.links}
    if len(wanted) != len(given.links):
        raise Invalid("An item is named twice.")
    items = _lock(session, caller, list_id, list(wanted))
    if len(items) != len(wanted):
        raise NotFound()
    for item in items.values():
        check_version(item.version, wanted[item.id].version)
        _refuse_decided(item)
    cases = lock_cases(session, caller, [link.case_id for link in given.links])
    living = {item_id: _living(cases, link.case_id) for item_id, link in wanted.items()}
    linked = [_link(session, caller, made, item, living[item.id], given.note, today) for item in items.values()]
    return linked, pending_count(session, caller, list_id)


def pending_count(session: Session, caller: Caller, list_id: UUID) -> int:
    """How many items of a list that the caller may see wait for a decision."""
    waiting = select_items(caller, list_id, state=ClueState.pending).subquery()
    return session.scalar(select(func.count()).select_from(waiting)) or 0


def _lock(session: Session, caller: Caller, list_id: UUID, ids: Sequence[UUID]) -> dict[UUID, ClueItem]:
    """Items of a list in the caller's jurisdiction, locked in the order of their ids, as they stand now."""
    statement = (
        in_jurisdiction(select(ClueItem).where(ClueItem.id.in_(ids), ClueItem.list_id == list_id), caller, ClueItem)
        .order_by(ClueItem.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {item.id: item for item in session.scalars(statement)}


def _pending(session: Session, caller: Caller, list_id: UUID, item_id: UUID, expected: int) -> ClueItem:
    caller.require(DECIDES)
    item = get_item(session, caller, list_id, item_id, lock=True)
    check_version(item.version, expected)
    _refuse_decided(item)
    return item


def _refuse_decided(item: ClueItem) -> None:
    if item.state is not ClueState.pending:
        case_id = str(item.case_id) if item.case_id else None
        raise Conflict(f"Row {item.row_number} is {item.state.value} already.", case_id=case_id)


def _decided(
    session: Session,
    caller: Caller,
    item: ClueItem,
    state: ClueState,
    *,
    case_id: UUID | None = None,
    reason: str | None = None,
) -> ClueItem:
    item.state, item.case_id, item.reason = state, case_id, reason
    item.decided_by, item.decided_at = caller.account_id, utc_now()
    item.version += 1
    session.flush()
    return item
