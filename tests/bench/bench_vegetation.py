"""Decisions on given anomaly series (OPERA DIST-ALERT validation sites) against daily labels read by people.

The data are not in the repository (``--data-vegetation DIR``; github OPERA-Cal-Val/DIST-Validation): `observations.csv`
has per pass the vegetation cover index 0..100, its shortfall against the same season of the three years before, and the
operational alert status; `reference.csv` the labels, run-length coded.

An *event* is a site with at least 15 labelled days of vegetation loss in all, from the first to the last of them; a
*stable* site has no label but "no change"; others are not scored. Alerts are intervals of days. One finds the event
that it overlaps, 5 days before to 30 after; any alert on a stable site is false. Latency counts from the onset to the
first alert that finds the event, where that opened inside of the window.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import to_day
from tests.bench.tables import show

Interval = tuple[int, int]
"""First and last day of an alert, days since 1970-01-01."""
Decision = Callable[[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]], Sequence[Interval]]
"""From the passes of one site in order of time, ``days (n,)``, shortfall ``veg_anom (n,)`` and index ``veg_ind (n,)``
(0..100, NaN no data; several passes may share a day), to alerts in order of time."""

LOSS: Final = frozenset({"VLmin", "VLmaj", "VLtotal"})
UNLABELLED: Final = frozenset({"noObs", "0"})
STABLE_LABELS: Final = frozenset({"noChange"})
LEAST_LOSS_DAYS: Final = 15
BEFORE, AFTER = 5, 30
NO_DATA: Final = 255
CONFIRMED: Final = (3, 6)
ANY: Final = range(1, 7)
IN_A_ROW, LEAST_ANOMALY = 4, 10.0


@dataclass(frozen=True)
class Site:
    """One pixel: what is true of it (`kind` event, stable or other; onset and end of an event) and its passes."""

    name: int
    kind: str
    onset: int
    end: int
    days: NDArray[np.int64]
    index: NDArray[np.float32]
    anomaly: NDArray[np.float32]
    status: NDArray[np.int64]


@dataclass(frozen=True)
class VegetationScore:
    """Shares of events found, of alerting sites that are events, of stable sites that alert; latency in days."""

    events: int
    stable: int
    recall: float
    precision: float
    false_share: float
    latency_median: float


def day_of(text: str) -> int:
    """20211001 as days since 1970-01-01."""
    return to_day(datetime.strptime(text, "%Y%m%d").date())  # noqa: DTZ007 a date has no zone


def read_truth(path: Path) -> dict[int, tuple[str, int, int]]:
    """Kind, onset and end of every site; the days are 0 where it is no event."""
    rows: dict[int, list[dict[str, str]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            rows[int(row["site"])].append(row)
    truth = {}
    for site, labels in rows.items():
        loss = [(day_of(row["start"]), day_of(row["end"])) for row in labels if row["label"] in LOSS]
        if sum(end - start + 1 for start, end in loss) >= LEAST_LOSS_DAYS:
            truth[site] = ("event", min(start for start, _ in loss), max(end for _, end in loss))
        else:
            kinds = {row["label"] for row in labels} - UNLABELLED
            truth[site] = ("stable" if kinds == STABLE_LABELS else "other", 0, 0)
    return truth


def read_sites(folder: Path) -> list[Site]:
    """All sites with their passes, in the order of the file."""
    passes: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    with (folder / "observations.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            index, anomaly, status = (int(row[name]) for name in ("veg_ind", "veg_anom", "alert_status"))
            passes[int(row["site"])].append((day_of(row["date"]), index, anomaly, status))
    sites = []
    for name, (kind, onset, end) in read_truth(folder / "reference.csv").items():
        table = np.array(passes[name], np.int64).reshape(-1, 4)
        values = np.where(table == NO_DATA, np.nan, table).astype(np.float32)
        sites.append(Site(name, kind, onset, end, table[:, 0], values[:, 1], values[:, 2], table[:, 3]))
    return sites


def open_intervals(days: NDArray[np.int64], is_open: NDArray[np.bool_]) -> list[Interval]:
    """Runs of true in a dated series, first and last day of each."""
    edges = np.diff(np.concatenate([[0], is_open.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [(int(days[start]), int(days[end])) for start, end in zip(starts, ends, strict=True)]


def score(alerts: Mapping[int, Sequence[Interval]], sites: Sequence[Site]) -> VegetationScore:
    """Score alerts by site name."""
    found, waits = 0, []
    events, stable = ([site for site in sites if site.kind == kind] for kind in ("event", "stable"))
    for site in events:
        since, until = site.onset - BEFORE, site.end + AFTER
        hits = [first for first, last in alerts.get(site.name, ()) if last >= since and first <= until]
        found += bool(hits)
        if hits and hits[0] >= since:
            waits.append(max(0, hits[0] - site.onset))
    false = sum(bool(alerts.get(site.name)) for site in stable)
    return VegetationScore(
        events=len(events),
        stable=len(stable),
        recall=found / len(events),
        precision=found / max(1, found + false),
        false_share=false / len(stable),
        latency_median=float(np.median(waits)) if waits else float("nan"),
    )


def operational(sites: Sequence[Site], codes: Sequence[int]) -> dict[int, list[Interval]]:
    """The operational alerts with a status among ``codes``."""
    alerts = {}
    for site in sites:
        known = site.status != NO_DATA
        alerts[site.name] = open_intervals(site.days[known], np.isin(site.status[known], list(codes)))
    return alerts


def decide(sites: Sequence[Site], decision: Decision) -> dict[int, Sequence[Interval]]:
    """The alerts of a decision rule at every site."""
    return {site.name: decision(site.days, site.anomaly, site.index) for site in sites}


def four_in_a_row(
    days: NDArray[np.int64], anomaly: NDArray[np.float32], index: NDArray[np.float32]
) -> Sequence[Interval]:
    """The plain peer: open while the last four days with data all had a mean shortfall of at least 10."""
    known = np.isfinite(anomaly)
    dates, place = np.unique(days[known], return_inverse=True)
    mean = np.bincount(place, anomaly[known], len(dates)) / np.bincount(place, minlength=len(dates))
    streak, is_open = 0, np.zeros(len(dates), np.bool_)
    for k, value in enumerate(mean.tolist()):
        streak = streak + 1 if value >= LEAST_ANOMALY else 0
        is_open[k] = streak >= IN_A_ROW
    return open_intervals(dates, is_open)


DECISIONS: dict[str, Decision] = {"four in a row of 10": four_in_a_row}
"""The rows below the operational ones. The monitor's own decision is added here, under its name."""


def run(folder: Path) -> None:
    """Print the table."""
    sites = read_sites(folder)
    alerts: dict[str, Mapping[int, Sequence[Interval]]] = {
        "operational, confirmed": operational(sites, CONFIRMED),
        "operational, any": operational(sites, ANY),
    }
    alerts |= {name: decide(sites, decision) for name, decision in DECISIONS.items()}
    rows = []
    for name, found in alerts.items():
        s = score(found, sites)
        shares = (f"{share:.3f}" for share in (s.recall, s.precision, s.false_share))
        rows.append([name, *shares, f"{s.latency_median:.1f}"])
    print(f"{s.events} sites with an event, {s.stable} stable ones; latency in days, median")
    show(["", "recall", "precision", "stable sites that alert", "latency"], rows)
