"""A clue list comes in: read, placed under the units of its rows, and kept whole, or refused whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.models import Unit, UnitLevel
from app.access.service import Caller, enter, in_jurisdiction, units_above
from app.boundaries.assessing import Subject
from app.boundaries.overlay import Overlay, judge_many
from app.casework.clue_models import ClueItem, ClueList
from app.casework.clue_reading import ReadItem, ReadList, read_list
from app.casework.clue_schemas import ClueMapping
from app.casework.clue_words import normal
from app.casework.evidence import safe_name
from app.casework.kept_files import lock_content
from app.casework.vocabulary import ClueState, SupervisionSource
from app.foundation.database import set_scope
from app.foundation.errors import Conflict
from app.foundation.geometry import to_database
from app.foundation.identity import new_id
from app.foundation.storage import CHUNK, Storage
from app.foundation.time import utc_now

_NAMED = frozenset({UnitLevel.county, UnitLevel.zone, UnitLevel.agency, UnitLevel.department})


@dataclass(frozen=True)
class Handed:
    """A list as it is handed in, with what is said of it."""

    path: Path
    filename: str
    name: str
    source: SupervisionSource
    round: str | None = None
    due_on: date | None = None
    mapping: ClueMapping | None = None
    crs: str | None = None


@dataclass
class Placed:
    """Where an item belongs. `problem`: why its unit is not certain."""

    lead: Unit | None
    unit_ids: list[UUID]
    problem: str | None
    overlay: Overlay | None


@dataclass
class Imported:
    """What an import read; `made` and `items` are kept unless it was a dry run."""

    made: ClueList
    read: ReadList
    items: list[ClueItem]
    leads: dict[UUID, Unit]
    known_before: dict[str, int]


def import_list(
    session: Session, storage: Storage, caller: Caller, handed: Handed, *, limit: int, today: date, dry_run: bool
) -> Imported:
    """Read a list and, unless it is a dry run, keep its file and all of its rows.

    Args:
        limit: largest size of the file in bytes.
        today: the legal day; ground is judged by it where a row says no day.

    Raises:
        Invalid: the file as a whole cannot be used; problems of single rows are theirs and refuse nothing.
        Conflict: this very file is a list of this source and round already.
    """
    digest = _digest(handed.path)
    _refuse_again(session, caller, handed, digest)
    read = read_list(
        handed.path,
        given=handed.mapping,
        known=lambda columns: _mapping_before(session, caller, handed.source, columns),
        crs=handed.crs,
    )
    placed = place(session, caller, read.items, today)
    made = ClueList(
        id=new_id(),
        name=handed.name,
        source=handed.source,
        round=handed.round,
        due_on=handed.due_on,
        filename=safe_name(handed.filename),
        sha256=digest,
        layout=read.layout | {"row_count": len(read.items), "crs": handed.crs},
        mapping=read.mapping.model_dump(mode="json"),
        version=1,
        uploaded_by=caller.account_id,
        uploaded_at=utc_now(),
        unit_ids=list(dict.fromkeys([caller.unit_id, *(unit for one in placed for unit in one.unit_ids)])),
    )
    items = [_item(made, item, one) for item, one in zip(read.items, placed, strict=True)]
    leads = {one.lead.id: one.lead for one in placed if one.lead}
    imported = Imported(made, read, items, leads, _known_before(session, caller, handed.source, items))
    if not dry_run:
        # The content is locked, so that nobody takes it for a file that no row names.
        with handed.path.open("rb") as stream:
            storage.put_stream(stream, limit)
        session.add(made)
        session.flush()
        session.add_all(items)
        session.flush()
    return imported


def _item(made: ClueList, item: ReadItem, placed: Placed) -> ClueItem:
    if placed.problem:
        item.say("unit", placed.problem)
    facts = dict(item.facts)
    if placed.overlay is not None:
        facts |= {"verdict": placed.overlay.verdict.value, "severity": placed.overlay.severity.value}
    return ClueItem(
        id=new_id(),
        list_id=made.id,
        row_number=item.row_number,
        values=item.values,
        item_number=item.item_number,
        geom=to_database(item.geometry) if item.geometry is not None else None,
        outline=item.outline,
        area_m2=item.area_m2,
        lead_unit_id=placed.lead.id if placed.lead else None,
        facts=facts,
        corrections=[],
        problems=item.problems,
        state=ClueState.pending,
        version=1,
        unit_ids=placed.unit_ids,
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _refuse_again(session: Session, caller: Caller, handed: Handed, digest: str) -> None:
    # Two uploads of one file at once: the second waits, and then finds the first.
    lock_content(session, digest)
    statement = select(ClueList).where(
        ClueList.sha256 == digest,
        ClueList.source == handed.source,
        func.coalesce(ClueList.round, "") == (handed.round or ""),
    )
    there = session.scalars(in_jurisdiction(statement, caller, ClueList)).first()
    if there is not None:
        raise Conflict(
            f"This very file is the list {there.name!r} of this source and round already.", list_id=str(there.id)
        )


def _mapping_before(
    session: Session, caller: Caller, source: SupervisionSource, columns: Sequence[str]
) -> ClueMapping | None:
    """The mapping of the newest list of this source that has the same columns."""
    statement = in_jurisdiction(select(ClueList).where(ClueList.source == source), caller, ClueList)
    for known in session.scalars(statement.order_by(ClueList.id.desc()).limit(50)):
        if list(known.layout.get("columns", ())) == list(columns):
            return ClueMapping.model_validate(known.mapping)
    return None


def _known_before(
    session: Session, caller: Caller, source: SupervisionSource, items: Iterable[ClueItem]
) -> dict[str, int]:
    """How many items of other lists of the source have each number."""
    numbers = sorted({item.item_number for item in items if item.item_number})
    statement = (
        select(ClueItem.item_number, func.count())
        .join(ClueList, ClueList.id == ClueItem.list_id)
        .where(ClueItem.item_number.in_(numbers), ClueList.source == source)
        .group_by(ClueItem.item_number)
    )
    rows = session.execute(in_jurisdiction(statement, caller, ClueItem))
    return {number: count for number, count in rows if number}


# Under which unit


def place(session: Session, caller: Caller, items: Sequence[ReadItem], today: date) -> list[Placed]:
    """The unit that leads each item, and those that see it: what its row names, and its ground, must agree."""
    names = _Names(session, today)
    with_ground = [item for item in items if item.geometry is not None]
    subjects = [
        Subject(
            item.geometry,
            date.fromisoformat(item.facts.get("found_on", today.isoformat())),
            None,
            item.facts.get("activity"),
        )
        for item in with_ground
        if item.geometry is not None
    ]
    # Who hands a list in does not see every unit and layer that its ground touches: the second wall is opened while
    # the ground is judged, and closed again.
    session.flush()
    set_scope(session, None)
    overlays = dict(zip(map(id, with_ground), judge_many(session, subjects), strict=True))
    enter(session, caller)
    return [_placed(session, caller, names, item, overlays.get(id(item))) for item in items]


def _placed(session: Session, caller: Caller, names: _Names, item: ReadItem, overlay: Overlay | None) -> Placed:
    named, problem = names.find(item.unit_code, item.unit_name)
    ground = names.by_id.get(overlay.lead_unit_id) if overlay and overlay.lead_unit_id else None
    touched = list(overlay.unit_ids) if overlay else []
    lead = named or ground
    if problem is None and overlay is not None and ground is None:
        problem = "its ground lies outside the province"
    elif named and ground and named.id != ground.id:
        # The ground of an agency is part of its county.
        if named.id in units_above(session, ground.id):
            lead = ground
        else:
            share = overlay.unit_areas[0]["share"] if overlay else 0
            problem = f"its row names {_called(named)}, its ground lies in {_called(ground)} ({share:.0%})"
    if lead is None and problem is None:
        problem = "neither its row nor its ground names a unit"
    if problem is None and lead is not None and caller.units is not None and lead.id not in caller.units:
        problem = f"{_called(lead)} is not a unit of yours"
    seen = [caller.unit_id, *touched, *([named.id] if named else [])]
    return Placed(lead if problem is None else None, list(dict.fromkeys(seen)), problem, overlay)


def _called(unit: Unit) -> str:
    return f"{unit.name} ({unit.code})"


class _Names:
    """The units that a row may name, by code and by name."""

    def __init__(self, session: Session, today: date) -> None:
        units = list(session.scalars(select(Unit).order_by(Unit.code)))
        self.by_id = {unit.id: unit for unit in units}
        leading = [unit for unit in units if unit.level in _NAMED and (unit.valid_to is None or unit.valid_to >= today)]
        self._by_code = {unit.code: unit for unit in leading}
        self._names = [(normal(unit.name), unit) for unit in leading]

    def find(self, code: str | None, name: str | None) -> tuple[Unit | None, str | None]:
        """The unit that a row names; else what is wrong with that. Neither: it names none."""
        by_code = by_name = None
        if code is not None:
            # Nine or twelve digits name a town or village of the county in the first six.
            short = code[:6] if code.isdigit() and len(code) in (9, 12) else code
            by_code = self._by_code.get(code) or self._by_code.get(short)
            if by_code is None:
                return None, f"there is no unit with the code {code[:40]}"
        if name is not None:
            found = self._called(normal(name))
            if not found:
                return None, f"there is no unit called {name[:40]!r}"
            if by_code is None and len(found) > 1:
                return None, f"several units are called {name[:40]!r} ({', '.join(unit.code for unit in found)})"
            if by_code is not None and by_code not in found:
                return None, f"its row names {_called(by_code)} by code and {name[:40]!r} by name"
            by_name = found[0]
        return by_code or by_name, None

    def _called(self, wanted: str) -> list[Unit]:
        """Units of a name: whole; behind that of the unit above (白山市抚松县); without its kind (抚松)."""
        for matches in (
            [unit for name, unit in self._names if name == wanted],
            [unit for name, unit in self._names if wanted.endswith(name)],
            [unit for name, unit in self._names if len(wanted) >= 2 and name[:-1] == wanted],
        ):
            if matches:
                return matches
        return []


def grow(session: Session, list_id: UUID, units: Sequence[UUID]) -> None:
    """Let the units of a changed item see its list, too."""
    made = session.get_one(ClueList, list_id)
    missing = [unit for unit in units if unit not in made.unit_ids]
    if missing:
        made.unit_ids = [*made.unit_ids, *missing]
