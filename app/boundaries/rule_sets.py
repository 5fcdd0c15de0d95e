"""Rule sets in the database: the built-in one at first need, imported ones, and which is active."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.boundaries.law.decision import failures
from app.boundaries.law.files import built_in, read_table
from app.boundaries.law.table import Rule, RuleTable
from app.boundaries.models import RuleSet, RuleSetDecision
from app.foundation.errors import Conflict, Invalid, NotFound, StaleVersion
from app.foundation.identity import new_id

BUILT_IN = "built-in"
# Any number, the same in every process: one set becomes active at a time.
_LOCK = 7_351_202_613
_tables: dict[str, RuleTable] = {}


def active(session: Session) -> RuleSet:
    """The active rule set; where there is none yet, the built-in one becomes it."""
    found = session.scalar(select(RuleSet).where(RuleSet.is_active))
    if found is None:
        session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        table = built_in()
        row = {
            "id": new_id(),
            "version": table.version,
            "digest": table.digest,
            "is_active": True,
            "content": table.to_json(),
            "source_document": BUILT_IN,
        }
        session.execute(insert(RuleSet).values(row).on_conflict_do_nothing())
        found = session.scalars(select(RuleSet).where(RuleSet.is_active)).one()
    return found


def active_table(session: Session) -> RuleTable:
    """The rules that judge."""
    return table_of(active(session))


def table_of(row: RuleSet) -> RuleTable:
    """The table of a stored set; read once in a process, as sets never change."""
    if row.digest not in _tables:
        _tables[row.digest] = RuleTable.model_validate(row.content)
    return _tables[row.digest]


def check(table: RuleTable) -> None:
    """Refuse a table that answers one of its own examples otherwise than the example says.

    Raises:
        Invalid: naming each.
    """
    wrong = failures(table)
    if wrong:
        more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise Invalid(
            f"The rules do not answer their own examples. {'; '.join(wrong[:10])}{more}.",
            errors=[{"pointer": "file", "detail": fault} for fault in wrong],
        )


def import_rule_set(session: Session, content: bytes, source_document: str, imported_by: UUID | None) -> RuleSet:
    """Store a rule table as a new set, not active yet. The same content again is the set that there is.

    Raises:
        Invalid: the file is refused, or its examples fail, and why.
        Conflict: the version is taken by another content.
    """
    if not source_document.strip():
        raise Invalid("Name the source document that the rules come from.")
    table = read_table(content)
    check(table)
    active(session)
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found = session.scalar(select(RuleSet).where(RuleSet.version == table.version))
    if found is not None:
        if found.digest != table.digest:
            raise Conflict(f"There are rules {table.version} already, with another content. Give these a new version.")
        return found
    row = RuleSet(
        version=table.version,
        digest=table.digest,
        is_active=False,
        content=table.to_json(),
        source_document=source_document.strip(),
        imported_by=imported_by,
    )
    session.add(row)
    session.flush()
    return row


def by_version(session: Session, version: str) -> RuleSet:
    """A stored set.

    Raises:
        NotFound: there is none of that version.
    """
    active(session)
    found = session.scalar(select(RuleSet).where(RuleSet.version == version))
    if found is None:
        raise NotFound()
    return found


def activate(session: Session, version: str, expected: int, *, decided_by: UUID, note: str) -> RuleSet:
    """Judge by another set from now on. Verdicts that were given keep theirs.

    Raises:
        StaleVersion: somebody else decided meanwhile.
        Conflict: it is active already.
    """
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    row = by_version(session, version)
    session.refresh(row, with_for_update=True)
    if row.revision != expected:
        raise StaleVersion("Somebody else decided on these rules meanwhile; read them again.")
    if row.is_active:
        raise Conflict(f"The rules {version} are active already.")
    former = session.scalars(select(RuleSet).where(RuleSet.is_active).with_for_update()).one()
    former.is_active, former.revision = False, former.revision + 1
    session.flush()
    row.is_active, row.revision = True, row.revision + 1
    session.add(RuleSetDecision(rule_set_id=row.id, decided_by=decided_by, note=note, former_id=former.id))
    session.flush()
    return row


def decisions_of(session: Session, rows: Sequence[RuleSet]) -> list[RuleSetDecision]:
    """Which of some sets were made active, when, by whom; oldest first."""
    statement = select(RuleSetDecision).where(RuleSetDecision.rule_set_id.in_([row.id for row in rows]))
    return list(session.scalars(statement.order_by(RuleSetDecision.decided_at, RuleSetDecision.id)))


def find_rule(session: Session, version: str | None, code: str | None) -> Rule | None:
    """A rule of a stored set; None where that set is not kept, or has no such rule."""
    row = session.scalar(select(RuleSet).where(RuleSet.version == version)) if version and code else None
    rules = table_of(row).rules if row else ()
    return next((rule for rule in rules if rule.code == code), None)
