"""Scenes in any order, repeated, delayed, corrected and withdrawn give what a run in order gives, or are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.foundation.storage import Storage
from app.imagery.acquisitions import Acquisition
from app.imagery.models import MaskKind
from app.imagery.pixels import Pixels, SceneRef
from app.monitoring import blocks
from app.monitoring.states import MAX_CHECKPOINTS, StatePointer, live_keys
from app.monitoring.tiles import TileJob, TileResult, compute_tile
from detectors.types import CLEAR, HIDDEN, NOTHING, SNOW, Grid

BANDS = ("red", "nir", "swir16")
GRID = Grid("EPSG:32652", (10.0, 0.0, 370_000.0, 0.0, -10.0, 4_690_000.0), (5, 7))
HISTORY_UNTIL = date(2023, 12, 31)
HISTORY = [HISTORY_UNTIL - timedelta(days=18 * n) for n in reversed(range(40))]
# Two missions on some days; gaps that jump over blocks of 30 days, and days that share one.
LATER = [HISTORY_UNTIL + timedelta(days=d) for d in (1, 9, 9, 20, 33, 34, 34, 51, 66, 90, 91, 140, 150)]
LAST = HISTORY_UNTIL + timedelta(days=200)
DAYS = [*HISTORY[:-1], HISTORY[-2], *LATER]
FIRST_LATER = len(HISTORY)


@dataclass(frozen=True)
class Version:
    """One scene as its source described it at some time."""

    scene: int
    version: int

    @property
    def ref(self) -> SceneRef:
        day = DAYS[self.scene]
        at = datetime.combine(day, time(2, self.scene % 60), UTC)
        digest = hashlib.sha256(f"{self.scene}/{self.version}".encode()).hexdigest()
        name = f"{self.scene}/{self.version}"
        mission = ("sentinel-2", "landsat")[self.scene % 2]
        return SceneRef(UUID(int=self.scene + 1), name, at, {}, MaskKind.none, digest=digest, mission=mission)


def look_at(acquisition: Acquisition, geobox: Any, bands: tuple[str, ...]) -> Pixels:
    """Made pixels: forest with a clearing from the 33rd day after the history on; some scenes miss the tile."""
    (scene,) = acquisition.scenes
    number, version = (int(part) for part in scene.external_id.split("/"))
    rng = np.random.default_rng([number, version])
    data = np.array([350, 3500, 1500])[:, None, None] + rng.integers(-60, 60, (3, *GRID.shape))
    if number >= FIRST_LATER + 4:
        data[:, :, :3] = np.array([1900, 2600, 3000])[:, None, None] + rng.integers(-60, 60, (3, GRID.shape[0], 3))
    quality = rng.choice([NOTHING, CLEAR, CLEAR, CLEAR, HIDDEN, SNOW], GRID.shape).astype(np.uint8)
    if number % 7 == 3:
        quality[:] = NOTHING
    return Pixels(data.astype(np.int16), quality, BANDS, [])


@pytest.fixture(scope="module", autouse=True)
def made_pixels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "read_acquisition", look_at)
        yield


def job(listed: dict[int, int], url: str, previous: StatePointer | None = None, **fields: Any) -> TileJob:
    parts: dict[str, Any] = {
        "plan_id": "p", "row": 0, "col": 0, "row0": 0, "col0": 0, "grid": GRID, "bands": BANDS, "monitor": "harmonic",
        "monitor_parameters": {}, "history_from": HISTORY[0], "history_until": HISTORY_UNTIL, "until": LAST,
        "scenes": tuple(Version(*item).ref for item in listed.items()), "previous": previous, "storage_url": url,
    }  # fmt: skip
    return TileJob(**parts | fields)


def dynamic(url: str, pointer: StatePointer) -> bytes:
    return Storage(url).read(pointer.dynamic_key)


addresses = (f"memory://scene-order-{number}" for number in count())
BASE = dict.fromkeys(range(FIRST_LATER), 0)
scenes = st.integers(FIRST_LATER - 2, len(DAYS) - 1)
change = st.tuples(st.sampled_from(["arrive", "arrive", "arrive", "correct", "withdraw"]), scenes)
runs = st.lists(st.lists(change, max_size=4), min_size=1, max_size=8)


def apply(listed: dict[int, int], changes: list[tuple[str, int]]) -> dict[int, int]:
    """What the source lists after some changes."""
    listed = dict(listed)
    for kind, scene in changes:
        if kind == "withdraw":
            listed.pop(scene, None)
        elif kind == "correct" and scene in listed:
            listed[scene] += 1
        elif kind == "arrive":
            listed.setdefault(scene, 0)
    return listed


def expected_refusals(listed: dict[int, int], pointer: StatePointer) -> set[tuple[str, str]]:
    """By the promise: (day, kind) of whatever differs up to the state's day and no kept state precedes."""
    logged = {UUID(e.scene_id).int - 1: e.digest for e in pointer.log}
    kept = [c.updated_until for c in pointer.checkpoints]
    found = set()
    for scene in logged.keys() | listed.keys():
        day = DAYS[scene]
        if day > pointer.updated_until or (day > HISTORY_UNTIL and any(until < day for until in kept)):
            continue
        if scene not in listed:
            found.add((day.isoformat(), "withdrawn or superseded"))
        elif scene not in logged:
            found.add((day.isoformat(), "late"))
        elif Version(scene, listed[scene]).ref.digest[:16] != logged[scene]:
            found.add((day.isoformat(), "corrected"))
    return found


