"""Pictures of a site, on files: where the outline lies, that both are stretched alike, what is hatched, what fails."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from PIL import Image
from pyproj import Transformer

from app.foundation.errors import Busy
from app.imagery import chip_choice, chips
from app.imagery.acquisitions import Acquisition
from app.imagery.chip_choice import Moment, NoImage, Shares, Side, choose, day_of, in_order, season_gap, site_shares
from app.imagery.chip_drawing import Caption, bar_length
from app.imagery.chips import Chip, NoBands, Style, render, styles_of
from app.imagery.frames import Frame, frame_of, utm_zone
from app.imagery.keeping import Kept
from app.imagery.looks import Square, read_look
from app.imagery.quality import CLEAR as IS_CLEAR
from app.imagery.quality import NOTHING
from app.imagery.refs import MASK, AssetRef, SceneReadError
from tests.chip_files import CLOUD, FILL, SNOW, Picture, ground, look_of, write_scene
from tests.series import CRS, ORIGIN

SITE = ground(44, 44, 56, 56)
BARE_SITE = (slice(44, 56), slice(44, 56))
DAY = date(2024, 6, 1)
CAPTION = Caption("after", DAY, "sentinel-2a / test", "credit", 1.0, False)


def drawn(
    frame: Frame, acquisition: Acquisition, *pair: Acquisition, style: Style = Style.true_colour, size: int = 512,
    caption: Caption = CAPTION,
) -> NDArray[np.int16]:  # fmt: skip
    png = render(Chip(frame, acquisition, pair, style, size, caption))
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG" and image.size == (size, size)
    return np.asarray(image.convert("RGB")).astype(np.int16)


def at(frame: Frame, size: int, column: float, row: float) -> tuple[int, int]:
    """Where in a picture (y, x) a place of the scenes lies, by its pixels of 10 m."""
    west, _, _, north = frame.bounds
    x, y = ORIGIN[0] + 10 * column, ORIGIN[1] - 10 * row
    return int((north - y) / frame.side_m * size), int((x - west) / frame.side_m * size)


@pytest.fixture
def before(tmp_path: Path) -> Acquisition:
    return look_of(write_scene(tmp_path / "s", date(2023, 6, 1), Picture()))


@pytest.fixture
def after(tmp_path: Path) -> Acquisition:
    return look_of(write_scene(tmp_path / "s", DAY, Picture(bare=BARE_SITE)))


def test_a_frame_is_square_wide_enough_and_on_the_pixels() -> None:
    frame = frame_of(SITE)
    west, south, east, north = frame.bounds
    assert frame.crs == CRS
    assert east - west == north - south and 600 <= frame.side_m <= 640
    assert {edge % 20 for edge in frame.bounds} == {0}
    large = frame_of(ground(0, 0, 1000, 200))
    assert 30_000 <= large.side_m <= 30_060, "three times 10 km"
    assert large.site.within(shapely.box(*large.bounds))
    tiny = frame_of(ground(50.2, 50.2, 50.3, 50.3))
    assert 600 <= tiny.side_m <= 640


@pytest.mark.parametrize(
    ("longitude", "latitude", "crs"),
    [(125.99, 43, "EPSG:32651"), (126.0, 43, "EPSG:32652"), (180.0, -1, "EPSG:32760"), (-180.0, 0, "EPSG:32601")],
)
def test_a_place_has_its_zone(longitude: float, latitude: float, crs: str) -> None:
    assert utm_zone(longitude, latitude) == crs


def test_the_outline_is_where_the_polygon_is(after: Acquisition) -> None:
    hole = ground(48, 48, 52, 52)
    frame = frame_of(SITE.difference(hole))
    picture = drawn(frame, after)
    for column, row in ((44, 50), (56, 50), (50, 44), (50, 56), (48, 50), (50, 52)):
        y, x = at(frame, 512, column, row)
        near = picture[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
        assert (near.min(axis=1) > 240).any(), f"white at {column}, {row}"
    cased = picture[at(frame, 512, 44, 50)[0], at(frame, 512, 44, 50)[1] - 4 : at(frame, 512, 44, 50)[1] + 5]
    assert (cased.max(axis=1) < 60).sum() >= 2, "dark on both sides of the white"
    y, x = at(frame, 512, 46, 46.6)
    assert np.ptp(picture[y - 4 : y + 5, x - 4 : x + 5].reshape(-1, 3), axis=0).max() < 30, "nothing is drawn within"


@pytest.mark.parametrize("style", list(Style))
def test_what_did_not_change_has_the_same_colours(before: Acquisition, after: Acquisition, style: Style) -> None:
    frame = frame_of(SITE)
    first = drawn(frame, before, before, after, style=style)
    second = drawn(frame, after, before, after, style=style)
    y0, x0 = at(frame, 512, 30, 30)
    y1, x1 = at(frame, 512, 70, 41)
    assert np.array_equal(first[y0:y1, x0:x1], second[y0:y1, x0:x1])
    middle = at(frame, 512, 50, 50)
    assert np.abs(first[middle] - second[middle]).max() > 60, "the change is seen"
    if style is Style.true_colour:
        assert second[middle].min() > first[middle].max(), "bare ground is brighter than forest"
    alone = drawn(frame, before, before, style=style)
    same = np.array_equal(alone[y0:y1, x0:x1], first[y0:y1, x0:x1])
    assert same == (style is Style.vegetation), "an index has one scale; colours are stretched by both images"


def test_numbers_are_reflectance_before_they_are_compared(tmp_path: Path, before: Acquisition) -> None:
    """Scale and offset differ by processing baseline: the same ground is the same picture."""
    shifted = write_scene(tmp_path / "shifted", DAY, Picture())
    for name, asset in list(shifted.assets.items()):
        if name != MASK:
            _add(Path(asset.href), 1000)
    assets = {n: a if n == MASK else replace(a, offset=-0.1) for n, a in shifted.assets.items()}
    other = look_of(replace(shifted, assets=assets))
    frame = frame_of(SITE)
    assert np.array_equal(drawn(frame, before, before, other), drawn(frame, other, before, other))


def _add(path: Path, number: int) -> None:
    with rasterio.open(path, "r+") as file:
        file.write(file.read(1) + number, 1)


@pytest.mark.parametrize("size", [64, 256, 512, 1000])
def test_the_scale_bar_is_as_long_as_it_says(after: Acquisition, size: int) -> None:
    frame = frame_of(SITE)
    metres = bar_length(frame.side_m)
    assert metres in (100, 200, 500) and metres <= 0.3 * frame.side_m
    picture = drawn(frame, after, size=size)
    white = (picture == 255).all(axis=2)[size // 2 :, : size // 2]
    runs = [_longest_run(row) for row in white]
    assert abs(max(runs) - metres / frame.side_m * size) <= 1


def _longest_run(row: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


@pytest.mark.parametrize(("side_m", "metres"), [(600, 100), (700, 200), (2000, 500), (30_000, 5000), (6.7, 2)])
def test_scale_bars_are_round(side_m: float, metres: float) -> None:
    assert bar_length(side_m) == metres


def test_cloud_is_hatched_and_what_is_missing_is_grey(tmp_path: Path) -> None:
    cloud, gone = (slice(22, 40), slice(22, 50)), (slice(60, 75), slice(22, 50))
    scene = look_of(write_scene(tmp_path / "s", DAY, Picture(masked={CLOUD: cloud, FILL: gone})))
    frame = frame_of(SITE)
    picture = drawn(frame, scene)

    def part(left: float, top: float, right: float, bottom: float) -> NDArray[np.int16]:
        (y0, x0), (y1, x1) = at(frame, 512, left, top), at(frame, 512, right, bottom)
        return picture[y0:y1, x0:x1]

    clear, cloudy, missing = part(60, 30, 74, 40), part(26, 30, 42, 39), part(30, 62, 42, 68)
    assert clear.std(axis=(0, 1)).max() < 20
    stripes = (cloudy.max(axis=2) < 45) & (cloudy.std(axis=2) < 8)
    assert 0.08 < stripes.mean() < 0.2, "one line in eight"
    assert (np.abs(missing - 128).max(axis=2) <= 1).mean() > 0.7
    assert ((missing.max(axis=2) < 60).mean() > 0.08) and (np.abs(clear - 128).max(axis=2) > 5).all()


def test_snow_is_shown_in_colours_and_hatched_in_the_index(tmp_path: Path) -> None:
    place = (slice(20, 44), slice(20, 80))
    snowy = look_of(write_scene(tmp_path / "s", DAY, Picture(masked={SNOW: place})))
    clear = look_of(write_scene(tmp_path / "c", DAY, Picture()))
    frame = frame_of(SITE)
    (y0, x0), (y1, x1) = at(frame, 512, 30, 30), at(frame, 512, 70, 42)

    def same(style: Style) -> bool:
        one, other = (drawn(frame, scene, clear, style=style) for scene in (snowy, clear))
        return np.array_equal(one[y0:y1, x0:x1], other[y0:y1, x0:x1])

    assert same(Style.true_colour)
    assert not same(Style.vegetation)


def test_a_narrow_site_is_not_hidden_by_its_outline(tmp_path: Path) -> None:
    road, row = ground(10, 49.5, 90, 50.5), (slice(49, 51), slice(10, 90))
    bare = look_of(write_scene(tmp_path / "bare", DAY, Picture(bare=row)))
    forest = look_of(write_scene(tmp_path / "forest", DAY, Picture()))
    frame = frame_of(road)
    y, x = at(frame, 512, 50, 50)
    with_road, without = (drawn(frame, image, bare, forest)[y, x - 60 : x + 60] for image in (bare, forest))
    assert np.abs(with_road - without).max(axis=1).min() > 60, "the road is seen within its outline"
    column = drawn(frame, bare, bare, forest)[y - 16 : y + 16, x]
    assert (column.min(axis=1) > 240).any(), "which is there"


def test_simulated_pictures_say_so_at_every_size(after: Acquisition) -> None:
    frame = frame_of(SITE)
    for size in (64, 512):
        real = drawn(frame, after, size=size)
        made = drawn(frame, after, size=size, caption=replace(CAPTION, simulated=True))
        edge = np.concatenate([made[0], made[-1], made[:, 0], made[:, -1]])
        assert (edge == (255, 176, 0)).all()
        assert not (real[0] == (255, 176, 0)).all(axis=1).any()
        if size == 512:
            # Words stand clear of the frame: of 3 pixels, then 4.
            inner = np.concatenate(
                [made[3:7, 7:-7].reshape(-1, 3), made[-7:-3, 7:-7].reshape(-1, 3), made[3:30, 3:7].reshape(-1, 3)]
            )
            assert not (inner.min(axis=1) > 200).any() and not (np.abs(inner - (255, 176, 0)).max(axis=1) < 40).any()
    told = Image.open(io.BytesIO(render(Chip(frame, after, (), Style.vegetation, 64, CAPTION)))).text
    assert told["Acquired on"] == "2024-06-01" and told["Copyright"] == "credit" and told["Colours"] == "NDVI 0 to 1"


def test_two_files_of_one_acquisition_fill_each_other(tmp_path: Path) -> None:
    """A site on the border of two UTM zones: the image is made of both, and none of it is missing."""
    left = write_scene(tmp_path / "left", DAY, Picture(size=100))
    east = "EPSG:32651"
    corner = shapely.transform(
        shapely.Point(ORIGIN), lambda xy: np.column_stack(_move(CRS, east, xy[:, 0] + 450, xy[:, 1]))
    )
    origin = (round(corner.x, -1), round(corner.y + 200, -1))
    right = write_scene(tmp_path / "right", DAY, Picture(size=160, crs=east, origin=origin))
    half = Picture(size=100, masked={FILL: (slice(0, 100), slice(50, 100))})
    left = write_scene(tmp_path / "left", DAY, half)
    frame = frame_of(SITE)
    square = Square(frame.crs, frame.bounds, frame.cells(512))
    alone = read_look(look_of(left), square, ("red",))
    both = read_look(look_of(right, left), square, ("red",))
    assert (alone.quality == NOTHING).mean() == pytest.approx(0.5, abs=0.05)
    assert (both.quality == IS_CLEAR).all()
    seen = alone.quality == IS_CLEAR
    assert np.array_equal(both.data[:, seen], alone.data[:, seen]), "pixels of its own zone come first, unwarped"
    assert both.data.min() > 0.02 and both.data.max() < 0.04


def _move(source: str, target: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> object:
    return Transformer.from_crs(source, target, always_xy=True).transform(x, y)


def test_a_part_that_no_file_covers_is_missing(tmp_path: Path) -> None:
    small = look_of(write_scene(tmp_path / "s", DAY, Picture(size=50)))
    frame = frame_of(SITE)
    assert site_shares(small, frame).site == pytest.approx(0.25, abs=0.05)
    picture = drawn(frame, small)
    y, x = at(frame, 512, 70, 65)
    assert (np.abs(picture[y - 9 : y + 9, x - 9 : x + 9] - 128).max(axis=2) <= 1).mean() > 0.7
    far = frame_of(ground(5000, 5000, 5010, 5010))
    assert site_shares(small, far).seen == 0


@pytest.mark.parametrize("masked", [True, False])
def test_a_mask_is_needed_where_there_is_one(tmp_path: Path, masked: bool) -> None:
    scene = write_scene(tmp_path / "s", DAY, Picture(masked={CLOUD: BARE_SITE}), masked=masked)
    frame = frame_of(SITE)
    assert site_shares(look_of(scene), frame).site == (0.0 if masked else 1.0)
    if masked:
        bare = replace(scene, assets={n: a for n, a in scene.assets.items() if n != MASK}, digest="other")
        with pytest.raises(SceneReadError, match="no mask"):
            site_shares(look_of(bare), frame)


@pytest.mark.parametrize("cells", [1, 4])
def test_a_huge_site_is_thinned_out_and_its_nodata_left_out(tmp_path: Path, cells: int) -> None:
    """Also where only the catalogue says which number is none."""
    scene = write_scene(tmp_path / "s", DAY, Picture(size=100, bands=("red",)))
    planes = Path(scene.assets["red"].href)
    with rasterio.open(planes, "r+") as file:
        numbers = np.full((100, 100), 3000, np.uint16)
        numbers[::3] = 0
        file.write(numbers, 1)
    x, y = ORIGIN
    look = read_look(look_of(scene), Square(CRS, (x, y - 1000, x + 1000, y), cells, thinned=True), ("red",))
    assert look.data == pytest.approx(0.3, abs=1e-4)


def test_sizes_and_sites_of_every_kind_give_a_picture(after: Acquisition) -> None:
    for site in (ground(50.2, 50.2, 50.3, 50.3), ground(0, 0, 1000, 1000), ground(48, 10, 49, 90)):
        frame = frame_of(site)
        for size in (64, 300, 1024):
            assert drawn(frame, after, size=size).std() > 0


def test_styles_are_those_that_all_images_have_bands_for(tmp_path: Path, after: Acquisition) -> None:
    frame = frame_of(SITE)
    grey = look_of(write_scene(tmp_path / "g", DAY, Picture(bands=("red",))))
    four = look_of(write_scene(tmp_path / "f", DAY, Picture(bands=("red", "green", "nir"))))
    assert styles_of(frame, [after]) == list(Style)
    assert styles_of(frame, [after, four]) == [Style.false_colour, Style.vegetation]
    assert styles_of(frame, [after, grey]) == []
    with pytest.raises(NoBands):
        drawn(frame, after, grey)


@pytest.mark.parametrize("fault", ["gone", "corrupt", "short"])
def test_a_file_that_cannot_be_read_is_named_without_its_path(tmp_path: Path, fault: str) -> None:
    scene = write_scene(tmp_path / "s", DAY, Picture())
    path = Path(scene.assets["green"].href)
    match fault:
        case "gone":
            path.unlink()
        case "corrupt":
            path.write_bytes(b"II*\0" + b"\xff" * 400)
        case "short":
            path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SceneReadError) as caught:
        drawn(frame_of(SITE), look_of(scene))
    assert caught.value.asset == "green" and str(tmp_path) not in str(caught.value)


def test_before_is_of_the_same_season_and_otherwise_near(tmp_path: Path) -> None:
    days = [date(2022, 7, 1), date(2023, 6, 10), date(2023, 11, 20), date(2024, 2, 20), date(2024, 4, 20)]
    made = [look_of(write_scene(tmp_path / "s", day, Picture(size=2))) for day in days]
    spring = Moment(date(2024, 4, 20), Side.before, date(2024, 5, 20))
    order = [day_of(look) for look in in_order(made, spring)]
    assert order == [date(2024, 4, 20), date(2023, 6, 10), date(2022, 7, 1), date(2024, 2, 20), date(2023, 11, 20)]
    winter = Moment(date(2024, 3, 1), Side.before, date(2024, 6, 1))
    assert day_of(in_order(made, winter)[0]) == date(2023, 6, 10), "not the winter just past"
    after = Moment(date(2023, 6, 1), Side.after, date(2023, 11, 25))
    assert [day_of(look) for look in in_order(made, after)] == [*days[2:4], days[4], days[1]]
    assert season_gap(date(2023, 12, 31), date(2024, 1, 1)) == 1


def test_the_clearest_is_chosen_by_the_sites_own_pixels(tmp_path: Path) -> None:
    frame = frame_of(SITE)
    everywhere, most, half = slice(0, 100), (slice(44, 52), slice(44, 56)), (slice(44, 49), slice(44, 56))
    pictures = {
        date(2024, 6, 2): Picture(masked={CLOUD: most}),
        date(2024, 6, 7): Picture(masked={CLOUD: half}),
        date(2024, 6, 12): Picture(masked={CLOUD: (everywhere, slice(0, 40))}),
        date(2024, 6, 17): Picture(),
    }
    looks = [look_of(write_scene(tmp_path / "s", day, picture)) for day, picture in pictures.items()]
    moment = Moment(DAY, Side.after, DAY)
    assert day_of(choose(looks, moment, frame).acquisition) == date(2024, 6, 17), "the one before is cloudy around"
    assert day_of(choose(looks[:3], moment, frame).acquisition) == date(2024, 6, 12)
    partly = choose(looks[:2], moment, frame)
    assert day_of(partly.acquisition) == date(2024, 6, 7) and 0.5 < partly.clear_share < 0.7
    with pytest.raises(NoImage, match=r"No image between 2024-06-01 and 2025-06-02 .* 3\d% of it, on 2024-06-02"):
        choose(looks[:1], moment, frame)
    with pytest.raises(NoImage, match="There is no image"):
        choose([], moment, frame)
    broken = write_scene(tmp_path / "b", date(2024, 6, 1), Picture())
    Path(broken.assets[MASK].href).unlink()
    passed = choose([look_of(broken), *looks], moment, frame)
    assert day_of(passed.acquisition) == date(2024, 6, 17) and passed.unreadable[0].asset == MASK


def test_of_servers_that_are_silent_few_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [date(2024, 6, day) for day in range(2, 12)]
    looks = [look_of(write_scene(tmp_path / "s", day, Picture(size=2))) for day in days]
    asked: list[date] = []

    def silent(acquisition: Acquisition, _: Frame) -> Shares:
        asked.append(day_of(acquisition))
        raise SceneReadError("s", MASK, "its server failed 2 times", transient=len(asked) != 2)

    monkeypatch.setattr(chip_choice, "site_shares", silent)
    with pytest.raises(NoImage) as caught:
        choose(looks, Moment(DAY, Side.after, DAY), frame_of(SITE))
    assert asked == days[:4] and len(caught.value.unreadable) == 4, "the second was broken, and cost nothing"


def test_what_is_kept_is_bounded() -> None:
    kept: Kept[str] = Kept(10)
    kept.put("a", "1", 4)
    kept.put("b", "2", 4)
    assert kept.get("a") == "1"
    kept.put("c", "3", 4)
    assert [kept.get(key) for key in "abc"] == ["1", None, "3"], "what was used last stays"
    kept.put("a", "4", 6)
    kept.put("d", "5", 11)
    assert [kept.get(key) for key in "acd"] == [None, None, None]
    kept.put("e", "6", 10)
    assert kept.get("e") == "6"


def test_a_picture_waits_for_a_place_and_not_for_ever(after: Acquisition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chips, "_places", threading.BoundedSemaphore(1))
    monkeypatch.setattr(chips, "_PATIENCE_S", 0.01)
    frame = frame_of(SITE)
    with chips._place(), pytest.raises(Busy):
        drawn(frame, after, size=65)
    drawn(frame, after, size=65)


def test_an_asset_with_an_impossible_nodata_is_read(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s", DAY, Picture())
    odd = {n: a if n == MASK else AssetRef(a.href, a.scale, nodata=-9999.0) for n, a in scene.assets.items()}
    assert drawn(frame_of(SITE), look_of(replace(scene, assets=odd))).std() > 0
