"""The rules over HTTP: read, export, import, activate; and a judgement explained by the rules that it was made by."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

from openpyxl import load_workbook

from app.boundaries.law.files import built_in, write_workbook
from app.boundaries.models import BoundaryFeature, Layer, LayerVersion, Verdict
from app.boundaries.overlay import Subject, judge_many
from app.foundation.geometry import from_database, to_database
from app.monitoring.models import Detection
from tests.casework_steps import add_detection
from tests.conftest import World

API = "/api/v1"


def edited(version: str = "2026.1-jilin", **cells: Any) -> bytes:
    """The built-in workbook with another version, and cells of 规则 changed: B2=..."""
    book = load_workbook(io.BytesIO(write_workbook(built_in())))
    book["参数"]["B2"] = version
    for cell, value in cells.items():
        book["规则"][cell] = value
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def post(world: World, username: str, content: bytes) -> Any:
    return world.client.post(
        f"{API}/rule-sets",
        headers=world.headers(username),
        files={"file": ("rules.xlsx", content)},
        data={"source_document": "厅法规处复核"},
    )


def test_the_rules_are_there_for_all_who_sign_in(world: World) -> None:
    answer = world.client.get(f"{API}/rules", headers=world.headers("county"))
    assert answer.status_code == 200
    told = answer.json()
    assert (told["version"], told["digest"], told["is_active"]) == (built_in().version, built_in().digest, True)
    assert told["unchecked"] == told["rules"] == len(told["table"])
    assert {"code", "ground", "since", "reason_zh", "reason_en", "source", "text_checked"} <= told["table"][0].keys()
    (listed,) = world.client.get(f"{API}/rule-sets", headers=world.headers("county")).json()["items"]
    assert listed["version"] == told["version"]
    book = world.client.get(f"{API}/rule-sets/{told['version']}/workbook", headers=world.headers("county"))
    assert load_workbook(io.BytesIO(book.content)).sheetnames == ["规则", "示例", "参数"]


def test_a_set_is_imported_tested_and_made_active(world: World) -> None:
    admin = world.headers("admin")
    assert post(world, "county", edited()).status_code == 403
    stored = post(world, "admin", edited(N2="自然保护区条例 第二十七条"))
    assert stored.status_code == 201, stored.text
    assert (stored.json()["is_active"], stored.headers["etag"]) == (False, '"1"')
    assert post(world, "admin", edited(N2="自然保护区条例 第二十七条")).json()["id"] == stored.json()["id"]
    taken = post(world, "admin", edited(N2="另一依据"))
    assert taken.status_code == 409 and "Give these a new version" in taken.json()["detail"]

    path, note = f"{API}/rule-sets/2026.1-jilin", {"note": "复核通过"}
    assert world.client.post(f"{path}/activate", json=note, headers=admin).status_code == 428
    stale = world.client.post(f"{path}/activate", json=note, headers=admin | {"If-Match": '"7"'})
    assert stale.status_code == 412
    county = world.client.post(f"{path}/activate", json=note, headers=world.headers("county") | {"If-Match": '"1"'})
    assert county.status_code == 403
    done = world.client.post(f"{path}/activate", json=note, headers=admin | {"If-Match": '"1"'})
    assert done.status_code == 200 and done.json()["is_active"] and done.headers["etag"] == '"2"'
    assert [one["note"] for one in done.json()["decisions"]] == ["复核通过"]
    again = world.client.post(f"{path}/activate", json=note, headers=admin | {"If-Match": '"2"'})
    assert again.status_code == 409
    states = world.client.get(f"{API}/rule-sets", headers=admin).json()["items"]
    assert {one["version"]: one["is_active"] for one in states} == {"2026.1-jilin": True, "2026.1": False}


def test_a_set_that_fails_its_own_examples_is_refused(world: World) -> None:
    refused = post(world, "admin", edited(G2="合规"))
    assert refused.status_code == 422
    assert "旧核心区，无许可: verdict is allowed, expected prohibited" in refused.json()["detail"]
    assert len(refused.json()["errors"]) > 2
    assert len(world.client.get(f"{API}/rule-sets", headers=world.headers("admin")).json()["items"]) == 1


def judged_detection(world: World, **told: Any) -> Detection:
    """A detection of the county inside a red line, judged by the active rules."""
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
        ground = from_database(detection.geom)
        version = LayerVersion(
            layer=Layer.redlines, number=1, valid_from=date(2020, 1, 1), source_document="t", digest="", feature_count=1
        )
        session.add(version)
        session.flush()
        session.add(
            BoundaryFeature(
                version_id=version.id, layer=Layer.redlines, code="HX-1", name="长白山红线", area_m2=1,
                valid_from=date(2020, 1, 1), geom=to_database(ground.buffer(0.01)), unit_ids=detection.unit_ids,
            )
        )  # fmt: skip
        session.flush()
        (overlay,) = judge_many(session, [Subject(ground, date(2024, 5, 1), date(2024, 4, 1), "quarry")])
        for name, value in (overlay.columns() | told).items():
            setattr(detection, name, value)
        session.flush()
        session.expunge(detection)
    return detection


def test_a_judgement_explains_itself_in_both_languages(world: World) -> None:
    detection = judged_detection(world)
    path, headers = f"{API}/detections/{detection.id}/judgement", world.headers("county")
    zh = world.client.get(path, headers=headers).json()
    en = world.client.get(path, params={"language": "en"}, headers=headers).json()
    assert (zh["verdict"], zh["verdict_label"], en["verdict_label"]) == (
        "needs_recognition",
        "待认定",
        "needs recognition",
    )
    assert (zh["severity_label"], en["severity_label"]) == ("高", "high")
    assert any("尚未与公布的法律原文核对" in line for line in zh["words"])
    assert any("not yet compared" in line for line in en["words"])
    assert "inside 生态保护红线" not in en["words"][0] and "inside red line 长白山红线" in en["words"][0]
    assert any("2024-04-01" in line for line in zh["words"])
    assert "142号" in zh["rule"]["source"] and zh["rule"]["text_checked"] is False
    assert (zh["rule"]["code"], zh["rule"]["rules"]) == ("redline-2022-development", "2026.1")
    (feature,) = zh["features"]
    assert feature["layer_label"] == "生态保护红线" and feature["version"] == 1
    shown = world.client.get(feature["href"], headers=headers)
    assert shown.status_code == 200 and shown.json()["properties"]["code"] == "HX-1"
    assert world.client.get(zh["rule"]["href"], headers=headers).status_code == 200
    assert (zh["grounds"][0]["label"], en["grounds"][0]["label"]) == ("生态保护红线", "red line")
    assert world.client.get(path, params={"language": "fr"}, headers=headers).status_code == 422
    assert world.client.get(path, headers=world.headers("county2")).status_code == 404
    answer = world.client.get(f"{API}/detections/{detection.id}", headers=headers).json()
    assert (answer["severity"], answer["establishment"], answer["redline_distance_m"]) == ("high", "new", 0)
    assert answer["verdict_ground_zh"] in zh["words"]


def test_old_verdicts_keep_their_rules(world: World) -> None:
    detection = judged_detection(world)
    post(world, "admin", edited())
    activated = world.client.post(
        f"{API}/rule-sets/2026.1-jilin/activate",
        json={"note": "x"},
        headers=world.headers("admin") | {"If-Match": '"1"'},
    )
    assert activated.status_code == 200
    path = f"{API}/detections/{detection.id}/judgement"
    assert world.client.get(path, headers=world.headers("county")).json()["rule"]["rules"] == "2026.1"
    with world.database.transaction(see_all=True) as session:
        (now,) = judge_many(session, [Subject(from_database(detection.geom), date(2024, 5, 1), None)])
        assert now.judged_by["rules"] == "2026.1-jilin"


def test_what_was_judged_before_rules_were_kept_is_explained_without_one(world: World) -> None:
    detection = judged_detection(world, judged_by={"on": "2024-05-01", "rules": "2022.1", "rule": "redline-2022"})
    told = world.client.get(f"{API}/detections/{detection.id}/judgement", headers=world.headers("county")).json()
    assert told["rule"] is None and told["grounds"] == [] and told["verdict"] == Verdict.needs_recognition
