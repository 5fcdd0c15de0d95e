"""What readers of sources find, and how its addresses are written down. No database here."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import shapely
from shapely.geometry import MultiPolygon, box

from app.foundation.errors import Problem
from app.imagery.models import SourceKind
from app.imagery.schemas import SourceConfiguration

# A scheme with its slash; a name may well hold a colon in a time of day.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):/", re.IGNORECASE)
_REMOTE = ("http://", "https://", "s3://")


# When the catalogue wrote the item; which of two processings is newer shows there, not what changed.
_BOOKKEEPING = ("created", "updated")


class BadItem(Exception):
    """Why an item cannot be taken in, in words for people and without a path."""


class Gone(BadItem):
    """Its file is not there, so that no scene can stand behind it."""


class SourceUnreadable(Problem):
    """The image source cannot be read"""

    status, code = 502, "source-unreadable"


@dataclass(frozen=True)
class FoundScene:
    """A scene as its source describes it; `footprint` in EPSG:4490, local hrefs relative to the source's folder.

    Raises:
        BadItem: something in it cannot be kept: U+0000, half a surrogate pair, infinity.
    """

    external_id: str
    acquired_at: datetime
    footprint: MultiPolygon
    platform: str | None
    cloud_cover: float | None
    properties: dict[str, Any]
    assets: dict[str, dict[str, Any]]
    # What changes when pixels change though nothing above does.
    mark: str = ""
    # Name of the mapping that it is read by (app.imagery.sensors), "" when unknown.
    sensor: str = ""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        content = [
            self.external_id,
            self.acquired_at.isoformat(),
            shapely.to_wkt(self.footprint, rounding_precision=8),
            self.platform,
            self.cloud_cover,
            # A catalogue that is indexed anew says so in all its items: no reason to compute any of them again.
            {key: value for key, value in self.properties.items() if key not in _BOOKKEEPING},
            self.assets,
            self.mark,
        ]
        try:
            text = json.dumps(
                content, sort_keys=True, separators=(",", ":"), default=str, ensure_ascii=False, allow_nan=False
            )
            encoded = text.encode()
        except ValueError:
            raise BadItem("its description holds half a character, or a number that is none") from None
        if b"\\u0000" in encoded:
            raise BadItem("its description holds the character U+0000")
        object.__setattr__(self, "digest", hashlib.sha256(encoded).hexdigest())


@dataclass(frozen=True)
class FailedItem:
    """An item that could not be taken in, and why, in words for people and without a path.

    `hides`: other scenes may stand behind it, so that this listing of the source is not whole.
    """

    item: str
    reason: str
    hides: bool = False

    def __post_init__(self) -> None:
        # A file name may hold bytes that are no text.
        object.__setattr__(self, "item", self.item.encode(errors="replace").decode())


def is_remote(href: str) -> bool:
    """Whether an address names a host rather than a file here."""
    return href.lower().startswith(_REMOTE)


def local_path(location: str) -> Path:
    """The path of a location that is not remote: a plain path or file://."""
    return Path(unquote(urlsplit(location).path) if _scheme(location) == "file" else location).expanduser()


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


def resolve(document: str, href: str, base: Path | None) -> str:
    """An href as an absolute address or path, seen from the document it stands in.

    What a document names is read later with the service's rights: a remote one may name remote addresses, a local one
    also files of its source. Links on disk are not followed: a folder of links keeps its own names.

    Args:
        document: address or absolute path of the document.
        base: the source's folder; None when the source is remote.

    Raises:
        BadItem: the href leads elsewhere.
    """
    if is_remote(href):
        return href
    if is_remote(document) or base is None:
        try:
            address = urljoin(document, href)
        except ValueError:
            address = ""
        if href.startswith("/vsi") or not is_remote(address):
            raise BadItem("it names an address that is neither http(s) nor s3")
        return address
    if _scheme(href) not in (None, "file"):
        raise BadItem("it names an address that is neither a file of this source, http(s) nor s3")
    try:
        # No ~: a home is not this source's.
        path = Path(unquote(urlsplit(href).path) if _scheme(href) else href)
    except ValueError:
        raise BadItem("it names an address that cannot be read") from None
    absolute = Path(os.path.normpath(Path(document).parent / path))
    if not absolute.is_relative_to(base):
        raise BadItem("it names a file outside of the source's folder")
    return str(absolute)


def stored_href(href: str, base: Path | None) -> str:
    """A resolved href as it is stored: local ones relative to the source's folder, which can move as a whole."""
    return href if base is None or is_remote(href) else Path(href).relative_to(base).as_posix()


def _scheme(href: str) -> str | None:
    found = _SCHEME.match(href)
    return found[1].lower() if found else None
