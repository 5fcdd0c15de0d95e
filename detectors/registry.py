"""Every detector, one line each. Immutable: what is not here does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from detectors.activities.aquaculture import Aquaculture
from detectors.activities.clearing import Clearing
from detectors.activities.cloud import Cloud
from detectors.activities.construction import Construction
from detectors.activities.crop_calendar import CropCalendar
from detectors.activities.cultivation import Cultivation
from detectors.activities.drought import Drought
from detectors.activities.energy import Energy
from detectors.activities.fire import Fire
from detectors.activities.flood import Flood
from detectors.activities.grazing import Grazing
from detectors.activities.impoundment import Impoundment
from detectors.activities.industry import Industry
from detectors.activities.landslide import Landslide
from detectors.activities.mining import Mining
from detectors.activities.quarry import Quarry
from detectors.activities.road import Road
from detectors.activities.snow import Snow
from detectors.activities.water_level import WaterLevel
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
        Industry(),
        Energy(),
        Clearing(),
        Cultivation(),
        Grazing(),
        Aquaculture(),
        Fire(),
        Flood(),
        Landslide(),
        Drought(),
        WaterLevel(),
        CropCalendar(),
        Snow(),
        Cloud(),
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
