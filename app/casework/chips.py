"""Satellite pictures of a detection or a case: which moments it has, which images show them, drawn alike.

The database is asked first and let go; masks and pixels are read after that, by nobody's connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.service import Caller, enter
from app.casework.ledger import history
from app.casework.lifecycle import CaseState, Command
from app.casework.models import Case
from app.casework.supervision_models import LookBack
from app.foundation.database import set_scope
from app.foundation.errors import NotFound, Problem
from app.foundation.geometry import from_database
from app.foundation.time import SHANGHAI, legal_day
from app.imagery.acquisitions import Acquisition, acquisitions
from app.imagery.chip_choice import Choice, Moment, NoImage, Side, choose, day_of, key_of
from app.imagery.chip_drawing import Caption
from app.imagery.chips import Chip, NoBands, Style, render, styles_of
from app.imagery.frames import Frame, frame_of
from app.imagery.models import Source
from app.imagery.refs import SceneReadError
from app.imagery.service import scene_refs, scenes_between
from app.monitoring.models import Detection, PlanSource

# How many images may turn out unreadable, one after the other, before the answer is that they are.
_TRIES = 3


class ChipMoment(StrEnum):
    before = "before"
    after = "after"
    plan = "plan"
    closure = "closure"
    look_back = "look_back"


PAIR = (ChipMoment.before, ChipMoment.after)
_NOT_YET = {
    ChipMoment.plan: "No plan of this case is approved yet.",
    ChipMoment.closure: "Nobody has asked yet that this case be closed.",
    ChipMoment.look_back: "No look-back of this case is reported yet.",
}


class ImagesUnreadable(Problem):
    """The images cannot be read now"""

    status, code = 503, "images-unreadable"


@dataclass(frozen=True, slots=True)
class Site:
    """A ground with its moments, and the images among which they are looked for. Knows no database.

    Attributes:
        moments: those that it has had so far.
        sources: names of the sources of the images, by scene.
    """

    frame: Frame
    simulated: bool
    moments: Mapping[ChipMoment, Moment]
    images: Sequence[Acquisition]
    sources: Mapping[UUID, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is of a moment: a choice, and styles in which it can be drawn; or why there is none."""

    moment: ChipMoment
    day: date | None
    choice: Choice | None
    styles: Sequence[Style] = ()
    reason: str | None = None


def site_of_detection(session: Session, caller: Caller, detection: Detection) -> Site:
    """A detection that the caller may see, with what its pictures need."""
    chosen = _sources(session, caller, detection.simulated, detection.plan_id)
    return _site(session, caller, from_database(detection.geom), detection.simulated, chosen, _change(detection))


def site_of_case(session: Session, caller: Caller, case: Case) -> Site:
    """A case that the caller may see, with what its pictures need.

    Before and after are those of its detection; a case without one is asked when it happened or was reported.
    """
    set_scope(session, None)  # only its dates are taken, and the wall is back below
    detection = session.get(Detection, case.detection_id) if case.detection_id else None
    enter(session, caller)
    moments = _change(detection) if detection else _told(case)
    events = history(session, case.id)
    approved = [event.occurred_on for event in events if event.kind == Command.approve_plan]
    closed = [e.occurred_on for e in events if e.state_after == CaseState.closed and e.state_before != CaseState.closed]
    asked = [event.occurred_on for event in events if event.kind == Command.request_closure]
    looked = session.scalar(
        select(LookBack.looked_on)
        .where(LookBack.case_id == case.id, LookBack.looked_on.is_not(None))
        .order_by(LookBack.looked_on.desc())
        .limit(1)
    )
    later = {
        ChipMoment.plan: approved[-1] if approved else None,
        ChipMoment.closure: (closed or asked or [None])[-1],
        ChipMoment.look_back: looked,
    }
    moments |= {name: Moment(day, Side.near) for name, day in later.items() if day is not None}
    chosen = _sources(session, caller, case.simulated, detection.plan_id if detection else None)
    return _site(session, caller, from_database(case.geom), case.simulated, chosen, moments)


