"""The peers that a dense-series monitor is measured against, behind one small shape, and those of nrt.

nrt (ec-jrc/nrt, EUPL-1.2) watches one index, here NDVI. Its monitors are used as published, two-sided; a peer
watches on after a pixel's alert only where its library does. nrt comes with the extra ``bench``: it is imported where
it is used, so that this module can be read without it.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any, ClassVar

import numba
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from detectors.types import BANDS

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Days = NDArray[np.int32]

GREEN, RED, NIR, SWIR = (BANDS.index(name) for name in ("green", "red", "nir", "swir16"))


def missing() -> list[str]:
    """Which packages of the extra ``bench`` are not installed."""
    return [name for name in ("nrt", "pyxccd", "threadpoolctl") if find_spec(name) is None]


@contextmanager
def one_core() -> Iterator[None]:
    """Let numba and the linear algebra libraries use one thread; nrt sets numba's to 1 anyway, and leaves it so."""
    from threadpoolctl import threadpool_limits

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        numba.set_num_threads(threads)


class Peer(ABC):
    """A detector that learns from a history and then takes one scene after the other.

    Attributes:
        name: as in tables. sampled: too slow for every pixel of an area. by_pixel: takes clear looks one by one, so
            that a pixel that a scene does not show clear costs nothing; the others work on whole scenes.
        fit_s, update_s: seconds spent in the library's own calls; NaN where there is no such step.
    """

    name: ClassVar[str]
    sampled: ClassVar[bool] = False
    by_pixel: ClassVar[bool] = False

    def __init__(self) -> None:
        self.fit_s = 0.0
        self.update_s = 0.0

    @property
    @abstractmethod
    def alert(self) -> Days:
        """Day of the first alert after the history, ``int32 (y, x)``, days since 1970-01-01, 0 none."""

    @property
    @abstractmethod
    def state_bytes(self) -> float:
        """Bytes per pixel that have to be kept between two scenes; NaN where the library keeps no state."""

    @abstractmethod
    def fit(self, days: NDArray[np.int64], data: Floats, valid: Bools) -> None:
        """Learn from a history.

        Args:
            days: ``(t,)``, days since 1970-01-01, rising.
            data: reflectance 0..1 ``(t, band, y, x)``, bands as ``BANDS``. valid: ``(t, y, x)``.
        """

    @abstractmethod
    def update(self, day: int, data: Floats, valid: Bools) -> None:
        """Take in one scene, in order of time: ``data (band, y, x)``, ``valid (y, x)``."""


@contextmanager
def timed(peer: Peer, step: str) -> Iterator[None]:
    """Add the seconds spent inside to ``peer.fit_s`` or ``peer.update_s``."""
    began = time.perf_counter()
    yield
    setattr(peer, step, getattr(peer, step) + time.perf_counter() - began)


def ndvi(data: Floats, valid: Bools) -> Floats:
    """NDVI of reflectance ``(..., band, y, x)``; NaN where not ``valid (..., y, x)``."""
    red, nir = data[..., RED, :, :], data[..., NIR, :, :]
    value = (nir - red) / np.maximum(nir + red, np.float32(1e-4))
    return np.where(valid, value, np.float32(np.nan))


def cube(days: NDArray[np.int64], values: Floats) -> xr.DataArray:
    """``values (t, y, x)`` in the form that nrt reads."""
    _, rows, cols = values.shape
    times = days.astype("datetime64[D]").astype("datetime64[ns]")
    return xr.DataArray(
        values, dims=("time", "y", "x"), coords={"time": times, "y": np.arange(rows), "x": np.arange(cols)}
    )


class NrtPeer(Peer):
    """A monitor of nrt on NDVI. Keyword arguments go to nrt: ``fit`` to its method fit, others to the constructor."""

    monitor: Any

    def __init__(self, *, fit: dict[str, Any] | None = None, **parameters: Any) -> None:
        super().__init__()
        self.fit_arguments = fit or {}
        self.monitor = self.make(**parameters)

    @staticmethod
    @abstractmethod
    def make(**parameters: Any) -> Any:
        """A new monitor of nrt."""

    def bands(self, days: NDArray[np.int64], data: Floats, valid: Bools) -> dict[str, Any]:
        """What else the fit wants to see."""
        return {}

    def fit(self, days: NDArray[np.int64], data: Floats, valid: Bools) -> None:
        values, bands = cube(days, ndvi(data, valid)), self.bands(days, data, valid)
        with warnings.catch_warnings():
            # Series that are too short are left unmonitored, with a warning each; so is a pixel without any residual.
            warnings.simplefilter("ignore")
            with timed(self, "fit_s"):
                self.monitor.fit(values, **bands, **self.fit_arguments)

    def update(self, day: int, data: Floats, valid: Bools) -> None:
        values, date = ndvi(data, valid), datetime(1970, 1, 1) + timedelta(days=day)  # noqa: DTZ001 as nrt wants it
        with timed(self, "update_s"), np.errstate(invalid="ignore", divide="ignore"):
            self.monitor.monitor(values, date)

    @property
    def alert(self) -> Days:
        found = self.monitor.detection_date
        return np.zeros(self.monitor.mask.shape, np.int32) if found is None else np.asarray(found, np.int32)

    @property
    def state_bytes(self) -> float:
        pixels = self.monitor.mask.size
        kept = [part for part in vars(self.monitor).values() if isinstance(part, np.ndarray) and part.ndim > 1]
        return float(sum(part.nbytes for part in kept) / pixels)


