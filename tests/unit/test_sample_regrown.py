"""The recipe "regrown" of the simulated sample: a known share of what an opencast took grows green again."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sample.planting_regrown import OPENED, REGROWN, REGROWS, SHARES
from app.sample.regrowth import Regrowth, regrown
from app.sample.render import ground_reflectance
from app.sample.spectra import BANDS, MATERIALS
from app.sample.truth import properties
from app.sample.world import World, build_world
from app.settings import REPOSITORY

DIVISIONS = REPOSITORY / "sample" / "jilin" / "divisions.geojson"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(5, DIVISIONS, 240, 3.2, "regrown")


def ndvi(ground: np.ndarray) -> np.ndarray:
    red, nir = ground[BANDS.index("red")], ground[BANDS.index("nir")]
    return (nir - red) / (nir + red)


def test_each_site_is_bare_and_then_green_to_its_share(world: World) -> None:
    assert tuple(change.regrowth.share for change in world.changes if change.regrowth) == SHARES
    before, bare, after = (ndvi(ground_reflectance(world, date(year, 8, 20))) for year in (2023, 2024, 2025))
    for change, share in zip(world.changes, SHARES, strict=True):
        whole = change.cover > 0.99
        green, lost, back = (float(np.median(plane[change.window][whole])) for plane in (before, bare, after))
        assert green > 0.8 and lost < 0.15, change.key
        assert (back - lost) / (green - lost) == pytest.approx(share, abs=0.04), change.key
    told = properties(world, 2, world.changes[1])["regrowth"]
    assert told == {"share": 0.3, "starts": REGROWS.isoformat(), "until": REGROWN.isoformat()}
    assert world.history_until == OPENED - timedelta(days=1)
    plain = build_world(5, DIVISIONS, 240)
    assert "regrowth" not in properties(plain, 1, plain.changes[0])


def test_the_share_grows_by_even_steps() -> None:
    growth = Regrowth(0.6, date(2025, 1, 1), date(2025, 1, 11))
    days = (date(2024, 6, 1), date(2025, 1, 1), date(2025, 1, 6), date(2025, 1, 11), date(2026, 1, 1))
    assert [growth.on(day) for day in days] == pytest.approx([0, 0, 0.3, 0.6, 0.6])


@given(
    st.sampled_from(("spoil", "ore", "quarry_face", "forest_soil")),
    st.sampled_from(("broadleaf_summer", "conifer_summer", "broadleaf_bare", "meadow_dormant")),
    st.floats(0, 1),
)
def test_the_mixture_has_the_ndvi_that_was_asked_for(ground: str, plants: str, share: float) -> None:
    painted, before = (np.append(MATERIALS[name], 0.5)[None, None].astype(np.float32) for name in (ground, plants))
    mixed = regrown(painted, before, share)
    low, high = ndvi(painted[0, 0, :5]), ndvi(before[0, 0, :5])
    assert ndvi(mixed[0, 0, :5]) == pytest.approx(low + share * (high - low), abs=1e-3)
    assert np.all(mixed >= np.minimum(painted, before) - 1e-6) and np.all(mixed <= np.maximum(painted, before) + 1e-6)


def test_a_series_too_short_for_a_summer_before_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a series that begins by 2023-05-01"):
        build_world(5, DIVISIONS, 240, 2, "regrown")
