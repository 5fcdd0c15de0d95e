"""Sensors as mappings: which asset is which band, what its numbers mean, how it is brought to the common reference.

The common reference is Sentinel-2 MSI: most scenes are its own and stay the integers that they are. Every other preset
carries a linear adjustment per band, MSI = gain × reflectance + offset, so that sensors can be mixed in one plan.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from app.imagery.models import MaskKind

if TYPE_CHECKING:
    from app.imagery.schemas import SourceConfiguration

# STAC common names (eo extension) that a source can map an asset to.
Band = Literal["blue", "green", "red", "nir", "swir16", "swir22"]
Gain = tuple[float, float]
AUTO = "auto"


@dataclass(frozen=True)
class Sensor:
    """How the items of a sensor's product are read.

    Attributes:
        mission: what looks, without the number of the satellite; "" when unknown.
        bands: common name to the asset keys that it goes by, the first that an item has is taken.
        mask_assets: asset keys of the mask, likewise.
        offset: of numbers × scale, unless the item says so; by `baseline_shift` where that is set.
        adjust: band to (gain, offset), reflectance to reflectance of Sentinel-2 MSI; identity where missing.
        baseline_shift: Sentinel-2's numbers from processing baseline 04.00 on are 1000 too high.
    """

    name: str
    mission: str
    bands: Mapping[Band, tuple[str, ...]]
    mask_kind: MaskKind
    mask_assets: tuple[str, ...]
    scale: float = 0.0001
    offset: float = 0.0
    nodata: float | None = 0.0
    adjust: Mapping[Band, Gain] = field(default_factory=dict)
    baseline_shift: bool = False


# OLI = slope × MSI + offset of Sentinel-2A (Claverie et al. 2018, The Harmonized Landsat and Sentinel-2 surface
# reflectance data set, Remote Sensing of Environment 219, table 5; hls.gsfc.nasa.gov/algorithms/bandpass-adjustment).
# The NIR row is of band 8A; for the wider band 8 no linear adjustment of comparable standing is published, and
# `nir` of Sentinel-2 is band 8 for its 10 m. What is left between them is some per cent over dense leaves.
_OLI_FROM_MSI: dict[Band, Gain] = {
    "blue": (0.9778, -0.0040),
    "green": (1.0053, -0.0009),
    "red": (0.9765, 0.0009),
    "nir": (0.9983, -0.0001),
    "swir16": (0.9987, -0.0011),
    "swir22": (1.0030, -0.0012),
}
# OLI = slope × ETM+ + offset, surface reflectance, reduced major axis (Roy et al. 2016, Characterization of Landsat-7
# to Landsat-8 reflective wavelength and NDVI continuity, Remote Sensing of Environment 185, table 2).
_OLI_FROM_ETM: dict[Band, Gain] = {
    "blue": (0.8474, 0.0003),
    "green": (0.8483, 0.0088),
    "red": (0.9047, 0.0061),
    "nir": (0.8462, 0.0412),
    "swir16": (0.8937, 0.0254),
    "swir22": (0.9071, 0.0172),
}


# Sentinel-2 numbers from this processing baseline on are 1000 too high (S2 Products Specification Document,
# BOA_ADD_OFFSET; in operation since 2022-01-25, and in all that was reprocessed since).
_SHIFTED_SINCE = "04.00"
_BASELINE = re.compile(r"_N(\d{2})(\d{2})_")
_SHIFTED_FROM = datetime(2022, 1, 25, tzinfo=UTC)
_SHIFT = -0.1


def _inverse(line: Gain) -> Gain:
    return 1 / line[0], -line[1] / line[0]


def _then(first: Gain, second: Gain) -> Gain:
    """The line that does one after the other."""
    return second[0] * first[0], second[0] * first[1] + second[1]


_MSI_FROM_OLI: dict[Band, Gain] = {band: _inverse(line) for band, line in _OLI_FROM_MSI.items()}
_MSI_FROM_ETM: dict[Band, Gain] = {band: _then(line, _MSI_FROM_OLI[band]) for band, line in _OLI_FROM_ETM.items()}

# Sentinel-2 Level-2A: Earth Search's keys, Planetary Computer's, the Copernicus Data Space's. Scale, offset from
# baseline 04.00 and nodata 0: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), BOA_ADD_OFFSET.
SENTINEL_2_L2A = Sensor(
    name="sentinel-2-l2a",
    mission="sentinel-2",
    bands={
        "blue": ("blue", "B02", "B02_10m"),
        "green": ("green", "B03", "B03_10m"),
        "red": ("red", "B04", "B04_10m"),
        "nir": ("nir", "B08", "B08_10m"),
        "swir16": ("swir16", "B11", "B11_20m"),
        "swir22": ("swir22", "B12", "B12_20m"),
    },
    mask_kind=MaskKind.scl,
    mask_assets=("scl", "SCL", "SCL_20m"),
    baseline_shift=True,
)
# Landsat 8 and 9 Collection 2 Level 2 (LSDS-1619): keys of USGS, Earth Search and Planetary Computer, and file names.
LANDSAT_C2_L2 = Sensor(
    name="landsat-c2-l2",
    mission="landsat",
    bands={
        "blue": ("blue", "SR_B2"),
        "green": ("green", "SR_B3"),
        "red": ("red", "SR_B4"),
        "nir": ("nir08", "SR_B5"),
        "swir16": ("swir16", "SR_B6"),
        "swir22": ("swir22", "SR_B7"),
    },
    mask_kind=MaskKind.qa_pixel,
    mask_assets=("qa_pixel", "QA_PIXEL"),
    scale=0.0000275,
    offset=-0.2,
    adjust=_MSI_FROM_OLI,
)
# Landsat 4, 5 and 7 (LSDS-1618); Roy's coefficients are of Landsat 7 and stand in for the two before it.
LANDSAT_C2_L2_TM = replace(
    LANDSAT_C2_L2,
    name="landsat-c2-l2-tm",
    bands={
        "blue": ("blue", "SR_B1"),
        "green": ("green", "SR_B2"),
        "red": ("red", "SR_B3"),
        "nir": ("nir08", "SR_B4"),
        "swir16": ("swir16", "SR_B5"),
        "swir22": ("swir22", "SR_B7"),
    },
    adjust=_MSI_FROM_ETM,
)
# HLS v2.0 (HLS Product User Guide v2): both products are adjusted to OLI already, S30's NIR band 8A among them.
HLS_S30 = Sensor(
    name="hls-s30",
    mission="sentinel-2",
    bands={
        "blue": ("B02",),
        "green": ("B03",),
        "red": ("B04",),
        "nir": ("B8A",),
        "swir16": ("B11",),
        "swir22": ("B12",),
    },
    mask_kind=MaskKind.fmask,
    mask_assets=("Fmask",),
    nodata=-9999.0,
    adjust=_MSI_FROM_OLI,
)
HLS_L30 = replace(
    HLS_S30,
    name="hls-l30",
    mission="landsat",
    bands={
        "blue": ("B02",),
        "green": ("B03",),
        "red": ("B04",),
        "nir": ("B05",),
        "swir16": ("B06",),
        "swir22": ("B07",),
    },
)
SENSORS: dict[str, Sensor] = {
    sensor.name: sensor for sensor in (SENTINEL_2_L2A, LANDSAT_C2_L2, LANDSAT_C2_L2_TM, HLS_S30, HLS_L30)
}
# A scene that no preset fits is read as all once were, by Earth Search's names; nothing is said of who took it.
_UNKNOWN = replace(SENTINEL_2_L2A, name="", mission="", baseline_shift=False)


def sensor_of(
    configuration: SourceConfiguration,
    *,
    collection: str | None = None,
    name: str = "",
    platform: str | None = None,
    keys: Collection[str] = (),
    properties: Mapping[str, Any] | None = None,
) -> Sensor:
    """How one scene is read: the sensor that the configuration names, or the one that fits, with what it overrides.

    Args:
        collection, name, platform, keys, properties: the scene's collection, identifier, satellite, asset keys and
            STAC properties, by which the sensor is found where the configuration leaves it open.
    """
    if configuration.sensor == AUTO:
        base = _guess((collection or "").lower(), name, (platform or "").lower(), keys, properties or {})
    else:
        # A name that is no preset's is a mapping of the administrator's own, complete in itself.
        base = SENSORS.get(configuration.sensor) or replace(_UNKNOWN, name=configuration.sensor)
    said = configuration.model_fields_set
    changes: dict[str, Any] = {}
    if configuration.bands is not None:
        changes["bands"] = {band: _keys(value) for band, value in configuration.bands.items()}
    if configuration.mask_kind is not None:
        changes["mask_kind"] = configuration.mask_kind
    if configuration.mask_asset is not None:
        changes["mask_assets"] = _keys(configuration.mask_asset)
    if configuration.default_scale is not None:
        changes["scale"] = configuration.default_scale
    if configuration.default_offset is not None:
        changes |= {"offset": configuration.default_offset, "baseline_shift": False}
    if "default_nodata" in said:
        changes["nodata"] = configuration.default_nodata
    if configuration.adjust is not None:
        changes["adjust"] = configuration.adjust
    return replace(base, **changes) if changes else base


def adjusted(sensor: Sensor, band: Band, scale: float, offset: float) -> Gain:
    """Scale and offset that give a band's reflectance as Sentinel-2 would see it."""
    return _then((scale, offset), sensor.adjust.get(band, (1.0, 0.0)))


