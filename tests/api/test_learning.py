"""Labels from the desk and the ledger, what is evaluated by them, and calibrations learned from them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import select

from app.casework.labels import Label, collect
from app.cli import main
from app.imagery.models import Scene
from app.monitoring.activities import recogniser_versions
from app.monitoring.calibrations import active
from app.monitoring.models import CalibrationSet, Detection, DetectionChange, Plan, PlanSource, Run
from app.settings import get_settings
from detectors.calibration import DEFAULT, Calibration
from tests.api.test_publish import SEEN, SURE, make_publish
from tests.casework_steps import Desk
from tests.conftest import World
from tests.learning_steps import add_scored, decide_many

QUARRY = {"mining": 0.6, "quarry": 0.8, "road": -0.4, "fire": -0.9}


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


Command = Callable[..., str]


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run `redline …` on the test's database; what it printed, on both ways out."""

    def run(*words: str, status: int = 0) -> str:
        monkeypatch.setenv("REDLINE_DATABASE_URL", world.urls.application)
        monkeypatch.setattr(sys, "argv", ["redline", *words])
        get_settings.cache_clear()
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == status
        said = capsys.readouterr()
        return said.out if "--json" in words else " ".join((said.out + said.err).split())

    yield run
    get_settings.cache_clear()


def labels(world: World) -> dict[Any, Label]:
    with world.database.transaction(see_all=True) as session:
        return {label.detection_id: label for label in collect(session).labels}


