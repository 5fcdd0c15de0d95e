"""Reference systems, zones and offsets, on arrays of coordinates. No files and no database."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from app.boundaries.coordinates import Placing, Zone, settle, zone_of
from app.boundaries.offsets import (
    Coordinates,
    bd09_from_gcj02,
    bd09_from_wgs84,
    detect_offset,
    gcj02_from_bd09,
    gcj02_from_wgs84,
    wgs84_from_bd09,
    wgs84_from_gcj02,
)
from app.foundation.errors import Invalid

# A centimetre of latitude.
CENTIMETRE = 0.01 / 111_320
places = st.tuples(st.floats(73.5, 134.9), st.floats(18.0, 53.5))


def at(*xy: tuple[float, float]) -> Coordinates:
    return np.array(xy, dtype=np.float64)


def projected(code: int, *xy: tuple[float, float]) -> Coordinates:
    forward = Transformer.from_crs("EPSG:4490", code, always_xy=True)
    return np.column_stack(forward.transform(*at(*xy).T))


def placed(sample: Coordinates, code: int, **options: Any) -> Placing:
    return settle(sample, CRS.from_epsg(code), **options)


# Gauss-Krüger zones


@pytest.mark.parametrize("zone", [Zone(number) for number in (*range(25, 46), *range(13, 24))], ids=str)
def test_a_zone_is_that_of_the_register(zone: Zone) -> None:
    crs = CRS.from_epsg(zone.epsg)
    operation = crs.coordinate_operation
    assert operation is not None
    told = {parameter.code: parameter.value for parameter in operation.params}
    assert (told["8802"], told["8806"]) == (zone.meridian, zone.number * 1e6 + 500_000)
    assert zone_of(at((told["8806"], 0))[:, 0]) == zone


@given(st.integers(75, 135), st.floats(-1.4, 1.4), st.floats(18.0, 53.0), st.booleans(), st.booleans(), st.booleans())
def test_every_zone_is_read_right_whatever_is_declared(
    meridian: int, beside: float, latitude: float, wide: bool, prefixed: bool, declared_prefixed: bool
) -> None:
    """Any pair of what the file declares and what its eastings are, in 3 and in 6 degree zones."""
    step = 6 if wide else 3
    meridian = 75 + (meridian - 75) // step * step
    index = (meridian - 75) // step
    with_number, without = (4491 + index, 4502 + index) if wide else (4513 + index, 4534 + index)
    where = (meridian + beside, latitude)
    sample = projected(with_number if prefixed else without, where)
    placing = placed(sample, with_number if declared_prefixed else without)
    assert np.abs(placing.apply(sample) - at(where)).max() < CENTIMETRE
    assert bool(placing.warnings) == (prefixed != declared_prefixed)
    assert not placing.outside_zone(sample).any()
    # The same numbers the other way round are found out, or read right when that is said.
    with pytest.raises(Invalid, match="northing stands before the easting"):
        placed(sample[:, ::-1], with_number if declared_prefixed else without)
    swapped = placed(sample[:, ::-1], with_number if declared_prefixed else without, axis_order="yx")
    assert np.abs(swapped.apply(sample[:, ::-1]) - at(where)).max() < CENTIMETRE


def test_eastings_of_another_zone_than_the_declared_one() -> None:
    sample = projected(4530, (126.2, 43.0))  # zone 42, 126 E
    for declared in (4549, 4528):  # 120 E without and with its number
        with pytest.raises(Invalid, match=r"eastings begin with 42.*EPSG:4530"):
            placed(sample, declared)


def test_a_file_of_two_zones() -> None:
    sample = np.concatenate((projected(4530, (126.2, 43.0), (126.3, 43.0)), projected(4531, (129.2, 43.0))))
    assert placed(sample, 4530).outside_zone(sample).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        (projected(4530, (126.2, 43.0)), "crs=EPSG:4530"),
        (projected(4530, (126.2, 43.0))[:, ::-1], "crs=EPSG:4530 and axis_order=yx"),
        (projected(4499, (123.2, 43.0)), "crs=EPSG:4499"),
        (at((126.2, 43.0)), "crs=EPSG:4490"),
        (projected(3857, (127.0, 43.0)), "Web Mercator"),
        (projected(4551, (126.2, 43.0)), "EPSG:4549 for a Gauss-Krüger zone"),
    ],
)
def test_without_a_declaration_a_code_is_proposed_and_not_assumed(sample: Coordinates, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        settle(sample, None)
    assert told in caught.value.detail


@pytest.mark.parametrize(
    ("sample", "code", "told"),
    [
        (at((126.2, 43.0)), 32650, "its numbers are degrees"),
        (at((126.2, 43.0)), 4549, "its numbers are degrees"),
        (projected(4530, (126.2, 43.0)), 4490, "its numbers are metres"),
        (at((43.0, 126.2)), 4490, "latitude stands before its longitude"),
        (at((126.2, 43.0)), 4610, "no public transformation from Xian 1980"),
        (at((126.2, 43.0)), 4214, "no public transformation from Beijing 1954"),
    ],
)
def test_declarations_that_cannot_be(sample: Coordinates, code: int, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        placed(sample, code)


def test_swapped_as_asked_and_in_vain() -> None:
    placing = placed(at((43.0, 126.2)), 4490, axis_order="yx")
    assert placing.apply(at((43.0, 126.2))).tolist() == [[126.2, 43.0]]
    with pytest.raises(Invalid, match="leave axis_order=yx out"):
        placed(at((126.2, 43.0)), 4490, axis_order="yx")
    with pytest.raises(Invalid, match="axis order"):
        placed(at((126.2, 43.0)), 4490, axis_order="up")


# Offsets


def test_the_formulas_give_what_their_sources_publish() -> None:
    """coordtransform's README (116.404, 39.915), eviltransform's tests (Shanghai, Shenzhen, Beijing)."""
    beijing = at((116.404, 39.915))
    published = [
        (gcj02_from_wgs84, beijing, (116.41024449916938, 39.91640428150164)),
        (bd09_from_gcj02, beijing, (116.41036949371029, 39.92133699351021)),
        (gcj02_from_wgs84, at((121.5272106, 31.1774276)), (121.531541859215, 31.17530398364597)),
        (gcj02_from_wgs84, at((113.912316, 22.543847)), (113.9171764808363, 22.540796131694766)),
        (gcj02_from_wgs84, at((116.377817, 39.911954)), (116.38404722455657, 39.91334545536069)),
    ]
    for function, given_, expected in published:
        assert np.abs(function(given_) - at(expected)).max() < 1e-9


@given(st.lists(places, min_size=1, max_size=20))
def test_offsets_there_and_back(xy: list[tuple[float, float]]) -> None:
    for forward, backward in (
        (gcj02_from_wgs84, wgs84_from_gcj02),
        (bd09_from_gcj02, gcj02_from_bd09),
        (bd09_from_wgs84, wgs84_from_bd09),
    ):
        there = forward(at(*xy))
        assert np.abs(backward(there) - at(*xy)).max() < CENTIMETRE
        # The offset is there, and no more than that of a web map.
        moved = np.linalg.norm((there - at(*xy)) * 111_320, axis=1)
        assert ((moved > 5) & (moved < 2_500)).all()


def fields(random: np.random.Generator, count: int, west: float = 126.0) -> Any:
    """Irregular polygons of some kilometres, apart from each other."""
    made = []
    for index in range(count):
        x, y = west + 0.08 * (index % 10), 42.0 + 0.08 * (index // 10)
        angles = np.sort(random.uniform(0, 2 * np.pi, 24))
        radii = random.uniform(0.015, 0.03, 24)
        made.append(shapely.Polygon(np.column_stack((x + radii * np.cos(angles), y + radii * np.sin(angles)))))
    return np.array(made, dtype=object)


OFFSETS: dict[str, Any] = {"none": lambda xy: xy, "gcj02": gcj02_from_wgs84, "bd09": bd09_from_wgs84}


def redrawn(xy: Coordinates, metres: float) -> Coordinates:
    """What a corner is moved by when it is drawn again: the same for the same corner, so that rings stay closed."""
    return np.column_stack((np.sin(xy[:, 0] * 1e6), np.sin(xy[:, 1] * 1e6))) * metres / 111_320


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(OFFSETS)), st.floats(0, 15), st.floats(0, 0.5))
def test_an_offset_is_found_against_the_version_before(seed: int, offset: str, noise_m: float, adjusted: float) -> None:
    """Whatever part of the layer was adjusted meanwhile, and however the rest was drawn again."""
    random = np.random.default_rng(seed)
    before = fields(random, 30)
    after = np.where(random.random(30) < adjusted, fields(random, 30), before)
    drawn = shapely.transform(after, lambda xy: xy + redrawn(xy, noise_m))
    found = detect_offset(shapely.transform(drawn, OFFSETS[offset]), before)
    assert found.verdict == offset


@pytest.mark.parametrize("offset", sorted(OFFSETS))
def test_an_offset_is_found_by_shared_borders(offset: str) -> None:
    """Patches cut at a county's border follow it with a part of their corners."""
    random = np.random.default_rng(3)
    angles = np.linspace(0, 2 * np.pi, 2_000, endpoint=False)
    radii = 0.3 + 0.02 * np.sin(9 * angles) + 0.01 * np.sin(31 * angles)
    county = shapely.Polygon(np.column_stack((126.4 + radii * np.cos(angles), 42.3 + radii * np.sin(angles))))
    patches = shapely.intersection(fields(random, 80), county)
    patches = patches[~shapely.is_empty(patches)]
    found = detect_offset(shapely.transform(patches, OFFSETS[offset]), np.array([county], dtype=object))
    assert found.verdict == offset


def test_what_shares_no_border_stays_undetermined() -> None:
    random = np.random.default_rng(5)
    before = fields(random, 30)
    elsewhere = [
        fields(random, 30),  # drawn anew
        shapely.transform(before, lambda xy: np.add(xy, (0.004, -0.004))),  # moved by some other amount
        fields(random, 30, west=100.0),  # far away
        before[:0],
    ]
    for after in elsewhere:
        found = detect_offset(after, before)
        assert found.verdict == "undetermined"
        assert found.why
