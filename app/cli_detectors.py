"""`redline detectors …`: the detectors on one's own images, without a database."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

detectors = typer.Typer(
    no_args_is_help=True, help="The detectors on your own images, and what they learn from the desk."
)


def _quiet_libraries() -> None:
    """Silence what libraries warn of and nobody here can mend; asked for with -W, it is still shown."""
    if sys.warnoptions:
        return
    from rasterio.errors import NotGeoreferencedWarning

    # Of the array in memory that pixels are warped into.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    # A kind of ground fewer, which the baseline takes as it is.
    warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
    # Of images without a place, whose polygons have none either.
    warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
    # Of the file of the area; what cannot be read in it is refused.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="pyogrio")
    warnings.filterwarnings("ignore", category=UserWarning, module="pyogrio")


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command as Ctrl-C does, with everything unfinished taken away."""

    def end(number: int, _: FrameType | None) -> None:
        # Once: the tidying up is not broken off.
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    earlier = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@detectors.command("monitor")
def monitor(
    source: Annotated[str, typer.Option(help="STAC catalogue or API, or a folder of GeoTIFFs")],
    history_until: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day of the history that says what is normal")
    ],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day to look at")],
    out: Annotated[Path, typer.Option(help="Folder for changes.gpkg and alerts.tif")],
    area: Annotated[Path | None, typer.Option(help="GeoJSON of the area; without it all that the scenes cover")] = None,
    history_from: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day; without it the oldest scene's")
    ] = None,
    crs: Annotated[str | None, typer.Option(help="CRS of the grid, projected in metres; else the scenes'")] = None,
    resolution: Annotated[
        float | None, typer.Option(min=0.1, max=1000, help="Pixel size in metres; else that of the finest band")
    ] = None,
    dem: Annotated[
        str | None, typer.Option(help="Height model, GeoTIFF or VRT in metres; else that of REDLINE_DEM")
    ] = None,
) -> None:
    """Find changes in an image series: polygons in changes.gpkg, days of alert in alerts.tif. Days are inclusive."""
    from app.cli import load_settings, progress_bar, say
    from app.monitoring.offline import Watch, watch

    _quiet_libraries()
    settings = load_settings()
    request = Watch(
        source=source,
        out=out,
        history_until=history_until.date(),
        until=until.date(),
        area=area,
        history_from=history_from.date() if history_from else None,
        crs=crs,
        resolution=resolution,
        threads=settings.run_threads,
        dem=dem or settings.dem,
    )
    with _ended_in_order(), progress_bar("scenes read") as advance:
        outcome = watch(request, advance)
    for item in outcome.failed_items[:10]:
        say.print(f"Left out: {item.item}: {item.reason}.", markup=False, soft_wrap=True)
    if len(outcome.failed_items) > 10:
        say.print(f"… and {len(outcome.failed_items) - 10} more.")
    for gap in outcome.gaps[:10]:
        say.print(f"Lacking: {gap}.", markup=False, soft_wrap=True)
    say.print(outcome.judged.in_words(), markup=False, soft_wrap=True)
    say.print(
        f"{outcome.scenes} scenes, {outcome.polygons} changes: {outcome.changes}, {outcome.alerts}",
        markup=False,
        soft_wrap=True,
    )


@detectors.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(help="GeoTIFF of the earlier image")],
    after: Annotated[Path, typer.Argument(help="GeoTIFF of the later image; other bands and another sensor are fine")],
    out: Annotated[Path, typer.Option(help="Folder for change.tif, strength.tif and changes.gpkg")],
    scale_before: Annotated[
        float | None, typer.Option(help="Factor from BEFORE's numbers to reflectance; else the file's own, or 1")
    ] = None,
    scale_after: Annotated[
        float | None, typer.Option(help="Factor from AFTER's numbers to reflectance; else the file's own, or 1")
    ] = None,
    min_area_px: Annotated[int, typer.Option(min=1, help="Pixels of the smallest change reported")] = 10,
    cell_px: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Compare cells of so many pixels a side, 1: each pixel; else by size"),
    ] = None,
) -> None:
    """Find changes between two images: change.tif (0 no data, 1 unchanged, 2 changed), strength.tif, changes.gpkg."""
    from app.cli import progress_bar, say
    from app.monitoring.compare import Comparison
    from app.monitoring.compare import compare as compare_images

    _quiet_libraries()
    request = Comparison(before, after, out, scale_before, scale_after, min_area_px, cell_px)
    with _ended_in_order(), progress_bar("rows compared") as advance:
        outcome = compare_images(request, advance)
    for note in outcome.notes:
        say.print(note, markup=False, soft_wrap=True)
    say.print(outcome.in_words(), markup=False, soft_wrap=True)
