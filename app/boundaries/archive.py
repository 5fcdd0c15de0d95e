"""Zipped layer files, unpacked without trusting the archive: sizes, names and counts are checked as it streams."""

from __future__ import annotations

import errno
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

from app.foundation.errors import Invalid

MAX_MEMBERS = 200
# A geodatabase has some ten files a table, and forty of its own.
MAX_GEODATABASE_MEMBERS = 2_000
# DEFLATE cannot pack tighter than about 1032 : 1; honest Shapefiles stay well below 100 : 1.
MAX_RATIO = 200
# Small archives may pack tighter: a table of blanks is no bomb.
RATIO_FROM_BYTES = 16 * 2**20
_PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_CHUNK = 2**20
_DAMAGED = "The zip archive is damaged, or its sizes are not what it declares."
_SHAPE_MAGIC = b"\x00\x00\x27\x0a"
# The table of a geodatabase's tables; a geodatabase is the folder that it lies in.
_CATALOGUE = "a00000001.gdbtable"
_GEODATABASE_FILE = re.compile(r"(a[0-9a-f]{8}\.[a-z0-9_]{1,40}(\.[a-z]{1,20})?|gdb|timestamps)", re.IGNORECASE)


class ArchiveKind(Enum):
    """What an archive holds, by the names in it."""

    shapefile = "Shapefile"
    geodatabase = "file geodatabase"
    kmz = "KMZ"


@dataclass(frozen=True)
class Shapefile:
    """An unpacked Shapefile. `cpg` is the name of the encoding that its .cpg file states."""

    shp: Path
    cpg: str | None


def kind_of_archive(archive: Path) -> ArchiveKind:
    """What a zip archive holds: a geodatabase, KML without a Shapefile, or a Shapefile for all else.

    Raises:
        Invalid: no zip archive.
    """
    with opened_archive(archive) as opened:
        names = [PurePosixPath(name.replace("\\", "/")).name.lower() for name in opened.namelist()]
    if _CATALOGUE in names:
        return ArchiveKind.geodatabase
    endings = {PurePosixPath(name).suffix for name in names}
    return ArchiveKind.kmz if ".kml" in endings and ".shp" not in endings else ArchiveKind.shapefile