def check(result: TileResult, before: StatePointer, listed: dict[int, int], used: dict[str, int], url: str) -> None:
    pointer = result.state
    told = {(refusal["day"], refusal["reason"].split(":")[0]) for refusal in result.refused}
    assert told == expected_refusals(listed, before)
    # What the log names, taken in order, in one run from the beginning.
    inside = {UUID(e.scene_id).int - 1: used[e.digest] for e in pointer.log}
    other = next(addresses)
    in_order = compute_tile(job(inside, other)).state
    assert in_order.log == pointer.log
    assert dynamic(other, in_order) == dynamic(url, pointer)
    assert Storage(other).read(in_order.fixed_key) == Storage(url).read(pointer.fixed_key)
    assert all(Storage(url).exists(key) for key in live_keys(pointer))
    if not told:
        assert inside == listed
    assert (pointer == before) == (not result.written and pointer.log == before.log)


def check_checkpoints(pointer: StatePointer, used: dict[str, int], url: str) -> None:
    """Each is the state in order of the scenes that it says it holds."""
    days = [checkpoint.updated_until for checkpoint in pointer.checkpoints]
    assert days == sorted(set(days))
    assert len(days) <= MAX_CHECKPOINTS
    assert not days or days[-1] < pointer.updated_until
    for checkpoint in pointer.checkpoints:
        inside, after = pointer.log[: checkpoint.log_length], pointer.log[checkpoint.log_length :]
        assert all(entry.day <= checkpoint.updated_until for entry in inside)
        assert all(entry.day > checkpoint.updated_until for entry in after)
        other = next(addresses)
        in_order = compute_tile(job({UUID(e.scene_id).int - 1: used[e.digest] for e in inside}, other)).state
        assert dynamic(other, in_order) == Storage(url).read(checkpoint.dynamic_key)


@settings(deadline=None, max_examples=40)
@given(first=st.lists(scenes, max_size=4), later=runs)
def test_any_order_gives_the_result_in_order_or_a_refusal(first: list[int], later: list[list[tuple[str, int]]]) -> None:
    url = next(addresses)
    listed = BASE | dict.fromkeys(first, 0)
    pointer = compute_tile(job(listed, url)).state
    used = {e.digest: 0 for e in pointer.log}
    withdrawn = False
    for changes in later:
        listed = apply(listed, changes)
        withdrawn |= any(kind == "withdraw" for kind, _ in changes)
        used |= {Version(*item).ref.digest[:16]: item[1] for item in listed.items()}
        result = compute_tile(job(listed, url, pointer))
        check(result, pointer, listed, used, url)
        if not withdrawn:
            for refusal in result.refused:
                day = date.fromisoformat(refusal["day"])
                assert day <= HISTORY_UNTIL or (pointer.updated_until - day).days > 30
        again = compute_tile(job(listed, url, result.state))
        assert again.state == result.state
        assert (again.changed_pixels, again.written, again.scenes_used) == (b"", (), 0)
        pointer = result.state
    check_checkpoints(pointer, used, url)
    renewed = compute_tile(job(listed, url, pointer, rebaseline=True)).state
    other = next(addresses)
    anew = compute_tile(job(listed, other)).state
    assert renewed.sequence == pointer.sequence + 1
    assert dynamic(url, renewed) == dynamic(other, anew)
    assert Storage(url).exists(pointer.fixed_key)


def test_day_by_day_keeps_the_same_states_as_all_at_once() -> None:
    url, other = next(addresses), next(addresses)
    listed = dict(BASE)
    pointer = compute_tile(job(listed, url)).state
    for day in sorted(set(LATER)):
        listed |= {scene: 0 for scene in range(FIRST_LATER, len(DAYS)) if DAYS[scene] == day}
        result = compute_tile(job(listed, url, pointer))
        assert result.replayed_from is None
        pointer = result.state
    at_once = compute_tile(job(listed, other)).state
    assert dynamic(url, pointer) == dynamic(other, at_once)
    assert [(c.updated_until, c.log_length, c.dynamic_checksum) for c in pointer.checkpoints] == [
        (c.updated_until, c.log_length, c.dynamic_checksum) for c in at_once.checkpoints
    ]
    # Before the newest, and before its block of 30 days (from 2024-05-18 on), in the one before which nothing came.
    assert [c.updated_until for c in pointer.checkpoints] == [LATER[-3], LATER[-2]]
