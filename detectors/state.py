"""The state of a monitor over one window: named arrays, in a part that never changes and one that does.

``fixed`` comes out of ``fit`` and is shared by every later state; ``dynamic`` is replaced by each update.
Callers may store the two parts apart (the fixed part is written once).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import Grid

SCHEMA_VERSION: Final = 1
"""Version of the layout that ``state_to_arrays`` writes; the arrays inside follow the monitor's version."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class MonitorState:
    """State of one monitor over one window.

    Attributes:
        monitor, version, parameter_hash: who made it; another monitor must refuse it.
        grid: the window. bands: bands of the fit.
        history_until, updated_until: day of the newest scene of the fit, and of all scenes so far.
        scenes: scenes taken in since the fit.
        fixed, dynamic: arrays by name.
    """

    monitor: str
    version: str
    parameter_hash: str
    grid: Grid
    bands: tuple[str, ...]
    history_until: int
    updated_until: int
    scenes: int
    fixed: Arrays
    dynamic: Arrays


def state_to_arrays(state: MonitorState) -> dict[str, NDArray[Any]]:
    """Arrays (fit for ``numpy.savez``) that ``state_from_arrays`` turns into the same state, bit by bit."""
    header = {
        "schema": SCHEMA_VERSION,
        "monitor": state.monitor,
        "version": state.version,
        "parameter_hash": state.parameter_hash,
        "crs": state.grid.crs,
        "transform": state.grid.transform,
        "shape": state.grid.shape,
        "bands": state.bands,
        "history_until": state.history_until,
        "updated_until": state.updated_until,
        "scenes": state.scenes,
    }
    text = json.dumps(header, sort_keys=True).encode()
    out: dict[str, NDArray[Any]] = {"header": np.frombuffer(text, dtype=np.uint8).copy()}
    out.update({f"fixed.{name}": array for name, array in state.fixed.items()})
    out.update({f"dynamic.{name}": array for name, array in state.dynamic.items()})
    return out


def state_from_arrays(arrays: Arrays) -> MonitorState:
    """The state that ``state_to_arrays`` wrote.

    Raises:
        ValueError: the arrays are not a state, or one of another schema version.
    """
    if "header" not in arrays:
        raise ValueError("not a monitor state: it has no header")
    try:
        header = json.loads(bytes(arrays["header"]).decode())
        schema = header["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("not a monitor state: its header cannot be read") from error
    if schema != SCHEMA_VERSION:
        raise ValueError(f"the state has schema version {schema}; this program reads {SCHEMA_VERSION}")
    a, b, c, d, e, f = header["transform"]
    parts: dict[str, dict[str, NDArray[Any]]] = {"fixed": {}, "dynamic": {}}
    for key, array in arrays.items():
        part, _, name = key.partition(".")
        if part in parts:
            parts[part][name] = np.asarray(array)
    return MonitorState(
        monitor=header["monitor"],
        version=header["version"],
        parameter_hash=header["parameter_hash"],
        grid=Grid(header["crs"], (a, b, c, d, e, f), (header["shape"][0], header["shape"][1])),
        bands=tuple(header["bands"]),
        history_until=header["history_until"],
        updated_until=header["updated_until"],
        scenes=header["scenes"],
        fixed=parts["fixed"],
        dynamic=parts["dynamic"],
    )
