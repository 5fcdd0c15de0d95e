"""The finishing transaction: one change is one detection, however it grows, joins or vanishes."""

from __future__ import annotations

import io
from datetime import date, timedelta

import numpy as np
import pytest
import shapely
from pyproj import Geod
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.foundation.geometry import from_database, to_database
from app.foundation.identity import new_id
from app.foundation.time import day_number, utc_now
from app.imagery.models import Source, SourceKind
from app.monitoring import publish as publishing
from app.monitoring.committing import STANDING, past_of, standing_of
from app.monitoring.generations import at_baseline, remember
from app.monitoring.models import (
    ChangeType,
    Detection,
    DetectionChange,
    Plan,
    PlanSource,
    PlanTile,
    Run,
    RunStatus,
    RunTile,
    TileState,
    TileStatus,
)
from app.monitoring.polygons import pixels_of
from app.monitoring.publish import publish
from app.monitoring.schemas import PlanConfiguration
from app.monitoring.tiles import changed_pixels, pack
from detectors.types import EVIDENCE, ChangedPixels, Grid
from tests.detectors.cubes import BANDS
from tests.series import BARE, CRS, FOREST, ORIGIN, geographic

GRID = Grid(CRS, (10.0, 0.0, ORIGIN[0], 0.0, -10.0, ORIGIN[1]), (100, 100))
SEEN, SURE = date(2024, 6, 1), date(2024, 7, 1)
Box = tuple[int, int, int, int]


class Publish:
    """Ends runs of one plan whose only tile has changed in the given boxes; all detections, oldest first."""

    def __init__(self, session: Session, plan: Plan, state: TileState) -> None:
        self.session, self.plan, self.state = session, plan, state

    def __call__(
        self, *boxes: tuple[Box, date, date | None], replayed: bool = False, until: date = date(2024, 12, 31)
    ) -> list[Detection]:
        """`replayed`: the run computed the tile anew for late or corrected scenes."""
        current = pixels(list(boxes))
        row = self.session.execute(select(*STANDING).where(TileState.id == self.state.id)).one()
        past = remember(standing_of(row), past_of(row), changed_pixels(current), replayed=replayed)
        self.state.past_pixels, self.state.changed_pixels = pack(past.to_arrays()), current
        return self.finish(replayed, until)

    def baseline(
        self, history_from: date, history_until: date, *boxes: tuple[Box, date, date | None]
    ) -> list[Detection]:
        """The tile is fitted anew, and nothing has changed since."""
        row = self.session.execute(select(*STANDING).where(TileState.id == self.state.id)).one()
        self.state.past_pixels = pack(at_baseline(standing_of(row)).to_arrays())
        self.state.changed_pixels, self.state.history_from = pixels([]), history_from
        self.state.state = {"history_until": history_until.isoformat()}
        self.plan.history_from, self.plan.history_until = history_from, history_until
        return self.finish(False)

    def finish(self, replayed: bool, until: date = date(2024, 12, 31)) -> list[Detection]:
        done = Run(plan_id=self.plan.id, until=until, status=RunStatus.running, baseline=1, unit_ids=[])
        self.session.add(done)
        self.session.flush()
        day = date(2024, 6, 5) if replayed else None
        self.session.add(RunTile(run_id=done.id, row=0, col=0, status=TileStatus.done, replayed_from=day))
        self.session.flush()
        publish(self.session, done, self.plan, GRID)
        done.status = RunStatus.succeeded
        self.session.flush()
        return list(self.session.scalars(select(Detection).order_by(Detection.id)))

    def changes(self, detection: Detection) -> list[DetectionChange]:
        mine = select(DetectionChange).where(DetectionChange.detection_id == detection.id)
        return list(self.session.scalars(mine.order_by(DetectionChange.id)))


