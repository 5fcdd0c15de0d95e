"""Casework of some years, made: what the benchmarks of the ledger, the queue and the case page work on.

Cases walk the table of DESIGN section 7 and stop somewhere; their events are interleaved as they would be in a
province that works on many cases at once, every hash is valid, both heads stand at the last event. Rows go in by
COPY, with foreign keys and secondary indexes made afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import shapely

from app.casework.hash_chain import canonical
from app.foundation.database_setup import connect
from app.foundation.geometry import SRID
from app.foundation.identity import new_id, new_ids
from tests.bench.bulk import bulk

PASSWORD = "benchmark-only"
FIRST = datetime(2021, 1, 4, tzinfo=UTC)
YEARS = 5
# Cases are open for about that share of the whole time.
OPEN_FOR = 0.12
# West, south, east, north, degrees.
EXTENT = (122.5, 41.5, 131.0, 46.0)
ACTIVITIES = ("mining", "quarry", "road", "construction", "clearing", "cultivation", "tourism", "energy")
SOURCES = ("satellite_monitoring", "green_shield", "central_inspection_1", "national_platform", "public_report")
ZONES = ("core_protection", "general_control", "reserve_experimental")
LEVELS = (None, None, "national", "provincial")
# What a dispatch says of when the imagery knew.
SEEN = ("last_clear_on", "first_seen_on", "confirmed_on", "published_on")
PRIORITIES = ("ordinary", "ordinary", "ordinary", "high", "urgent")
STOPS = ("confirmed", "rectifying", "closure_requested", "publicised", "closed", "closed", "closed")
# What happens to a case, in order: kind, state after, role. Progress and evidence fill a case up to its length.
WALK = (
    ("dispatch", "dispatched", "officer"),
    ("start_verification", "verifying", "county"),
    ("evidence_added", "verifying", "county"),
    ("confirm", "confirmed", "county"),
    ("submit_plan", "planned", "county"),
    ("approve_plan", "rectifying", "prefecture"),
    ("report_progress", "rectifying", "county"),
    ("request_closure", "closure_requested", "county"),
    ("accept", "accepted", "prefecture"),
    ("publicise", "publicised", "province"),
    ("close", "closed", "province"),
)
FILLERS = {"verifying": 2, "rectifying": 6}
VARIANTS = 64


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


@dataclass(frozen=True)
class _People:
    province: UUID
    counties: list[tuple[str, UUID, UUID]]
    # By role and unit.
    accounts: dict[tuple[str, UUID], UUID]
    names: dict[str, str]


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
        walks = {(int(n), int(s)): _walk(int(n), STOPS[int(s)]) for n in set(lengths) for s in range(len(STOPS))}
        own = [walks[int(n), int(s)] for n, s in zip(lengths, stops, strict=True)]
        ids, detections = _ids(cases), _ids(cases + waiting)
        with bulk(connection, ("detections", "reviews", "review_events", "cases", "case_participations")):
            if reviewed or waiting:
                first = 0 if reviewed else cases
                _detections(connection, rng, people, detections, shapes, lead, range(first, cases + waiting))
            _cases(connection, rng, people, ids, detections if reviewed else None, shapes, lead, own)
            review_events = _reviews(connection, people, ids, detections, lead, cases) if reviewed else 0
        with bulk(connection, ("case_events", "evidence")):
            events = _events(connection, rng, people, ids, lead, own)
        connection.execute("vacuum analyze")
    codes = tuple(code for code, _, _ in people.counties)
    return Filled(cases, events, review_events, waiting, "220000", codes, people.names)


def _ids(count: int) -> list[UUID]:
    raw = new_ids(count)
    return [UUID(bytes=raw[16 * k : 16 * k + 16]) for k in range(count)]


def _lengths(rng: np.random.Generator, cases: int, mean: int) -> np.ndarray:
    """Events a case, in pairs about the mean, so that the sum is cases times mean (an odd last case has the mean)."""
    spread = rng.integers(0, min(mean // 2, mean - 2) + 1, cases // 2)
    lengths = np.full(cases, mean)
    lengths[: 2 * len(spread) : 2] += spread
    lengths[1 : 2 * len(spread) : 2] -= spread
    return lengths


def _walk(length: int, stop: str) -> list[tuple[str, str, str]]:
    """The events of a case of that length: as far as it comes on its way to `stop`, the rest evidence and reports."""
    last = max(k for k, step in enumerate(WALK) if step[1] == stop)
    steps = list(WALK[: min(last + 1, length)])
    missing = length - len(steps)
    places = [k for k, step in enumerate(steps) if step[1] in FILLERS] or [len(steps) - 1]
    walk: list[tuple[str, str, str]] = []
    for k, step in enumerate(steps):
        walk.append(step)
        if missing and k == places[-1]:
            state = step[1]
            kinds = ("evidence_added", "report_progress") if state == "rectifying" else ("evidence_added",)
            walk += [(kinds[n % len(kinds)], state, "county") for n in range(missing)]
    return walk


def _people(connection: psycopg.Connection[Any], units: int) -> _People:
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
    return _People(province, counties, accounts, names)


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
    people: _People,
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
    people: _People,
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


def _payloads(rng: np.random.Generator) -> dict[str, list[str]]:
    """Canonical payloads of each kind, as long as the service's own."""
    made: dict[str, list[str]] = {}
    for kind, _, _ in WALK:
        made[kind] = [canonical(_payload(rng, kind)).decode() for _ in range(VARIANTS)]
    return made


