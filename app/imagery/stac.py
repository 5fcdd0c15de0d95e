"""Scenes of a STAC API or a static STAC catalogue. No database here.

Item metadata is taken from its JSON as it stands, for STAC 1.0 and 1.1 alike: building pystac's objects for every item
of a catalogue takes longer than all the rest of a sync.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import shapely
from pystac import STACError
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry

from app.foundation.geometry import as_multipolygon
from app.imagery.found import (
    BadItem,
    FailedItem,
    FoundScene,
    Gone,
    SourceUnreadable,
    base_of,
    in_range,
    is_remote,
    local_path,
    resolve,
    stored_href,
)
from app.imagery.models import MaskKind, SourceKind
from app.imagery.refs import MASK
from app.imagery.schemas import SourceConfiguration
from app.imagery.sensors import Band, Sensor, adjusted, offset_of, sensor_of

TIMEOUT_S = 30
_PAGE = 100
# Reflectance from the 32 bits of an integer.
_LEAST_SCALE = 1e-10
# Properties that people and later rooms ask for; the rest of an item stays where it is.
_KEPT = (
    "created",
    "updated",
    "gsd",
    "instruments",
    "proj:code",
    "proj:epsg",
    "grid:code",
    "view:sun_elevation",
    "view:sun_azimuth",
    "processing:datetime",
    "processing:version",
    "earthsearch:boa_offset_applied",
    "s2:processing_baseline",
    "s2:product_uri",
    "s2:datatake_id",
    "s2:datastrip_id",
    "s2:generation_time",
    "s2:mgrs_tile",
    "mgrs:utm_zone",
    "mgrs:latitude_band",
    "mgrs:grid_square",
    "landsat:correction",
    "landsat:collection_category",
    "landsat:wrs_path",
    "landsat:wrs_row",
)


def read_api(location: str, configuration: SourceConfiguration) -> Iterator[FoundScene | FailedItem]:
    """The scenes that a STAC API's item search answers with, page by page.

    Raises:
        SourceUnreadable: it cannot be reached, has no item search, or stops answering.
    """
    if not location.startswith(("http://", "https://")):
        raise SourceUnreadable("The address of a STAC API starts with http:// or https://.")
    instants = None
    if configuration.start or configuration.end:
        # An API's interval is closed; `end` itself is left out below.
        instants = (configuration.start, configuration.end)
    try:
        client = Client.open(location, timeout=TIMEOUT_S)
        search = client.search(
            collections=list(configuration.collections) or None,
            datetime=instants,
            bbox=configuration.bbox,
            limit=_PAGE,
        )
        for item in search.items_as_dicts():
            own = next((str(link["href"]) for link in item.get("links", []) if link.get("rel") == "self"), location)
            found = _take(item, own if is_remote(own) else location, None, configuration)
            if found:
                yield found
    except (APIError, ClientTypeError, STACError, NotImplementedError, LookupError, TypeError, ValueError) as error:
        raise SourceUnreadable(f"The STAC API did not answer as one: {type(error).__name__}.") from error


def read_catalogue(location: str, configuration: SourceConfiguration) -> Iterator[FoundScene | FailedItem]:
    """The scenes of a static catalogue, depth first in the order of its links, one item read at a time.

    Raises:
        SourceUnreadable: there is no catalogue at the location.
    """
    reader = StacApiIO(timeout=TIMEOUT_S)
    base = base_of(SourceKind.stac_catalog, location)
    root = location
    if base is not None:
        path = local_path(location).resolve()
        root = str(path if path.suffix == ".json" else path / "catalog.json")
    try:
        waiting = _links(_load(reader, root), root, base, configuration)
    except BadItem:
        raise SourceUnreadable("There is no readable STAC catalogue at the source's location.") from None
    seen = {root}
    while waiting:
        href = waiting.pop()
        if isinstance(href, FailedItem):
            yield href
            continue
        if href in seen:
            continue
        seen.add(href)
        try:
            document = _load(reader, href)
            if document.get("type") != "Feature":
                waiting += _links(document, href, base, configuration)
                continue
        except BadItem as error:
            # Which scene this is, or whether it leads on to many, nobody can say now.
            yield FailedItem(_label(href), str(error), hides=not isinstance(error, Gone))
            continue
        found = _take(document, href, base, configuration)
        if found:
            yield found


def _links(
    document: dict[str, Any], href: str, base: Path | None, configuration: SourceConfiguration
) -> list[str | FailedItem]:
    """Where a catalogue or collection leads on to, last link first: the stack's top is its end."""
    if document.get("type") not in ("Catalog", "Collection"):
        raise BadItem("its file is no STAC object")
    if document["type"] == "Collection" and not _wanted(document.get("id"), configuration):
        return []
    try:
        links = [link["href"] for link in document["links"] if link["rel"] in ("child", "item")]
        return [_link(href, str(link), base) for link in reversed(links)]
    except (KeyError, TypeError, AttributeError):
        raise BadItem("its links do not follow STAC") from None


def _link(document: str, href: str, base: Path | None) -> str | FailedItem:
    try:
        return resolve(document, href, base)
    except BadItem as error:
        return FailedItem(_label(href), str(error))


def _load(reader: StacApiIO, href: str) -> dict[str, Any]:
    try:
        text = reader.read_text(href) if is_remote(href) else Path(href).read_text(encoding="utf-8")
        document = json.loads(text)
    except FileNotFoundError:
        raise Gone("its file is not there") from None
    except (APIError, OSError) as error:
        if getattr(error, "status_code", None) in (404, 410):
            raise Gone("its file is not there") from None
        raise BadItem("its file cannot be read") from None
    except (ValueError, RecursionError):
        raise BadItem("its file is no valid JSON") from None
    if not isinstance(document, dict):
        raise BadItem("its file is no STAC object")
    return document


