"""Scenes of a folder of GeoTIFFs, by a naming pattern."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.transform
import shapely
from rasterio.errors import RasterioError
from shapely.geometry import MultiPolygon, Polygon

from app.foundation.geometry import CRS, as_multipolygon, transformer
from app.imagery.found import BadItem, FailedItem, FoundScene, SourceUnreadable, in_range, local_path, stored_href
from app.imagery.models import MaskKind
from app.imagery.pixels import MASK, gdal
from app.imagery.schemas import DATE_DIRECTIVES, SourceConfiguration

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
    groups: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(base.rglob("*")):
        found = expression.fullmatch(path.relative_to(base).as_posix())
        if found and path.is_file():
            part = found.groupdict()
            groups.setdefault((part.get("scene") or "", part["date"]), {})[part.get("band") or ""] = path
    for (scene, day), files in sorted(groups.items()):
        name = f"{scene}_{day}" if scene else day
        try:
            acquired_at = datetime.strptime(day, date_form).replace(tzinfo=UTC)
        except ValueError:
            yield FailedItem(name, "its name holds no date of this pattern")
            continue
        try:
            taken = _scene(name, acquired_at, files, base, configuration)
        except BadItem as error:
            yield FailedItem(name, str(error))
            continue
        if isinstance(taken, FailedItem) or in_range(taken, configuration):
            yield taken


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
) -> FoundScene | FailedItem:
    whole = files.get("")
    wanted = dict(configuration.bands)
    assets: dict[str, dict[str, Any]] = {}
    for band, key in wanted.items():
        path = whole or files.get(key)
        if path:
            assets[band] = {
                "href": stored_href(str(path), base),
                "scale": configuration.default_scale,
                "offset": configuration.default_offset,
                "nodata": configuration.default_nodata,
            } | ({"index": int(key)} if whole else {})
    if not assets:
        return FailedItem(name, "it has none of the bands of this source")
    first = whole or files[next(key for key in wanted.values() if key in files)]
    if configuration.mask_kind is not MaskKind.none:
        key = configuration.mask_asset or ""
        mask = whole or files.get(key)
        if mask is None:
            return FailedItem(name, f"it lacks the mask file {key}")
        assets[MASK] = {"href": stored_href(str(mask), base)} | ({"index": int(key)} if whole else {})
    try:
        footprint = _footprint(first)
    except (RasterioError, ValueError):
        return FailedItem(name, "its first band is no GeoTIFF with a CRS")
    stats = [path.stat() for path in files.values()]
    return FoundScene(
        external_id=name,
        acquired_at=acquired_at,
        footprint=footprint,
        platform=configuration.platform,
        cloud_cover=None,
        properties={},
        assets=assets,
        # A file written anew under its old name is a new version of the scene.
        mark=",".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats),
    )


def _footprint(path: Path) -> MultiPolygon:
    """The outline of a raster in EPSG:4490, its edges cut so finely that they follow it."""
    with gdal(), rasterio.open(path, driver="GTiff") as dataset:
        if dataset.crs is None:
            raise ValueError("no CRS")
        rows, cols = (0, 0, dataset.height, dataset.height), (0, dataset.width, dataset.width, 0)
        outline = Polygon(np.column_stack(rasterio.transform.xy(dataset.transform, rows, cols, offset="ul")))
        to_4490 = transformer(dataset.crs.to_wkt(), CRS)
    dense = shapely.segmentize(outline, outline.length / 40)
    return as_multipolygon(shapely.transform(dense, lambda xy: np.column_stack(to_4490.transform(xy[:, 0], xy[:, 1]))))