def pixels(boxes: list[tuple[Box, date, date | None]]) -> bytes:
    """Changed pixels in boxes (row, col, rows, cols) with their day first seen and confirmed, as a tile stores them."""
    places = [
        (row + r, col + c, day_number(seen), day_number(sure) if sure else 0)
        for (row, col, rows, cols), seen, sure in boxes
        for r in range(rows)
        for c in range(cols)
    ]
    row, col, seen, sure = np.array(places, np.int32).reshape(-1, 4).T
    before = np.tile(np.array([FOREST[band] for band in BANDS], np.float32) / 1e4, (len(places), 1))
    after = np.tile(np.array([BARE[band] for band in BANDS], np.float32) / 1e4, (len(places), 1))
    table = ChangedPixels(
        row.copy(), col.copy(), seen.copy(), sure.copy(), seen - 5, np.zeros_like(row), before, after,
        np.full((len(places), len(EVIDENCE)), 5, np.float32), BANDS,
        np.where(sure > 0, 6, 1).astype(np.int32), np.where(sure > 0, sure, seen),
    )  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **table.to_arrays())
    return buffer.getvalue()


@pytest.fixture
def publish_boxes(session: Session) -> Publish:
    return make_publish(session)


def make_publish(session: Session) -> Publish:
    """Of a plan of its own."""
    source = Source(name="s", title="s", kind=SourceKind.folder, location="x", configuration={})
    session.add(source)
    session.flush()
    ground = geographic(shapely.box(ORIGIN[0], ORIGIN[1] - 1000, ORIGIN[0] + 1000, ORIGIN[1]))
    plan = Plan(
        name="p", title="p", area=to_database(ground), history_from=date(2022, 1, 1),
        history_until=date(2023, 12, 31), configuration=PlanConfiguration(crs=CRS).model_dump(mode="json"), unit_ids=[],
    )  # fmt: skip
    session.add(plan)
    session.flush()
    session.add(PlanSource(plan_id=plan.id, source_id=source.id, position=0))
    state = TileState(
        plan_id=plan.id, row=0, col=0, sequence=1, state={"history_until": "2023-12-31"}, detector="d/1/x",
        changed_pixels=pixels([]), history_from=date(2022, 1, 1),
    )  # fmt: skip
    session.add(state)

    session.add(PlanTile(plan_id=plan.id, row=0, col=0, row0=0, col0=0, height=100, width=100))
    session.flush()
    return Publish(session, plan, state)


def test_a_suspicion_of_which_a_part_is_confirmed_stays_one_detection(publish_boxes: Publish) -> None:
    (suspicion,) = publish_boxes(((10, 10, 5, 6), SEEN, None))
    assert (suspicion.confidence, suspicion.confirmed_on) == ("low", None)
    (part,) = publish_boxes(((10, 10, 2, 6), SEEN, SURE), ((12, 10, 3, 6), SEEN, None))
    assert part.id == suspicion.id
    assert (part.confidence, part.confirmed_on) == ("high", SURE)
    (whole,) = publish_boxes(((10, 10, 5, 6), SEEN, SURE))
    assert whole.id == suspicion.id
    assert whole.withdrawn_at is None
    assert whole.area_m2 == pytest.approx(3000, rel=0.01)
    assert whole.change_type is ChangeType.expanded


def test_two_detections_that_grow_together_become_one(publish_boxes: Publish) -> None:
    large, small = ((10, 10, 5, 8), SEEN, SURE), ((10, 30, 4, 4), SEEN, SURE)
    first, second = publish_boxes(large, small)
    publish_boxes(large, small, ((10, 18, 4, 12), SEEN, SURE + timedelta(days=30)))
    assert (first.withdrawn_at, first.confidence) == (None, "high")
    assert second.withdrawn_reason == f"joined with detection {first.id}, which has grown over it"


