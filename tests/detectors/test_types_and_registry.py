from __future__ import annotations

from datetime import UTC, date, datetime
from io import BytesIO

import numpy as np
import pytest

from detectors.monitors.harmonic import HarmonicParameters
from detectors.protocol import Monitor, Recogniser
from detectors.registry import ACTIVITIES, MONITORS, make_monitor, register
from detectors.types import ChangedPixels, Grid, RasterBlock, from_day, to_day
from tests.detectors.cubes import BANDS

GRID = Grid("EPSG:32652", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_700_000.0), (3, 4))


def test_block_refuses_what_does_not_fit_together() -> None:
    data, valid = np.zeros((5, 3, 4), np.int16), np.ones((3, 4), np.uint8)
    moment = datetime(2020, 1, 1, 23, 30, tzinfo=UTC)
    assert RasterBlock(data, valid, GRID, BANDS, moment).day == 18_262
    with pytest.raises(ValueError, match="data must have shape"):
        RasterBlock(data[:4], valid, GRID, BANDS, moment)
    with pytest.raises(ValueError, match="dtype int16"):
        RasterBlock(data.astype(np.float64), valid, GRID, BANDS, moment)
    with pytest.raises(ValueError, match="quality must have dtype uint8"):
        RasterBlock(data, valid.astype(np.bool_), GRID, BANDS, moment)
    with pytest.raises(ValueError, match="distinct names"):
        RasterBlock(data[:2], valid, GRID, ("red", "red"), moment)
    with pytest.raises(ValueError, match="distinct names"):
        RasterBlock(data[:1], valid, GRID, ("B04",), moment)
    with pytest.raises(ValueError, match="time zone"):
        RasterBlock(data, valid, GRID, BANDS, moment.replace(tzinfo=None))


def test_grid() -> None:
    assert GRID.pixel_area == 100
    window = GRID.window(1, 2, (2, 2))
    assert window.transform == (10.0, 0.0, 500_020.0, 0.0, -10.0, 4_699_990.0)
    with pytest.raises(ValueError, match="no area"):
        Grid("x", (0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (1, 1))


def test_days() -> None:
    assert to_day(date(1970, 1, 2)) == 1
    assert from_day(18_262) == date(2020, 1, 1)
    assert from_day(0) is None and from_day(-1) is None


def test_changed_pixels_survive_a_file() -> None:
    n = 3
    table = ChangedPixels(
        *(np.arange(n, dtype=np.int32) for _ in range(6)),
        before=np.full((n, 2), np.nan, np.float32),
        after=np.ones((n, 2), np.float32),
        evidence=np.ones((n, 4), np.float32),
        bands=("red", "nir"),
    )
    file = BytesIO()
    np.savez(file, **table.to_arrays())
    file.seek(0)
    with np.load(file) as stored:
        back = ChangedPixels.from_arrays(stored)
    assert back.bands == table.bands
    for name, array in table.to_arrays().items():
        np.testing.assert_array_equal(back.to_arrays()[name], array)
    # as it was stored before it knew looks, last sight and peaks
    old = {k: v for k, v in table.to_arrays().items() if k not in ("looks", "seen_until", "peaks", "peak_years")}
    back = ChangedPixels.from_arrays(old)
    assert (back.looks.tolist(), back.seen_until.tolist(), back.peaks.shape) == ([0] * n, [0] * n, (n, 0))
    with pytest.raises(ValueError, match="lacks row"):
        ChangedPixels.from_arrays({k: v for k, v in table.to_arrays().items() if k != "row"})


def test_tables_with_the_peaks_of_other_years_are_joined() -> None:
    day, spectra = np.arange(2, dtype=np.int32), np.ones((2, 6), np.float32)

    def table(peaks: list[list[int]], years: tuple[int, ...]) -> ChangedPixels:
        return ChangedPixels(
            *(day for _ in range(6)), spectra, spectra, np.ones((2, 4), np.float32),
            peaks=np.array(peaks, np.uint8).reshape(2, -1), peak_years=years,
        )  # fmt: skip

    joined = ChangedPixels.concatenate(
        [table([[1, 2], [3, 4]], (2020, 2021)), table([[], []], ()), table([[5], [6]], (2019,))]
    )
    assert joined.peak_years == (2019, 2020, 2021)
    assert joined.peaks.tolist() == [[0, 1, 2], [0, 3, 4], [0, 0, 0], [0, 0, 0], [5, 0, 0], [6, 0, 0]]
    assert joined.take(np.array([4])).peaks.tolist() == [[5, 0, 0]]
    with pytest.raises(ValueError, match="must ascend"):
        table([[1, 2], [3, 4]], (2021, 2020))


def test_registry_refuses_a_second_entry_of_one_name_and_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="'a' is registered twice"):
        register([("a", 1), ("b", 2), ("a", 3)])
    with pytest.raises(TypeError):
        MONITORS["other"] = MONITORS["harmonic"]  # type: ignore[index]  # that it cannot is what is tested


def test_registered_detectors_keep_the_contract() -> None:
    for name in MONITORS:
        monitor = make_monitor(name)
        assert isinstance(monitor, Monitor)
        assert monitor.name == name
    for code, recogniser in ACTIVITIES.items():
        assert isinstance(recogniser, Recogniser)
        assert recogniser.code == code


def test_parameters_are_frozen_named_and_hashed() -> None:
    with pytest.raises(ValueError, match="no monitor 'magic'"):
        make_monitor("magic")
    with pytest.raises(ValueError, match="threshold"):
        make_monitor("harmonic", {"threshold": 3})
    parameters = HarmonicParameters()
    with pytest.raises(ValueError, match="frozen"):
        parameters.kinds = 3  # type: ignore[misc]  # that it cannot is what is tested
    assert make_monitor("harmonic").parameter_hash() == parameters.digest()
    assert make_monitor("harmonic", {"kinds": 4}).parameter_hash() != parameters.digest()


@pytest.mark.parametrize(
    "parameters",
    [{"support": 1e9, "high": 1e9}, {"apart_days": 10**12}, {"drawdown_days": 3651}, {"patience_days": 10**9},
     {"least_span_days": 10**6}, {"top": 1e30}, {"ridge": float("inf")}, {"tuning": 1e30}],
    ids=str,
)  # fmt: skip
def test_parameters_with_which_nothing_could_be_found_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        make_monitor("harmonic", parameters)
