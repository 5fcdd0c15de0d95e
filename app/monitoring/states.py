"""A tile's monitor state in storage, and the pointer to it that the database keeps.

A state lies in two parts below `states/<plan>/<row>_<col>/`: `fit-<digest>.bin`, written once per baseline and never
rewritten, and `<sequence>-<digest>.bin`, one for each state that a pointer names. Every file is named by its own
content (XXH3-128), so two workers that compute the same tile write the same bytes under the same name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self

import xxhash

from app.foundation.storage import Storage
from detectors.state import Buffer, MonitorState, dynamic_buffers, fixed_buffers, unpack

# Most earlier states that a pointer keeps beside the newest.
MAX_CHECKPOINTS = 3


class StateLost(Exception):
    """The stored state is gone, damaged or of no use to this monitor. The message is for people, without a path."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A scene that went into a state: its id, the digest of its description, its day (UTC)."""

    scene_id: str
    digest: str
    day: date

    def to_json(self) -> list[str]:
        return [self.scene_id, self.digest, self.day.isoformat()]

    @classmethod
    def from_json(cls, value: list[str]) -> Self:
        scene_id, digest, day = value
        return cls(scene_id, digest, date.fromisoformat(day))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An earlier dynamic part of the same baseline, from which late scenes are replayed.

    Attributes:
        dynamic_key, dynamic_checksum: where it is, XXH3-128 of its bytes in hexadecimal.
        updated_until: every scene of the log up to this day, and none after it, is in it.
        log_length: how many entries of the pointer's log those are.
    """

    dynamic_key: str
    dynamic_checksum: str
    updated_until: date
    log_length: int

    def to_json(self) -> dict[str, Any]:
        return {
            "dynamic_key": self.dynamic_key,
            "dynamic_checksum": self.dynamic_checksum,
            "updated_until": self.updated_until.isoformat(),
            "log_length": self.log_length,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**value | {"updated_until": date.fromisoformat(value["updated_until"])})


@dataclass(frozen=True, slots=True)
class StatePointer:
    """Where a tile's state is and what went into it; kept in one JSON column, moved by compare-and-set on `sequence`.

    Attributes:
        sequence: 1, 2, 3 …; a new one whenever anything else here changes.
        fixed_key, fixed_checksum: the baseline's part, XXH3-128 of its bytes in hexadecimal.
        dynamic_key, dynamic_checksum: the part that scenes change.
        updated_until: last day that has been taken in; `history_until` while nothing came after the history.
        history_until: last day of the history that the baseline was fitted to.
        log: every scene in the state, of the history and since, in the order of its use (so by day).
        checkpoints: at most `MAX_CHECKPOINTS` earlier states, oldest first.
    """

    sequence: int
    fixed_key: str
    fixed_checksum: str
    dynamic_key: str
    dynamic_checksum: str
    updated_until: date
    history_until: date
    log: tuple[LogEntry, ...]
    checkpoints: tuple[Checkpoint, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "sequence": self.sequence,
            "fixed_key": self.fixed_key,
            "fixed_checksum": self.fixed_checksum,
            "dynamic_key": self.dynamic_key,
            "dynamic_checksum": self.dynamic_checksum,
            "updated_until": self.updated_until.isoformat(),
            "history_until": self.history_until.isoformat(),
            "log": [entry.to_json() for entry in self.log],
            "checkpoints": [checkpoint.to_json() for checkpoint in self.checkpoints],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The pointer that `to_json` wrote."""
        parts = {
            "updated_until": date.fromisoformat(value["updated_until"]),
            "history_until": date.fromisoformat(value["history_until"]),
            "log": tuple(LogEntry.from_json(entry) for entry in value["log"]),
            "checkpoints": tuple(Checkpoint.from_json(entry) for entry in value["checkpoints"]),
        }
        return cls(**value | parts)


def live_keys(pointer: StatePointer) -> frozenset[str]:
    """Every storage key that a pointer needs."""
    return frozenset({pointer.fixed_key, pointer.dynamic_key, *(c.dynamic_key for c in pointer.checkpoints)})


class StateStore:
    """The states of one tile; `written` lists the keys that this store has written."""

    def __init__(self, storage: Storage, plan_id: str, row: int, col: int) -> None:
        self._storage = storage
        self._folder = f"{_plan_folder(plan_id)}/{row}_{col}"
        self.written: list[str] = []

    def write_fixed(self, state: MonitorState) -> tuple[str, str]:
        """Keep the baseline's part; its key and checksum.

        Raises:
            OSError: storage is full or out of reach.
        """
        # Also where the same bytes lie already: an orphan may be swept, and now is no longer one.
        return self._write("fit", fixed_buffers(state))

    def write_dynamic(self, state: MonitorState, sequence: int) -> tuple[str, str]:
        """Keep the part that scenes change; its key and checksum. Raises: OSError, as above."""
        return self._write(str(sequence), dynamic_buffers(state))

    def _write(self, name: str, parts: list[Buffer]) -> tuple[str, str]:
        digest = xxhash.xxh3_128()
        for part in parts:
            digest.update(part)
        checksum = digest.hexdigest()
        key = f"{self._folder}/{name}-{checksum}.bin"
        if key not in self.written:
            self._storage.put_named(key, *parts)
            self.written.append(key)
        return key, checksum

    def read(self, pointer: StatePointer, at: Checkpoint | None = None) -> MonitorState:
        """The newest state of a pointer, or that of one of its checkpoints; arrays are views of the stored bytes.

        Raises:
            StateLost: it is gone or damaged.
            OSError: storage is out of reach.
        """
        where = at or pointer
        fixed = self._read(pointer.fixed_key, pointer.fixed_checksum)
        dynamic = self._read(where.dynamic_key, where.dynamic_checksum)
        try:
            return unpack(fixed, dynamic)
        except ValueError as error:
            raise StateLost(f"the stored state of this tile is of no use here: {error}") from error

    def _read(self, key: str, checksum: str) -> memoryview:
        try:
            content = self._storage.view(key)
        except FileNotFoundError:
            raise StateLost("the stored state of this tile is gone; make a new baseline") from None
        if xxhash.xxh3_128_hexdigest(content) != checksum:
            raise StateLost("the stored state of this tile is damaged; make a new baseline")
        return content


def sweep(storage: Storage, plan_id: str, live: Iterable[str], older_than: datetime) -> list[str]:
    """Delete the files of a plan's states that no pointer names, and what dead writers left; the keys deleted.

    Args:
        live: `live_keys` of every pointer of the plan, as committed just before this call.
        older_than: spare what was written at or after this instant, at least the longest run ago: files of a run that
            has not committed yet.

    Raises:
        OSError: storage is out of reach.
    """
    storage.drop_unfinished(older_than)
    named = frozenset(live)
    gone = [
        key
        for key in storage.list(_plan_folder(plan_id))
        if key not in named and (written := storage.modified(key)) is not None and written < older_than
    ]
    for key in gone:
        storage.delete(key)
    return gone


def _plan_folder(plan_id: str) -> str:
    return f"states/{plan_id}"
