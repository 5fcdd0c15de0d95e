"""Which acquisition shows a site at a moment: near to it in time and season, and clear over the site itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.transform import from_bounds

from app.foundation.time import legal_day
from app.imagery.acquisitions import Acquisition
from app.imagery.frames import Frame
from app.imagery.keeping import Kept
from app.imagery.looks import Square, read_look
from app.imagery.quality import CLEAR, NOTHING
from app.imagery.refs import SceneReadError

# A site of which so much is clear is clear: masks speckle.
CLEAR_ENOUGH = 0.95
# Of less than half of a site no picture is made.
LEAST_CLEAR = 0.5
# An image whose surroundings are hidden has nothing that the site could be compared with: another one, if there is.
AROUND_ENOUGH = 0.8
# Within so many days of the other image's day of the year both are of one season.
SEASON_DAYS = 45
# How many acquisitions are looked at for one moment: each costs a read of its mask.
LOOKS = 24
# Servers that fail are waited for, up to half a minute each: of so many no more are asked.
_MOST_SILENT = 3
# As many as the stretch is measured on: a mask is read once for both.
_CELLS = 256


@dataclass(frozen=True, slots=True)
class Shares:
    """What the masks say, 0 to 1: how much of the site is clear, of the whole frame; how much of the site is there."""

    site: float
    frame: float
    seen: float


_shares: Kept[Shares] = Kept(1 << 20)
# The pixels of a site: every image of it is asked about the same.
_pixels: Kept[NDArray[np.bool_]] = Kept(4 << 20)


class Side(StrEnum):
    """On which side of its day a moment's image lies, and how far from it."""

    before = "before"
    after = "after"
    near = "near"


_REACH: dict[Side, tuple[timedelta, timedelta]] = {
    # Two winters back: a year without one clear image in the right season happens.
    Side.before: (timedelta(days=732), timedelta(0)),
    Side.after: (timedelta(0), timedelta(days=366)),
    Side.near: (timedelta(days=183), timedelta(days=183)),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A day in the life of a site.

    Attributes:
        day: the legal day that the image is to be of, or near.
        side: where the image may lie.
        season: of a `before`, the day whose season it is to share; of an `after`, the day that it is to be near to.
    """

    day: date
    side: Side
    season: date | None = None

    @property
    def window(self) -> tuple[date, date]:
        """The first and the last day that an image may be of."""
        back, on = _REACH[self.side]
        return self.day - back, self.day + on


@dataclass(frozen=True, slots=True)
class Choice:
    """An acquisition, and the share of the site that is clear in it, 0 to 1; `unreadable`: what was passed over."""

    acquisition: Acquisition
    clear_share: float
    unreadable: tuple[SceneReadError, ...] = ()


class NoImage(Exception):
    """No acquisition shows the site at that moment. The message says why; `unreadable`: because of these files."""

    def __init__(self, reason: str, unreadable: Iterable[SceneReadError] = ()) -> None:
        super().__init__(reason)
        self.unreadable = tuple(unreadable)


def day_of(acquisition: Acquisition) -> date:
    return legal_day(acquisition.acquired_at)


def in_order(acquisitions: Iterable[Acquisition], moment: Moment) -> list[Acquisition]:
    """The acquisitions that may be a moment's, the most wanted first.

    A `before` is of the same season as the image that it stands beside: what the season changed is not what somebody
    did. Among those, and everywhere else, the nearest in time comes first.
    """
    first, last = moment.window
    return sorted(
        (acquisition for acquisition in acquisitions if first <= day_of(acquisition) <= last), key=_wish(moment)
    )


def _wish(moment: Moment) -> Callable[[Acquisition], tuple[int, int]]:
    def key(acquisition: Acquisition) -> tuple[int, int]:
        day = day_of(acquisition)
        if moment.side is Side.before:
            return max(0, season_gap(day, moment.season or moment.day) - SEASON_DAYS), (moment.day - day).days
        return 0, abs((day - (moment.season or moment.day)).days)

    return key


def season_gap(one: date, other: date) -> int:
    """Days between two days of the year, the shorter way round: 0 to 182."""
    apart = abs(one.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(apart, abs(365 - apart))


def choose(acquisitions: Iterable[Acquisition], moment: Moment, frame: Frame, excluded: Collection[str] = ()) -> Choice:
    """The first in order that is clear over the site and around it; where none is, the clearest of those looked at.

    Args:
        excluded: keys (`key_of`) of acquisitions that turned out unreadable.

    Raises:
        NoImage: there is none, or none of which half of the site is clear.
    """
    wanted = [acquisition for acquisition in in_order(acquisitions, moment) if key_of(acquisition) not in excluded]
    best: tuple[Shares, Acquisition] | None = None
    unreadable: list[SceneReadError] = []
    for acquisition in wanted[:LOOKS]:
        try:
            shares = site_shares(acquisition, frame)
        except SceneReadError as error:
            unreadable.append(error)
            if sum(each.transient for each in unreadable) == _MOST_SILENT:
                break
            continue
        if shares.site >= CLEAR_ENOUGH and shares.frame >= AROUND_ENOUGH:
            return Choice(acquisition, shares.site, tuple(unreadable))
        if shares.seen and (best is None or _is_clearer(shares, best[0])):
            best = shares, acquisition
    if best is not None and best[0].site >= LEAST_CLEAR:
        return Choice(best[1], best[0].site, tuple(unreadable))
    first, last = moment.window
    between = f"between {first} and {last}"
    if best is not None:
        raise NoImage(
            f"No image {between} shows the site clear; the clearest of {min(len(wanted), LOOKS)} shows "
            f"{best[0].site:.0%} of it, on {day_of(best[1])}.",
            unreadable,
        )
    raise NoImage(f"There is no image of the site {between}.", unreadable)


def key_of(acquisition: Acquisition) -> str:
    """What an acquisition's pixels depend on: its scenes, as they were described last."""
    return " ".join(f"{scene.id}:{scene.digest}" for scene in acquisition.scenes)


def site_shares(acquisition: Acquisition, frame: Frame) -> Shares:
    """What the masks of an acquisition's scenes say of a site and what lies around it.

    Raises:
        SceneReadError: as `read_look` does.
    """
    key = f"{key_of(acquisition)} {frame.digest}"
    known = _shares.get(key)
    if known is not None:
        return known
    cells = frame.cells(_CELLS)
    square = Square(frame.crs, frame.bounds, cells, thinned=cells < frame.cells(cells + 1))
    quality = read_look(acquisition, square, ()).quality
    on_site = quality[_pixels_of(frame, cells)]
    shares = Shares(
        float(np.mean(on_site == CLEAR)), float(np.mean(quality == CLEAR)), float(np.mean(on_site != NOTHING))
    )
    _shares.put(key, shares, 300)
    return shares


def _pixels_of(frame: Frame, cells: int) -> NDArray[np.bool_]:
    key = f"{frame.digest} {cells}"
    inside = _pixels.get(key)
    if inside is None:
        transform = from_bounds(*frame.bounds, cells, cells)
        # A site smaller than a pixel is the pixel that it lies in.
        inside = geometry_mask([frame.site], (cells, cells), transform, all_touched=True, invert=True)
        _pixels.put(key, inside, inside.nbytes)
    return inside


def _is_clearer(one: Shares, other: Shares) -> bool:
    """Whether it shows more: of the site, and of its surroundings where the site is clear in both."""
    return (min(one.site, CLEAR_ENOUGH), one.frame) > (min(other.site, CLEAR_ENOUGH), other.frame)