def test_a_suspicion_that_vanishes_is_withdrawn_and_a_confirmed_change_is_not(publish_boxes: Publish) -> None:
    publish_boxes(((10, 10, 4, 4), SEEN, None), ((40, 40, 4, 4), SEEN, SURE))
    low, high = sorted(publish_boxes(), key=lambda d: d.confidence, reverse=True)
    assert low.withdrawn_reason == "not seen again up to 2024-12-31"
    assert high.withdrawn_at is None


def test_dates_that_were_published_stand(publish_boxes: Publish) -> None:
    (first,) = publish_boxes(((10, 10, 4, 4), SEEN, SURE))
    later = timedelta(days=20)
    (again,) = publish_boxes(((10, 10, 4, 5), SEEN + later, SURE + later))
    assert again.id == first.id
    assert (again.first_seen_on, again.confirmed_on) == (SEEN, SURE)
    assert again.last_clear_on == SEEN - timedelta(days=5)


def test_a_patch_below_the_least_area_is_nothing(publish_boxes: Publish) -> None:
    assert publish_boxes(((10, 10, 3, 3), SEEN, SURE)) == []


def pixel_count(detection: Detection) -> int:
    return int(pixels_of(from_database(detection.geom), GRID)[0].sum())


def test_a_change_that_grows_over_weeks_is_one_detection_with_its_history(publish_boxes: Publish) -> None:
    week = timedelta(days=7)
    for number in range(1, 5):
        grown = [((10, 10 + 4 * i, 4, 4), SEEN + i * week, SURE + i * week) for i in range(number)]
        (detection,) = publish_boxes(*grown)
        assert pixel_count(detection) == 16 * number
    assert detection.change_type is ChangeType.expanded
    assert (detection.first_seen_on, detection.confirmed_on) == (SEEN, SURE)
    changes = publish_boxes.changes(detection)
    assert [change.kind for change in changes] == ["new", "grown", "grown", "grown"]
    assert [round(change.area_m2 / 1600, 1) for change in changes] == [1, 2, 3, 4]


def test_ground_that_recovered_and_changes_again_is_a_new_detection(publish_boxes: Publish) -> None:
    box, later = (10, 10, 5, 5), timedelta(days=200)
    (first,) = publish_boxes((box, SEEN, SURE))
    first, second = publish_boxes((box, SEEN + later, SURE + later))
    assert (first.withdrawn_at, first.first_seen_on, pixel_count(first)) == (None, SEEN, 25)
    assert (second.follows_id, second.first_seen_on, second.generation) == (first.id, SEEN + later, 1)
    assert publish_boxes((box, SEEN + later, SURE + later)) == [first, second]
    # It grows by itself, onto fresh ground, and the first one does not.
    wider = ((10, 10, 5, 8), SEEN + later, SURE + later)
    assert publish_boxes(wider) == [first, second]
    assert (pixel_count(first), pixel_count(second)) == (25, 40)


def test_a_new_baseline_drops_nothing_and_publishes_nothing_twice(publish_boxes: Publish) -> None:
    box, low = (10, 10, 5, 5), (40, 40, 4, 4)
    sure, suspicion = publish_boxes((box, SEEN, SURE), (low, SEEN, None))
    year = (date(2023, 1, 1), date(2024, 12, 31))
    assert publish_boxes.baseline(*year) == [sure, suspicion]
    assert (sure.withdrawn_at, suspicion.withdrawn_at) == (None, None)
    # The history mixes forest and bare ground there, and its alarm in the new year is the old change.
    new_year = date(2025, 2, 1)
    assert publish_boxes((box, new_year, new_year + timedelta(days=30))) == [sure, suspicion]
    assert (sure.first_seen_on, pixel_count(sure)) == (SEEN, 25)
    # What grows beside it is its growth.
    publish_boxes(((10, 15, 5, 4), new_year, new_year + timedelta(days=30)))
    assert pixel_count(sure) == 45
    assert sure.first_seen_on == SEEN
    # Two years on, the history knows only bare ground: another change there is another detection.
    publish_boxes.baseline(date(2025, 6, 1), date(2026, 12, 31))
    built = date(2027, 5, 1)
    *_, second = publish_boxes((box, built, built + timedelta(days=30)))
    assert second.follows_id == sure.id


