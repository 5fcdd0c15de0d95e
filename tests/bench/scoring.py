"""Scores of change maps. Days are integers of one epoch; 0 is none, and so is anything below.

A pixel is *found* when it truly changed and its alert is not before the true day. Every other alert is
wrong; a wrong alert on a pixel that did change leaves that pixel missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two boolean maps agree; all 0..1, 0 where there is nothing to count."""

    precision: float
    recall: float
    f1: float
    iou: float


@dataclass(frozen=True, slots=True)
class DatedScore:
    """How dated alerts agree with dated truth.

    Attributes:
        precision, recall, f1: of found pixels.
        latency_median, latency_p90: days from change to alert of found pixels; NaN without any.
        false_rate: alerts per stable pixel and year; false_rate_by_group: the same by group.
    """

    precision: float
    recall: float
    f1: float
    latency_median: float
    latency_p90: float
    false_rate: float
    false_rate_by_group: Mapping[int, float]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def agreement(detected: NDArray[Any], reference: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Agreement:
    """Agreement of two maps (true is change) of one shape, inside ``valid`` where given."""
    if valid is None:
        valid = np.ones(np.shape(reference), np.bool_)
    found, true = np.asarray(detected, np.bool_)[valid], np.asarray(reference, np.bool_)[valid]
    both, either = int((found & true).sum()), int((found | true).sum())
    precision, recall = _share(both, int(found.sum())), _share(both, int(true.sum()))
    return Agreement(precision, recall, _f1(precision, recall), _share(both, either))


def dated(detected: NDArray[Any], true: NDArray[Any], days: int, groups: NDArray[Any] | None = None) -> DatedScore:
    """Score of alert days against true days, integer maps of one shape.

    Args:
        detected: day of the alert. true: day of the change.
        days: length of the monitored period.
        groups: integer map of the same shape, e.g. land cover.
    """
    alerted, changed = detected > 0, true > 0
    found = alerted & changed & (detected >= true)
    precision, recall = _share(int(found.sum()), int(alerted.sum())), _share(int(found.sum()), int(changed.sum()))
    waits = (np.asarray(detected, np.int64) - np.asarray(true, np.int64))[found]

    def rate(where: NDArray[np.bool_]) -> float:
        stable = where & ~changed
        return _share(int((alerted & stable).sum()), int(stable.sum())) * DAYS_A_YEAR / days

    return DatedScore(
        precision=precision,
        recall=recall,
        f1=_f1(precision, recall),
        latency_median=float(np.median(waits)) if len(waits) else float("nan"),
        latency_p90=float(np.percentile(waits, 90)) if len(waits) else float("nan"),
        false_rate=rate(np.ones(np.shape(true), np.bool_)),
        false_rate_by_group={} if groups is None else {int(g): rate(groups == g) for g in np.unique(groups)},
    )


def patches(
    alert: NDArray[Any], day: NDArray[Any], number: NDArray[Any], least: int, ignored: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of patches.

    A reported patch is an 8-connected set of at least ``least`` pixels with an alert. It is right where a tenth of its
    pixels truly changed and had their alert on that day or later. A true change of at least ``least`` pixels is found
    when a right patch holds one of these pixels.

    Args:
        alert, day: ``int (y, x)``, day of the alert and of the true change, 0 none.
        number: ``int (y, x)``, which change it is. ignored: ``bool (y, x)``, patches that lie there by more than half
            are neither right nor wrong.
    """
    labels, count = ndimage.label(alert > 0, np.ones((3, 3)))
    hit = (alert > 0) & (day > 0) & (alert >= day)
    index = np.arange(1, count + 1)
    size, right, aside = (
        ndimage.sum_labels(mask, labels, index) for mask in (np.ones(alert.shape), hit, ignored & ~hit)
    )
    large = size >= least
    good = large & (right >= 0.1 * size)
    bad = large & ~good & (aside <= 0.5 * size)
    found = set(np.unique(number[hit & np.isin(labels, index[good])]).tolist())
    true = [n for n in np.unique(number[day > 0]).tolist() if ((number == n) & (day > 0)).sum() >= least]
    precision = _share(int(good.sum()), int(good.sum() + bad.sum()))
    recall = _share(sum(n in found for n in true), len(true))
    return precision, recall, _f1(precision, recall)