@contextmanager
def opened_archive(archive: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive; whatever is wrong with its own tables or streams is told as damage."""
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    # ValueError, OverflowError and struct.error: names and places in the archive's own tables that make no sense.
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError):
        raise Invalid(_DAMAGED) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a full or failing disk is not the file's fault
            raise
        raise Invalid(_DAMAGED) from None  # a member that is said to begin before the archive does


def unpack_geodatabase(archive: Path, folder: Path, max_bytes: int) -> Path:
    """Unpack the one file geodatabase of a zip archive; the folder that it is then in.

    Raises:
        Invalid: no zip archive, a bomb, unsafe names, or not exactly one geodatabase.
    """
    target = folder / "layer.gdb"
    with opened_archive(archive) as opened:
        members = checked_members(opened, max_bytes, MAX_GEODATABASE_MEMBERS)
        paths = {member: PurePosixPath(member.filename.replace("\\", "/")) for member in members}
        homes = {path.parent for path in paths.values() if path.name.lower() == _CATALOGUE}
        if len(homes) != 1:
            raise Invalid(f"The archive holds {len(homes)} geodatabases; it must hold exactly one.")
        target.mkdir()
        left = max_bytes
        for member, path in paths.items():
            if path.parent in homes and not member.is_dir() and _GEODATABASE_FILE.fullmatch(path.name):
                name = target / path.name.lower()
                if name.exists():
                    raise Invalid(f"The archive holds two files of the name {path.name}.")
                left = _extract(opened, member, name, left)
    return target


def unpack_kmz(archive: Path, folder: Path, max_bytes: int) -> Path:
    """Unpack the KML document of a KMZ archive: `doc.kml`, or the only one there is.

    Raises:
        Invalid: no zip archive, a bomb, unsafe names, or several documents of which none is `doc.kml`.
    """
    target = folder / "packed.kml"
    with opened_archive(archive) as opened:
        members = checked_members(opened, max_bytes)
        documents = [member for member in members if member.filename.lower().endswith(".kml")]
        main = [member for member in documents if member.filename.lower() == "doc.kml"] or documents
        if len(main) != 1:
            raise Invalid(f"The archive holds {len(main)} KML files; it must hold exactly one, or one doc.kml.")
        _extract(opened, main[0], target, max_bytes)
    return target


def unpack_shapefile(archive: Path, folder: Path, max_bytes: int) -> Shapefile:
    """Unpack the one Shapefile of a zip archive into `folder`, under names of our own.

    Args:
        max_bytes: largest unpacked content, declared and real.

    Raises:
        Invalid: no zip archive, a bomb, unsafe names, or not exactly one complete Shapefile.
    """
    with opened_archive(archive) as opened:
        members = checked_members(opened, max_bytes)
        parts = _parts_of_shapefile(members)
        left = max_bytes
        for suffix, member in parts.items():
            left = _extract(opened, member, folder / f"layer{suffix}", left)
    shp = folder / "layer.shp"
    with shp.open("rb") as file:
        if file.read(4) != _SHAPE_MAGIC:
            raise Invalid("The .shp file in the archive is not a Shapefile.")
    cpg = folder / "layer.cpg"
    stated = cpg.read_bytes()[:64].decode("ascii", "replace").strip() if ".cpg" in parts else None
    # Text is decoded by us alone; GDAL would recode by a .cpg that lies beside the table.
    cpg.unlink(missing_ok=True)
    return Shapefile(shp, stated or None)


def checked_members(opened: zipfile.ZipFile, max_bytes: int, max_members: int = MAX_MEMBERS) -> list[zipfile.ZipInfo]:
    """The members of an archive that may be unpacked, by what it declares.

    Raises:
        Invalid: too many, too large or too tightly packed, encrypted, or with names that lead out of it.
    """
    members = opened.infolist()
    if len(members) > max_members:
        raise Invalid(f"The archive holds {len(members)} files; at most {max_members:,} are unpacked.")
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":":
            raise Invalid("The archive holds a file name that leads out of it; zip the plain files again.")
        if member.flag_bits & 0x1:
            raise Invalid("The archive is encrypted; zip the files again without a password.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Invalid("The archive is packed in an unusual way; zip the files again (DEFLATE).")
        if name.lower().endswith(".zip"):
            raise Invalid("The archive holds another archive; zip the plain files of one layer.")
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if unpacked > max_bytes:
        raise Invalid(f"The archive declares {unpacked:,} bytes of content; at most {max_bytes:,} are unpacked.")
    if unpacked > RATIO_FROM_BYTES and unpacked > MAX_RATIO * max(packed, 1):
        raise Invalid(f"The archive is packed tighter than {MAX_RATIO} : 1, as a zip bomb is; it was not unpacked.")
    return members


def _parts_of_shapefile(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The files of the one Shapefile, by suffix in lower case."""
    by_stem: dict[PurePosixPath, dict[str, zipfile.ZipInfo]] = {}
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        suffix = path.suffix.lower()
        if suffix in _PARTS and "__MACOSX" not in path.parts and not member.is_dir():
            parts = by_stem.setdefault(path.with_suffix(""), {})
            if suffix in parts:
                raise Invalid(f"The archive holds two {suffix} files of one name.")
            parts[suffix] = member
    shapefiles = [parts for parts in by_stem.values() if ".shp" in parts]
    if len(shapefiles) != 1:
        raise Invalid(f"The archive holds {len(shapefiles)} Shapefiles; it must hold exactly one.")
    missing = [suffix for suffix in (".shx", ".dbf") if suffix not in shapefiles[0]]
    if missing:
        raise Invalid(f"The Shapefile lacks its {' and '.join(missing)} file.")
    return shapefiles[0]


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Stream one member out; what is left of the allowance afterwards. Declared sizes are not believed."""
    with opened.open(member) as source, target.open("wb") as sink:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise Invalid("The archive unpacks to more than it declares, as a zip bomb does.")
            sink.write(chunk)
    return left