def _payload(rng: np.random.Generator, kind: str) -> dict[str, Any]:
    area, key = round(float(rng.uniform(500, 90_000)), 1), str(new_id())
    day = (FIRST.date() + timedelta(days=int(rng.integers(0, 1800)))).isoformat()
    if kind == "dispatch":
        return {
            "number": f"RL-220621-2021-{rng.integers(1, 9999):04d}", "lead_unit_id": SAME_ID, "accepting_unit_id": key,
            "dispatching_unit_id": key, "activity": ACTIVITIES[rng.integers(8)],
            "priority": PRIORITIES[rng.integers(len(PRIORITIES))], "origin": "detection", "source": None,
            "supervision_source": SOURCES[rng.integers(len(SOURCES))], "supervision_level": "ordinary",
            "protected_area_level": LEVELS[rng.integers(len(LEVELS))], "area_m2": area, "detection_id": key,
            "simulated": False, "first_due_on": None, "due_on": None, "judged": _judged(rng),
            "seen": {name: _slot(n) for n, name in enumerate(SEEN)},
        }  # fmt: skip
    if kind == "approve_plan":
        return {
            "opinion": "同意", "due_on": _slot(len(SEEN)), "first_due_on": _slot(len(SEEN)),
            "restoration_area_m2": area, "approved_measures": ["demolition", "replanting"],
        }  # fmt: skip
    if kind == "evidence_added":
        return {
            "evidence_id": SAME_ID, "kind": "photo", "filename": f"IMG_{rng.integers(1000, 9999)}.jpg",
            "sha256": SAME_HASH, "taken_at": f"{day}T02:11:00Z",
            "longitude": round(float(rng.uniform(122, 131)), 6), "latitude": round(float(rng.uniform(41, 46)), 6),
            "distance_m": round(float(rng.uniform(0, 300)), 1), "position_from": "exif",
        }  # fmt: skip
    if kind == "confirm":
        return {
            "problem": "未经批准在生态保护红线内露天采石，破坏林地植被", "occurred_from": day, "occurred_to": day,
            "area_m2": area, "party": "某石料有限公司", "responsible_government": "抚松县人民政府",
            "immediate_measure": "责令立即停止开采，撤离机械设备并封闭进场道路",
        }  # fmt: skip
    if kind == "submit_plan":
        return {
            "measures": "拆除生产设施，清运堆料，平整场地，覆土后补植乡土树种", "responsible_person": "张三",
            "restoration_kind": "forest", "restoration_area_m2": area, "due_on": day,
            "milestones": [{"title": "拆除", "due_on": day}, {"title": "覆土", "due_on": day}],
        }  # fmt: skip
    return {
        "opinion": "现场核查情况属实，整改措施按方案推进，同意进入下一环节",
        "share": int(rng.integers(0, 100)),
        "ref": key,
    }