def _take(
    item: dict[str, Any], href: str, base: Path | None, configuration: SourceConfiguration
) -> FoundScene | FailedItem | None:
    """The scene of an item; None when the configuration leaves it out."""
    try:
        if not _wanted(item.get("collection"), configuration):
            return None
        scene = _scene_of(item, href, base, configuration)
        return scene if in_range(scene, configuration) else None
    except BadItem as error:
        return FailedItem(str(item.get("id") or _label(href)), str(error))
    except (AttributeError, TypeError, ValueError, OverflowError, LookupError, shapely.errors.ShapelyError):
        return FailedItem(str(item.get("id") or _label(href)), "its description does not follow STAC")


def _wanted(collection: str | None, configuration: SourceConfiguration) -> bool:
    return not configuration.collections or collection is None or collection in configuration.collections


def _scene_of(item: dict[str, Any], href: str, base: Path | None, configuration: SourceConfiguration) -> FoundScene:
    properties = item.get("properties") or {}
    if not item.get("id"):
        raise BadItem("it has no id")
    if not item.get("geometry"):
        raise BadItem("it has no geometry")
    cloud_cover = properties.get("eo:cloud_cover")
    platform = properties.get("platform") or configuration.platform
    sensor = sensor_of(
        configuration,
        collection=item.get("collection"),
        name=str(item["id"]),
        platform=platform,
        keys=(item.get("assets") or {}).keys(),
        properties=properties,
    )
    return FoundScene(
        external_id=str(item["id"]),
        acquired_at=_instant(properties),
        footprint=_footprint(shape(item["geometry"])),
        platform=platform,
        cloud_cover=None if cloud_cover is None else float(cloud_cover),
        properties={key: properties[key] for key in _KEPT if key in properties},
        assets=_assets(item, sensor, href, base),
        sensor=sensor.name,
    )


def _instant(properties: dict[str, Any]) -> datetime:
    text = properties.get("datetime") or properties.get("start_datetime")
    if not text:
        raise BadItem("it has no datetime")
    instant = datetime.fromisoformat(text)
    # STAC demands UTC; an item that forgot the Z means it.
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _footprint(geometry: BaseGeometry) -> MultiPolygon:
    # Items speak WGS 84, which agrees with EPSG:4490 to within a metre (DESIGN section 4).
    flat = shapely.force_2d(geometry)
    polygons = as_multipolygon(flat if flat.is_valid else shapely.make_valid(flat))
    west, south, east, north = polygons.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise BadItem("its geometry is not in degrees")
    return polygons


def _assets(item: dict[str, Any], sensor: Sensor, href: str, base: Path | None) -> dict[str, dict[str, Any]]:
    """Band or mask name to href, scale, offset and nodata. A band that the item lacks is left out."""
    assets: dict[str, dict[str, Any]] = item["assets"]
    taken: dict[str, dict[str, Any]] = {}
    for band, keys in sensor.bands.items():
        if asset := _first(assets, keys):
            taken[band] = {"href": _stored_href(asset["href"], href, base)} | _numbers(asset, item, band, sensor)
    if not taken:
        raise BadItem("it has none of the bands of this source")
    if sensor.mask_kind is not MaskKind.none:
        mask = _first(assets, sensor.mask_assets)
        if mask is None:
            # Without it cloud would pass for ground.
            raise BadItem(f"it lacks the mask asset {' or '.join(sensor.mask_assets)}")
        taken[MASK] = {"href": _stored_href(mask["href"], href, base), "kind": sensor.mask_kind.value}
    return taken


def _first(assets: dict[str, dict[str, Any]], keys: tuple[str, ...]) -> dict[str, Any] | None:
    return next((assets[key] for key in keys if assets.get(key)), None)


def _numbers(asset: dict[str, Any], item: dict[str, Any], band: Band, sensor: Sensor) -> dict[str, float | None]:
    """Scale, offset and nodata of an asset: the raster extension (STAC 1.0), `bands` (1.1), else the sensor's.

    Scale and offset hold the sensor's adjustment to the common reference.
    """
    properties = item.get("properties") or {}
    first: dict[str, Any] = {}
    for key in ("bands", "raster:bands"):
        first |= (asset.get(key) or [{}])[0]

    def declared(name: str, default: float | None) -> float | None:
        for place in (first, asset):
            for key in (name, f"raster:{name}"):
                if place.get(key) is not None:
                    return float(place[key])
        return default

    offset = declared("offset", offset_of(sensor, str(item["id"]), properties))
    if properties.get("earthsearch:boa_offset_applied") is True:
        # Earth Search states the offset of baseline 04.00 on items whose pixels have it taken off already;
        # this flag is what counts (github.com/Element84/earth-search, issue 9).
        offset = 0.0
    scale = declared("scale", sensor.scale)
    assert scale is not None
    assert offset is not None
    if not _LEAST_SCALE <= scale <= 1 or not abs(offset) <= 1:
        # Reflectance is about 0 to 1: nothing else could come of these than noughts, or numbers beyond all ground.
        raise BadItem(f"scale {scale:g} and offset {offset:g} of {band} cannot give reflectance from 0 to 1")
    scale, offset = adjusted(sensor, band, scale, offset)
    nodata = declared("nodata", sensor.nodata)
    # JSON knows no NaN, and a file's NaN needs no mention.
    return {"scale": scale, "offset": offset, "nodata": None if nodata is None or nodata != nodata else nodata}


def _stored_href(href: str, item_href: str, base: Path | None) -> str:
    return stored_href(resolve(item_href, str(href), base), base)


def _label(href: str) -> str:
    return href.rsplit("/", 1)[-1]
