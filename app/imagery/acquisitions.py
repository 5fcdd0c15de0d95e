"""Which scenes are one look at the ground: neighbours that fill each other, and processings that replace each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from app.imagery.refs import SceneRef

# Where both a scene's own pixels and HLS's remake of them are listed, the first named here is used and the other
# fills what it leaves out: the agencies' products have the finer pixels, and are corrected by one recipe each.
_PREFERRED = ("sentinel-2-l2a", "landsat-c2-l2", "landsat-c2-l2-tm", "hls-s30", "hls-l30")
# Processings of one piece may state its instant differently by some seconds; another overpass is an orbit away.
_SAME_INSTANT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What one mission saw of the ground on one day (UTC).

    Attributes:
        acquired_at: aware instant of its first scene.
        scenes: in order of preference: each fills only what those before it leave without data.
    """

    day: date
    acquired_at: datetime
    scenes: tuple[SceneRef, ...]


def acquisitions(scenes: Iterable[SceneRef]) -> list[Acquisition]:
    """Scenes in any order as acquisitions, oldest first.

    One mission passes over a place once a day at most (Sentinel-2 and Landsat below 60 degrees), so that a mission
    and a day make an acquisition; times of day need not be right. Of a piece of it that was processed more than once
    only the newest processing is kept. Missions that share a day stay apart. The result depends on the scenes alone,
    not on their order or their identifiers in a database.
    """

    def look(scene: SceneRef) -> tuple[date, str]:
        # Without a mission, what the scene was read by tells sensors apart.
        return _day(scene), scene.mission or scene.platform or scene.sensor

    found = []
    for (day, _), group in groupby(sorted(scenes, key=lambda s: (*look(s), *_age(s))), key=look):
        kept = _newest(list(group))
        kept.sort(key=lambda scene: (_rank(scene), scene.tile, *_age(scene)))
        found.append(Acquisition(day, min(scene.acquired_at for scene in kept), tuple(kept)))
    return sorted(
        found, key=lambda acquisition: (acquisition.day, acquisition.acquired_at, _age(acquisition.scenes[0]))
    )


def _newest(scenes: list[SceneRef]) -> list[SceneRef]:
    """The scenes without those that a newer processing of the same piece replaces."""
    kept: dict[tuple[str, str], list[SceneRef]] = {}
    for scene in sorted(scenes, key=lambda s: (s.version, *_age(s)), reverse=True):
        pieces = kept.setdefault((scene.sensor, scene.tile or scene.external_id), [])
        if not any(_same_piece(scene, newer) for newer in pieces):
            pieces.append(scene)
    return [scene for pieces in kept.values() for scene in pieces]


def _same_piece(one: SceneRef, other: SceneRef) -> bool:
    if one.platform and other.platform and one.platform != other.platform:
        return False
    # Two strips of one datatake that meet within a tile are two halves of it, and start minutes apart.
    if one.strip and other.strip:
        return abs(one.strip - other.strip) <= _SAME_INSTANT
    return abs(one.acquired_at - other.acquired_at) <= _SAME_INSTANT


def _rank(scene: SceneRef) -> int:
    return _PREFERRED.index(scene.sensor) if scene.sensor in _PREFERRED else len(_PREFERRED)


def _age(scene: SceneRef) -> tuple[datetime, str, str]:
    return scene.acquired_at, scene.external_id, scene.digest


def _day(scene: SceneRef) -> date:
    return scene.acquired_at.astimezone(UTC).date()