def _judged(rng: np.random.Generator) -> dict[str, Any]:
    """As the overlay judged: two of three cases lie in a protected area, nearly all in a red line."""
    areas = sorted({f"PA-{rng.integers(1, 60):03d}" for _ in range(rng.integers(0, 3))})
    return {
        "verdict": ("prohibited", "needs_recognition", "undetermined")[rng.integers(3)],
        "severity": ("none", "low", "medium", "high")[rng.integers(4)],
        "zones": sorted({ZONES[rng.integers(len(ZONES))] for _ in areas}), "protected_areas": areas,
        "redlines": sorted({f"RL-{rng.integers(1, 300):04d}" for _ in range(rng.integers(0, 3))}),
    }  # fmt: skip


def _slot(place: int) -> str:
    """Stands in a payload for a day that is reckoned from the event's own."""
    return f"0001-01-{place + 1:02d}"


def _dated(payload: str, day: str) -> str:
    """With the days for their slots: seen some weeks before the dispatch, due some months after the plan."""
    on = date.fromisoformat(day)
    for place, days in enumerate((-60, -40, -25, -15, 90 + on.day * 9)):
        payload = payload.replace(_slot(place), (on + timedelta(days=days)).isoformat())
    return payload


def _reviews(
    connection: psycopg.Connection[Any],
    people: _People,
    cases: list[UUID],
    detections: list[UUID],
    lead: np.ndarray,
    count: int,
) -> int:
    officer, province = people.accounts["officer", people.province], str(people.province)
    columns = "id, detection_id, state, version, case_id, decided_by, decided_at"
    step = timedelta(days=365 * YEARS) / max(count, 1)
    with connection.cursor().copy(f"copy reviews ({columns}) from stdin") as copy:
        for k in range(count):
            copy.write_row((new_id(), detections[k], "dispatched", 2, cases[k], officer, FIRST + step * k))
    columns = (
        "sequence, id, detection_id, detection_sequence, kind, actor_id, actor_role, actor_unit_id, recorded_at,"
        " state_before, state_after, payload, previous_hash, hash"
    )
    sequence, ids = 0, _ids(2 * count)
    with connection.cursor().copy(f"copy review_events ({columns}) from stdin") as copy:
        for k in range(count):
            previous, subject = bytes(32), str(detections[k])
            for number, kind, before, after in (
                (1, "claim", "new", "reviewing"),
                (2, "dispatch", "reviewing", "dispatched"),
            ):
                at = FIRST + step * k + timedelta(microseconds=number)
                payload = canonical({"case_id": str(cases[k])} if number == 2 else {}).decode()
                text = (
                    f'{{"actor_id":"{officer}","actor_role":"officer","actor_unit_id":"{province}",'
                    f'"detection_id":"{subject}","detection_sequence":{number},"id":"{ids[sequence]}","kind":"{kind}",'
                    f'"note":null,"payload":{payload},"recorded_at":"{at:%Y-%m-%dT%H:%M:%S.%f}Z",'
                    f'"sequence":{sequence + 1},"state_after":"{after}","state_before":"{before}"}}'
                )
                digest = hashlib.sha256(previous + text.encode()).digest()
                copy.write(
                    f"{sequence + 1}\t{ids[sequence]}\t{subject}\t{number}\t{kind}\t{officer}\tofficer\t{province}\t"
                    f"{at:%Y-%m-%dT%H:%M:%S.%f}Z\t{before}\t{after}\t{payload}\t\\\\x{previous.hex()}\t\\\\x{digest.hex()}\n"
                )
                previous = digest
                sequence += 1
    _set_head(connection, 2, "review_events")
    return sequence


