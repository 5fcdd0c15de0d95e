"""Pairs that `redline detectors compare` refuses: in a sentence that names the file, and with nothing written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from typer.testing import CliRunner

from app.cli_detectors import detectors
from app.foundation.errors import Invalid, Problem
from app.monitoring.compare import Comparison, compare
from tests.pairs import PLACE, SIZE, Difference, changed, ground, numbers, write

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
EARLY = numbers(ground())
LATE = numbers(changed(ground()))


@pytest.fixture
def asked(tmp_path: Path) -> Comparison:
    """A pair that can be compared, for a test to spoil."""
    (tmp_path / "images").mkdir()
    early = write(tmp_path / "images" / "early.tif", EARLY)
    return Comparison(early, write(tmp_path / "images" / "late.tif", LATE), tmp_path / "out")


def refused(request: Comparison) -> str:
    """What the refusal says; nothing is written by it."""
    existed = request.out.exists()
    before = sorted(request.out.rglob("*")) if existed else []
    with pytest.raises(Problem) as refusal:
        compare(request)
    assert request.out.exists() == existed
    assert (sorted(request.out.rglob("*")) if existed else []) == before
    said = refusal.value.detail
    assert str(request.before.parent) not in said
    assert said.endswith(".")
    return said


def late(change: Callable[[Path], object]) -> Callable[[Comparison], Comparison]:
    """A pair of which the later file was spoiled."""

    def spoil(request: Comparison) -> Comparison:
        change(request.after)
        return request

    return spoil


def tagged(path: Path, day: str, **tags: str) -> None:
    with rasterio.open(path, "r+") as file:
        if tags:
            file.update_tags(**tags)
        else:
            file.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=day)


def both_tagged(early: str, late: str) -> Callable[[Comparison], Comparison]:
    def tag(request: Comparison) -> Comparison:
        tagged(request.before, early)
        tagged(request.after, late)
        return request

    return tag


def tiff_dates(request: Comparison) -> Comparison:
    tagged(request.before, "", TIFFTAG_DATETIME="2021:05:06 10:00:00")
    tagged(request.after, "", TIFFTAG_DATETIME="2020:05:06 10:00:00")
    return request


def renamed(early: str, later: str) -> Callable[[Comparison], Comparison]:
    def rename(request: Comparison) -> Comparison:
        folder = request.before.parent
        return Comparison(request.before.rename(folder / early), request.after.rename(folder / later), request.out)

    return rename


def scaled(before: float | None = None, after: float | None = None) -> Callable[[Comparison], Comparison]:
    return lambda r: Comparison(r.before, r.after, r.out, before, after)


def both_written(
    early: dict[str, object], later: dict[str, object] | None = None
) -> Callable[[Comparison], Comparison]:
    """A pair whose files have other profiles, the later one the same unless given."""

    def spoil(request: Comparison) -> Comparison:
        write(request.before, EARLY, **early)
        write(request.after, LATE, **(early if later is None else later))
        return request

    return spoil


def linked(request: Comparison) -> Comparison:
    link = request.before.parent / "link.tif"
    link.symlink_to(request.before)
    return Comparison(request.before, link, request.out)


def of_nothing(path: Path) -> None:
    write(path, np.zeros_like(LATE), nodata=0)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FAR = Affine(10, 0, 700_000, 0, -10, 4_900_000)
TURNED = PLACE @ Affine.rotation(20)
CASES: dict[str, tuple[Callable[[Comparison], Comparison], str]] = {
    "missing": (late(lambda p: p.unlink()), r"AFTER \(late.tif\) is not there"),
    "folder": (late(lambda p: (p.unlink(), p.mkdir())), r"AFTER \(late.tif\) is a folder"),
    "text": (late(lambda p: p.write_text("no image")), r"AFTER \(late.tif\) is no image"),
    "empty": (late(lambda p: p.write_bytes(b"")), r"AFTER \(late.tif\) is no image"),
    "cut short": (late(cut), r"AFTER \(late.tif\) is (no image|damaged)"),
    "same file": (lambda r: Comparison(r.before, r.before, r.out), r"BEFORE and AFTER are the same file \(early.tif\)"),
    "linked": (linked, "BEFORE and AFTER are the same file"),
    "swapped": (
        both_tagged("2021-05-06 10:00:00", "2020-05-06 10:00:00"),
        r"BEFORE \(early.tif\) is of 2021-05-06 by its tag ACQUISITIONDATETIME, later than AFTER \(late.tif\)",
    ),
    "swapped files": (tiff_dates, r"BEFORE \(early.tif\) is of 2021-05-06 by its tag TIFFTAG_DATETIME"),
    "swapped names": (
        renamed("GF2_PMS1_E113.5_N34.2_20210506_L1A0002.tif", "scene_2020-05-06.tif"),
        r"20210506_L1A0002.tif\) is of 2021-05-06 by its file name, later than AFTER",
    ),
    "no overlap": (
        late(lambda p: write(p, LATE, transform=FAR)),
        r"BEFORE \(early.tif\) and AFTER \(late.tif\) show no common ground",
    ),
    "coarser without overlap": (
        late(lambda p: write(p, LATE, transform=FAR @ Affine.scale(3))), "show no common ground",
    ),
    "another CRS": (
        late(lambda p: write(p, LATE, crs="EPSG:32651")),
        r"AFTER \(late.tif\) is in EPSG:32651, BEFORE .* EPSG:32652; .*`gdalwarp -t_srs EPSG:32652 late.tif",
    ),
    "turned": (late(lambda p: write(p, LATE, transform=TURNED)), r"AFTER \(late.tif\) is rotated"),
    "turned, beside one without a place": (
        lambda r: (write(r.before, EARLY, crs=None), write(r.after, LATE, transform=TURNED)) and r,
        r"AFTER \(late.tif\) is rotated",
    ),
    "upside down": (
        late(lambda p: write(p, LATE, transform=Affine(10, 0, 500_000, 0, 10, 4_898_400))), "not north-up",
    ),
    "no place, another size": (
        late(lambda p: write(p, LATE[:, :100], crs=None)), r"AFTER \(late.tif\) has no georeference, and",
    ),
    "a pipe": (late(lambda p: (p.unlink(), os.mkfifo(p))), r"AFTER \(late.tif\) is a pipe or a device"),
    "turned, the other without a place": (
        both_written({"crs": None}, {"transform": TURNED}), r"AFTER \(late.tif\) is rotated",
    ),
    "beyond the pole": (
        both_written({"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 104, 0, -1e-4, 131)}),
        r"BEFORE \(early.tif\) lies where its CRS describes no place on Earth \(x 104 to 104.016, y 130.984 to 131\)",
    ),
    "outside its projection": (
        both_written({"crs": "EPSG:32648", "transform": Affine(10, 0, 5e9, 0, -10, 4_900_000)}),
        r"BEFORE \(early.tif\) lies where its CRS describes no place on Earth",
    ),
    "outside its projection, the other without a place": (
        both_written({"crs": None}, {"transform": Affine(10, 0, 5e9, 0, -10, 4_900_000)}),
        r"AFTER \(late.tif\) lies where its CRS describes no place on Earth",
    ),
    "a local CRS": (
        both_written({"crs": 'LOCAL_CS["mine",UNIT["metre",1]]'}),
        r"BEFORE \(early.tif\) is in a CRS whose place on Earth",
    ),
    "no data": (late(of_nothing), r"AFTER \(late.tif\) has no valid pixel"),
    "not a number": (
        late(lambda p: write(p, np.full(LATE.shape, np.nan, np.float32))), r"AFTER \(late.tif\) has no valid pixel",
    ),
    "infinite": (
        late(lambda p: write(p, np.full(LATE.shape, -np.inf, np.float64))), r"AFTER \(late.tif\) has no valid pixel",
    ),
    "constant": (
        late(lambda p: write(p, np.full_like(LATE, 700))), r"AFTER \(late.tif\) is constant: .* is 700, 700",
    ),
    "complex": (late(lambda p: write(p, LATE.astype(np.complex64))), r"AFTER \(late.tif\) holds complex numbers"),
    "scale of nothing": (scaled(before=0.0), r"--scale-before \(0\) for BEFORE \(early.tif\) must be"),
    "negative scale": (scaled(after=-1.0), r"--scale-after \(-1\) for AFTER \(late.tif\) must be"),
    "no scale": (scaled(after=float("nan")), r"--scale-after \(nan\) for AFTER \(late.tif\) must be"),
    "endless scale": (scaled(before=float("inf")), r"--scale-before \(inf\)"),
    "scale too large": (scaled(before=0.0001, after=0.1), r"--scale-after \(0.1\) cannot be right for AFTER"),
    "scale too small": (scaled(before=1e-7), r"--scale-before \(1e-07\) cannot be right for BEFORE \(early.tif\)"),
    "one left unscaled": (scaled(before=0.0001, after=1.0), r"--scale-after \(1\) cannot be right for AFTER"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_pair_that_cannot_be_compared(asked: Comparison, case: str) -> None:
    spoil, said = CASES[case]
    spoiled = spoil(asked)
    assert re.search(said, refused(spoiled))


def test_numbers_without_a_claim_of_reflectance_may_be_any(asked: Comparison) -> None:
    assert compare(Comparison(asked.before, asked.after, asked.out, 1.0, 1.0), monitor=Difference()).changes >= 1


def test_days_in_order_or_unknown_are_fine(asked: Comparison) -> None:
    tagged(asked.before, "2020-05-06 10:00:00")
    # Made later than the other was taken: says nothing of when this was taken, which is asked for first.
    tagged(asked.after, "", TIFFTAG_DATETIME="2023:01:01 10:00:00")
    assert compare(asked, monitor=Difference()).changes >= 1


def test_no_common_valid_ground_names_both(asked: Comparison) -> None:
    for path, rows in ((asked.before, np.s_[: SIZE // 2]), (asked.after, np.s_[SIZE // 2 :])):
        with rasterio.open(path) as file:
            image = file.read().astype(np.float32)
        image[:, rows] = np.nan
        write(path, image)
    assert "BEFORE (early.tif) and AFTER (late.tif)" in refused(asked)


def test_out_that_cannot_be_written(asked: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--out cannot be used" in refused(Comparison(asked.before, asked.after, tmp_path / "file" / "out"))
    asked.out.mkdir()
    (asked.out / "change.tif").mkdir()
    assert "--out holds change.tif, which is not a file" in refused(asked)


def test_an_image_is_not_overwritten(asked: Comparison) -> None:
    image = asked.after.rename(asked.after.parent / "change.tif")
    assert "would be overwritten" in refused(Comparison(asked.before, image, image.parent))
    assert image.exists()


def test_the_command_says_it_in_words(asked: Comparison) -> None:
    words = ["compare", str(asked.before), str(asked.after), "--out", str(asked.out), "--scale-before", "0"]
    ended = CliRunner().invoke(detectors, words)
    assert isinstance(ended.exception, Invalid)
    assert "must be a finite number above 0" in ended.exception.detail
    least = CliRunner().invoke(detectors, [*words[:-2], "--min-area-px", "0"])
    assert least.exit_code == 2
