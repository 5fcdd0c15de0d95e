"""Scenes of a folder of GeoTIFFs, by a naming pattern."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.transform
import shapely
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from shapely.geometry import MultiPolygon, Polygon

from app.foundation.geometry import CRS, as_multipolygon, transformer
from app.imagery.found import BadItem, FailedItem, FoundScene, SourceUnreadable, in_range, local_path, stored_href
from app.imagery.models import MaskKind
from app.imagery.opening import DRIVERS, gdal
from app.imagery.refs import MASK
from app.imagery.schemas import DATE_DIRECTIVES, SourceConfiguration
from app.imagery.sensors import adjusted, offset_of, sensor_of

# Names of ESA's products and of the bands in them; a SAFE folder's name holds the baseline.
_PRODUCT = re.compile(r"S2[A-D]_MSIL2A_\w+")
_ESA_BAND = re.compile(r"B\d[\dA](_\d0m)?$")
_LITERAL = re.compile(r"%(.)|([^%]+)")


def read_folder(location: str, configuration: SourceConfiguration) -> Iterator[FoundScene | FailedItem]:
    """The scenes of a folder, in the order of their identifiers.

    Files whose path below the folder does not match the pattern are not the source's. Files that share `{scene}`
    and `{date}` are one scene, named `<scene>_<date>` or `<date>`. Dates are UTC.

    Raises:
        SourceUnreadable: there is no such folder, or the source has no usable pattern.
    """
    base = local_path(location).resolve()
    if not base.is_dir():
        raise SourceUnreadable("There is no folder at the source's location.")
    if configuration.pattern is None:
        raise SourceUnreadable("A folder needs `pattern` in its configuration, for example {date:%Y%m%d}_{band}.tif.")
    expression, date_form = compile_pattern(configuration.pattern)
    files = ((path, found) for path in sorted(base.rglob("*")) if (found := match(expression, path, base)))
    for taken in scenes_of_files(base, files, (date_form,), configuration):
        if isinstance(taken, FailedItem) or in_range(taken, configuration):
            yield taken


def match(expression: re.Pattern[str], path: Path, base: Path) -> re.Match[str] | None:
    """What an expression finds in a file's whole path below a folder; None for what is no file."""
    found = expression.fullmatch(path.relative_to(base).as_posix())
    return found if found and path.is_file() else None


def scenes_of_files(
    base: Path,
    files: Iterable[tuple[Path, re.Match[str]]],
    date_forms: Sequence[str],
    configuration: SourceConfiguration,
) -> Iterator[FoundScene | FailedItem]:
    """The scenes that some files below a folder make up, by their identifiers.

    Args:
        files: in ascending order, with what was found in their path: the group `date`, and optionally `scene` and
            `band`.
        date_forms: strptime formats, of which the first that reads the date counts.
    """
    groups: dict[tuple[str, str], dict[str, Path]] = {}
    for path, found in files:
        part = found.groupdict()
        groups.setdefault((part.get("scene") or "", part["date"]), {})[part.get("band") or ""] = path
    for (scene, day), bands in sorted(groups.items()):
        # A layout's scene may be a product's whole name, with its date in it.
        name = scene if day in scene else f"{scene}_{day}" if scene else day
        acquired_at = _instant(day, date_forms)
        try:
            if acquired_at is None:
                raise BadItem("its name holds no date of this pattern")
            yield _scene(name, acquired_at, bands, base, configuration)
        except BadItem as error:
            yield FailedItem(name, str(error))


def _instant(text: str, forms: Sequence[str]) -> datetime | None:
    for form in forms:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def compile_pattern(pattern: str) -> tuple[re.Pattern[str], str]:
    """The expression of a naming pattern (groups `date`, and `band`, `scene` where it has them), and its date format.

    The pattern is one that `SourceConfiguration` has passed.
    """
    parts: list[str] = []
    date_form = ""
    for literal, name, form, _ in string.Formatter().parse(pattern):
        parts.append(re.escape(literal))
        if name == "date":
            date_form = form or ""
            parts.append(f"(?P<date>{_date_expression(date_form)})")
        elif name is not None:
            # Neither crosses a folder: a pattern says itself where folders end.
            parts.append(f"(?P<{name}>[^/]+{'?' if name == 'scene' else ''})")
    return re.compile("".join(parts)), date_form