def _change(detection: Detection) -> dict[ChipMoment, Moment]:
    seen = detection.confirmed_on or detection.first_seen_on
    last_clear = detection.last_clear_on or detection.first_seen_on - timedelta(days=1)
    return {
        ChipMoment.before: Moment(last_clear, Side.before, seen),
        ChipMoment.after: Moment(detection.first_seen_on, Side.after, seen),
    }


def _told(case: Case) -> dict[ChipMoment, Moment]:
    """Of a case that no run found: as it was verified, else as it was reported."""
    reported = case.reported_on or legal_day(case.opened_at)
    begun, ended = (case.facts.get(name) for name in ("occurred_from", "occurred_to"))
    first = date.fromisoformat(begun) if begun else reported
    last = date.fromisoformat(ended) if ended else reported
    return {
        ChipMoment.before: Moment(first - timedelta(days=1), Side.before, last),
        ChipMoment.after: Moment(last, Side.after, last),
    }


def _sources(session: Session, caller: Caller, simulated: bool, plan_id: UUID | None) -> dict[UUID, str]:
    """Names of the sources that may be shown, by id: of the plan where there is one; real and simulated apart."""
    statement = select(Source.id, Source.name).where(Source.simulated == simulated)
    if plan_id is not None:
        set_scope(session, None)  # a plan may lie where the caller sees nothing of it
        named = select(PlanSource.source_id).where(PlanSource.plan_id == plan_id)
        statement = statement.where(Source.id.in_(list(session.scalars(named))))
        enter(session, caller)
    return {row.id: row.name for row in session.execute(statement)}


def _site(
    session: Session,
    caller: Caller,
    ground: BaseGeometry,
    simulated: bool,
    sources: Mapping[UUID, str],
    moments: Mapping[ChipMoment, Moment],
) -> Site:
    """Look for the images. Whoever may see a ground may see how it looked: also a unit that shares the case, and
    whose own ground no image touches."""
    set_scope(session, None)
    found = {
        scene.id: scene
        for moment in moments.values()
        for scene in scenes_between(session, list(sources), ground, *_instants(moment))
    }
    refs = scene_refs(session, found.values())
    enter(session, caller)
    named = {scene.id: sources[scene.source_id] for scene in found.values()}
    return Site(frame_of(ground), simulated, dict(moments), acquisitions(refs), named)


def _instants(moment: Moment) -> tuple[datetime, datetime]:
    first, last = moment.window
    begin = datetime.combine(first, time(), SHANGHAI)
    return begin, datetime.combine(last + timedelta(days=1), time(), SHANGHAI)


def show_all(site: Site, names: Iterable[ChipMoment]) -> list[Shown]:
    """What there is of each moment."""
    pair = _pair(site, ())
    return [_shown(site, name, pair) for name in names]


def picture(
    site: Site, name: ChipMoment, style: Style, size: int, is_known: Callable[[str], bool]
) -> tuple[str, bytes | None]:
    """A picture and its key. None: the caller has the picture of that key already.

    An image that turns out unreadable is passed over for the next best.

    Raises:
        NotFound: the site has not had that moment, no clear image shows it, or the style needs bands that it lacks.
        ImagesUnreadable: there are images, and their files cannot be read.
        Busy: too many pictures are being made.
    """
    excluded: set[str] = set()
    trouble: SceneReadError | None = None
    for _ in range(_TRIES):
        pair = _pair(site, excluded)
        choice = _chosen(site, name, pair, excluded, trouble)
        beside = tuple(other.acquisition for other in pair.values() if isinstance(other, Choice))
        chip = Chip(site.frame, choice.acquisition, beside, style, size, _caption(site, name, choice))
        if is_known(chip.key):
            return chip.key, None
        try:
            return chip.key, render(chip)
        except NoBands:
            possible = ", ".join(styles_of(site.frame, [choice.acquisition, *beside])) or "none"
            raise NotFound(
                f"The images of this site lack the bands for {style}; styles that can be drawn: {possible}."
            ) from None
        except SceneReadError as error:
            trouble = error
            mine = [image for image in (choice.acquisition, *beside) if _has(image, error.external_id)]
            excluded.update(map(key_of, mine))
    raise _unreadable([trouble] if trouble else [])