def _events(
    connection: psycopg.Connection[Any],
    rng: np.random.Generator,
    people: _People,
    cases: list[UUID],
    lead: np.ndarray,
    walks: Sequence[Sequence[tuple[str, str, str]]],
) -> int:
    lengths = np.array([len(walk) for walk in walks])
    case = np.repeat(np.arange(len(cases)), lengths)
    place = np.concatenate([np.arange(n) for n in lengths])
    # A case begins in its turn and lasts its while; what is on at the same time is interleaved.
    share = (place + rng.uniform(0.05, 0.95, len(place))) / lengths[case]
    when = (case / max(len(cases), 1) * (1 - OPEN_FOR) + share * OPEN_FOR) * YEARS * 365 * 86_400e6
    order = np.argsort(when, kind="stable")
    # Whole microseconds, each later than the one before.
    ticks = np.maximum.accumulate(when[order].astype(np.int64) - np.arange(len(order))) + np.arange(len(order))
    payloads, units = _payloads(rng), [[str(one) for one in county[1:]] for county in people.counties]
    who = {(role, str(unit)): str(account) for (role, unit), account in people.accounts.items()}
    province, texts, ids = str(people.province), [str(case_id) for case_id in cases], new_ids(len(order))
    last: list[bytes] = [bytes(32)] * len(cases)
    columns = (
        "sequence, id, case_id, case_sequence, kind, actor_id, actor_role, actor_unit_id, recorded_at, occurred_on,"
        " state_before, state_after, note, payload, previous_hash, hash"
    )
    epoch = np.datetime64(FIRST.replace(tzinfo=None), "us")
    with connection.cursor().copy(f"copy case_events ({columns}) from stdin") as copy:
        for start in range(0, len(order), 20_000):
            rows, stop = [], min(start + 20_000, len(order))
            instants = np.datetime_as_string(epoch + ticks[start:stop].astype("timedelta64[us]"), "us")
            picks = rng.integers(0, VARIANTS, stop - start)
            for n, (k, j, at, pick) in enumerate(
                zip(case[order[start:stop]].tolist(), place[order[start:stop]].tolist(), instants.tolist(),
                    picks.tolist(), strict=True), start,
            ):  # fmt: skip
                kind, after, role = walks[k][j]
                before = walks[k][j - 1][1] if j else None
                county, prefecture = units[lead[k]]
                unit = county if role == "county" else prefecture if role == "prefecture" else province
                actor, sequence, raw = who[role, unit], n + 1, ids[16 * n : 16 * n + 16].hex()
                identity = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
                note = "现场情况与上报材料一致" if pick % 4 == 0 else None
                payload, day, previous = payloads[kind][pick], at[:10], last[k]
                if kind == "evidence_added":
                    payload = payload.replace(SAME_ID, identity).replace(SAME_HASH, raw + raw)
                elif kind == "dispatch":
                    payload = _dated(payload.replace(SAME_ID, county), day)
                elif kind == "approve_plan":
                    payload = _dated(payload, day)
                text = (
                    f'{{"actor_id":"{actor}","actor_role":"{role}","actor_unit_id":"{unit}","case_id":"{texts[k]}",'
                    f'"case_sequence":{j + 1},"id":"{identity}","kind":"{kind}","note":{_quoted(note)},'
                    f'"occurred_on":"{day}","payload":{payload},"recorded_at":"{at}Z","sequence":{sequence},'
                    f'"state_after":"{after}","state_before":{_quoted(before)}}}'
                )
                digest = last[k] = hashlib.sha256(previous + text.encode()).digest()
                rows.append(
                    f"{sequence}\t{identity}\t{texts[k]}\t{j + 1}\t{kind}\t{actor}\t{role}\t{unit}\t{at}Z\t{day}\t"
                    f"{before or NULL}\t{after}\t{note or NULL}\t{payload}\t"
                    f"\\\\x{previous.hex()}\t\\\\x{digest.hex()}\n"
                )
            copy.write("".join(rows))
    _set_head(connection, 1, "case_events")
    connection.execute(
        "insert into evidence (id, case_id, kind, filename, media_type, size_bytes, sha256, uploaded_by, uploaded_at)"
        " select (payload ->> 'evidence_id')::uuid, case_id, 'photo', payload ->> 'filename', 'image/jpeg', 2000000,"
        " payload ->> 'sha256', actor_id, recorded_at from case_events where kind = 'evidence_added'"
    )
    return len(order)


NULL = "\\N"
# In the payloads of evidence, to be replaced by the event's own.
SAME_ID, SAME_HASH = "00000000-0000-0000-0000-000000000000", "f" * 64


def _quoted(value: str | None) -> str:
    """Of texts without anything to escape."""
    return "null" if value is None else f'"{value}"'


def _set_head(connection: psycopg.Connection[Any], head: int, table: str) -> None:
    connection.execute(
        f"update ledger_head h set sequence = e.sequence, recorded_at = e.recorded_at from"
        f" (select sequence, recorded_at from {table} order by sequence desc limit 1) e where h.id = %s",
        (head,),
    )


def last_day() -> date:
    """No event was recorded after it."""
    return (FIRST + timedelta(days=365 * YEARS)).date()
