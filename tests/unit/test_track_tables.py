"""The tables of side tracks: whole, reachable, sourced; every cell against a table written from DESIGN and the law."""

from __future__ import annotations

from datetime import date
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.models import Role, UnitLevel
from app.access.service import Caller
from app.casework.lifecycle import Actor
from app.casework.track_docs import tracks_markdown
from app.casework.track_lifecycle import (
    CLOCKS,
    EXTENSIONS,
    KIND_LABELS,
    OPENINGS,
    RECORDERS,
    STATES,
    STEPS,
    Recorder,
    TrackCommand,
    add_months,
    clock_of,
    steps_from,
)
from app.casework.track_schemas import STEP_FIELDS
from app.casework.tracks import refusal
from app.casework.vocabulary import TrackKind
from app.settings import REPOSITORY

# kind, state, command, state after ("=": it stays).
EXPECTED = """
penalty         filed          finish_investigation     investigated
penalty         filed          extend                   =
penalty         filed          not_impose               not_imposed
penalty         investigated   extend                   =
penalty         investigated   decide                   decided
penalty         investigated   not_impose               not_imposed
penalty         decided        execute                  executed
penalty         decided        revoke                   revoked
penalty         executed       revoke                   revoked
transfer        proposed       approve                  approved
transfer        proposed       disapprove               not_transferred
transfer        approved       send                     sent
transfer        sent           accept                   accepted
transfer        sent           refuse                   refused
transfer        sent           return                   returned
transfer        returned       send                     sent
transfer        returned       end_transfer             not_transferred
transfer        refused        request_reconsideration  reconsidering
transfer        reconsidering  accept                   accepted
transfer        reconsidering  uphold_refusal           refusal_upheld
transfer        accepted       conclude                 concluded
procuratorial   received       reply                    replied
procuratorial   received       close                    closed
procuratorial   received       sue                      sued
procuratorial   replied        close                    closed
procuratorial   replied        sue                      sued
procuratorial   sued           judge                    judged
compensation    clue           start                    appraising
compensation    clue           not_pursue               not_pursued
compensation    appraising     not_pursue               not_pursued
compensation    appraising     report_appraisal         appraised
compensation    appraised      not_pursue               not_pursued
compensation    appraised      negotiate                negotiating
compensation    appraised      sue                      sued
compensation    negotiating    agree                    agreed
compensation    negotiating    sue                      sued
compensation    agreed         sue                      sued
compensation    agreed         perform                  performed
compensation    sued           judge                    judged
compensation    sued           dismiss_suit             dismissed
compensation    judged         perform                  performed
accountability  referred       handle                   handled
accountability  referred       not_pursue               not_pursued
"""
# DESIGN section 7, with the lengths that it names.
LENGTHS = {
    "penalty_decision": "90d",
    "transfer_approval": "3d",
    "transfer_sending": "24h",
    "police_decision": "3d",
    "procuratorial_reply": "2m",
    "procuratorial_reply_urgent": "15d",
}


def cells() -> dict[tuple[str, str, str], str]:
    rows = [line.split() for line in EXPECTED.strip().split("\n")]
    return {(kind, state, command): state if after == "=" else after for kind, state, command, after in rows}


def test_every_cell() -> None:
    found = {
        (row.kind.value, state, row.command.value): row.target or state
        for row in STEPS.values()
        for state in row.sources
    }
    assert found == cells()


def test_the_tables_are_whole() -> None:
    assert set(STATES) == set(OPENINGS) == set(KIND_LABELS) == set(TrackKind)
    assert {row.command for row in STEPS.values()} == set(TrackCommand)
    assert {row.fields for row in STEPS.values()} == set(STEP_FIELDS)
    assert {name for states in STATES.values() for about in states.values() for name in about.clocks} == set(CLOCKS)
    assert {row.clock for row in EXTENSIONS} <= set(CLOCKS)
    assert set(RECORDERS) == set(Recorder)
    for row in STEPS.values():
        assert row.sources <= set(STATES[row.kind])
        assert row.target is None or row.target in STATES[row.kind]
        assert row.instant is None or row.instant in STEP_FIELDS[row.fields].model_fields


@pytest.mark.parametrize("kind", TrackKind)
def test_every_state_is_reached_and_leads_to_an_end(kind: TrackKind) -> None:
    reached = {OPENINGS[kind][0]}
    while True:
        more = {row.target for state in reached for row in steps_from(kind, state) if row.target} - reached
        if not more:
            break
        reached |= more
    assert reached == set(STATES[kind])
    for state, about in STATES[kind].items():
        assert about.ends or steps_from(kind, state), f"{state} leads nowhere"


def test_every_clock_and_step_has_a_source_and_the_lengths_of_the_law() -> None:
    for clock in CLOCKS.values():
        assert clock.source
        assert clock.starts
    assert all(row.law for row in STEPS.values())
    assert all(row.source and row.most_days > 0 for row in EXTENSIONS)
    lengths = {
        name: f"{clock.months}m" if clock.months else f"{clock.hours}h" if clock.hours else f"{clock.days}d"
        for name, clock in CLOCKS.items()
    }
    assert LENGTHS.items() <= lengths.items()
    assert clock_of(TrackKind.procuratorial, "received", {"urgent": True}) is CLOCKS["procuratorial_reply_urgent"]
    assert clock_of(TrackKind.procuratorial, "received", {"urgent": False}) is CLOCKS["procuratorial_reply"]
    assert clock_of(TrackKind.procuratorial, "replied", {}) is None


def test_months_end_on_the_corresponding_day_or_the_last() -> None:
    assert add_months(date(2024, 12, 31), 2) == date(2025, 2, 28)
    assert add_months(date(2023, 12, 31), 2) == date(2024, 2, 29)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(0, 60))
def test_adding_months_lands_in_the_right_month(day: date, months: int) -> None:
    later = add_months(day, months)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    assert later.day <= day.day


def test_who_records() -> None:
    def may(recorder: Recorder, role: Role, *actors: Actor) -> bool:
        who = Caller(uuid4(), "x", role, uuid4(), "220621", UnitLevel.county, None)
        return refusal("x", recorder, who, frozenset(actors)) is None

    everything = tuple(Actor)
    for recorder in Recorder:
        for role in (Role.inspector, Role.admin):
            assert not may(recorder, role, *everything)
        assert may(recorder, Role.officer, Actor.unit_above)
        assert may(recorder, Role.province, Actor.province)
        assert not may(recorder, Role.officer)
    assert may(Recorder.enforcement, Role.county, Actor.lead, Actor.responsible)
    assert may(Recorder.enforcement, Role.department, Actor.responsible)
    # Who answers for the ground neither claims its damage nor records who answers for himself.
    assert not may(Recorder.supervision, Role.county, *everything)
    assert not may(Recorder.enforcement, Role.prefecture, *everything)
    assert may(Recorder.supervision, Role.prefecture, Actor.accepting)


def test_the_documentation_is_made_from_the_tables() -> None:
    page = tracks_markdown()
    assert "sent --> refused: refuse" in page
    assert "| `procuratorial_reply` | reply | 2 months |" in page
    written = (REPOSITORY / "docs" / "tracks.md").read_text(encoding="utf-8")
    assert written == page, "run: python -m app.casework.track_docs > docs/tracks.md"
