"""Which piece of which overpass a scene is, and which processing of it: from its properties, else from its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from rasterio.crs import CRS
from rasterio.errors import CRSError

from app.imagery.found import is_remote
from app.imagery.models import MaskKind
from app.imagery.refs import AssetRef, SceneRef
from app.imagery.sensors import SENSORS, baseline_of

# Product names: ESA's (S2 Products Specification Document), USGS's (LSDS-1619, section 3), HLS's (User Guide v2).
_SQUARE = r"[0-9]{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]"
_MGRS = re.compile(_SQUARE)
_S2_TILE = re.compile(rf"S2[A-D]_({_SQUARE})_")
_T_TILE = re.compile(rf"(?<![A-Za-z0-9])T({_SQUARE})(?![A-Za-z0-9])")
_S2_NAME = re.compile(r"S2([A-D])_")
_S2_PRODUCT = re.compile(r"S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\w{5}_(\d{8}T\d{6})")
_S2_STRIP = re.compile(r"_S(\d{8}T\d{6})")
_LANDSAT = re.compile(r"L[COTE](\d{2})_L\w{3}_(\d{6})_\d{8}_(\d{8})_\d{2}_(RT|T1|T2)")
# str.isdigit takes "²" for a digit, and int does not; longer ones are no code.
_NUMBER = re.compile(r"[0-9]{1,6}")
_TIERS = {"RT": "0", "T2": "1", "T1": "2"}


@dataclass(frozen=True, slots=True)
class Identity:
    """See the attributes of the same names of `app.imagery.refs.SceneRef`."""

    mission: str
    platform: str
    tile: str
    strip: datetime | None
    version: tuple[str, ...]
    crs: str | None


def reference(
    identifier: UUID,
    external_id: str,
    acquired_at: datetime,
    assets: Mapping[str, Mapping[str, Any]],
    mask: MaskKind,
    *,
    base: Path | None,
    platform: str | None,
    properties: Mapping[str, Any],
    bounds: tuple[float, float, float, float],
    digest: str,
    sensor: str,
) -> SceneRef:
    """A scene as its reader wants it, from what `FoundScene` or its row in the database holds.

    Args:
        base: the folder that relative hrefs start from; None when the source is remote.
    """
    mission = SENSORS[sensor].mission if sensor in SENSORS else ""
    known = identify(external_id, platform, properties, bounds, mission)
    return SceneRef(
        id=identifier,
        external_id=external_id,
        acquired_at=acquired_at,
        assets={
            name: AssetRef(
                href=asset["href"] if base is None or is_remote(asset["href"]) else str(base / asset["href"]),
                scale=asset.get("scale", 1.0),
                offset=asset.get("offset", 0.0),
                nodata=asset.get("nodata"),
                index=asset.get("index", 1),
            )
            for name, asset in assets.items()
        },
        mask=mask,
        digest=digest,
        sensor=sensor,
        mission=known.mission,
        platform=known.platform,
        tile=known.tile,
        strip=known.strip,
        version=known.version,
        crs=known.crs,
        bounds=bounds,
    )


def identify(
    external_id: str,
    platform: str | None,
    properties: Mapping[str, Any],
    bounds: tuple[float, float, float, float] | None,
    mission: str = "",
) -> Identity:
    """What is known of a scene's place among others.

    Args:
        bounds: of its outline, in degrees, which stands for a tile's name where it has none.
        mission: what its sensor's mapping says, used where the platform is not known.
    """
    name = str(properties.get("s2:product_uri") or external_id)
    satellite = _platform(platform, external_id)
    mgrs = _mgrs(external_id, properties)
    tile = mgrs or _path_row(external_id, properties) or _outline(bounds)
    return Identity(
        mission=_mission(satellite) or mission,
        platform=satellite,
        tile=tile,
        strip=_strip(properties),
        version=_version(name, properties),
        crs=_crs(properties, mgrs),
    )


def _platform(platform: str | None, name: str) -> str:
    stated = (platform or "").strip().lower().replace("_", "-")
    if stated and stated not in ("sentinel-2", "landsat"):
        return stated
    if found := _S2_NAME.match(name):
        return f"sentinel-2{found[1].lower()}"
    if found := _LANDSAT.match(name):
        return f"landsat-{int(found[1])}"
    return stated


def _mission(platform: str) -> str:
    for mission in ("sentinel-2", "landsat"):
        if platform.startswith(mission):
            return mission
    return platform


def _mgrs(name: str, properties: Mapping[str, Any]) -> str:
    zone, *rest = (str(properties.get(f"mgrs:{part}") or "") for part in ("utm_zone", "latitude_band", "grid_square"))
    stated = (
        properties.get("s2:mgrs_tile"),
        str(properties.get("grid:code") or "").removeprefix("MGRS-"),
        f"{zone:0>2}{''.join(rest)}",
    )
    for text in stated:
        if found := _MGRS.fullmatch(str(text or "").removeprefix("T")):
            return found[0]
    # In a name only where it is surely a tile: other products' names hold codes of the same form.
    named = _S2_TILE.match(name) or _T_TILE.search(name)
    return named[1] if named else ""


def _path_row(name: str, properties: Mapping[str, Any]) -> str:
    path, row = properties.get("landsat:wrs_path"), properties.get("landsat:wrs_row")
    if _NUMBER.fullmatch(str(path)) and _NUMBER.fullmatch(str(row)):
        return f"{int(str(path)):03}{int(str(row)):03}"
    found = _LANDSAT.match(name)
    return found[2] if found else ""


def _strip(properties: Mapping[str, Any]) -> datetime | None:
    found = _S2_STRIP.search(str(properties.get("s2:datastrip_id") or ""))
    try:
        return datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def _outline(bounds: tuple[float, float, float, float] | None) -> str:
    return "" if bounds is None else ",".join(f"{value:.3f}" for value in bounds)


def _version(name: str, properties: Mapping[str, Any]) -> tuple[str, ...]:
    """Tier, baseline, when it was processed, updated, created; each sorts as text, "" is unknown and least."""
    product, landsat = _S2_PRODUCT.match(name), _LANDSAT.match(name)
    tier = str(properties.get("landsat:collection_category") or (landsat[4] if landsat else ""))
    named = product[1] if product else landsat[3] if landsat else ""
    stated = properties.get("processing:datetime") or properties.get("s2:generation_time")
    return (
        _TIERS.get(tier, ""),
        baseline_of(name, properties),
        _instant(stated) or _instant(named),
        _instant(properties.get("updated")),
        _instant(properties.get("created")),
    )


def _instant(text: Any) -> str:
    try:
        instant = datetime.fromisoformat(str(text))
        aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return aware.isoformat(timespec="milliseconds")


def _crs(properties: Mapping[str, Any], mgrs: str) -> str | None:
    code = properties.get("proj:code") or properties.get("proj:epsg")
    if code:
        number = str(code).removeprefix("EPSG:")
        return f"EPSG:{number}" if _NUMBER.fullmatch(number) and _is_known(number) else None
    # Bands N and after lie north of the equator.
    number = f"32{6 if mgrs[2] >= 'N' else 7}{mgrs[:2]}" if mgrs else ""
    return f"EPSG:{number}" if number and _is_known(number) else None


@lru_cache(maxsize=1024)
def _is_known(number: str) -> bool:
    try:
        CRS.from_epsg(int(number))
    except CRSError:
        return False
    return True
