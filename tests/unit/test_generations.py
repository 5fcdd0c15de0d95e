"""What a tile remembers beside its monitor's table."""

from __future__ import annotations

import numpy as np

from app.monitoring.findings import with_fresh_ground
from app.monitoring.generations import History, at_baseline, remember, standing
from detectors.types import BANDS, EVIDENCE, ChangedPixels

HISTORY = History(100, 200)
EMPTY = ChangedPixels.empty()


def table(*rows: tuple[int, int, int, int, int]) -> ChangedPixels:
    """Pixels as (row, col, first_seen, confirmed, recovered)."""
    row, col, seen, sure, back = np.array(rows, np.int32).reshape(-1, 5).T
    n = len(row)
    spectra = np.zeros((n, len(BANDS)), np.float32)
    return ChangedPixels(
        row.copy(), col.copy(), seen.copy(), sure.copy(), seen - 1, back.copy(), spectra, spectra,
        np.ones((n, len(EVIDENCE)), np.float32),
    )  # fmt: skip


def seen(pixels: ChangedPixels) -> list[int]:
    return pixels.first_seen.tolist()


def test_a_pixel_that_changes_again_keeps_its_first_change_as_a_generation() -> None:
    first, second = table((0, 0, 210, 220, 0)), table((0, 0, 300, 310, 0))
    past = remember(standing(EMPTY, first, HISTORY), EMPTY, second, replayed=False)
    both = standing(past, second, HISTORY)
    assert seen(both.pixels) == [210, 300]
    assert both.generation.tolist() == [0, 1]
    assert both.before.tolist() == [0, 220]
    assert both.closed.tolist() == [True, False]
    third = table((0, 0, 400, 410, 0))
    past = remember(both, past, third, replayed=False)
    assert standing(past, third, HISTORY).generation.tolist() == [0, 1, 2]


def test_the_same_change_seen_with_more_scenes_is_no_generation() -> None:
    early, late = table((0, 0, 210, 220, 0), (0, 1, 210, 0, 0)), table((0, 0, 205, 220, 0), (0, 1, 300, 310, 0))
    assert len(remember(standing(EMPTY, early, HISTORY), EMPTY, late, replayed=False)) == 0


def test_a_replay_moves_dates_and_makes_no_second_change_of_them() -> None:
    before, after = table((0, 0, 210, 220, 0), (0, 1, 210, 220, 240)), table((0, 0, 230, 240, 0), (0, 1, 250, 260, 0))
    past = remember(standing(EMPTY, before, HISTORY), EMPTY, after, replayed=True)
    assert past.col.tolist() == [1]


def test_after_a_new_baseline_what_it_cannot_tell_apart_stands_as_it_was() -> None:
    old = standing(EMPTY, table((0, 0, 210, 220, 0), (0, 1, 230, 240, 0), (0, 2, 250, 0, 0)), HISTORY)
    past = at_baseline(old)
    assert past.col.tolist() == [0, 1]
    # The history now ends after the change: it holds ground before and after, and its alarm there means nothing.
    mixed = standing(past, table((0, 0, 520, 530, 0), (0, 3, 520, 530, 0)), History(215, 500))
    assert seen(mixed.pixels) == [210, 230, 520]
    assert mixed.generation.tolist() == [0, 0, 0]
    # Years later it knows only the changed ground, so that an alarm there is a second change.
    sure = standing(past, table((0, 0, 520, 530, 0)), History(300, 500))
    assert seen(sure.pixels) == [210, 520, 230]
    assert sure.generation.tolist() == [0, 1, 0]
    # And what a mixed baseline made of it is not handed on to the next one.
    assert seen(at_baseline(mixed)) == [210, 230, 520]


def test_fresh_ground_beside_a_second_change_belongs_to_it() -> None:
    first = table((0, 0, 210, 220, 0), (0, 1, 210, 220, 0))
    now = table((0, 0, 300, 310, 0), (0, 1, 300, 310, 0), (0, 2, 300, 310, 0), (5, 5, 300, 310, 0))
    past = remember(standing(EMPTY, first, HISTORY), EMPTY, now, replayed=False)
    both = standing(past, now, HISTORY)
    assert list(zip(both.pixels.col.tolist(), with_fresh_ground(both).tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (5, 0),
    ]  # fmt: skip
    # Where a part of the first change is still open, fresh ground is its growth.
    open_first = table((0, 0, 300, 310, 0), (0, 1, 210, 220, 0), (0, 2, 300, 310, 0))
    past = remember(standing(EMPTY, first, HISTORY), EMPTY, open_first, replayed=False)
    assert with_fresh_ground(standing(past, open_first, HISTORY)).tolist() == [0, 1, 0, 0]


def test_fresh_ground_is_told_by_each_second_change_for_itself() -> None:
    at = np.arange(0, 90, 3)
    first = table(*((0, int(col), 210, 220, 0) for col in at))
    # Beside every other one, ground began to change before the first change was confirmed.
    now = table(*((0, int(col + step), 215 if step and col % 2 else 300, 310, 0) for col in at for step in (0, 1)))
    past = remember(standing(EMPTY, first, HISTORY), EMPTY, now, replayed=False)
    assert with_fresh_ground(standing(past, now, HISTORY)).tolist() == [0, 1, 1, 0, 1, 0] * (len(at) // 2)
