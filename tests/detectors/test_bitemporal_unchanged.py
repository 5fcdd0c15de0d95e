"""Pairs in which nothing changed: an answer that always finds something is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from detectors.kernels.bitemporal_model import otsu, threshold
from detectors.monitors.bitemporal import CHANGED, Bitemporal
from detectors.pairs import ArrayPair
from detectors.types import Floats


def ground(seed: int, bands: int) -> Floats:
    """A smooth made ground ``float32 (band, 160, 160)``, its bands related but not equal."""
    rng = np.random.default_rng(seed)
    planes = [ndimage.gaussian_filter(rng.normal(size=(160, 160)), 3) * 30 for _ in range(3)]
    mixed = rng.normal(size=(bands, 3)) @ np.stack(planes).reshape(3, -1)
    return (100 + 40 * mixed.reshape(bands, 160, 160)).astype(np.float32)


@pytest.mark.parametrize("bands", [1, 3, 6])
def test_noise_and_another_gain_are_no_change(bands: int) -> None:
    before = ground(bands, bands)
    noise = np.random.default_rng(9).normal(0, 2, before.shape)
    pair = ArrayPair(before, (before * 1.1 + 3 + noise).astype(np.float32))
    method = Bitemporal()
    prepared = method.prepare(pair)
    share = np.mean([(codes == CHANGED).mean() for *_, codes in method.compare(pair, prepared)])
    # Otsu alone parts nine tenths of such ground from the rest.
    assert share < 0.02 and prepared.changed_share < 0.02


def test_a_copy_is_unchanged() -> None:
    before = np.random.default_rng(1).normal(100, 20, (3, 160, 160)).astype(np.float32)
    pair = ArrayPair(before, before.copy())
    prepared = Bitemporal().prepare(pair)
    assert prepared.changed_share == 0
    assert not any((codes == CHANGED).any() for *_, codes in Bitemporal().compare(pair, prepared))


def test_two_classes_are_parted_by_otsu_and_one_class_is_not_parted() -> None:
    rng = np.random.default_rng(0)
    usual = np.exp(rng.normal(0, 0.3, 50_000)).astype(np.float32)
    both = np.concatenate([usual, np.exp(rng.normal(2, 0.2, 4_000)).astype(np.float32)])
    assert threshold(both) == otsu(both)
    assert (usual > otsu(usual)).mean() > 0.1
    assert (usual > threshold(usual)).mean() < 0.001
    assert threshold(np.zeros(10, np.float32)) == np.inf


def test_ground_that_changed_for_the_most_part_and_other_ground_are_told_of() -> None:
    before = ground(3, 3)
    after = before + np.random.default_rng(9).normal(0, 2, before.shape).astype(np.float32)
    assert len(Bitemporal().prepare(ArrayPair(before, after)).words) == 1
    after[:, :, :110] = np.random.default_rng(8).normal(900, 20, (3, 160, 110))
    for other in (after, ground(4, 3)):
        words = Bitemporal().prepare(ArrayPair(before, other)).words
        assert any("not to be relied on" in word for word in words[1:]), words
