"""The benchmarks' own scores: a sample stands for the whole, and the decisions' rows follow their definitions."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from detectors.types import BANDS, EPOCH
from tests.bench import bench_vegetation as vegetation
from tests.bench.bench_peers import PEERS, Ground, Pixels, Watched, everywhere, sample, score
from tests.bench.peers import missing, run_peer
from tests.bench.scoring import dated

SHAPE = (40, 50)


def to_day(text: str) -> int:
    return (date.fromisoformat(text) - EPOCH).days


def ground_and_alert(seed: int) -> tuple[Ground, np.ndarray]:
    rng = np.random.default_rng(seed)
    day = np.where(rng.random(SHAPE) < 0.1, rng.integers(100, 200, SHAPE), 0).astype(np.int32)
    alert = np.where(rng.random(SHAPE) < 0.2, rng.integers(100, 300, SHAPE), 0).astype(np.int32)
    return Ground(day, rng.random(SHAPE) < 0.3, rng.random(SHAPE) < 0.9, 500), alert


def at(pixels: Pixels, alert: np.ndarray) -> Watched:
    return Watched(pixels, alert[pixels.rows, pixels.cols])


@pytest.mark.parametrize("seed", range(5))
def test_all_pixels_score_as_dated_does(seed: int) -> None:
    ground, alert = ground_and_alert(seed)
    keep = ground.scored
    expected = dated(alert[keep], ground.day[keep], ground.days, ground.crop[keep].astype(np.int32))
    found = score([at(everywhere(ground), alert)], [ground])
    assert found.precision == pytest.approx(expected.precision)
    assert found.f1 == pytest.approx(expected.f1)
    assert (found.recall, found.latency_median, found.latency_p90) == (
        expected.recall,
        expected.latency_median,
        expected.latency_p90,
    )
    assert found.false_rate == pytest.approx(expected.false_rate)
    assert found.false_rate_by_group == pytest.approx(expected.false_rate_by_group)


def test_a_sample_stands_for_the_whole() -> None:
    ground, alert = ground_and_alert(7)
    whole = score([at(everywhere(ground), alert)], [ground])
    samples = [score([at(sample(ground, seed, 100), alert)], [ground]) for seed in range(200)]
    assert {s.recall for s in samples} == {whole.recall}
    assert {s.latency_median for s in samples} == {whole.latency_median}
    # The number of alerts, so 1/precision, is estimated without bias; precision itself only nearly so.
    for part in (lambda s: s.false_rate, lambda s: 1 / s.precision):
        values = [part(s) for s in samples]
        assert np.std(values) > 0
        assert np.mean(values) == pytest.approx(part(whole), rel=0.02)


@pytest.mark.skipif(bool(missing()), reason="the extra `bench` is not installed")
@pytest.mark.parametrize("name", PEERS)
def test_every_peer_finds_a_cleared_pixel_and_leaves_its_neighbour(name: str) -> None:
    rng = np.random.default_rng(1)
    days = np.arange(to_day("2022-01-01"), to_day("2025-12-31"), 8, dtype=np.int64)
    until, cut = to_day("2024-06-30"), to_day("2024-10-01")
    season = 0.5 - 0.5 * np.cos(2 * np.pi * (days % 365.25) / 365.25)
    low, high = np.array([[0.05, 0.08, 0.09, 0.2, 0.2], [0.03, 0.06, 0.04, 0.4, 0.15]])
    data = np.empty((len(days), len(BANDS), 1, 2), np.float32)
    data[:] = (low + (high - low) * season[:, None])[:, :, None, None]
    data[days >= cut, :, 0, 0] = [0.12, 0.16, 0.22, 0.28, 0.38]
    data += rng.normal(0, 0.01, data.shape).astype(np.float32)
    peer = run_peer(PEERS[name](), days, until, data, np.ones((len(days), 1, 2), np.bool_))
    assert peer.alert.dtype == np.int32
    assert cut <= peer.alert[0, 0] <= cut + 180
    assert peer.alert[0, 1] == 0


def write(folder: Path) -> Path:
    (folder / "observations.csv").write_text(
        "site,date,sensor,veg_ind,veg_anom,alert_status\n"
        "1,20211001,L8,50,0,0\n"
        "1,20211011,L8,30,20,1\n"
        "1,20211021,L8,255,255,255\n"
        "1,20211031,L8,20,30,3\n"
        "1,20211110,L8,60,0,7\n"
        "2,20211001,L8,50,0,0\n"
        "2,20211011,L8,50,0,6\n"
        "3,20211001,L8,50,0,3\n"
    )
    (folder / "reference.csv").write_text(
        "site,overall,cause,label,start,end\n"
        "1,VLmin,Fire,noChange,20211001,20211009\n"
        "1,VLmin,Fire,VLmin,20211010,20211020\n"
        "1,VLmin,Fire,noObs,20211021,20211022\n"
        "1,VLmin,Fire,VLmaj,20211023,20211030\n"
        "2,noChange,No Change,noChange,20211001,20211231\n"
        "2,noChange,No Change,0,20220101,20220102\n"
        "3,OCmin,Other,OCmin,20211001,20211231\n"
    )
    return folder


def test_vegetation_sites_are_events_stable_or_other(tmp_path: Path) -> None:
    sites = vegetation.read_sites(write(tmp_path))
    assert [(s.name, s.kind) for s in sites] == [(1, "event"), (2, "stable"), (3, "other")]
    assert (sites[0].onset, sites[0].end) == (to_day("2021-10-10"), to_day("2021-10-30"))
    assert np.isnan(sites[0].anomaly).tolist() == [False, False, True, False, False]


def test_vegetation_alerts_are_intervals_over_known_passes(tmp_path: Path) -> None:
    sites = vegetation.read_sites(write(tmp_path))
    alerts = vegetation.operational(sites, vegetation.ANY)
    assert alerts[1] == [(to_day("2021-10-11"), to_day("2021-10-31"))]  # The pass without data does not close it.
    found = vegetation.score(alerts, sites)
    assert (found.recall, found.precision, found.false_share, found.latency_median) == (1.0, 0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("first", "last", "recall", "latency"),
    [
        ("2021-09-01", "2021-10-04", 0.0, None),  # Over six days before the onset.
        ("2021-09-01", "2021-10-05", 1.0, None),  # Open before: found, but not early.
        ("2021-10-06", "2021-10-06", 1.0, 0.0),
        ("2021-11-29", "2021-12-05", 1.0, 50.0),
        ("2021-11-30", "2021-12-05", 0.0, None),
    ],
)
def test_vegetation_window(tmp_path: Path, first: str, last: str, recall: float, latency: float | None) -> None:
    sites = vegetation.read_sites(write(tmp_path))
    found = vegetation.score({1: [(to_day(first), to_day(last))]}, sites)
    assert found.recall == recall
    assert (None if np.isnan(found.latency_median) else found.latency_median) == latency


def test_passes_of_one_day_count_once() -> None:
    days = np.array([0, 0, 5, 10, 15, 15, 20], np.int64)
    anomaly = np.array([12, 12, 12, np.nan, 8, 14, 30], np.float32)
    assert list(vegetation.four_in_a_row(days, anomaly, anomaly)) == [(20, 20)]
    assert list(vegetation.four_in_a_row(days[:-1], anomaly[:-1], anomaly[:-1])) == []