def test_a_replay_leaves_what_is_worked_with_and_says_so_once(publish_boxes: Publish) -> None:
    (detection,) = publish_boxes(((10, 10, 4, 6), SEEN, SURE))
    detection.held_at = utc_now()
    shrunk = ((10, 10, 4, 4), SEEN - timedelta(days=10), SURE)
    publish_boxes(shrunk, replayed=True)
    publish_boxes(shrunk, replayed=True)
    assert (pixel_count(detection), detection.first_seen_on) == (24, SEEN)
    new, replayed = publish_boxes.changes(detection)
    assert (new.kind, replayed.kind) == ("new", "replayed")
    assert replayed.first_seen_on == SEEN - timedelta(days=10)
    assert replayed.area_m2 == pytest.approx(1600, rel=0.01)
    # New scenes let it grow, by what is new since: the replay's loss does not come in by the back door.
    publish_boxes(((10, 10, 4, 4), SEEN, SURE), ((14, 10, 2, 4), SURE, SURE + timedelta(days=30)))
    assert pixel_count(detection) == 24 + 8
    assert publish_boxes.changes(detection)[-1].kind == "grown"
    # Gone after a replay: it stands, and that is said once.
    publish_boxes(replayed=True)
    publish_boxes(replayed=True)
    assert detection.withdrawn_at is None
    assert [change.kind for change in publish_boxes.changes(detection)[-2:]] == ["grown", "vanished"]


def test_a_confirmed_change_that_a_replay_takes_back_is_withdrawn(publish_boxes: Publish) -> None:
    (detection,) = publish_boxes(((10, 10, 4, 6), SEEN, SURE))
    publish_boxes(replayed=True)
    assert detection.withdrawn_reason == "no longer there once late or corrected scenes were taken in"


def test_growth_that_comes_in_the_run_of_a_replay_is_taken(publish_boxes: Publish) -> None:
    box, day = (10, 10, 4, 6), SEEN + timedelta(days=60)
    (detection,) = publish_boxes((box, SEEN, SURE), until=day)
    detection.held_at = utc_now()
    older, newer = ((14, 10, 2, 6), SEEN, SURE), ((10, 16, 4, 3), day + timedelta(days=5), day + timedelta(days=30))
    publish_boxes((box, SEEN, SURE), older, newer, replayed=True, until=day + timedelta(days=40))
    # The replay's rows stay outside, the columns that changed since are in; the imagery shows both.
    assert pixel_count(detection) == 24 + 12
    *_, change = publish_boxes.changes(detection)
    assert change.kind == "grown"
    assert change.area_m2 == pytest.approx(4800, rel=0.01)
    publish_boxes((box, SEEN, SURE), older, newer, until=day + timedelta(days=50))
    assert pixel_count(detection) == 24 + 12


def test_what_grows_together_with_a_case_joins_the_case(publish_boxes: Publish) -> None:
    small, large = ((10, 10, 4, 4), SEEN, SURE), ((10, 20, 8, 8), SEEN, SURE)
    first, second = sorted(publish_boxes(small, large), key=lambda d: d.area_m2)
    first.held_at = utc_now()
    publish_boxes(small, large, ((10, 14, 4, 6), SEEN, SURE))
    assert pixel_count(first) == 16 + 64 + 24
    assert second.withdrawn_reason == f"joined with detection {first.id}, which has grown over it"


