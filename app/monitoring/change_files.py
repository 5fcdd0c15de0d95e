"""Changes as files for a GIS: polygons in a GeoPackage, days of alert in a GeoTIFF."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyogrio.raw
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window as RasterWindow
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import CRS, geodesic_area_m2
from app.monitoring.polygons import patch_polygons
from detectors.evidence import PatchEvidence
from detectors.findings import Finding
from detectors.recognise import recognise
from detectors.types import EVIDENCE, Days, Grid, Patch

LAYER: Final = "changes"
_SHOWN: Final = tuple((index, when) for index in ("ndvi", "bsi", "water", "visible") for when in ("before", "after"))
_BLOCK: Final = 256
_BANDS: Final = (
    "day of the confirmed alert, days since 1970-01-01; 0 none, -1 not observed enough to say",
    "day first seen, days since 1970-01-01; 0 none, -1 not observed enough to say",
)
_raw_write: Callable[..., None] = pyogrio.raw.write


@dataclass(frozen=True, slots=True)
class Change:
    """A patch with what it probably is and its polygons (EPSG:4490), as the service publishes it.

    Attributes:
        outline: its pixels' outline, by which its area is measured. polygon: the simplified one, within the outline.
    """

    finding: Finding
    outline: BaseGeometry
    polygon: BaseGeometry

    @classmethod
    def of(cls, patch: Patch, evidence: PatchEvidence, grid: Grid) -> Change:
        """A patch of a grid, recognised and outlined."""
        return cls(recognise(patch, evidence), *patch_polygons(patch.mask, patch.row0, patch.col0, grid))


def write_changes(path: Path, changes: Sequence[Change], detector: str) -> None:
    """Write a GeoPackage with the layer `changes` (EPSG:4490): dates (null: none), confidence, activity, its
    probability (0..1) and the reasons for it, mean evidence strengths, medians of indices before and after, lengths in
    metres, geodesic area in square metres, slope in degrees, kind of ground before (null: not known), detector.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    findings = [change.finding for change in changes]
    patches = [finding.patch for finding in findings]
    measured = [finding.evidence for finding in findings]
    columns: dict[str, NDArray[Any]] = {
        "first_seen": _dates([patch.first_seen for patch in patches]),
        "confirmed": _dates([patch.confirmed for patch in patches]),
        "last_clear": _dates([patch.last_clear for patch in patches]),
        "confidence": np.array([patch.confidence for patch in patches], object),
        "activity": np.array([finding.activity for finding in findings], object),
        "probability": _numbers(finding.activities[0].probability for finding in findings),
        "reasons": np.array([_reasons(finding) for finding in findings], object),
        **{f"evidence_{k}": np.array([p.evidence.get(k, 0.0) for p in patches], np.float64) for k in EVIDENCE},
        **{f"{index}_{when}": _numbers(e.value(when, index) for e in measured) for index, when in _SHOWN},
        "length_m": _numbers(e.shape.length_m for e in measured),
        "width_m": _numbers(e.shape.width_m for e in measured),
        "slope_deg": _numbers(e.terrain.slope_deg if e.terrain else math.nan for e in measured),
        "ground_before": np.array([_most(e.around.before) for e in measured], object),
        "area_m2": np.array([geodesic_area_m2(change.outline) for change in changes], np.float64),
        "detector": np.array([detector] * len(changes), object),
    }
    _raw_write(
        path,
        geometry=np.array([shapely.to_wkb(change.polygon) for change in changes], object),
        field_data=list(columns.values()),
        fields=np.array(list(columns), object),
        layer=LAYER,
        driver="GPKG",
        geometry_type="MultiPolygon",
        crs=CRS,
    )


def _numbers(values: Iterable[float]) -> NDArray[np.float64]:
    return np.array(list(values), np.float64)


def _reasons(finding: Finding) -> str:
    """The reasons of the most probable activity, one sentence after the other."""
    return "; ".join(reason.text for reason in finding.activities[0].reasons)


def _most(shares: Mapping[str, float]) -> str | None:
    """The kind with the largest share."""
    return max(shares, key=lambda kind: shares[kind]) if shares else None


def _dates(days: Sequence[int]) -> NDArray[np.datetime64]:
    """Dates; NaT where there is none."""
    numbers = np.array(days, np.int64)
    return np.where(numbers > 0, numbers.astype("datetime64[D]"), np.datetime64("NaT", "D"))


class AlertsFile:
    """A tiled GeoTIFF, written strip by strip from above: band 1 the day of the confirmed alert, band 2 first seen.

    Args:
        grid: of the file.
    """

    def __init__(self, path: Path, grid: Grid) -> None:
        rows, columns = grid.shape
        self._file = rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=columns,
            height=rows,
            count=2,
            dtype="int32",
            crs=grid.crs,
            transform=Affine(*grid.transform),
            tiled=True,
            blockxsize=_BLOCK,
            blockysize=_BLOCK,
            compress="deflate",
            predictor=2,
            interleave="band",
            bigtiff="if_safer",
        )
        for number, words in enumerate(_BANDS, start=1):
            self._file.set_band_description(number, words)

    def write(self, row0: int, confirmed: Days, first_seen: Days) -> None:
        """Whole rows from `row0` on, both int32 (y, columns)."""
        window = RasterWindow(0, row0, confirmed.shape[1], confirmed.shape[0])
        self._file.write(np.stack([confirmed, first_seen]), window=window)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> AlertsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
