"""What a monitor (finds change) and a recogniser (names its cause) must offer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from detectors.evidence import PatchEvidence
from detectors.state import MonitorState
from detectors.types import ChangedPixels, ChangeMap, History, RasterBlock, Reason


class Parameters(BaseModel):
    """Base of a detector's parameters: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """The same 16 hexadecimal digits for the same values, on every machine and in every version of Python."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one scene showed of one window. Shares are of all pixels of the window, 0..1.

    Attributes:
        day: of acquisition, days since 1970-01-01.
        pixels: of the window.
        valid: pixels that were valid in the scene; used: those that also passed the monitor's own tests.
        clear_share: used / pixels.
        snow_share: pixels that the mask or the monitor took for snow, of all pixels.
        anomalous, confirmed: pixels that were anomalous in this scene, and newly confirmed by it.
        missing_bands: bands of the fit that the scene lacked: the evidence is narrower.
    """

    day: int
    pixels: int
    valid: int
    used: int
    clear_share: float
    snow_share: float
    anomalous: int
    confirmed: int
    missing_bands: tuple[str, ...]


@runtime_checkable
class Monitor(Protocol):
    """Finds when pixels change. Pure: no method changes its arguments, equal input gives equal output."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    @property
    def version(self) -> str:
        """Changes whenever equal input may give other output."""

    @property
    def parameters(self) -> Parameters:
        """Frozen parameters."""

    def parameter_hash(self) -> str:
        """Digest of the parameters; with name and version it makes a result reproducible."""

    def fit(self, history: History) -> MonitorState:
        """Learn what is normal, strip by strip: the history is read a few times, never held as a whole.

        Raises:
            ValueError: the scenes have no band in common.
        """

    def update(self, state: MonitorState, block: RasterBlock) -> tuple[MonitorState, Coverage]:
        """Take in one scene, at a cost that does not grow with the length of the history.

        Raises:
            ValueError: a state of another monitor, version or parameters; another grid; or a scene of an
                earlier day than the state. One of the same day is taken: dropping repeats is the caller's.
        """

    def report(self, state: MonitorState) -> ChangeMap:
        """What is known of every pixel."""

    def last_looks(self, state: MonitorState) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Of every pixel the day of the last clear look ``uint16 (y, x)`` and the basis ``uint8 (y, x)``.

        The same as in ``report``, but without a copy.
        """

    def changed(self, state: MonitorState, row0: int = 0, col0: int = 0) -> ChangedPixels:
        """The pixels that changed, placed in the plan's grid by the window's first row and column."""

    def ground(self, state: MonitorState) -> NDArray[np.uint8]:
        """Kind of ground of every pixel before any change, ``uint8 (y, x)``, places in ``detectors.evidence.GROUND``.

        It follows from the fit alone and stays the same through all updates.
        """

    def check(self, state: MonitorState) -> None:
        """Raises: ValueError: a state of another monitor, version or parameters."""


@runtime_checkable
class Recogniser(Protocol):
    """Says how well a patch fits one activity."""

    @property
    def code(self) -> str:
        """Activity code of DESIGN section 5."""

    @property
    def version(self) -> str:
        """Changes whenever equal input may give another score."""

    def score(self, evidence: PatchEvidence) -> tuple[float, tuple[Reason, ...]]:
        """How well a patch fits, from -1 (not at all) to 1 (in every respect), and the measured reasons."""