def test_two_cases_that_grow_together_keep_their_ground_and_count_none_twice(publish_boxes: Publish) -> None:
    small, large = ((10, 10, 4, 4), SEEN, SURE), ((10, 20, 8, 8), SEEN, SURE)
    first, second = sorted(publish_boxes(small, large), key=lambda d: d.area_m2)
    first.held_at = second.held_at = utc_now()
    for _ in range(2):
        publish_boxes(small, large, ((10, 14, 4, 6), SEEN, SURE))
        assert (pixel_count(first), pixel_count(second)) == (16, 64 + 24)
    assert (first.withdrawn_at, second.withdrawn_at) == (None, None)
    assert [change.kind for change in publish_boxes.changes(first)] == ["new"]


def test_ground_published_before_a_second_change_reached_it_stays_one_detection(publish_boxes: Publish) -> None:
    box, beside, later = (10, 10, 5, 5), (10, 17, 5, 4), timedelta(days=100)
    (first,) = publish_boxes((box, SEEN, SURE))
    first, other = publish_boxes((box, SEEN, SURE), (beside, SEEN + later, SURE + later))
    assert (other.generation, other.follows_id) == (0, None)
    # The old ground changes again, over the gap between them: what stood beside it is a part of the second change.
    last = (SEEN + 2 * later, SURE + 2 * later)
    reached = ((box, *last), ((10, 15, 5, 2), *last), (beside, SEEN + later, SURE + later))
    for _ in range(2):
        assert publish_boxes(*reached) == [first, other]
        assert (other.generation, other.follows_id, other.first_seen_on) == (1, first.id, SEEN + later)
        assert (pixel_count(first), pixel_count(other)) == (25, 55)
        assert (first.withdrawn_at, other.withdrawn_at) == (None, None)


def test_what_was_said_before_the_grid_was_laid_anew_is_no_growth(publish_boxes: Publish) -> None:
    (detection,) = publish_boxes(((10, 10, 4, 6), SEEN, SURE))
    detection.held_at = utc_now()
    # As a run of the version before left it: it recorded no baseline.
    publish_boxes.session.get_one(Run, detection.run_id).baseline = None
    publish_boxes.session.flush()
    for _ in range(2):
        publish_boxes(((9, 9, 6, 8), SEEN, SURE))
        assert pixel_count(detection) == 24
        assert [change.kind for change in publish_boxes.changes(detection)] == ["new", "replayed"]
    # From there on it grows as ever.
    publish_boxes(((9, 9, 6, 8), SEEN, SURE), ((15, 9, 2, 8), SEEN, SURE))
    assert pixel_count(detection) == 24 + 16
    assert publish_boxes.changes(detection)[-1].kind == "grown"


def test_a_road_has_its_centre_line(publish_boxes: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    (strip,) = publish_boxes(((40, 10, 2, 80), SEEN, SURE))
    monkeypatch.setattr(publishing, "LINEAR", strip.activity)
    publish_boxes(((40, 10, 2, 80), SEEN, SURE))
    line = shapely.geometry.shape(strip.evidence["centre_line"])
    ground = from_database(strip.geom)
    assert line.geom_type == "LineString" and ground.buffer(1e-6).contains(line)
    # 80 pixels of 10 m, less about half a width at either end.
    assert Geod(ellps="GRS80").geometry_length(line) == pytest.approx(780, abs=25)


def test_runs_go_on_with_the_whole_and_leave_an_officers_parts_alone(publish_boxes: Publish, session: Session) -> None:
    (whole,) = publish_boxes(((10, 10, 20, 20), SEEN, SURE))
    whole.held_at = utc_now()
    kept = {
        column.key: getattr(whole, column.key)
        for column in Detection.__table__.columns
        if column.key not in ("id", "split_from_id")
    }
    part = Detection(id=new_id(), split_from_id=whole.id, **kept)
    session.add(part)
    session.flush()
    before = part.area_m2
    found = publish_boxes(((10, 10, 20, 30), SEEN, SURE))
    assert [one.id for one in found] == [whole.id, part.id]
    assert whole.area_m2 > before == part.area_m2
    publish_boxes(replayed=True)
    assert part.withdrawn_at is None
    assert publish_boxes.changes(part) == []
