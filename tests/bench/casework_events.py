"""The ledgers of made casework (`casework_data`): what happens to cases in which order, and what their events say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from app.casework.hash_chain import canonical
from app.foundation.identity import new_id, new_ids

FIRST = datetime(2021, 1, 4, tzinfo=UTC)
YEARS = 5
# Cases are open for about that share of the whole time.
OPEN_FOR = 0.12
ACTIVITIES = ("mining", "quarry", "road", "construction", "clearing", "cultivation", "tourism", "energy")
SOURCES = ("satellite_monitoring", "green_shield", "central_inspection_1", "national_platform", "public_report")
ZONES = ("core_protection", "general_control", "reserve_experimental")
LEVELS = (None, None, "national", "provincial")
# What a dispatch says of when the imagery knew.
SEEN = ("last_clear_on", "first_seen_on", "confirmed_on", "published_on")
PRIORITIES = ("ordinary", "ordinary", "ordinary", "high", "urgent")
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
class People:
    province: UUID
    counties: list[tuple[str, UUID, UUID]]
    # By role and unit.
    accounts: dict[tuple[str, UUID], UUID]
    names: dict[str, str]


def new_id_list(count: int) -> list[UUID]:
    raw = new_ids(count)
    return [UUID(bytes=raw[16 * k : 16 * k + 16]) for k in range(count)]


def walk_of(length: int, stop: str) -> list[tuple[str, str, str]]:
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


def write_reviews(
    connection: psycopg.Connection[Any],
    people: People,
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
    sequence, ids = 0, new_id_list(2 * count)
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


def write_events(
    connection: psycopg.Connection[Any],
    rng: np.random.Generator,
    people: People,
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
