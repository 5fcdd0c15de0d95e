"""The legal overlay in the database: the time in which a change can have happened, permits, borders, distances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from shapely import Polygon, box
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry
from sqlalchemy.orm import Session

from app.access.models import Account
from app.boundaries.models import (
    BoundaryFeature,
    Layer,
    LayerVersion,
    PermitRevocation,
    VersionKind,
    VersionStatus,
)
from app.boundaries.overlay import Overlay, Subject, judge, judge_many
from app.boundaries.rule_sets import active
from app.boundaries.vocabulary import Establishment, Severity, Verdict
from app.foundation.database import Database, set_scope
from app.foundation.embedded import EmbeddedCluster
from app.foundation.geometry import GEOD, to_database

CHANGE = box(127.05, 42.15, 127.06, 42.16)
RED = box(127.0, 42.12, 127.3, 42.2)
SEEN, CLEAR = date(2023, 6, 1), date(2023, 3, 1)
NUMBERS = count(1000)
Add = Callable[..., LayerVersion]


@pytest.fixture(scope="module")
def judging(cluster: EmbeddedCluster, world_template: str) -> Iterator[Database]:
    name = f"judging_{uuid4().hex}"
    database = Database(cluster.create_database(name, world_template).application)
    yield database
    database.dispose()
    cluster.drop_database(name)


@pytest.fixture
def session(judging: Database) -> Iterator[Session]:
    with judging.session() as session:
        set_scope(session, None)
        yield session
        session.rollback()


@pytest.fixture
def add(session: Session) -> Add:
    def add(layer: Layer, *grounds: BaseGeometry, since: date = date(2020, 1, 1), **told: Any) -> LayerVersion:
        of_version = {name: told.pop(name) for name in ("kind", "status", "accuracy_m") if name in told}
        version = LayerVersion(
            layer=layer, number=next(NUMBERS), valid_from=since, source_document="test", digest="",
            feature_count=len(grounds), **of_version,
        )  # fmt: skip
        session.add(version)
        session.flush()
        for index, ground in enumerate(grounds):
            columns = {"code": f"C-{index}", "name": "长白山", "valid_from": since} | told
            session.add(
                BoundaryFeature(
                    version_id=version.id, layer=layer, area_m2=1, geom=to_database(ground), unit_ids=[], **columns
                )
            )
        session.flush()
        return version

    return add


def permit(add: Add, ground: BaseGeometry, kind: str = "linear_infrastructure", **told: Any) -> LayerVersion:
    columns = {"code": "XK-1", "category": kind, "holder": "交通局", "document": "1号", "valid_from": date(2022, 1, 1)}
    return add(Layer.permits, ground, **(columns | told))


def change(activity: str | None = None, geometry: BaseGeometry = CHANGE, **told: Any) -> Subject:
    return Subject(geometry, SEEN, told.pop("last_clear_on", CLEAR), activity, **told)


def one(session: Session, subject: Subject, on: date | None = None) -> Overlay:
    (overlay,) = judge_many(session, [subject], on=on)
    return overlay


def test_two_verdicts_where_the_ground_changed_meanwhile(session: Session, add: Add) -> None:
    first = add(Layer.redlines, RED)
    second = add(Layer.redlines, translate(RED, 1), since=date(2023, 5, 1))
    overlay = one(session, change("mining"))
    # The headline is that of the day of the image.
    assert (overlay.verdict, overlay.severity) == (Verdict.undetermined, Severity.none)
    assert overlay.judged_by["versions"]["redlines"]["version_id"] == str(second.id)
    told = [(entry["from"], entry["to"], entry["verdict"], entry["severity"]) for entry in overlay.verdicts]
    assert told == [
        ("2023-03-02", "2023-04-30", "needs_recognition", "high"),
        ("2023-05-01", "2023-06-01", "undetermined", "none"),
    ]
    before = overlay.verdicts[0]
    assert before["versions"]["redlines"]["version_id"] == before["overlaps"][0]["version_id"] == str(first.id)
    assert "142号" in before["ground"] and "142号" in before["ground_zh"]
    # Without a clear view before, only the day of the image is looked at.
    alone = one(session, change("mining", last_clear_on=None))
    assert (alone.verdict, alone.verdicts, alone.judged_by["after"]) == (Verdict.undetermined, [], None)


def test_a_new_version_with_the_same_ground_is_no_other_verdict(session: Session, add: Add) -> None:
    add(Layer.redlines, RED)
    add(Layer.redlines, RED.buffer(0.01), since=date(2023, 5, 1))
    overlay = one(session, change())
    assert (overlay.verdict, overlay.verdicts) == (Verdict.needs_recognition, [])


def test_time_travel(session: Session, add: Add) -> None:
    add(Layer.redlines, RED)
    add(Layer.redlines, translate(RED, 1), since=date(2024, 1, 1))
    assert one(session, change()).verdict is Verdict.needs_recognition
    assert one(session, change(), on=date(2024, 2, 1)).verdict is Verdict.undetermined
    assert judge(session, CHANGE, date(2024, 2, 1)).verdict is Verdict.undetermined


def test_the_law_that_changed_meanwhile(session: Session, add: Add) -> None:
    add(Layer.important_wetlands, RED, level="national")
    subject = Subject(CHANGE, date(2022, 6, 10), date(2022, 5, 1), "cultivation")
    overlay = one(session, subject)
    assert [(entry["to"], entry["verdict"]) for entry in overlay.verdicts] == [
        ("2022-05-31", "undetermined"),
        ("2022-06-10", "prohibited"),
    ]
    assert overlay.judged_by["rule"] == "wetland-national-destruction"


def test_only_what_is_confirmed_judges(session: Session, add: Add) -> None:
    for status in (VersionStatus.proposed, VersionStatus.discarded):
        add(Layer.redlines, RED, status=status)
    assert "had been imported" in one(session, change()).verdict_ground


class TestPermits:
    def test_additions_count_with_the_version_before_them(self, session: Session, add: Add) -> None:
        add(Layer.redlines, RED)
        permit(add, RED)
        told = {"category": "restoration", "document": "2号", "since": date(2022, 1, 1)}
        addition = add(Layer.permits, RED, code="XK-2", kind=VersionKind.addition, **told)
        overlay = one(session, change())
        assert [found["code"] for found in overlay.overlaps if found["layer"] == "permits"] == ["XK-1", "XK-2"]
        assert overlay.judged_by["versions"]["permits"]["additions"] == {"count": 1, "up_to": addition.number}
        # A new whole register replaces both.
        permit(add, translate(RED, 1), since=date(2023, 1, 1))
        assert one(session, change()).verdict is Verdict.needs_recognition

    def test_a_revoked_permit_counts_until_its_day(self, session: Session, add: Add) -> None:
        add(Layer.redlines, RED)
        permit(add, RED)
        account = session.query(Account).first()
        assert account
        revoked = {"code": "XK-1", "reason": "r", "document": "d", "recorded_by": account.id, "unit_ids": []}
        session.add(PermitRevocation(revoked_on=date(2023, 5, 15), **revoked))
        session.flush()
        overlay = one(session, change())
        assert overlay.verdict is Verdict.needs_recognition
        assert [(entry["to"], entry["verdict"]) for entry in overlay.verdicts] == [
            ("2023-05-14", "allowed"),
            ("2023-06-01", "needs_recognition"),
        ]

    def test_a_kind_that_the_ground_does_not_admit(self, session: Session, add: Add) -> None:
        add(Layer.redlines, RED)
        add(Layer.protected_areas, RED, category="reserve_core", level="national")
        permit(add, RED)
        overlay = one(session, change("road"))
        assert (overlay.verdict, overlay.judged_by["rule"]) == (Verdict.prohibited, "reserve-core")
        assert "of no kind that allows it" in overlay.verdict_ground
        (found,) = (one for one in overlay.overlaps if one["layer"] == "permits")
        assert found["restricted_share"] == pytest.approx(1.0)
        assert (found["holder"], found["document"], found["valid_to"]) == ("交通局", "1号", None)

    def test_the_share_is_of_the_part_that_needs_it(self, session: Session, add: Add) -> None:
        add(Layer.redlines, box(127.0, 42.155, 127.3, 42.2))
        permit(add, box(127.0, 42.155, 127.055, 42.3))
        (found,) = (one for one in one(session, change()).overlaps if one["layer"] == "permits")
        assert found["restricted_share"] == pytest.approx(0.5, rel=1e-3)
        assert found["share"] == pytest.approx(0.25, rel=1e-3)

    def test_two_permits_together(self, session: Session, add: Add) -> None:
        add(Layer.redlines, RED)
        add(
            Layer.permits, box(127.0, 42.1, 127.055, 42.2), box(127.0549, 42.1, 127.1, 42.2),
            category="restoration", document="2号",
        )  # fmt: skip
        assert one(session, change()).verdict is Verdict.allowed


class TestBorders:
    ALONG = box(127.0, 42.1598, 127.3, 42.2)  # about 22 m of the change, along 820 m

    def test_accuracy_of_the_version_goes_before_the_default(self, session: Session, add: Add) -> None:
        add(Layer.redlines, self.ALONG)
        sure = one(session, change())
        assert sure.verdict is Verdict.needs_recognition  # 22 m are more than 10 m
        (found,) = sure.judged_by["grounds"]
        assert found["accuracy_m"] == 10
        assert found["contact_m"] == pytest.approx(GEOD.inv(127.05, 42.1598, 127.06, 42.1598)[2], rel=1e-4)
        add(Layer.redlines, self.ALONG, accuracy_m=50.0)
        unsure = one(session, change())
        assert (unsure.verdict, unsure.severity, unsure.judged_by["why"]) == (
            Verdict.boundary,
            Severity.none,
            "accuracy",
        )

    def test_the_smallest_area_applies_to_the_part_inside(self, session: Session, add: Add) -> None:
        add(Layer.redlines, box(127.0, 42.1, 127.0505, 42.1504))  # a corner of 41 m by 44 m
        assert one(session, change()).verdict is Verdict.needs_recognition
        small = one(session, change(min_area_m2=2000.0))
        assert (small.verdict, small.judged_by["why"]) == (Verdict.boundary, "min_area")

    def test_the_border_between_zones_is_not_that_of_the_reserve(self, session: Session, add: Add) -> None:
        """A track of 11 m along the border of two zones, deep inside the reserve."""
        track = box(127.05, 42.15995, 127.06, 42.16005)
        core, general = box(127.0, 42.1, 127.3, 42.16), box(127.0, 42.16, 127.3, 42.2)
        told: dict[str, Any] = {"level": "national", "code": "BH-1", "accuracy_m": 10.0}
        version = add(Layer.protected_areas, core, category="core_protection", **told)
        alone = one(session, change("road", track))
        assert (alone.verdict, alone.severity) == (Verdict.boundary, Severity.none)
        session.add(
            BoundaryFeature(
                version_id=version.id, layer=Layer.protected_areas, code="BH-1", name="长白山", level="national",
                category="general_control", valid_from=date(2020, 1, 1), area_m2=1, geom=to_database(general),
                unit_ids=[],
            )
        )  # fmt: skip
        session.flush()
        overlay = one(session, change("road", track))
        # It is in the reserve; in its core, nobody can say.
        assert (overlay.verdict, overlay.severity) == (Verdict.needs_recognition, Severity.medium)
        assert overlay.judged_by["rule"] == "general-control"
        assert {ground["why"] for ground in overlay.judged_by["grounds"]} == {"accuracy"}
        assert "milder rule" in overlay.verdict_ground and "较宽的规则" in overlay.verdict_ground_zh
        # A permit for half of it covers half, whichever zone it lies in; one for all of it, all.
        permit(add, general)
        assert one(session, change("road", track)).verdict is Verdict.needs_recognition
        permit(add, track.buffer(0.001))
        assert one(session, change("road", track)).verdict is Verdict.allowed

    def test_a_seam_between_features_is_no_border(self, session: Session, add: Add) -> None:
        add(Layer.redlines, box(127.0, 42.1, 127.055, 42.2), box(127.055, 42.1, 127.3, 42.2))
        (found,) = one(session, change()).judged_by["grounds"]
        assert (found["contact_m"], found["share"]) == (pytest.approx(0, abs=1e-3), pytest.approx(1))

    def test_ground_that_overlaps_within_a_class_counts_once(self, session: Session, add: Add) -> None:
        add(Layer.redlines, box(127.0, 42.1, 127.057, 42.2), box(127.053, 42.1, 127.057, 42.2))
        (found,) = one(session, change()).judged_by["grounds"]
        assert found["share"] == pytest.approx(0.7, rel=1e-6)


def test_legacy_and_new(session: Session, add: Add) -> None:
    add(Layer.protected_areas, RED, category="core_protection", level="national", established_on=date(1986, 7, 1))
    new = one(session, change())
    assert (new.establishment, new.verdict) == (Establishment.new, Verdict.prohibited)
    assert one(session, change(last_clear_on=None)).establishment is None
    another = {"category": "core_protection", "level": "national", "code": "BH-2"}
    add(Layer.protected_areas, RED, since=date(2024, 1, 1), **another)
    legacy = one(session, change(), on=date(2024, 6, 1))
    assert (legacy.establishment, legacy.verdict) == (Establishment.legacy, Verdict.needs_recognition)
    assert "历史遗留" in legacy.verdict_ground and "历史遗留" in legacy.verdict_ground_zh


class TestWhenGroundWasFirstProtected:
    """Where the layer does not say when an area was established."""

    AFTER = date(2024, 6, 1)

    def test_importing_a_layer_again_makes_nothing_legacy(self, session: Session, add: Add) -> None:
        add(Layer.redlines, RED, since=date(2018, 1, 1))
        add(Layer.redlines, RED, since=date(2024, 1, 1))
        overlay = one(session, change("mining"), on=self.AFTER)
        assert (overlay.establishment, overlay.severity) == (Establishment.new, Severity.high)
        assert overlay.judged_by["grounds"][0]["established"] == ["2018-01-01"]
        older = one(session, Subject(CHANGE, date(2017, 6, 1), None), on=self.AFTER)
        assert older.establishment is Establishment.legacy

    def test_what_stood_before_is_of_the_same_code_and_confirmed(self, session: Session, add: Add) -> None:
        add(Layer.redlines, RED, since=date(2018, 1, 1), code="HX-1")
        add(Layer.redlines, RED, since=date(2018, 2, 1), code="HX-2", status=VersionStatus.discarded)
        add(Layer.redlines, RED, since=date(2024, 1, 1), code="HX-2")
        assert one(session, change(), on=self.AFTER).establishment is Establishment.legacy

    def test_an_area_that_was_zoned_anew_is_older_than_its_zone(self, session: Session, add: Add) -> None:
        told: dict[str, Any] = {"level": "national", "code": "BH-1"}
        add(Layer.protected_areas, RED, category="reserve_core", since=date(2018, 1, 1), **told)
        add(Layer.protected_areas, RED, category="core_protection", since=date(2022, 1, 1), **told)
        found = [
            one(session, Subject(CHANGE, date(year, 6, 1), date(year, 3, 1)), on=self.AFTER).establishment
            for year in (2017, 2020, 2023)
        ]
        # In between the area was protected; whether this ground of it was, nobody says.
        assert found == [Establishment.legacy, None, Establishment.new]

    def test_a_later_version_says_nothing_of_an_earlier_one(self, session: Session, add: Add) -> None:
        add(Layer.redlines, RED, since=date(2023, 5, 1))
        before = one(session, Subject(CHANGE, SEEN, None))
        add(Layer.redlines, RED, since=date(2024, 1, 1), valid_from=date(2000, 1, 1))
        assert one(session, Subject(CHANGE, SEEN, None)) == before


def test_an_accuracy_of_nought_is_no_missing_one(session: Session, add: Add) -> None:
    add(Layer.redlines, box(127.0, 42.15995, 127.3, 42.2), accuracy_m=0.0)  # about 5 m of the change, along 820 m
    assert one(session, change()).verdict is Verdict.needs_recognition


def test_distance_to_the_nearest_red_line(session: Session, add: Add) -> None:
    assert one(session, change()).redline_distance_m is None
    east, north = translate(RED, 0.5), translate(RED, 0, 0.3)
    add(Layer.redlines, translate(RED, 0.28), box(127.0, 42.32, 127.1, 42.4))
    # 0.22 degrees to the east are 18.2 km, 0.16 to the north 17.8 km: nearest in degrees, too.
    overlay = one(session, change())
    assert overlay.redline_distance_m == pytest.approx(GEOD.inv(127.06, 42.16, 127.06, 42.32)[2], rel=1e-4)
    # 0.2 degrees to the east are 16.5 km, 0.16 to the north are 17.8 km: nearest in degrees is not nearest in metres.
    add(Layer.redlines, translate(RED, 0.26), box(127.0, 42.32, 127.1, 42.4))
    overlay = one(session, change())
    assert overlay.redline_distance_m == pytest.approx(GEOD.inv(127.06, 42.155, 127.26, 42.155)[2], rel=1e-4)
    add(Layer.redlines, RED, east, north)
    assert one(session, change()).redline_distance_m == 0


def test_layers_that_prohibit_nothing(session: Session, add: Add) -> None:
    add(Layer.key_function_zones, RED)
    add(Layer.biodiversity_priority_areas, RED)
    overlay = one(session, change())
    assert (overlay.verdict, overlay.severity) == (Verdict.undetermined, Severity.low)
    assert {found["layer"] for found in overlay.overlaps} == {"key-function-zones", "biodiversity-priority-areas"}


def test_the_verdict_stores_what_it_stands_on(session: Session, add: Add) -> None:
    version = add(Layer.redlines, RED)
    overlay = one(session, change("mining", pixel_m=2.0, min_area_m2=400.0))
    by, rules = overlay.judged_by, active(session)
    assert (by["rules"], by["rules_digest"], by["rule"]) == (rules.version, rules.digest, "redline-2022-development")
    assert (by["activity"], by["pixel_m"], by["min_area_m2"]) == ("mining", 2.0, 400.0)
    assert (by["after"], by["until"], by["on"]) == ("2023-03-01", "2023-06-01", "2023-06-01")
    assert by["text_checked"] is False
    assert (overlay.overlaps[0]["version_id"], overlay.overlaps[0]["ground"]) == (str(version.id), "redline")
    assert set(overlay.columns()) <= {*overlay.to_json()}


def test_many_are_judged_as_each_alone(session: Session, add: Add) -> None:
    add(Layer.redlines, RED, box(127.5, 42.0, 127.9, 42.3))
    add(Layer.scenic_areas, box(127.2, 42.0, 127.7, 42.4), category="scenic_core", level="national")
    corners = [(x / 10, y / 10) for x in range(1268, 1282, 2) for y in range(418, 426)]
    subjects = [change("tourism", Polygon([(x, y), (x + 0.01, y), (x, y + 0.01)])) for x, y in corners]
    together = judge_many(session, subjects)
    assert {overlay.verdict for overlay in together} >= {Verdict.prohibited, Verdict.undetermined}
    assert together[::9] == [one(session, subject) for subject in subjects[::9]]
    assert judge_many(session, []) == []
