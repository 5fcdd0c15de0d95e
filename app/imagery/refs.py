"""What a scene is read by, without the database, and how its reading fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.imagery.models import MaskKind

# Name of the mask among a scene's assets.
MASK = "mask"


class SceneReadError(Exception):
    """An asset of a scene cannot be read. The message names scene and asset, never a path.

    `transient`: the server did not answer, though asked again and again; another day it may.
    """

    def __init__(self, external_id: str, asset: str, reason: str, transient: bool = False) -> None:
        super().__init__(f"Scene {external_id}, asset {asset}: {reason}.")
        self.external_id = external_id
        self.asset = asset
        self.reason = reason
        self.transient = transient

    def __reduce__(self) -> tuple[type[SceneReadError], tuple[str, str, str, bool]]:
        return SceneReadError, (self.external_id, self.asset, self.reason, self.transient)


@dataclass(frozen=True, slots=True)
class AssetRef:
    """One band of one file: reflectance = number × scale + offset (of the mask: codes, taken as they are)."""

    href: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    index: int = 1


@dataclass(frozen=True, slots=True)
class SceneRef:
    """What is needed to read a scene and to tell what acquisition it is of.

    Attributes:
        assets: by band name and, where there is one, `MASK`; scale and offset already hold the sensor's adjustment.
        digest: changes when the source describes the scene anew, or its file was written anew.
        sensor: name of the mapping that it was read by (`app.imagery.sensors`), "" when unknown.
        mission: what looked, without the number of the satellite: "sentinel-2", "landsat"; "" when unknown.
        platform: the satellite, "sentinel-2a"; "" when unknown.
        tile: the piece of the overpass that it is: MGRS tile, WRS path and row, or else its outline.
        strip: start of the data strip (Sentinel-2), as two strips of one datatake may share a tile.
        version: greater is newer processing of the same piece; compared as a tuple.
        crs: of its pixels where its description says so, as "EPSG:32652".
        bounds: west, south, east, north in degrees (EPSG:4490), where known.
    """

    id: UUID
    external_id: str
    acquired_at: datetime
    assets: Mapping[str, AssetRef]
    mask: MaskKind
    digest: str = ""
    sensor: str = ""
    mission: str = ""
    platform: str = ""
    tile: str = ""
    strip: datetime | None = None
    version: tuple[str, ...] = ()
    crs: str | None = None
    bounds: tuple[float, float, float, float] | None = None
