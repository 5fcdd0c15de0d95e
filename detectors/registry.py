"""Every detector, one line each. Immutable: what is not here does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from detectors.activities.clearing import Clearing
from detectors.activities.construction import Construction
from detectors.activities.drought import Drought
from detectors.activities.fire import Fire
from detectors.activities.impoundment import Impoundment
from detectors.activities.mining import Mining
from detectors.activities.quarry import Quarry
from detectors.activities.road import Road
from detectors.monitors.harmonic import HarmonicMonitor
from detectors.monitors.sparse import SparseMonitor
from detectors.protocol import Monitor, Recogniser

T = TypeVar("T")


def register(entries: Iterable[tuple[str, T]]) -> Mapping[str, T]:
    """A read-only mapping of the entries, in their order.

    Raises:
        ValueError: a name occurs twice.
    """
    found: dict[str, T] = {}
    for name, entry in entries:
        if name in found:
            raise ValueError(f"detector {name!r} is registered twice")
        found[name] = entry
    return MappingProxyType(found)


MONITORS: Final[Mapping[str, Callable[..., Monitor]]] = register(
    [
        ("harmonic", HarmonicMonitor.create),
        ("bitemporal", SparseMonitor.create),
    ]
)

ACTIVITIES: Final[Mapping[str, Recogniser]] = register(
    (recogniser.code, recogniser)
    for recogniser in (
        Mining(),
        Quarry(),
        Road(),
        Impoundment(),
        Construction(),
        Clearing(),
        Fire(),
        Drought(),
    )
)


def make_monitor(name: str, parameters: Mapping[str, Any] | None = None) -> Monitor:
    """The named monitor with parameters by name (the rest at their defaults).

    Raises:
        ValueError: no such monitor, or a parameter that it does not know or cannot take
            (pydantic's ValidationError is a ValueError).
    """
    if name not in MONITORS:
        raise ValueError(f"there is no monitor {name!r}; there are {', '.join(MONITORS)}")
    return MONITORS[name](**(parameters or {}))
