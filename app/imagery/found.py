"""What readers of sources find, and how its addresses are written down. No database here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import shapely
from shapely.geometry import MultiPolygon, box

from app.foundation.errors import Problem
from app.imagery.models import SourceKind
from app.imagery.schemas import SourceConfiguration


class SourceUnreadable(Problem):
    """The image source cannot be read"""

    status, code = 502, "source-unreadable"


@dataclass(frozen=True)
class FoundScene:
    """A scene as its source describes it; `footprint` in EPSG:4490, local hrefs relative to the source's folder."""

    external_id: str
    acquired_at: datetime
    footprint: MultiPolygon
    platform: str | None
    cloud_cover: float | None
    properties: dict[str, Any]
    assets: dict[str, dict[str, Any]]
    # What changes when pixels change though nothing above does.
    mark: str = ""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        content = [
            self.external_id,
            self.acquired_at.isoformat(),
            shapely.to_wkt(self.footprint, rounding_precision=8),
            self.platform,
            self.cloud_cover,
            self.properties,
            self.assets,
            self.mark,
        ]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True)
class FailedItem:
    """An item that could not be taken in, and why, in words for people and without a path."""

    item: str
    reason: str


def is_remote(href: str) -> bool:
    """Whether an address names a host rather than a file here."""
    return href.startswith(("http://", "https://", "s3://"))


def local_path(location: str) -> Path:
    """The path of a location that is not remote: a plain path or file://."""
    return Path(unquote(urlsplit(location).path) if location.startswith("file://") else location).expanduser()


def base_of(kind: SourceKind, location: str) -> Path | None:
    """The folder that the relative hrefs of a source's scenes start from; None when it is remote."""
    if is_remote(location):
        return None
    path = local_path(location).resolve()
    return path.parent if kind is SourceKind.stac_catalog and path.suffix == ".json" else path


def in_range(scene: FoundScene, configuration: SourceConfiguration) -> bool:
    """Whether a scene lies within the configured instants and box."""
    if configuration.start and scene.acquired_at < configuration.start:
        return False
    if configuration.end and scene.acquired_at >= configuration.end:
        return False
    return configuration.bbox is None or bool(scene.footprint.intersects(box(*configuration.bbox)))


def relative_href(path: Path, base: Path | None) -> str:
    """A local path as it is stored: relative below the source's folder, so that the folder can move as a whole."""
    return path.relative_to(base).as_posix() if base and path.is_relative_to(base) else str(path)
