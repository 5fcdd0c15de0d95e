"""The pictures of docs/detectors.md.

``python -m tests.bench.detector_pictures --out docs/detectors --folder DIR`` draws them anew: from a simulated area of
the recipe "many" (its seed was used for tuning; DIR keeps what was made of it) and from the real series in
sample/s2-romania. What is shown is picked by size, so is what went wrong.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.sample.changes import Change
from detectors.findings import Finding
from detectors.monitors.bitemporal import CHANGED, Bitemporal
from detectors.pairs import ArrayPair
from detectors.taxonomy import TAXONOMY, Kind
from detectors.types import CLEAR, SCALE, RasterBlock, from_day
from tests.bench.bench_forest_cut import read_blocks, read_series, summer_ndvi
from tests.bench.detector_plots import draw_course
from tests.bench.detector_scenes import Area, load
from tests.bench.pictures import outline, paint

ROMANIA: Final = Path(__file__).parents[2] / "sample" / "s2-romania"
SEED: Final = 1
TRUTH: Final = (255, 255, 0)
FOUND: Final = (0, 255, 255)
MOST_COLOURS: Final = 96
"""Colours that a picture is written in, so that the files stay small."""

FALL: Final = 0.25
"""Fall of the median summer NDVI from 2017 to 2019 by which the plain rule calls a pixel cut."""

FIELDS: Final = ("ploughing", "harvest", "fallow", "mulch", "mowing")
"""Decoys that farmers make."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Crop:
    """A square part of an area; zoom: screen pixels a side of each of its pixels."""

    row: int
    col: int
    side: int
    zoom: int

    @classmethod
    def around(cls, area: Area, rows: NDArray[np.int64], cols: NDArray[np.int64], screen: int) -> Crop:
        """The part around some pixels, with a margin, on about so many screen pixels."""
        reach = max(int(np.ptp(rows)), int(np.ptp(cols))) + 1
        side = min(max(40, reach + 16), min(area.grid.shape))
        row, col = (
            int(np.clip((v.min() + v.max()) // 2 - side // 2, 0, n - side))
            for v, n in zip((rows, cols), area.grid.shape, strict=True)
        )
        return cls(row, col, side, max(1, screen // side))

    def cut(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        """Its part of ``(…, y, x)``."""
        return plane[..., self.row : self.row + self.side, self.col : self.col + self.side]


def font(size: int = 13) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow brings."""
    return ImageFont.load_default(size)


def false_colours(data: NDArray[np.int16], bands: Sequence[str], crop: Crop) -> Image.Image:
    """Near infrared, red and green of ``int16 (band, y, x)``: plants red, bare ground grey and blue."""
    part = crop.cut(data[[bands.index(name) for name in ("nir", "red", "green")]])
    return paint(part.transpose(1, 2, 0).astype(np.float32), crop.zoom)


def ground_of(area: Area, change: Change) -> Bools:
    """Pixels that a change covers at least by half of what it covers its fullest by, ``bool (y, x)``."""
    ground = np.zeros(area.grid.shape, np.bool_)
    ground[change.window] = change.cover >= 0.5 * float(change.cover.max())
    return ground


def patch_of(area: Area, finding: Finding) -> Bools:
    """A finding's pixels, ``bool (y, x)``."""
    mask = np.zeros(area.grid.shape, np.bool_)
    mask[finding.patch.rows, finding.patch.cols] = True
    return mask


def label(picture: Image.Image, place: tuple[float, float], text: str, size: int = 13) -> None:
    """White on black, whatever lies beneath; kept inside the picture."""
    draw = ImageDraw.Draw(picture)
    width = draw.textlength(text, font(size))
    x = min(max(2.0, place[0] - width / 2), picture.width - width - 2)
    y = min(max(2.0, place[1]), picture.height - size - 4)
    draw.text((x, y), text, "white", font(size), stroke_width=2, stroke_fill="black")


def save(picture: Image.Image, path: Path) -> None:
    """Write a small file."""
    picture.quantize(MOST_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def beside(pictures: Sequence[Image.Image], heads: Sequence[str], foot: str = "") -> Image.Image:
    """Pictures in a row, each under its head, above a foot."""
    gap, head = 8, 22
    lines = textwrap.wrap(foot, int(sum(p.width for p in pictures) / 6.4)) if foot else []
    size = (sum(p.width + gap for p in pictures) - gap, max(p.height for p in pictures) + head + 18 * len(lines))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    x = 0
    for picture, text in zip(pictures, heads, strict=True):
        draw.text((x + 2, 3), text, "black", font())
        sheet.paste(picture, (x, head))
        x += picture.width + gap
    for k, line in enumerate(lines):
        draw.text((2, size[1] - 18 * (len(lines) - k)), line, "black", font())
    return sheet


def on_top(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in a column."""
    gap = 10
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height + gap for p in pictures) - gap), "white")
    y = 0
    for picture in pictures:
        sheet.paste(picture, (0, y))
        y += picture.height + gap
    return sheet


def notes(lines: Sequence[str], width: int) -> Image.Image:
    """Lines of text, wrapped, as high as they need."""
    parts = [
        part
        # The font that Pillow brings has no superscripts.
        for line in lines
        for part in textwrap.wrap(line.replace("m²", "sq m"), int(width / 6.2), subsequent_indent="   ")
    ]
    picture = Image.new("RGB", (width, 16 * len(parts) + 6), "white")
    draw = ImageDraw.Draw(picture)
    for k, part in enumerate(parts):
        draw.text((6, 16 * k), part, "black", font(12))
    return picture


def named(finding: Finding) -> str:
    """Activity, probability, and whether it is confirmed."""
    best = finding.activities[0]
    return f"{best.code} {best.probability:.2f}{'' if finding.patch.confidence == 'high' else ' (low)'}"


def area_picture(area: Area) -> Image.Image:
    """(a) The part of the area with most findings: what was planted, and what was found and named."""
    side = 200
    count = np.zeros(area.grid.shape)
    for finding in area.findings:
        count[int(finding.patch.rows.mean()), int(finding.patch.cols.mean())] += finding.patch.confidence == "high"
    total = np.pad(count.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    row, col = (int(v) for v in np.unravel_index(int(boxes.argmax()), boxes.shape))
    crop = Crop(row, col, side, 3)
    before = false_colours(area.earlier, area.bands, crop)
    after = false_colours(area.later, area.bands, crop)
    for change in area.changes:
        ground = np.asarray(crop.cut(ground_of(area, change)), np.bool_)
        if ground.any():
            outline(before, ground, TRUTH, crop.zoom)
            _name_at(before, ground, crop, change.activity or f"({change.decoy})")
    for finding in area.findings:
        patch = np.asarray(crop.cut(patch_of(area, finding)), np.bool_)
        if patch.any():
            outline(after, patch, FOUND, crop.zoom)
            _name_at(after, patch, crop, named(finding))
    days = f"{from_day(area.history_until)} to {from_day(area.until)}"
    return beside(
        [before, after],
        [
            "Last summer of the history; yellow: what was planted (decoys in brackets)",
            "Last 60 days; light blue: what was found, with name and probability",
        ],
        f"Simulated area, recipe many, seed {area.seed}, {side / 100:g} km wide, watched {days}. Near infrared, red "
        "and green: plants are red. (low): not confirmed.",
    )


def _name_at(picture: Image.Image, where: Bools, crop: Crop, text: str) -> None:
    """Below it; not where it runs out of the picture, in the crowd at the edge."""
    row, col = np.nonzero(where)
    if min(row.min(), col.min()) == 0 or max(row.max(), col.max()) == crop.side - 1:
        return
    label(picture, (float(col.mean()) * crop.zoom, float(row.max() + 1) * crop.zoom), text, 11)


def largest(area: Area, kinds: Sequence[str], suspected: bool = False) -> int:
    """Place of the largest change or decoy of some kinds; if wanted, of those whose middle was suspected, if any."""
    sizes = [c.geometry.area if (c.decoy or c.activity) in kinds else 0.0 for c in area.changes]
    odd = [size * bool(course.suspected.any()) for size, course in zip(sizes, area.courses, strict=True)]
    return int(np.argmax(odd if suspected and any(odd) else sizes))


def series_picture(area: Area) -> Image.Image:
    """(b) The middle pixel of the largest mine, of the largest clearing and of the largest suspected field."""
    wanted = (("mine", "mining"), ("clearing", "clearing"))
    places = [(text, largest(area, (kind,))) for text, kind in wanted]
    field = largest(area, FIELDS, suspected=True)
    places.append((f"field ({area.changes[field].decoy})", field))
    return on_top([draw_course(area, number, text) for text, number in places])


def views(area: Area, rows: NDArray[np.int64], cols: NDArray[np.int64], screen: int = 300) -> list[Image.Image]:
    """Before and after around some pixels, with all that was planted and found there."""
    crop = Crop.around(area, rows, cols, screen)
    pictures = [false_colours(data, area.bands, crop) for data in (area.earlier, area.later)]
    for picture in pictures:
        for change in area.changes:
            outline(picture, np.asarray(crop.cut(ground_of(area, change)), np.bool_), TRUTH, crop.zoom, 2)
    for finding in area.findings:
        outline(pictures[1], np.asarray(crop.cut(patch_of(area, finding)), np.bool_), FOUND, crop.zoom)
    return pictures


def row_of(area: Area, finding: Finding | None, change: Change | None, head: str, most: int = 11) -> Image.Image:
    """Before, after, and what was made of it."""
    lines = [head]
    if change is not None:
        who = change.activity or f"{change.decoy} (decoy)"
        lines.append(f"Planted: {who} on {change.change_from}, {change.geometry.area:,.0f} m², from {change.starts}")
    if finding is None:
        lines.append("Found: nothing")
    else:
        patch = finding.patch
        sure = f"confirmed {from_day(patch.confirmed)}" if patch.confidence == "high" else "not confirmed"
        lines.append(f"Found: {patch.shape.area_m2:,.0f} m², first seen {from_day(patch.first_seen)}, {sure}")
        ranked = ", ".join(f"{a.code} {a.probability:.2f}" for a in finding.activities[:3])
        lines += [f"Ranked: {ranked}", f"Reasons for {finding.activities[0].code}:"]
        lines += [f"- {reason.text}" for reason in finding.activities[0].reasons[:most]]
    if change is not None:
        rows, cols = np.nonzero(ground_of(area, change))
    else:
        assert finding is not None
        rows, cols = finding.patch.rows, finding.patch.cols
    pictures = views(area, rows, cols)
    return beside([*pictures, notes(lines, 560)], ["before", "after", ""])


def is_human(finding: Finding) -> bool:
    """Whether somebody would have to answer for it."""
    return TAXONOMY[finding.activity].kind is Kind.human


def decoy_picture(area: Area) -> Image.Image:
    """(c) The largest burn or field that was confirmed as a change and put down to a natural or routine cause."""
    found = [(c, area.finding_of(c)) for c in area.changes if c.decoy in ("fire", *FIELDS)]
    aside = [(c, f) for c, f in found if f and f.patch.confidence == "high" and not is_human(f)]
    if not aside:
        raise ValueError("no burn and no field was set aside in this area")
    change, finding = max(aside, key=lambda pair: pair[1].patch.shape.area_m2)
    return row_of(area, finding, change, "Set aside: a natural or routine cause is the most probable", 16)


def failure_picture(area: Area) -> Image.Image:
    """(e) The largest human change missed, the largest one misnamed, and the largest site reported that nobody made."""
    human = [(c, area.finding_of(c)) for c in area.changes if c.activity and c.decoy is None]
    missed = max((c for c, f in human if f is None), key=lambda c: c.geometry.area, default=None)
    wrong = max(
        ((c, f) for c, f in human if f and f.activity != c.activity and f.patch.confidence == "high"),
        key=lambda pair: pair[0].geometry.area,
        default=None,
    )
    ground = np.any([ground_of(area, c) for c in area.changes if c.activity], axis=0)
    false = max(
        (
            f
            for f in area.findings
            if is_human(f) and f.patch.confidence == "high" and not ground[f.patch.rows, f.patch.cols].any()
        ),
        key=lambda f: f.patch.shape.area_m2,
        default=None,
    )
    rows = []
    if missed is not None:
        rows.append(row_of(area, None, missed, "The largest change that was missed"))
    if wrong is not None:
        rows.append(row_of(area, wrong[1], wrong[0], "The largest change under a wrong name"))
    if false is not None:
        decoy = next(
            (c for c in area.changes if c.decoy and ground_of(area, c)[false.patch.rows, false.patch.cols].any()), None
        )
        rows.append(row_of(area, false, decoy, "The largest confirmed site that nobody made"))
    return on_top(rows)


def clearest(blocks: Sequence[RasterBlock], year: int) -> RasterBlock:
    """The image of July or August of a year that shows most, the earliest of those."""
    summer = [b for b in blocks if b.acquired.year == year and b.acquired.month in (7, 8)]
    return max(summer, key=lambda b: float((b.quality == CLEAR).mean()))


def pair_picture() -> Image.Image:
    """(d) Two real images a year apart, the strength of change between them, and the decision beside a plain rule."""
    blocks = read_blocks(read_series(ROMANIA))
    one, two = clearest(blocks, 2018), clearest(blocks, 2019)
    unit = np.float32(1 / SCALE)
    pair = ArrayPair(one.data * unit, two.data * unit, one.quality == CLEAR, two.quality == CLEAR, one.grid)
    monitor = Bitemporal()
    prepared = monitor.prepare(pair)
    strength, changed = np.zeros(one.grid.shape, np.float32), np.zeros(one.grid.shape, np.bool_)
    for row, col, part, codes in monitor.compare(pair, prepared):
        strength[row : row + part.shape[0], col : col + part.shape[1]] = np.nan_to_num(part)
        changed[row : row + part.shape[0], col : col + part.shape[1]] = codes == CHANGED
    with np.errstate(invalid="ignore"):
        rule = summer_ndvi(blocks, 2017) - summer_ndvi(blocks, 2019) >= FALL
    crop = Crop(0, 0, one.grid.shape[0], 3)
    before, after = (false_colours(block.data, block.bands, crop) for block in (one, two))
    grey = (255 * np.clip(strength / (3 * prepared.threshold), 0, 1)).astype(np.uint8)
    light = Image.fromarray(grey).convert("RGB").resize(after.size, Image.Resampling.NEAREST)
    decided = after.copy()
    outline(decided, changed, FOUND, crop.zoom)
    outline(decided, rule, TRUTH, crop.zoom)
    both = int((changed & rule).sum())
    return beside(
        [before, after, light, decided],
        [
            f"before: {one.acquired:%Y-%m-%d}",
            f"after: {two.acquired:%Y-%m-%d}",
            f"strength, white: {3 * prepared.threshold:.1f} and more",
            f"decision at {prepared.threshold:.2f} (blue), rule (yellow)",
        ],
        f"Sentinel-2 over forest in Romania, 1 km wide: {'; '.join(prepared.words)}; threshold of strength "
        f"{prepared.threshold:.2f}. Of {int(changed.sum())} pixels "
        f"called changed, {both} are among the {int(rule.sum())} that a plain rule calls cut (median summer NDVI at "
        f"least {FALL} lower in 2019 than in 2017).",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.detector_pictures", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the pictures are written")
    parser.add_argument("--folder", type=Path, help="where the simulated area is kept, and taken from if it is there")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    area = load(given.seed, given.folder)
    save(area_picture(area), given.out / "area.png")
    save(series_picture(area), given.out / "series.png")
    save(decoy_picture(area), given.out / "set-aside.png")
    save(failure_picture(area), given.out / "failures.png")
    save(pair_picture(), given.out / "pair.png")
    return 0


if __name__ == "__main__":
    # By its own name, so that what is pickled can be read by others.
    raise SystemExit(main())