class Ewma(NrtPeer):
    """EWMA control chart of residuals of a harmonic fit by least squares, outliers screened once.

    Brooks et al. 2014, doi:10.1109/TGRS.2013.2272545.
    """

    name = "EWMA (nrt)"

    @staticmethod
    def make(**parameters: Any) -> Any:
        from nrt.monitor.ewma import EWMA

        return EWMA(trend=False, **parameters)


class Cusum(NrtPeer):
    """Cumulative sum of residuals, as in the R package bfast."""

    name = "CUSUM (nrt)"

    @staticmethod
    def make(**parameters: Any) -> Any:
        from nrt.monitor.cusum import CuSum

        return CuSum(trend=False, **parameters)


class Mosum(NrtPeer):
    """Moving sum of residuals, as in the R package bfast."""

    name = "MoSum (nrt)"

    @staticmethod
    def make(**parameters: Any) -> Any:
        from nrt.monitor.mosum import MoSum

        return MoSum(trend=False, **parameters)


class Iqr(NrtPeer):
    """Residuals outside of the quartiles by a multiple of their distance, several in a row."""

    name = "IQR (nrt)"

    @staticmethod
    def make(**parameters: Any) -> Any:
        from nrt.monitor.iqr import IQR

        return IQR(trend=False, **parameters)


class Ccdc(NrtPeer):
    """Residuals beyond a multiple of the fit's error, several in a row, after CCDC.

    Zhu & Woodcock 2014, doi:10.1016/j.rse.2014.01.011. nrt's stable fit wants a trend.
    """

    name = "CCDC (nrt)"
    sampled = True  # 2,400 pixels/s to fit.

    @staticmethod
    def make(**parameters: Any) -> Any:
        from nrt.monitor.ccdc import CCDC

        return CCDC(**{"trend": True} | parameters)

    def bands(self, days: NDArray[np.int64], data: Floats, valid: Bools) -> dict[str, Any]:
        if self.fit_arguments.get("screen_outliers", "") is None:
            return {}
        nan = np.float32(np.nan)
        return {name: cube(days, np.where(valid, data[:, k], nan)) for name, k in (("green", GREEN), ("swir", SWIR))}


def run_peer(peer: Peer, days: NDArray[np.int64], history_until: int, data: Floats, valid: Bools) -> Peer:
    """Let a new peer learn from the history and take in every scene after it.

    Args:
        days: ``(t,)``, days since 1970-01-01. history_until: last day of the history.
        data: reflectance 0..1 ``(t, band, y, x)``, bands as ``BANDS``. valid: ``(t, y, x)``.
    """
    history = days <= history_until
    peer.fit(days[history], data[history], valid[history])
    for k in np.flatnonzero(~history).tolist():
        peer.update(int(days[k]), data[k], valid[k])
    return peer


@dataclass(frozen=True)
class Speed:
    """Pixels times bands a second, on one core, and bytes of state per pixel."""

    fit: float
    update: float
    state_bytes: float


def ewma_speed(days: NDArray[np.int64], data: Floats, valid: Bools, history_until: int, *, rounds: int = 3) -> Speed:
    """How fast nrt's EWMA, at its defaults, is on given arrays (as in `run_peer`): the best of some rounds.

    One band, NDVI, whose making is not counted; one pass of least squares after one of screening.
    """
    pixels, scenes = valid[0].size, int((days > history_until).sum())
    with one_core():
        run_peer(Ewma(), days, history_until, data[..., :8, :8], valid[..., :8, :8])  # Compiles.
        runs = [run_peer(Ewma(), days, history_until, data, valid) for _ in range(rounds)]
    fit_s, update_s = (min(getattr(run, step) for run in runs) for step in ("fit_s", "update_s"))
    return Speed(pixels / fit_s, pixels * scenes / update_s, runs[0].state_bytes)
