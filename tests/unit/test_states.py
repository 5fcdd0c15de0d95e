"""Tile states in storage: written once, read back bit by bit, swept when nothing names them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from app.foundation.storage import Storage
from app.foundation.time import utc_now
from app.monitoring.states import Checkpoint, LogEntry, StateLost, StatePointer, StateStore, live_keys, sweep
from detectors.state import MonitorState
from detectors.types import Grid
from tests.s3_server import S3Server

DAY = date(2024, 5, 1)


def state(number: int) -> MonitorState:
    """A state whose dynamic part depends on a number."""
    return MonitorState(
        monitor="m",
        version="1",
        parameter_hash="0",
        grid=Grid("EPSG:32652", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), (4, 5)),
        bands=("red", "nir"),
        history_until=19_000,
        updated_until=19_000 + number,
        scenes=number,
        fixed={"coefficients": np.arange(40, dtype=np.int16).reshape(20, 2)},
        dynamic={"score": np.full(20, number, np.float32)},
    )


def pointer_to(store: StateStore, number: int, earlier: int) -> StatePointer:
    checkpoint = Checkpoint(*store.write_dynamic(state(earlier), 1), DAY, 1)
    log = (LogEntry("a", "1", DAY), LogEntry("b", "2", DAY + timedelta(days=1)))
    fixed = store.write_fixed(state(number))
    dynamic = store.write_dynamic(state(number), 1)
    return StatePointer(1, *fixed, *dynamic, DAY + timedelta(days=1), DAY, log, (checkpoint,))


@pytest.fixture(params=["file", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return Storage(server.new_url())
    return Storage(tmp_path.as_uri() if request.param == "file" else f"memory://{tmp_path.name}")


def test_a_pointer_goes_through_json_unchanged(storage: Storage) -> None:
    pointer = pointer_to(StateStore(storage, "plan", 0, 3), 2, 1)
    assert StatePointer.from_json(json.loads(json.dumps(pointer.to_json()))) == pointer


def test_states_are_read_back_and_the_fixed_part_is_one(storage: Storage) -> None:
    store = StateStore(storage, "plan", 0, 3)
    pointer = pointer_to(store, 2, 1)
    newest, earlier = store.read(pointer), store.read(pointer, pointer.checkpoints[0])
    assert (newest.scenes, earlier.scenes) == (2, 1)
    assert np.array_equal(newest.dynamic["score"], state(2).dynamic["score"])
    assert np.array_equal(earlier.fixed["coefficients"], state(1).fixed["coefficients"])
    assert sorted(storage.list("states")) == sorted(live_keys(pointer)) == sorted(store.written)
    assert all(key.startswith("states/plan/0_3/") for key in store.written)
    assert pointer.fixed_key == f"states/plan/0_3/fit-{pointer.fixed_checksum}.bin"
    assert pointer.dynamic_key == f"states/plan/0_3/1-{pointer.dynamic_checksum}.bin"


def test_a_mapped_state_outlives_its_file(tmp_path: Path) -> None:
    store = StateStore(Storage(tmp_path.as_uri()), "plan", 0, 0)
    pointer = pointer_to(store, 2, 1)
    newest = store.read(pointer)
    for key in live_keys(pointer):
        Storage(tmp_path.as_uri()).delete(key)
    assert np.array_equal(newest.fixed["coefficients"], state(2).fixed["coefficients"])
    assert not newest.dynamic["score"].flags.writeable


@pytest.mark.parametrize("part", ["fixed_key", "dynamic_key"])
def test_a_damaged_or_missing_state_is_refused(storage: Storage, part: str) -> None:
    store = StateStore(storage, "plan", 0, 0)
    pointer = pointer_to(store, 2, 1)
    key = getattr(pointer, part)
    content = bytearray(storage.read(key))
    content[-1] ^= 1
    storage.put_named(key, content)
    with pytest.raises(StateLost, match="damaged"):
        store.read(pointer)
    storage.delete(key)
    with pytest.raises(StateLost, match="gone"):
        store.read(pointer)


def test_sweeping_spares_what_is_named_and_what_is_young(storage: Storage) -> None:
    store = StateStore(storage, "plan", 0, 0)
    old = pointer_to(store, 2, 1)
    new = replace(old, dynamic_key=store.write_dynamic(state(3), 2)[0])
    other = StateStore(storage, "planet", 0, 0).write_fixed(state(1))[0]
    hour = timedelta(hours=1)
    assert sweep(storage, "plan", live_keys(new), utc_now() - hour) == []
    assert sweep(storage, "plan", live_keys(new), utc_now() + hour) == [old.dynamic_key]
    assert set(storage.list("states")) == live_keys(new) | {other}
