"""The scenes of a catalogue or folder without a database, and without being told how the folder's files are named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from app.imagery.folder import match, read_folder, scenes_of_files
from app.imagery.found import FailedItem, FoundScene, SourceUnreadable, base_of, in_range, is_remote, local_path
from app.imagery.identity import reference
from app.imagery.models import MaskKind, SourceKind
from app.imagery.refs import MASK, SceneRef
from app.imagery.schemas import SourceConfiguration
from app.imagery.sources import read_source

# Images of no known layout that are named one by one; the rest is counted.
UNCLAIMED_NAMED = 10
_SUFFIXES = (".tif", ".tiff", ".jp2")
_IMAGE = r"\.(?:tiff?|TIFF?|jp2)"
_COMMON = "blue|green|red|nir08|nir|swir16|swir22|scl|SCL|qa_pixel|QA_PIXEL|Fmask"
_MSI = r"B\d[\dA]|SCL"
_DAY = r"\d{4}-?\d{2}-?\d{2}(?:T\d{6})?"
_DATES = ("%Y%m%dT%H%M%S", "%Y%m%d", "%Y-%m-%d", "%Y-%m-%dT%H%M%S")


@dataclass(frozen=True)
class _Layout:
    """A way to name files: `shown` to people, `expression` of the path below the folder, strptime forms of `date`."""

    shown: str
    expression: str
    dates: tuple[str, ...] = _DATES


# From the most particular to the most general: a file belongs to the first layout that it fits.
_LAYOUTS = (
    _Layout(
        "HLS.S30.T52TCM.2024001T023011.v2.0.B04.tif",
        rf"(?:.*/)?(?P<scene>HLS\.[SL]30\.T\w{{5}}\.(?P<date>\d{{7}}T\d{{6}})\.v\d\.\d)\.(?P<band>B\w\w|Fmask){_IMAGE}",
        ("%Y%jT%H%M%S",),
    ),
    _Layout(
        "LC08_L2SP_116030_20200701_20200913_02_T1_SR_B4.TIF",
        r"(?:.*/)?(?P<scene>L[COTE]\d\d_L2S[PR]_\d{6}_(?P<date>\d{8})_\d{8}_\d\d_(?:RT|T1|T2))"
        rf"_(?P<band>SR_B\d|QA_PIXEL){_IMAGE}",
    ),
    _Layout(
        "S2A_MSIL2A_20240101T023011_N0510_R046_T52TCM_20240101T043000.SAFE/…/T52TCM_20240101T023011_B02_10m.jp2",
        r"(?:.*/)?(?P<scene>S2[A-D]_MSIL2A_(?P<date>\d{8}T\d{6})_\w+)(?:\.SAFE)?/(?:.*/)?"
        rf"T\w{{5}}_\d{{8}}T\d{{6}}_(?P<band>(?:{_MSI})(?:_\d0m)?){_IMAGE}",
    ),
    _Layout(
        "T52TCM_20240101T023011_B02_10m.tif",
        rf"(?:.*/)?(?P<scene>T\w{{5}}_(?P<date>\d{{8}}T\d{{6}}))_(?P<band>(?:{_MSI})(?:_\d0m)?){_IMAGE}",
    ),
    _Layout(
        "a folder per scene with the date in its name: S2A_20240101/blue.tif … scl.tif",
        rf"(?:.*/)?(?P<scene>[^/]*?(?<!\d)(?P<date>{_DAY})(?!\d)[^/]*)/(?P<band>{_COMMON}|{_MSI}){_IMAGE}",
    ),
    _Layout(
        "20240101_blue.tif or NAME_20240101_blue.tif",
        rf"(?:.*/)?(?P<scene>(?:[^/]*?[_.-])?(?P<date>{_DAY}))_(?P<band>{_COMMON}|(?:{_MSI})(?:_\d0m)?){_IMAGE}",
    ),
)


def scenes_of(
    location: str, configuration: SourceConfiguration | None = None
) -> tuple[list[SceneRef], list[FailedItem]]:
    """The scenes at an address or path, oldest first, and the items that could not be taken in.

    Args:
        location: a STAC API, a static STAC catalogue (address or path of its JSON, or a folder with catalog.json or
            collection.json), or a folder of GeoTIFFs.
        configuration: how to read them and which of them; with `pattern` for a folder with names of its own.

    A folder may hold products of several kinds, each scene being read by the mapping of its own sensor.

    Raises:
        SourceUnreadable: nothing is there, or a folder holds no file that any known layout names.
    """
    configuration = configuration or SourceConfiguration()
    kind, place = _kind(location, configuration)
    if kind is not SourceKind.folder:
        found = list(read_source(kind, place, configuration))
    elif configuration.pattern is not None:
        found = list(read_folder(place, configuration))
    else:
        found = _guessed(place, configuration)
    base = base_of(kind, place)
    scenes = [_reference(item, place, base) for item in found if isinstance(item, FoundScene)]
    scenes.sort(key=lambda scene: (scene.acquired_at, scene.external_id))
    return scenes, [item for item in found if isinstance(item, FailedItem)]


def _kind(location: str, configuration: SourceConfiguration) -> tuple[SourceKind, str]:
    if is_remote(location):
        static = urlsplit(location).path.endswith(".json")
        return (SourceKind.stac_catalog if static else SourceKind.stac_api), location
    path = local_path(location)
    if path.is_file():
        return SourceKind.stac_catalog, location
    if not path.is_dir():
        raise SourceUnreadable("There is neither a file nor a folder at the source's location.")
    for name in ("catalog.json", "collection.json"):
        if configuration.pattern is None and (path / name).is_file():
            return SourceKind.stac_catalog, str(path / name)
    return SourceKind.folder, location


def _guessed(location: str, configuration: SourceConfiguration) -> list[FoundScene | FailedItem]:
    """The scenes of a folder, each file by the first layout that it fits; images that fit none are told of."""
    base = local_path(location).resolve()
    claimed, others = _claims(base)
    found_scenes: dict[str, FoundScene] = {}
    failed: list[FailedItem] = []
    for layout, files in zip(_LAYOUTS, claimed, strict=True):
        for item in scenes_of_files(base, files, layout.dates, configuration):
            if isinstance(item, FailedItem):
                failed.append(item)
            elif item.external_id in found_scenes:
                failed.append(FailedItem(item.external_id, "files named in another way make up a scene of that name"))
            else:
                found_scenes[item.external_id] = item
    if not found_scenes and not failed:
        known = "; ".join(layout.shown for layout in _LAYOUTS)
        raise SourceUnreadable(
            "The folder holds neither catalog.json nor collection.json, and no files named in a way known here. Looked "
            f"for: {known}. Other names need `pattern` in the source's configuration."
        )
    names = {found["scene"] for files in claimed for _, found in files}
    in_time = [scene for scene in found_scenes.values() if in_range(scene, configuration)]
    return [*in_time, *failed, *_unclaimed(others, names)]


def _claims(base: Path) -> tuple[list[list[tuple[Path, re.Match[str]]]], list[Path]]:
    """The images that each layout names, with what it found in their path, and the paths of those that none names."""
    expressions = [re.compile(layout.expression) for layout in _LAYOUTS]
    claimed: list[list[tuple[Path, re.Match[str]]]] = [[] for _ in _LAYOUTS]
    others: list[Path] = []
    for path in sorted(base.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        for files, expression in zip(claimed, expressions, strict=True):
            if found := match(expression, path, base):
                files.append((path, found))
                break
        else:
            others.append(path.relative_to(base))
    return claimed, others


def _unclaimed(paths: list[Path], scenes: set[str]) -> list[FailedItem]:
    """Images that no layout names, but for what a product brings along that is not used (true colour, angles)."""
    lengths = {len(name) for name in scenes}

    def beside_a_scene(path: Path) -> bool:
        return any(part[:length] in scenes for part in path.parts for length in lengths)

    foreign = [path.as_posix() for path in paths if not beside_a_scene(path)]
    reason = "its name fits no layout known here; other names need `pattern` in the source's configuration"
    told = [FailedItem(name, reason) for name in foreign[:UNCLAIMED_NAMED]]
    more = len(foreign) - len(told)
    return [*told, FailedItem(f"{more} further images", reason)] if more else told


def _reference(found: FoundScene, location: str, base: Path | None) -> SceneRef:
    kind = found.assets.get(MASK, {}).get("kind", MaskKind.none)
    return reference(
        # The same scene of the same place has the same identifier every time.
        uuid5(NAMESPACE_URL, f"{location}#{found.external_id}"),
        found.external_id,
        found.acquired_at,
        found.assets,
        MaskKind(kind),
        base=base,
        platform=found.platform,
        properties=found.properties,
        bounds=found.footprint.bounds,
        digest=found.digest,
        sensor=found.sensor,
    )