def offset_of(sensor: Sensor, name: str, properties: Mapping[str, Any], acquired_at: datetime | None = None) -> float:
    """The offset of a scene that does not state it.

    Args:
        acquired_at: given where the numbers are surely ESA's own: then, with no baseline stated, the day on which
            baseline 04.00 went into operation decides.
    """
    if not sensor.baseline_shift:
        return sensor.offset
    baseline = baseline_of(name, properties)
    late = acquired_at is not None and acquired_at >= _SHIFTED_FROM
    return _SHIFT if baseline >= _SHIFTED_SINCE or (not baseline and late) else sensor.offset


def baseline_of(external_id: str, properties: Mapping[str, Any]) -> str:
    """The processing baseline of a Sentinel-2 product as "05.10", from what states it; "" where nothing does."""
    for key in ("s2:processing_baseline", "processing:version"):
        stated = re.fullmatch(r"N?(\d{1,2})\.?(\d{2})", str(properties.get(key) or ""))
        if stated:
            return f"{stated[1]:0>2}.{stated[2]}"
    found = _BASELINE.search(str(properties.get("s2:product_uri") or "")) or _BASELINE.search(external_id)
    return f"{found[1]}.{found[2]}" if found else ""


def _guess(collection: str, name: str, platform: str, keys: Collection[str], properties: Mapping[str, Any]) -> Sensor:
    if "hls" in collection or name.startswith("HLS.") or "Fmask" in keys:
        return HLS_L30 if "l30" in collection or name.startswith("HLS.L30") or "B8A" not in keys else HLS_S30
    if "landsat" in collection or "qa_pixel" in keys or "QA_PIXEL" in keys or platform.startswith("landsat"):
        old = platform.replace("_", "-").endswith(("-4", "-5", "-7")) or name[:4] in ("LT04", "LT05", "LE07")
        return LANDSAT_C2_L2_TM if old else LANDSAT_C2_L2
    sentinel = "sentinel-2" in collection or platform.startswith("sentinel-2") or name[:3] in ("S2A", "S2B", "S2C")
    # The scene classification is Sentinel-2's alone.
    classified = not {*SENTINEL_2_L2A.mask_assets}.isdisjoint(keys)
    if sentinel or classified or any(key.startswith("s2:") for key in properties):
        return SENTINEL_2_L2A
    return _UNKNOWN


def _keys(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
