"""The bitemporal monitor on pairs with known change."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from detectors.kernels import bitemporal_fields as fields
from detectors.kernels.bitemporal_scale import shift_between
from detectors.monitors.bitemporal import Bitemporal, BitemporalParameters, Prepared
from detectors.pairs import ArrayPair, Pair, PairRefused
from detectors.types import Bools, Codes, Floats

SIZE = 128


def ground(seed: int, moved: tuple[float, float] = (0.0, 0.0)) -> tuple[Floats, Floats, Bools]:
    """Fields, woods and water of two seasons in four bands, and where new ground was opened (a tenth or less)."""
    rng = np.random.default_rng(seed)
    big = SIZE + 20
    patches = ndimage.gaussian_filter(rng.standard_normal((big, big)), 6)
    kinds = np.digitize(patches / patches.std(), (-1.2, -0.4, 0.3, 1.0))
    spring = np.array([[300, 400, 900, 1500, 700], [350, 600, 1000, 1300, 900], [300, 500, 1300, 900, 1200],
                       [200, 2500, 1800, 3000, 2200]], np.float32)  # fmt: skip
    autumn = np.array([[280, 600, 700, 1100, 900], [320, 500, 800, 1500, 700], [250, 900, 1000, 600, 1500],
                       [220, 1500, 2600, 1800, 3100]], np.float32)  # fmt: skip
    texture = 1 + 0.05 * ndimage.gaussian_filter(rng.standard_normal((big, big)), 1.5) * 4
    changed = np.zeros((big, big), np.bool_)
    for _ in range(6):
        row, col = rng.integers(15, big - 45, 2)
        height, width = rng.integers(8, 20, 2)
        changed[row : row + height, col : col + width] = True
    after = np.where(changed, np.array([1600, 1900, 2300, 2700], np.float32)[:, None, None], autumn[:, kinds]) * texture
    before = spring[:, kinds] * texture
    after = ndimage.shift(after, (0, *moved), order=3, mode="nearest")
    inside = np.s_[10:-10, 10:-10]
    first, second = before[:, *inside], after[:, *inside]
    first = first + rng.normal(0, 25, first.shape)
    second = second + rng.normal(0, 25, second.shape)
    return first.astype(np.float32), second.astype(np.float32), changed[inside]


def decided(pair: Pair, monitor: Bitemporal | None = None) -> tuple[Prepared, Floats, Codes]:
    """The whole map; every pixel must come exactly once."""
    monitor = monitor or Bitemporal()
    prepared = monitor.prepare(pair)
    strength, change = np.full(pair.grid.shape, -1, np.float32), np.full(pair.grid.shape, 9, np.uint8)
    order = []
    for row0, col0, part, codes in monitor.compare(pair, prepared):
        place = np.s_[row0 : row0 + codes.shape[0], col0 : col0 + codes.shape[1]]
        assert (change[place] == 9).all()
        strength[place], change[place] = part, codes
        order.append((row0, col0))
    assert order == sorted(order)
    assert not (change == 9).any()
    return prepared, strength, change


def f1(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    return float(2 * (found & true).sum() / max(1, found.sum() + true.sum()))


BEFORE, AFTER, TRUE = ground(1)


@pytest.fixture(scope="module")
def learned() -> tuple[Prepared, Floats, Codes]:
    return decided(ArrayPair(BEFORE, AFTER))


@pytest.fixture(scope="module")
def plain(learned: tuple[Prepared, Floats, Codes]) -> Codes:
    return learned[2]


def test_new_ground_is_found_between_two_seasons(plain: Codes) -> None:
    assert f1(plain == 2, TRUE) > 0.55


def test_it_is_found_without_a_common_band_or_scale() -> None:
    picture = np.clip(255 - AFTER[[0, 2]] / 12, 0, 255).round()
    assert f1(decided(ArrayPair(BEFORE[3], picture))[2] == 2, TRUE) > 0.7


def test_it_is_found_in_a_speckled_image() -> None:
    rng = np.random.default_rng(3)
    radar = 1e6 / (BEFORE[2:3] + 100).clip(50) * rng.gamma(4, 0.25, (1, SIZE, SIZE))
    prepared, _, change = decided(ArrayPair(radar.astype(np.float32), AFTER))
    assert prepared.scales[0].logarithm
    assert not prepared.scales[1].logarithm
    assert f1(change == 2, TRUE) > 0.4


@pytest.mark.parametrize("shift", [(0.3, -0.3), (1.5, 0.6), (-2.2, 0.0)])
def test_a_shift_is_measured(shift: tuple[float, float]) -> None:
    before, after, _ = ground(1, shift)
    seen = np.ones((SIZE, SIZE), np.bool_)
    scaled = [i / i.std(axis=(1, 2), keepdims=True) for i in (before, after)]
    assert shift_between([(scaled[0], scaled[1], seen)]) == pytest.approx(shift, abs=0.1)


def test_a_shift_is_mended() -> None:
    before, after, true = ground(1, (1.5, 0.6))
    prepared, _, change = decided(ArrayPair(before, after))
    assert prepared.shift == pytest.approx((1.5, 0.6), abs=0.1)
    assert f1(change == 2, true) > 0.55


def test_no_shift_is_made_up(learned: tuple[Prepared, Floats, Codes]) -> None:
    assert learned[0].shift == (0.0, 0.0)


def test_an_image_is_moved_by_what_it_was_shifted() -> None:
    y, x = np.mgrid[:40, :50].astype(np.float32)
    image, seen = np.sin(x / 5)[None] + np.cos(y / 7)[None], np.ones((40, 50), np.bool_)
    place = (1.4, -2.3)
    got, good = fields.moved(image, seen, place)
    wanted = np.sin((x + place[1]) / 5) + np.cos((y + place[0]) / 7)
    assert good[5:-5, 5:-5].all()
    assert not good[-1].any()
    assert np.abs(got[0] - wanted)[good].max() < 0.01


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("scale", BEFORE, AFTER * 1.02),
        ("offset and units", BEFORE / 10_000 - 0.01, AFTER),
        ("another band that says nothing", BEFORE, np.concatenate([AFTER, np.full((1, SIZE, SIZE), 7.0)])),
        ("the same band again", BEFORE, np.concatenate([AFTER, AFTER[:1]])),
    ],
)
def test_the_decision_does_not_hang_on(name: str, before: Floats, after: Floats, plain: Codes) -> None:
    change = decided(ArrayPair(before.astype(np.float32), after.astype(np.float32)))[2]
    assert (change == plain).mean() > 0.99, name


def test_an_image_has_not_changed_from_itself() -> None:
    assert not (decided(ArrayPair(BEFORE, BEFORE * 1.5 + 20))[2] == 2).any()


def test_swapped_images_change_alike(plain: Codes) -> None:
    assert (decided(ArrayPair(AFTER, BEFORE))[2] == plain).mean() > 0.99


def test_turned_and_mirrored_images_change_alike(plain: Codes) -> None:
    turned = decided(ArrayPair(np.rot90(BEFORE, axes=(1, 2)), np.rot90(AFTER, axes=(1, 2))))[2]
    assert (np.rot90(turned, -1) == plain).mean() > 0.985
    mirrored = decided(ArrayPair(BEFORE[:, :, ::-1], AFTER[:, :, ::-1]))[2]
    assert (mirrored[:, ::-1] == plain).mean() > 0.985


def test_blocks_do_not_show() -> None:
    before, after, _ = ground(2, (0.4, 0.2))
    pair = ArrayPair(before, after)
    whole = decided(pair)
    parts = decided(pair, Bitemporal(BitemporalParameters(block=64)))
    assert np.array_equal(whole[2], parts[2])
    assert np.allclose(whole[1], parts[1], rtol=1e-3, atol=1e-3, equal_nan=True)


def test_a_large_pair_is_compared_in_cells_with_a_decision_for_every_pixel() -> None:
    prepared, _, change = decided(
        ArrayPair(BEFORE[:, :-1, :-2], AFTER[:, :-1, :-2]),
        Bitemporal(BitemporalParameters(most_cells=10_000, block=70)),
    )
    assert prepared.cell == 2
    assert f1(change == 2, TRUE[:-1, :-2]) > 0.5


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, _ = ground(2, (0.8, 0.4))
    pair = ArrayPair(*(np.concatenate([i, i[:, ::-1], i], axis=1)[:, :-3] for i in (before, after)))
    monitor = Bitemporal(BitemporalParameters(cell=2))
    whole = decided(pair, monitor)
    monkeypatch.setattr("detectors.monitors.bitemporal.STRIP_PIXELS", 1)
    assert len(list(monitor.compare(pair, whole[0]))) > 2
    parts = decided(pair, monitor)
    assert np.array_equal(whole[2], parts[2])
    assert np.allclose(whole[1], parts[1], rtol=1e-3, atol=1e-3, equal_nan=True)


def test_no_data_stay_no_data_and_spoil_nothing_around(plain: Codes) -> None:
    hidden = np.zeros((SIZE, SIZE), np.bool_)
    hidden[40:60, 30:80] = True
    after = AFTER.copy()
    after[0, hidden] = np.nan
    before = BEFORE.copy()
    before[:, :10] = -9999
    seen = np.ones((SIZE, SIZE), np.bool_)
    seen[:10] = False
    _, strength, change = decided(ArrayPair(before, after, seen))
    gone = hidden | ~seen
    assert ((change == 0) == gone).all()
    assert (np.isnan(strength) == gone).all()
    assert (change == plain)[~gone].mean() > 0.98


def test_equal_input_gives_equal_output_also_through_a_pickle(learned: tuple[Prepared, Floats, Codes]) -> None:
    pair, monitor = ArrayPair(BEFORE, AFTER), Bitemporal()
    again = pickle.loads(pickle.dumps(monitor.prepare(pair)))
    assert again.words == learned[0].words
    parts = list(monitor.compare(pair, again))
    assert np.array_equal(parts[0][2], learned[1], equal_nan=True)


def test_what_was_learned_is_said(learned: tuple[Prepared, Floats, Codes]) -> None:
    prepared, _, change = learned
    assert len(prepared.words) == 1 and prepared.words[0] == prepared.method
    assert prepared.shift == (0, 0) and 0 < prepared.threshold < 100
    assert prepared.changed_share == pytest.approx((change == 2).mean(), abs=1e-6)


FLAT = np.full_like(BEFORE, 5.0)
NOTHING = np.full_like(BEFORE, np.nan)
NONE_SEEN = np.zeros((SIZE, SIZE), np.bool_)
LEFT = np.arange(SIZE)[None].repeat(SIZE, 0) < SIZE // 2


@pytest.mark.parametrize(
    ("pair", "which", "text"),
    [
        (ArrayPair(FLAT, AFTER), "before", "constant"),
        (ArrayPair(BEFORE, FLAT), "after", "constant"),
        (ArrayPair(BEFORE, NOTHING), "after", "no valid pixel"),
        (ArrayPair(BEFORE, AFTER, NONE_SEEN), "before", "no valid pixel"),
        (ArrayPair(BEFORE, AFTER, LEFT, ~LEFT), "both", "in common"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(pair: ArrayPair, which: str, text: str) -> None:
    with pytest.raises(PairRefused, match=text) as refused:
        Bitemporal().prepare(pair)
    assert refused.value.which == which
    assert pickle.loads(pickle.dumps(refused.value)).which == which
