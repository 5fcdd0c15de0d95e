"""Casework of some years, made: what the benchmarks of the ledger, the queue and the case page work on.

Cases walk the table of DESIGN section 7 and stop somewhere; their events are interleaved as they would be in a
province that works on many cases at once, every hash is valid, both heads stand at the last event. Rows go in by
COPY, with foreign keys and secondary indexes made afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import shapely

from app.foundation.database_setup import connect
from app.foundation.geometry import SRID
from app.foundation.identity import new_id
from tests.bench.bulk import bulk
from tests.bench.casework_events import (
    ACTIVITIES,
    FIRST,
    PRIORITIES,
    SOURCES,
    YEARS,
    People,
    new_id_list,
    walk_of,
    write_events,
    write_reviews,
)

PASSWORD = "benchmark-only"
# West, south, east, north, degrees.
EXTENT = (122.5, 41.5, 131.0, 46.0)
STOPS = ("confirmed", "rectifying", "closure_requested", "publicised", "closed", "closed", "closed")


@dataclass(frozen=True)
class Filled:
    """What was made. `counties` are codes of units, each with the accounts `county-CODE` and so on (`PASSWORD`)."""

    cases: int
    events: int
    review_events: int
    waiting: int
    province: str
    counties: tuple[str, ...]
    # A username of each role, of the first county and of the units above it.
    accounts: dict[str, str]


def fill(
    database_owner_url: str,
    cases: int,
    events_per_case: int,
    units: int = 60,
    seed: int = 11,
    *,
    waiting: int = 0,
    reviewed: bool = False,
) -> Filled:
    """Fill a migrated, empty database; about 25,000 events a second.

    Args:
        database_owner_url: login of the role that owns the tables, or of a superuser.
        cases, events_per_case: how many, and on average; a case has half to one and a half times that, at least 2.
        units: counties.
        waiting: detections that nobody has looked at.
        reviewed: give each case the detection and the review that it came from, with the review's two events.
    """
    rng = np.random.default_rng(seed)
    with connect(database_owner_url) as connection:
        connection.execute("select set_config('redline.scope', 'all', false)")
        people = _people(connection, units)
        shapes = _shapes(rng, cases + waiting)
        lead = rng.integers(0, units, cases + waiting)
        lengths = _lengths(rng, cases, events_per_case)
        stops = rng.integers(0, len(STOPS), cases)
        walks = {(int(n), int(s)): walk_of(int(n), STOPS[int(s)]) for n in set(lengths) for s in range(len(STOPS))}
        own = [walks[int(n), int(s)] for n, s in zip(lengths, stops, strict=True)]
        ids, detections = new_id_list(cases), new_id_list(cases + waiting)
        with bulk(connection, ("detections", "reviews", "review_events", "cases", "case_participations")):
            if reviewed or waiting:
                first = 0 if reviewed else cases
                _detections(connection, rng, people, detections, shapes, lead, range(first, cases + waiting))
            _cases(connection, rng, people, ids, detections if reviewed else None, shapes, lead, own)
            review_events = write_reviews(connection, people, ids, detections, lead, cases) if reviewed else 0
        with bulk(connection, ("case_events", "evidence")):
            events = write_events(connection, rng, people, ids, lead, own)
        connection.execute("vacuum analyze")
    codes = tuple(code for code, _, _ in people.counties)
    return Filled(cases, events, review_events, waiting, "220000", codes, people.names)


def _lengths(rng: np.random.Generator, cases: int, mean: int) -> np.ndarray:
    """Events a case, in pairs about the mean, so that the sum is cases times mean (an odd last case has the mean)."""
    spread = rng.integers(0, min(mean // 2, mean - 2) + 1, cases // 2)
    lengths = np.full(cases, mean)
    lengths[: 2 * len(spread) : 2] += spread
    lengths[1 : 2 * len(spread) : 2] -= spread
    return lengths


def _people(connection: psycopg.Connection[Any], units: int) -> People:
    from argon2 import PasswordHasher

    password = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    accounts: dict[tuple[str, UUID], UUID] = {}
    names: dict[str, str] = {}

    def unit(code: str, name: str, level: str, parent: UUID | None) -> UUID:
        found = connection.execute("select id from units where code = %s", (code,)).fetchone()
        if found:
            return UUID(str(found[0]))
        made = new_id()
        connection.execute(
            "insert into units (id, code, name, level, parent_id, valid_from)"
            " values (%s, %s, %s, %s, %s, '2015-01-01')",
            (made, code, name, level, parent),
        )
        return made

    def account(role: str, code: str, unit_id: UUID) -> None:
        made = new_id()
        names.setdefault(role, f"{role}-{code}")
        connection.execute(
            "insert into accounts (id, username, display_name, password_hash, password_is_temporary, role, unit_id,"
            " is_demo, is_active, version) values (%s, %s, %s, %s, false, %s, %s, false, true, 1)",
            (made, f"{role}-{code}", f"{role} {code}", password, role, unit_id),
        )
        accounts[role, unit_id] = made

    province = unit("220000", "吉林省", "province", None)
    for role in ("officer", "province", "inspector", "admin"):
        account(role, "220000", province)
    prefectures = [(f"22{k:02d}00", unit(f"22{k:02d}00", f"第{k}市", "prefecture", province)) for k in range(2, 11)]
    for code, prefecture in prefectures:
        account("prefecture", code, prefecture)
    counties = []
    for k in range(units):
        code, prefecture = prefectures[k % len(prefectures)]
        code = f"{code[:4]}{21 + k // len(prefectures):02d}"
        county = unit(code, f"第{k}县", "county", prefecture)
        account("county", code, county)
        counties.append((code, county, prefecture))
    return People(province, counties, accounts, names)


def _shapes(rng: np.random.Generator, count: int) -> list[str]:
    """Rectangles of 50 to 400 m on a grid over the extent, as hexadecimal EWKB."""
    west, south, east, north = EXTENT
    columns = int(np.ceil(np.sqrt(max(count, 1) * (east - west) / (north - south))))
    rows = -(-max(count, 1) // columns)
    k = np.arange(count)
    x = west + (k % columns + 0.5) * (east - west) / columns
    y = south + (k // columns + 0.5) * (north - south) / rows
    half = rng.uniform(0.0003, 0.0025, (2, count))
    boxes = shapely.box(x - half[0], y - half[1], x + half[0], y + half[1])
    return list(
        shapely.to_wkb(shapely.set_srid(shapely.multipolygons(boxes[:, None]), SRID), hex=True, include_srid=True)
    )


def _area(shape: str) -> float:
    return round(float(shapely.area(shapely.from_wkb(shape))) * 111_320.0**2 * 0.72, 1)


def _detections(
    connection: psycopg.Connection[Any],
    rng: np.random.Generator,
    people: People,
    ids: list[UUID],
    shapes: list[str],
    lead: np.ndarray,
    which: range,
) -> None:
    plan, run = new_id(), new_id()
    area = shapely.to_wkb(
        shapely.set_srid(shapely.multipolygons([shapely.box(*EXTENT)]), SRID), hex=True, include_srid=True
    )
    connection.execute(
        "insert into plans (id, name, title, area, history_from, history_until, is_active, configuration, version,"
        " baseline, unit_ids) values (%s, 'bench', 'bench', %s, '2018-01-01', '2021-01-01', false, '{}', 1, 1, %s)",
        (plan, area, [people.province]),
    )
    connection.execute(
        "insert into runs (id, plan_id, status, until, attempts, idle_attempts, tiles_total, tiles_done, tiles_fitted,"
        " tiles_replayed, detections_new, detections_grown, detections_withdrawn, set_aside, unit_ids)"
        " values (%s, %s, 'succeeded', '2025-01-01', 1, 0, 1, 1, 1, 0, 0, 0, 0, '[]', %s)",
        (run, plan, [people.province]),
    )
    columns = (
        "id, plan_id, run_id, simulated, geom, area_m2, change_type, activity, activities, confidence, first_seen_on,"
        ' published_at, generation, evidence, detector, lead_unit_id, unit_areas, "overlaps", verdict, verdict_ground,'
        " severity, judged_by, unit_ids"
    )
    severity, confidence = ("none", "low", "medium", "high"), ("low", "high", "high")
    with connection.cursor().copy(f"copy detections ({columns}) from stdin") as copy:
        for k in which:
            _, county, prefecture = people.counties[lead[k]]
            activity, size = ACTIVITIES[k % len(ACTIVITIES)], _area(shapes[k])
            published = FIRST + timedelta(minutes=10 * k)
            copy.write_row(
                (
                    ids[k], plan, run, False, shapes[k], size, "new", activity,
                    json.dumps([{"code": activity, "probability": 0.8, "reasons": []}]), confidence[rng.integers(3)],
                    published.date() - timedelta(days=20), published, 0, "{}", "bench 1", county,
                    json.dumps([{"unit_id": str(county), "area_m2": size}]), "[]", "prohibited", "bench",
                    severity[rng.integers(4)], "{}", [county, prefecture, people.province],
                )
            )  # fmt: skip


def _cases(
    connection: psycopg.Connection[Any],
    rng: np.random.Generator,
    people: People,
    ids: list[UUID],
    detections: list[UUID] | None,
    shapes: list[str],
    lead: np.ndarray,
    walks: Sequence[Sequence[tuple[str, str, str]]],
) -> None:
    columns = (
        "id, number, state, version, detection_id, simulated, activity, priority, supervision_source, lead_unit_id,"
        " accepting_unit_id, dispatching_unit_id, geom, area_m2, opened_at, facts, plan, first_due_on, due_on, unit_ids"
    )
    numbers: dict[str, int] = {}
    step = timedelta(days=365 * YEARS) / max(len(ids), 1)
    with connection.cursor().copy(f"copy cases ({columns}) from stdin") as copy:
        for k, case_id in enumerate(ids):
            code, county, prefecture = people.counties[lead[k]]
            numbers[code] = numbers.get(code, 0) + 1
            planned = any(kind == "approve_plan" for kind, _, _ in walks[k])
            due = FIRST.date() + timedelta(days=k % 1800 + 180) if planned else None
            opened = FIRST + step * k
            copy.write_row(
                (
                    case_id, f"RL-{code}-{FIRST.year}-{numbers[code]:04d}", walks[k][-1][1],
                    len(walks[k]), detections[k] if detections else None, False, ACTIVITIES[k % len(ACTIVITIES)],
                    PRIORITIES[rng.integers(len(PRIORITIES))], SOURCES[rng.integers(len(SOURCES))], county, prefecture,
                    people.province, shapes[k], _area(shapes[k]), opened, "{}", "{}", due, due,
                    [county, prefecture, people.province],
                )
            )  # fmt: skip
    with connection.cursor().copy("copy case_participations (id, case_id, unit_id, kind) from stdin") as copy:
        for k, case_id in enumerate(ids):
            _, county, prefecture = people.counties[lead[k]]
            for unit, kind in ((county, "lead"), (prefecture, "accepting"), (people.province, "dispatching")):
                copy.write_row((new_id(), case_id, unit, kind))
    for code, last in numbers.items():
        connection.execute(
            "insert into case_sequences (unit_code, year, last) values (%s, %s, %s)", (code, FIRST.year, last)
        )