def test_every_decision_is_a_label(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        names = (
            "burnt", "leafless", "allowed", "as_named", "corrected", "confirmed", "unfounded", "linked", "twin", "open",
            "reviewing", "disputed",
        )  # fmt: skip
        found = {
            name: add_scored(session, QUARRY, place=0 if name == "twin" else place).id
            for place, name in enumerate(names)
        }
    for name, reason in (("burnt", "fire"), ("leafless", "phenology"), ("twin", "crop")):
        answer = desk.post("officer", f"/detections/{found[name]}/dismiss", {"reason": reason}, 0)
        assert answer.status_code == 200, answer.text
    desk.post("officer", f"/detections/{found['allowed']}/authorise", {"legal_ground": "原有合法权益"}, 0)
    desk.dispatch(found["as_named"])
    desk.dispatch(found["corrected"], activity="mining")
    case = desk.done("county", desk.dispatch(found["confirmed"]), "start_verification")
    assert desk.upload("county", case["id"], kind="field_record").status_code == 201
    desk.done("county", case, "confirm", activity="construction")
    for name in ("unfounded", "disputed"):
        case = desk.done("county", desk.dispatch(found[name]), "start_verification")
        case = desk.done("county", case, "propose_unfounded")
        if name == "unfounded":
            desk.done("prefecture", case, "uphold_proposal")
    known = desk.dispatch(found["open"], activity="road")
    desk.post("officer", f"/detections/{found['linked']}/link", {"case_id": known["id"], "note": "同一条路"}, 0)
    desk.post("officer", f"/detections/{found['reviewing']}/start-review", {}, 0)

    with world.database.transaction(see_all=True) as session:
        whole = collect(session)
        basis = whole.basis()
    made = {label.detection_id: label for label in whole.labels}
    # Truth, whether it was a human activity, and whether somebody was there.
    assert {name: (made[i].truth, made[i].is_real, made[i].on_ground) for name, i in found.items() if i in made} == {
        "burnt": ("fire", False, False),
        "leafless": ("other", False, False),
        "twin": ("crop_calendar", False, False),
        "allowed": ("quarry", True, False),
        "as_named": ("quarry", True, False),
        "corrected": ("mining", True, False),
        "confirmed": ("construction", True, True),
        "unfounded": ("other", False, True),
        "linked": ("road", True, False),
        "open": ("road", True, False),
    }
    assert whole.undecided == 2
    assert {d.weight for d in basis.decisions} == {0.5, 1.0}
    # A cause that no recogniser scored is `other` to the fit: that is the best that could have been said.
    confirmed = made[found["confirmed"]].decision
    assert confirmed is not None and confirmed.truth == "other"
    # One ground, or one case, is one site.
    assert made[found["twin"]].site == made[found["burnt"]].site
    assert made[found["linked"]].site == made[found["open"]].site
    assert len({label.site for label in made.values()}) == 8
    one = made[found["burnt"]]
    assert (one.season, one.size, one.confidence, one.sensors) == ("spring", "2,000 to 5,000 m²", "high", ("unknown",))
    assert one.area.startswith("220621 ")
    assert whole.ledger_sequence > 0


def test_scores_of_an_earlier_recogniser_are_not_learned_from(world: World) -> None:
    with world.database.transaction(see_all=True) as session:
        decide_many(session, 2)
        old, new = session.scalars(select(Detection).order_by(Detection.id))
        versions = recogniser_versions()
        for detection, known in ((old, {**versions, "quarry": "0"}), (new, versions)):
            detection.activities = [{**one, "version": known.get(one["code"])} for one in detection.activities]
        session.flush()
        made = {label.detection_id: label.decision for label in collect(session).labels}
        assert made[old.id] is None and made[new.id] is not None


def test_the_sensor_is_that_of_the_scenes_that_showed_it(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_scored(session, QUARRY)
        detection.confirmed_on = date(2024, 6, 1)
        plan = session.scalars(select(Plan)).one()
        source_id = session.scalars(select(PlanSource.source_id).where(PlanSource.plan_id == plan.id)).one()
        run = session.get_one(Run, detection.run_id)
        run.created_at, run.finished_at = datetime(2024, 6, 5, 1, tzinfo=UTC), datetime(2024, 6, 5, 2, tzinfo=UTC)
        for day, platform, known, gone in (
            ("2024-04-30", "landsat-8", 4, None),
            ("2024-05-01", "sentinel-2a", 4, None),
            ("2024-06-01", "gf-1", 4, None),
            # Not there yet, there no more, and after the confirmation.
            ("2024-05-20", "gf-6", 6, None),
            ("2024-05-20", "gf-7", 3, 4),
            ("2024-06-02", "landsat-9", 4, None),
        ):
            scene = Scene(
                source_id=source_id, external_id=platform, acquired_at=f"{day}T02:00:00Z", platform=platform,
                footprint=detection.geom, assets={}, digest="d", unit_ids=[],
                first_seen_at=datetime(2024, 6, known, tzinfo=UTC),
                missing_since=datetime(2024, 6, gone, tzinfo=UTC) if gone else None,
            )  # fmt: skip
            session.add(scene)
        found = detection.id
    desk.post("officer", f"/detections/{found}/dismiss", {"reason": "fire"}, 0)
    assert labels(world)[found].sensors == ("gf-1", "sentinel-2a")


def test_a_label_is_of_the_name_that_was_decided_on(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_scored(session, QUARRY)
        change = {"detection_id": detection.id, "geom": detection.geom, "area_m2": 1.0}
        session.add(DetectionChange(**change, run_id=detection.run_id, kind="new", activity="quarry", calibration="1"))
        later = Run(plan_id=detection.plan_id, until=date(2024, 7, 1))
        session.add(later)
        session.flush()
        found, run_id = detection.id, later.id
    desk.post("officer", f"/detections/{found}/authorise", {"legal_ground": "x"}, 0)
    with world.database.transaction(see_all=True) as session:
        # It grows, and looks like something else now.
        session.add(DetectionChange(**change, run_id=run_id, kind="grown", activity="mining", calibration="1"))
        session.get_one(Detection, found).activity = "mining"
    label = labels(world)[found]
    assert (label.named, label.truth, label.is_right) == ("quarry", "quarry", True)


def test_simulated_and_real_decisions_are_never_mixed(world: World, desk: Desk, command: Command) -> None:
    with world.database.transaction(see_all=True) as session:
        decide_many(session, 30)
        add_scored(session, QUARRY, place=50)
        for detection in session.scalars(select(Detection)):
            detection.simulated = True
    assert "0 decisions can be learned from" in command("detectors", "calibrate", status=1)
    assert "0 detections decided, 0 not yet" in command("detectors", "evaluate")
    assert "30 detections decided, 1 not yet" in command("detectors", "evaluate", "--simulated")
    command("detectors", "calibrate", "--simulated", "--min-decisions", "30")
    (proposed, _) = desk.get("admin", "/calibrations").json()["items"]
    refused = desk.post("admin", f"/calibrations/{proposed['version']}/activate", {}, 1)
    assert refused.status_code == 409 and "simulated" in refused.json()["detail"]


def test_figures_on_the_command_line(world: World, desk: Desk, command: Command) -> None:
    assert "0 detections decided, 0 not yet" in command("detectors", "evaluate")
    with world.database.transaction(see_all=True) as session:
        found = [add_scored(session, QUARRY, place=place).id for place in range(4)]
        add_scored(session, QUARRY, place=9)
    for detection in found[:2]:
        desk.post("officer", f"/detections/{detection}/authorise", {"legal_ground": "x"}, 0)
    desk.post("officer", f"/detections/{found[2]}/dismiss", {"reason": "crop"}, 0)
    desk.dispatch(found[3], activity="mining")
    figures = json.loads(command("detectors", "evaluate", "--json"))
    assert (figures["decided"], figures["undecided"], figures["without_scores"]) == (4, 1, 0)
    (quarry,) = figures["tables"]["recogniser"]
    assert (quarry["name"], quarry["right"]["count"], quarry["real"]["count"]) == ("quarry", 2, 3)
    # Wilson's interval of two of four.
    assert (quarry["right"]["low"], quarry["right"]["high"]) == pytest.approx((0.150, 0.850), abs=1e-3)
    assert figures["false_alarms"] == {"crop": 1}
    assert {(c["named"], c["truth"], c["count"]) for c in figures["confusion"]} == {
        ("quarry", "mining", 1),
        ("quarry", "no activity (crop)", 1),
    }
    # Two of four were quarries.
    assert figures["calibration_error"] == pytest.approx(DEFAULT.probabilities(QUARRY, 4)["quarry"] - 0.5, abs=1e-9)
    said = command("detectors", "evaluate", "--by", "size", "--since", "2020-01-01")
    assert "2,000 to 5,000 m²" in said and "spring" not in said
    assert "0 detections decided" in command("detectors", "evaluate", "--since", "2199-01-01")


def test_figures_of_what_was_published_without_ranked_activities(world: World, desk: Desk, command: Command) -> None:
    with world.database.transaction(see_all=True) as session:
        old = add_scored(session, QUARRY)
        old.activities, old.evidence = [], {}
        found = old.id, add_scored(session, QUARRY, place=1).id
    desk.post("officer", f"/detections/{found[0]}/authorise", {"legal_ground": "x"}, 0)
    figures = json.loads(command("detectors", "evaluate", "--json"))
    assert (figures["decided"], figures["without_scores"], figures["calibration_error"]) == (1, 1, None)
    assert "as published: unknown." in command("detectors", "evaluate")
    desk.post("officer", f"/detections/{found[1]}/authorise", {"legal_ground": "x"}, 0)
    error = json.loads(command("detectors", "evaluate", "--json"))["calibration_error"]
    assert error == pytest.approx(1 - DEFAULT.probabilities(QUARRY, 4)["quarry"], abs=1e-9)


def test_learned_compared_and_switched_on(world: World, desk: Desk, command: Command) -> None:
    assert "are needed" in command("detectors", "calibrate", status=1)
    with world.database.transaction(see_all=True) as session:
        assert active(session).parameters == DEFAULT.to_json()
        decide_many(session, 150)
    said = command("detectors", "calibrate", "--min-decisions", "100")
    assert "is proposed, fitted on 150 decisions on 150 sites" in said and "WORSE" not in said
    assert "is proposed" in command("detectors", "calibrate", status=1)

    listed = desk.get("province", "/calibrations").json()["items"]
    proposed, first = listed
    assert (proposed["status"], first["version"], first["status"]) == ("proposed", DEFAULT.version, "active")
    assert (proposed["compared_with"], proposed["is_worse"], proposed["outdated"]) == (DEFAULT.version, False, [])
    assert proposed["basis"]["decisions"] == 150 and len(proposed["basis"]["digest"]) == 64
    before, after = proposed["comparison"]["before"], proposed["comparison"]["after"]
    assert after["log_loss"] < before["log_loss"]
    assert after["calibration_error"] < before["calibration_error"]
    assert proposed["sharpness"] < first["sharpness"]
    path = f"/calibrations/{proposed['version']}"

    for username in ("county", "prefecture"):
        assert desk.get(username, path).status_code == 404
        assert desk.get(username, "/calibrations").status_code == 403
    for username in ("county", "officer", "province", "inspector"):
        assert desk.post(username, f"{path}/activate", {}, 1).status_code == 403
        assert desk.post(username, f"{path}/reject", {"note": "x"}, 1).status_code == 403
    assert desk.post("admin", f"{path}/activate", {}, None).status_code == 428
    assert desk.post("admin", f"{path}/activate", {}, 7).status_code == 412
    assert desk.post("admin", "/calibrations/none/activate", {}, 1).status_code == 404

    answer = desk.post("admin", f"{path}/activate", {"note": "季度校准"}, 1)
    assert answer.status_code == 200, answer.text
    now = answer.json()
    assert (now["status"], now["revision"], answer.headers["etag"]) == ("active", 2, '"2"')
    assert [(d["status"], d["decided_by"], d["note"]) for d in now["decisions"]] == [("active", "admin", "季度校准")]
    with world.database.transaction(see_all=True) as session:
        # The next run goes by it.
        (detection,) = [d for d in make_publish(session)(((10, 10, 5, 8), SEEN, SURE)) if d.detector == "d/1/x"]
        first = detection.activities[0]
        assert detection.calibration == proposed["version"]
        given = Calibration.from_json(active(session).parameters)
        scores = {one["code"]: one["score"] for one in detection.activities if one["code"] != "other"}
        looks = detection.evidence["timing"]["looks"]
        assert given.probabilities(scores, looks)[first["code"]] == pytest.approx(first["probability"], abs=1e-3)
    assert desk.post("admin", f"{path}/activate", {}, 2).status_code == 409
    assert desk.post("admin", f"{path}/reject", {"note": "x"}, 2).status_code == 409
    old = desk.get("admin", f"/calibrations/{DEFAULT.version}")
    assert (old.json()["status"], old.headers["etag"]) == ("retired", '"2"')
    # And back to the one that came with the program.
    assert desk.post("admin", f"/calibrations/{DEFAULT.version}/activate", {}, 2).status_code == 200
    assert desk.get("admin", path).json()["status"] == "retired"


def test_a_set_that_did_worse_needs_a_reason(world: World, desk: Desk, command: Command) -> None:
    with world.database.transaction(see_all=True) as session:
        # What the program's own set says is the truth: what is learned beside it is chance.
        decide_many(session, 40, seed=6, truth=DEFAULT)
    said = command("detectors", "calibrate", "--min-decisions", "30")
    assert "WORSE" in said
    (proposed, _) = desk.get("admin", "/calibrations").json()["items"]
    assert proposed["is_worse"]
    path = f"/calibrations/{proposed['version']}"
    refused = desk.post("admin", f"{path}/activate", {"note": "试"}, 1)
    assert refused.status_code == 409 and "did worse" in refused.json()["detail"]
    assert desk.post("admin", f"{path}/activate", {"force": True}, 1).status_code == 422
    assert desk.post("admin", f"{path}/activate", {"force": True, "note": "试用一周"}, 1).status_code == 200
    with world.database.transaction(see_all=True) as session:
        assert active(session).version == proposed["version"]


def test_recognisers_that_changed_since_speak_against_it(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        old = CalibrationSet(
            version="2020-001", status="proposed", parameters=DEFAULT.to_json(), basis={"recognisers": {"road": "0"}}
        )
        session.add(old)
    shown = desk.get("admin", "/calibrations/2020-001").json()
    assert {"road", "quarry"} <= set(shown["outdated"])
    answer = desk.post("admin", "/calibrations/2020-001/activate", {}, 1)
    assert answer.status_code == 409 and "have changed" in answer.json()["detail"]
    rejected = desk.post("admin", "/calibrations/2020-001/reject", {"note": "过期"}, 1)
    assert rejected.json()["status"] == "rejected"
    assert desk.post("admin", "/calibrations/2020-001/activate", {"force": True, "note": "x"}, 2).status_code == 409


def test_a_comparison_holds_for_the_set_that_was_active_then(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        session.add_all(
            CalibrationSet(
                version=version, status="proposed", parameters=DEFAULT.to_json(), compared_with=DEFAULT.version
            )
            for version in ("2020-001", "2020-002")
        )
    assert desk.post("admin", "/calibrations/2020-001/activate", {}, 1).status_code == 200
    refused = desk.post("admin", "/calibrations/2020-002/activate", {}, 1)
    assert refused.status_code == 409 and "2020-001 has been switched on since" in refused.json()["detail"]
    # One that was on before may come back.
    assert desk.post("admin", f"/calibrations/{DEFAULT.version}/activate", {}, 2).status_code == 200
    assert desk.post("admin", "/calibrations/2020-001/activate", {}, 3).status_code == 200


def test_of_two_administrators_at_once_one_is_told(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        session.add_all(
            CalibrationSet(version=version, status="proposed", parameters=DEFAULT.to_json())
            for version in ("2020-001", "2020-002", "2020-003")
        )
    desk.headers("admin")

    def switch_on(version: str) -> int:
        return desk.post("admin", f"/calibrations/{version}/activate", {}, 1).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(switch_on, ["2020-001"] * 4)) == [200, 412, 412, 412]
        # Of different ones each comes to its turn, and one is active in the end.
        assert list(pool.map(switch_on, ["2020-002", "2020-003"])) == [200, 200]
    with world.database.transaction(see_all=True) as session:
        found = {row.version: row.status for row in session.scalars(select(CalibrationSet))}
    assert found[DEFAULT.version] == found["2020-001"] == "retired"
    assert {found["2020-002"], found["2020-003"]} == {"active", "retired"}


def test_activities_are_listed_and_filter(desk: Desk, world: World) -> None:
    items = {item["code"]: item for item in desk.get("county", "/activities").json()["items"]}
    assert (items["mining"]["label"], items["mining"]["kind"]) == ("采矿", "human")
    assert (items["fire"]["kind"], items["snow"]["kind"]) == ("natural", "routine")
    assert items["fire"]["recogniser_version"] and items["fire"]["looks_at"].startswith("Burn")
    assert items["tourism"]["recogniser_version"] is None
    with world.database.transaction(see_all=True) as session:
        add_scored(session, QUARRY)
    assert len(desk.get("officer", "/detections", activity="quarry").json()["items"]) == 1
    assert desk.get("officer", "/detections", activity="tourism").json()["items"] == []
    for path in ("/detections", "/cases"):
        unknown = desk.get("officer", path, activity="mineing")
        assert unknown.status_code == 422
        assert "mining" in unknown.json()["errors"][0]["detail"]
    detection = str(next(iter(desk.get("officer", "/detections").json()["items"]))["id"])
    assert desk.post("officer", f"/detections/{detection}/dispatch", {"activity": "fire"}, 0).status_code == 422