def _date_expression(form: str) -> str:
    expression = ""
    for directive, literal in _LITERAL.findall(form):
        expression += DATE_DIRECTIVES[directive] if directive else re.escape(literal)
    return expression


def _scene(
    name: str, acquired_at: datetime, files: dict[str, Path], base: Path, configuration: SourceConfiguration
) -> FoundScene:
    whole = files.get("")
    place = min(files.values()).relative_to(base).as_posix()
    product = _PRODUCT.search(place)
    sensor = sensor_of(
        configuration, name=product[0] if product else name, platform=configuration.platform, keys=files.keys()
    )
    # The numbers of files that have ESA's names are ESA's; other providers' may have been shifted back.
    esa = acquired_at if any(_ESA_BAND.match(key) for key in files) else None
    offset = offset_of(sensor, place, {}, esa)
    assets: dict[str, dict[str, Any]] = {}
    for band, keys in sensor.bands.items():
        if found := _file(files, keys):
            scale, shift = adjusted(sensor, band, sensor.scale, offset)
            assets[band] = {
                "href": stored_href(str(found[0]), base),
                "scale": scale,
                "offset": shift,
                "nodata": sensor.nodata,
            } | ({"index": int(found[1])} if whole else {})
    if not assets:
        raise BadItem("it has none of the bands of this source")
    if sensor.mask_kind is not MaskKind.none:
        mask = _file(files, sensor.mask_assets)
        if mask is None:
            raise BadItem(f"it lacks the mask file {' or '.join(sensor.mask_assets)}")
        assets[MASK] = {"href": stored_href(str(mask[0]), base), "kind": sensor.mask_kind.value}
        assets[MASK] |= {"index": int(mask[1])} if whole else {}
    try:
        footprint, code = _footprint(base / next(iter(assets.values()))["href"])
    except (RasterioError, ValueError):
        raise BadItem("its first band is no GeoTIFF with a CRS") from None
    stats = [path.stat() for path in files.values()]
    return FoundScene(
        external_id=name,
        acquired_at=acquired_at,
        footprint=footprint,
        platform=configuration.platform,
        cloud_cover=None,
        properties=({"proj:code": code} if code else {}) | ({"s2:product_uri": product[0]} if product else {}),
        assets=assets,
        # A file written anew under its old name is a new version of the scene.
        mark=",".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats),
        sensor=sensor.name,
    )


def _file(files: dict[str, Path], keys: tuple[str, ...]) -> tuple[Path, str] | None:
    """The file of the first key that a scene has, and that key: with one file for all, its number of a band."""
    if whole := files.get(""):
        return (whole, keys[0]) if keys[0].isdigit() else None
    return next(((files[key], key) for key in keys if key in files), None)


def _footprint(path: Path) -> tuple[MultiPolygon, str | None]:
    """The outline of a raster in EPSG:4490, its edges cut so finely that they follow it; "EPSG:…" of its CRS."""
    with gdal(), DatasetReader(str(path), driver=list(DRIVERS)) as dataset:
        if dataset.crs is None:
            raise ValueError("no CRS")
        rows, cols = (0, 0, dataset.height, dataset.height), (0, dataset.width, dataset.width, 0)
        outline = Polygon(np.column_stack(rasterio.transform.xy(dataset.transform, rows, cols, offset="ul")))
        to_4490 = transformer(dataset.crs.to_wkt(), CRS)
        number = dataset.crs.to_epsg()
    dense = shapely.segmentize(outline, outline.length / 40)
    polygon = as_multipolygon(
        shapely.transform(dense, lambda xy: np.column_stack(to_4490.transform(xy[:, 0], xy[:, 1])))
    )
    return polygon, None if number is None else f"EPSG:{number}"