def _pair(site: Site, excluded: Iterable[str]) -> dict[ChipMoment, Choice | NoImage]:
    """The image after, and one before of its season: of the image's own, which may be months from its moment."""
    after = _choice(site, site.moments[ChipMoment.after], excluded)
    before = site.moments[ChipMoment.before]
    if isinstance(after, Choice):
        before = replace(before, season=day_of(after.acquisition))
    return {ChipMoment.before: _choice(site, before, excluded), ChipMoment.after: after}


def _choice(site: Site, moment: Moment, excluded: Iterable[str]) -> Choice | NoImage:
    try:
        return choose(site.images, moment, site.frame, set(excluded))
    except NoImage as error:
        return error


def _chosen(
    site: Site,
    name: ChipMoment,
    pair: Mapping[ChipMoment, Choice | NoImage],
    excluded: Iterable[str],
    trouble: SceneReadError | None,
) -> Choice:
    if name not in site.moments:
        raise NotFound(_NOT_YET[name])
    found = pair[name] if name in pair else _choice(site, site.moments[name], excluded)
    if isinstance(found, Choice):
        return found
    unreadable = [*found.unreadable, *([trouble] if trouble else [])]
    if unreadable:
        raise _unreadable(unreadable)
    raise NotFound(str(found))


def _unreadable(errors: Sequence[SceneReadError]) -> ImagesUnreadable:
    said = str(errors[0]) if errors else ""
    more = f" So it is with {len(errors) - 1} more." if len(errors) > 1 else ""
    passing = any(error.transient for error in errors)
    headers = {"Retry-After": "60"} if passing else {}
    return ImagesUnreadable(f"There are images of this site, but they cannot be read. {said}{more}", headers=headers)


def _shown(site: Site, name: ChipMoment, pair: Mapping[ChipMoment, Choice | NoImage]) -> Shown:
    if name not in site.moments:
        return Shown(name, None, None, reason=_NOT_YET[name])
    found = pair[name] if name in pair else _choice(site, site.moments[name], ())
    day = site.moments[name].day
    if isinstance(found, NoImage):
        return Shown(name, day, None, reason=str(_unreadable(found.unreadable) if found.unreadable else found))
    beside = [other.acquisition for other in pair.values() if isinstance(other, Choice)]
    return Shown(name, day, found, styles_of(site.frame, [found.acquisition, *beside]))


def _caption(site: Site, name: ChipMoment, choice: Choice) -> Caption:
    image = choice.acquisition
    day = day_of(image)
    first = image.scenes[0]
    origin = f"{first.platform or first.mission or 'satellite'} / {', '.join(sources_of(site, image))}"
    credit = "" if site.simulated else _credit(image, day.year)
    return Caption(name.value, day, origin, credit, choice.clear_share, site.simulated)


def sources_of(site: Site, image: Acquisition) -> list[str]:
    """The names of the sources that an image is of."""
    return sorted({site.sources[scene.id] for scene in image.scenes})


def _credit(image: Acquisition, year: int) -> str:
    """What the providers ask to be said: the Copernicus Sentinel data legal notice, the USGS's data citation."""
    sensors = {scene.sensor.split("-")[0] for scene in image.scenes}
    missions = {scene.mission for scene in image.scenes}
    if "hls" in sensors:
        return f"HLS {year}, NASA; contains Copernicus and Landsat data"
    if "sentinel-2" in missions:
        return f"Contains modified Copernicus Sentinel data {year}"
    return f"Landsat {year}, courtesy of the U.S. Geological Survey" if "landsat" in missions else ""


def _has(image: Acquisition, external_id: str) -> bool:
    return any(scene.external_id == external_id for scene in image.scenes)
