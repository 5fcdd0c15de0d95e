"""Every endpoint that holds a place: 401 without a token, 404 outside the caller's jurisdiction.

The test walks the OpenAPI document: an endpoint with a path parameter that nobody told it how to fill fails it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import shapely
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.access import service as access
from app.access.accounts import account_by_name
from app.access.models import Account
from app.boundaries.models import (
    BoundaryFeature,
    Layer,
    LayerVersion,
    PermitRevocation,
    Severity,
    Verdict,
    VersionStatus,
)
from app.casework import review_ledger
from app.casework.clue_models import ClueItem, ClueList
from app.casework.deadline_models import Deadline, DeadlineNotice, DeadlineRequest
from app.casework.evidence_models import Upload
from app.casework.intervals import open_rows
from app.casework.ledger import append
from app.casework.lifecycle import CaseState, ReviewState
from app.casework.models import (
    Case,
    CaseLink,
    CaseParticipation,
    CaseSource,
    Evidence,
    EvidenceKind,
    Participation,
)
from app.casework.recovery_models import RecoveryReading, RecoverySite
from app.casework.review_models import Review, ReviewAudit
from app.casework.supervision_models import LookBack, Objection, ReboundSignal, Sample, SampledCase, Track
from app.casework.vocabulary import (
    CaseLinkKind,
    DismissReason,
    NoticeKind,
    RequestKind,
    SupervisionSource,
    TrackKind,
)
from app.foundation.geometry import to_database
from app.imagery.models import Scene, Source, SourceKind
from app.messages.models import Delivery, InboxMessage, Webhook
from app.messages.vocabulary import Event, Origin
from app.monitoring.models import (
    Confidence,
    Detection,
    DetectionChange,
    DetectionChangeKind,
    Judgement,
    JudgementCause,
    Plan,
    PlanSource,
    PlanTile,
    Run,
    RunTile,
    TileState,
)
from app.statistics.models import Snapshot, SnapshotCase, ZeroOutTarget
from app.statistics.vocabulary import TargetKind
from app.tables import metadata
from tests.conftest import COUNTY2, World
from tests.openapi import document, operations
from tests.walls import owner, walls

__all__ = ["operations", "owner", "walls"]

# Open to everyone, signed in or not.
PUBLIC = {"/api/v1/auth/token", "/livez", "/readyz"}
# The first word of what every layer has alike.
VERSIONED = "{layer}"
# What is a list, or tells of one, for each layer or report.
LISTS = ("/api/v1/{layer}/versions", "/tiles/{layer}", "/api/v1/statistics/figures/{report}")
LISTS += tuple(f"{LISTS[-1]}.{ending}" for ending in ("csv", "parquet", "gpkg", "csv-metadata.json"))
Ids = dict[tuple[str, str], UUID | str]
GROUND = to_database(shapely.box(126.9, 41.8, 126.91, 41.81))


OPERATIONS = [(path, method) for path, method, _ in operations()]


def _body(operation: dict[str, Any]) -> dict[str, Any]:
    """A valid request body made from the document: keyword arguments for the client."""
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        return {"json": _instance(content["application/json"]["schema"])}
    if "multipart/form-data" in content:
        form = _instance(content["multipart/form-data"]["schema"])
        return {
            "files": {"file": ("a.jpg", b"\xff\xd8\xff\xe0")},
            "data": {k: v for k, v in form.items() if k != "file"},
        }
    return {}


def _instance(schema: dict[str, Any]) -> Any:
    """The smallest value that a schema of the document takes, by its own examples where it has them."""
    if "$ref" in schema:
        return _instance(document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]])
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return _instance(schema[key][0])
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema or "default" in schema:
        return schema.get("const", schema.get("default"))
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        return {name: _instance(properties[name]) for name in schema.get("required", [])}
    if schema.get("type") == "array":
        return [_instance(schema["items"])] * schema.get("minItems", 0)
    formats = {"date": "2024-01-01", "date-time": "2024-01-01T00:00:00Z", "uuid": str(uuid4())}
    return {"string": formats.get(schema.get("format", ""), "x"), "boolean": False}.get(schema.get("type", ""), 1)


# Parameters that name no row: a layer, a moment of a site, a report of figures.
WORDS = ("layer", "moment", "report")


def _foreign(session: Session) -> Ids:
    """One row of every kind, in the neighbouring county: (first word of the path, parameter) → id."""
    unit = access.unit_by_code(session, COUNTY2)
    account = session.query(Account).first()
    assert account
    place = {"unit_ids": [unit.id]}
    ids: Ids = {}
    session.add(source := Source(name="s", title="s", kind=SourceKind.folder, location="x", configuration={}))
    session.flush()
    scene = Scene(
        source_id=source.id,
        external_id="e",
        acquired_at=datetime.now(UTC),
        footprint=GROUND,
        assets={},
        digest="d",
        **place,
    )
    plan = Plan(
        name="p", title="p", area=GROUND, history_from=date(2020, 1, 1),
        history_until=date(2021, 1, 1), configuration={}, **place,
    )  # fmt: skip
    session.add_all([scene, plan])
    session.flush()
    session.add(run := Run(plan_id=plan.id, until=date(2022, 1, 1), **place))
    session.flush()
    detection = Detection(
        plan_id=plan.id, run_id=run.id, geom=GROUND, area_m2=1, activity="mining", activities=[],
        confidence=Confidence.high, first_seen_on=date(2022, 1, 1), detector="d", verdict=Verdict.undetermined,
        verdict_ground="", lead_unit_id=unit.id, **place,
    )  # fmt: skip
    session.add(detection)
    session.flush()
    case = Case(
        number="RL-1", state=CaseState.dispatched, detection_id=detection.id, activity="mining", priority="ordinary",
        supervision_source="satellite_monitoring", lead_unit_id=unit.id, accepting_unit_id=unit.id,
        dispatching_unit_id=unit.id, geom=GROUND, area_m2=1, **place,
    )  # fmt: skip
    session.add(case)
    session.flush()
    evidence = Evidence(
        case_id=case.id, kind=EvidenceKind.photo, filename="f", media_type="image/jpeg", size_bytes=1, sha256="0" * 64,
        uploaded_by=account.id,
    )  # fmt: skip
    session.add(evidence)
    # Of an account of the neighbour's: even its own county's other accounts do not see it.
    upload = Upload(
        case_id=case.id, account_id=account_by_name(session, "county2").id, kind=EvidenceKind.photo, filename="f",
        metadata_header="", length=9, expires_at=datetime(2100, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    caller = access.caller_of(session, account)
    event = append(session, caller, case, "dispatch", state_before=None, occurred_on=date(2024, 1, 1))
    clue_list = ClueList(
        name="l", source=SupervisionSource.green_shield, filename="f.csv", sha256="0" * 64, mapping={},
        layout={"format": "csv", "columns": [], "row_count": 1}, uploaded_by=account.id, **place,
    )  # fmt: skip
    session.add(clue_list)
    session.flush()
    clue_item = ClueItem(
        list_id=clue_list.id, row_number=2, values={"number": "1"}, item_number="1", geom=GROUND, lead_unit_id=unit.id,
        **place,
    )  # fmt: skip
    session.add(clue_item)
    review = Review(detection_id=detection.id, state=ReviewState.dispatched, case_id=case.id, decided_by=account.id)
    part = CaseParticipation(case_id=case.id, unit_id=unit.id, kind=Participation.lead)
    run_tile = RunTile(run_id=run.id, row=0, col=0)
    tile_state = TileState(
        plan_id=plan.id, row=0, col=0, sequence=1, state={"history_until": "2021-01-01"}, detector="d",
        changed_pixels=b"",
    )  # fmt: skip
    plan_source = PlanSource(plan_id=plan.id, source_id=source.id, position=0)
    plan_tile = PlanTile(plan_id=plan.id, row=0, col=0, row0=0, col0=0, height=64, width=64)
    change = DetectionChange(
        detection_id=detection.id, run_id=run.id, kind=DetectionChangeKind.new, geom=GROUND, area_m2=1
    )
    judgement = Judgement(
        detection_id=detection.id, cause=JudgementCause.published, on=date(2022, 1, 1), verdict=Verdict.undetermined,
        severity=Severity.none, overlay={},
    )  # fmt: skip
    signal = ReboundSignal(
        case_id=case.id, detection_id=detection.id, geom=GROUND, area_m2=1, first_seen_on=date(2022, 1, 1)
    )
    revocation = PermitRevocation(
        code="c", revoked_on=date(2022, 1, 1), reason="r", document="d", recorded_by=account.id, **place
    )
    audit = ReviewAudit(detection_id=detection.id, review_version=1, reason=DismissReason.crop, dismissed_by=account.id)
    track = Track(case_id=case.id, kind=TrackKind.penalty, state="filed", authority="a", opened_on=date(2024, 1, 1))
    sample = Sample(
        name="s", seed="s", size=1, filters={"stratify_by_unit": False}, ledger_sequence=1, population=1,
        population_digest="", drawn_by=account.id,
    )  # fmt: skip
    session.add(sample)
    session.flush()
    sampled = SampledCase(sample_id=sample.id, position=1, case_id=case.id)
    look_back = LookBack(case_id=case.id, reason="r", due_on=date(2024, 1, 1), ordered_by=account.id)
    younger = Case(
        number="RL-2", state=CaseState.publicised, activity="mining", priority="ordinary",
        supervision_source="media", lead_unit_id=unit.id, accepting_unit_id=unit.id,
        dispatching_unit_id=unit.id, geom=GROUND, area_m2=1, **place,
    )  # fmt: skip
    session.add(younger)
    session.flush()
    entry = CaseSource(case_id=case.id, source=SupervisionSource.media, is_primary=True)
    tie = CaseLink(case_id=younger.id, other_case_id=case.id, kind=CaseLinkKind.split_from)
    objection = Objection(
        case_id=case.id, objector="o", content="c", received_on=date(2024, 1, 1), recorded_by=account.id
    )
    deadline = Deadline(
        case_id=case.id, rule="verifying", rule_version="2026-01", started_sequence=event.sequence,
        started_on=date(2024, 1, 1), first_due_on=date(2024, 1, 22), due_on=date(2024, 1, 22),
    )  # fmt: skip
    session.add(deadline)
    session.flush()
    request = DeadlineRequest(
        case_id=case.id, deadline_id=deadline.id, kind=RequestKind.extension, days=5, ground="weather", reason="r",
        unit_id=unit.id, requested_by=account.id,
    )  # fmt: skip
    notice = DeadlineNotice(
        case_id=case.id, deadline_id=deadline.id, kind=NoticeKind.overdue, unit_id=unit.id, due_on=deadline.due_on,
        days=0, noticed_on=date(2024, 1, 23),
    )  # fmt: skip
    neighbour = account_by_name(session, "county2")
    hook = Webhook(account_id=neighbour.id, url="https://u.example/", secret=b"s" * 32)
    session.add(hook)
    session.flush()
    sent = Delivery(
        webhook_id=hook.id, case_id=case.id, origin=Origin.ledger, source_sequence=1, event=Event.case_opened, body="b"
    )
    letter = InboxMessage(
        account_id=neighbour.id, case_id=case.id, origin=Origin.ledger, source_sequence=1, event=Event.state_changed
    )
    site = RecoverySite(case_id=case.id, subject_digest="d", problem="not_dated")
    session.add(site)
    session.flush()
    reading = RecoveryReading(
        site_id=site.id, case_id=case.id, acquired_on=date(2024, 1, 1), mission="sentinel-2", scene_ids=[], digest="d",
        clear_inside=1, clear_ring=1,
    )  # fmt: skip
    snapshot = Snapshot(
        name="s", report="closure", unit_id=unit.id, taken_by=neighbour.id, taken_at=datetime.now(UTC),
        effective_as_of=datetime.now(UTC), sequence=1, cases=1, document="{}", digest="d", jws="j", **place,
    )  # fmt: skip
    target = ZeroOutTarget(
        year=2025, source=SupervisionSource.media, unit_id=unit.id, version=1, kind=TargetKind.closures, wanted=1,
        reason="r", set_by=account.id, **place,
    )  # fmt: skip
    session.add_all([snapshot, target])
    session.flush()
    counted = SnapshotCase(
        snapshot_id=snapshot.id, case_id=case.id, number=case.number, interval_sequence=event.sequence, events=1,
        head=event.hash, state=case.state, counted={}, groups=[],
    )  # fmt: skip
    interval = open_rows(session, [case.id])[case.id]
    hanging = (
        *(snapshot, target, counted, interval),
        *(sent, letter, deadline, request, notice),
        *(review, audit, part, run_tile, tile_state, plan_source, plan_tile, change, judgement, revocation),
        *(entry, tie, objection, track, sampled, look_back, signal, upload, site, reading),
    )
    session.add_all(hanging)
    told = review_ledger.append(session, caller, detection.id, "dispatch", before=ReviewState.new, after=review.state)
    code = uuid4()
    for layer in Layer:
        version = LayerVersion(
            layer=layer, number=99, valid_from=date(2020, 1, 1), source_document="", digest="", feature_count=1
        )
        session.add(version)
        session.flush()
        feature = BoundaryFeature(
            version_id=version.id, layer=layer, code=str(code), name="n", valid_from=date(2020, 1, 1), area_m2=1e6,
            geom=GROUND, **place,
        )  # fmt: skip
        session.add(feature)
        session.flush()
        ids[layer.value, "feature_id"] = feature.id
        # What is proposed is the province's alone to see.
        proposed = LayerVersion(
            layer=layer, number=100, valid_from=date(2020, 1, 1), source_document="", digest="", feature_count=1,
            status=VersionStatus.proposed,
        )  # fmt: skip
        session.add(proposed)
        session.flush()
        ids[VERSIONED, "version_id"] = proposed.id
    ids[VERSIONED, "layer"] = layer.value
    session.flush()
    return (
        ids
        | {(row.__tablename__, "id"): row.id for row in (*hanging, event, told)}
        | {
            ("scenes", "scene_id"): scene.id,
            ("plans", "plan_id"): plan.id,
            ("runs", "run_id"): run.id,
            ("detections", "detection_id"): detection.id,
            ("detections", "audit_id"): audit.id,
            ("cases", "case_id"): case.id,
            ("clue-lists", "list_id"): clue_list.id,
            ("clue-lists", "item_id"): clue_item.id,
            # Features of OGC API – Features; those of the boundary layers stand above.
            ("detections", "feature_id"): detection.id,
            ("cases", "feature_id"): case.id,
            ("cases", "evidence_id"): evidence.id,
            ("cases", "upload_id"): upload.id,
            ("rebounds", "signal_id"): signal.id,
            ("cases", "track_id"): track.id,
            ("cases", "deadline_id"): deadline.id,
            ("cases", "request_id"): request.id,
            ("look-backs", "look_back_id"): look_back.id,
            ("samples", "sample_id"): sample.id,
            ("webhooks", "webhook_id"): hook.id,
            ("webhooks", "delivery_id"): sent.id,
            ("inbox", "message_id"): letter.id,
            ("statistics", "report"): "closure",
            ("statistics", "snapshot_id"): snapshot.id,
            ("statistics", "target_id"): target.id,
            ("permits", "code"): code,
            # Hold no place: a source is a catalogue, a token its owner's, a calibration and a mapping the province's.
            ("calibrations", "version"): uuid4(),
            ("rule-sets", "version"): uuid4(),
            ("sources", "source_id"): uuid4(),
            ("auth", "token_id"): uuid4(),
            ("accounts", "account_id"): account_by_name(session, "county2").id,
            ("ledger", "number"): uuid4(),
            # A county's register.
            ("redlines", "unit_code"): COUNTY2,
            ("column-mappings", "layer"): uuid4(),
            ("column-mappings", "name"): uuid4(),
            # A tile is no row: tests/api/test_tiles.py looks for the neighbour's in every layer's.
            **{("tiles", name): uuid4() for name in ("z", "x", "y")},
            ("tiles", "layer"): Layer.redlines,
            ("detections", "moment"): "before",
            ("cases", "moment"): "closure",
        }
    )


@pytest.fixture
def foreign(world: World) -> Ids:
    with world.database.transaction(see_all=True) as session:
        return _foreign(session)


def _parameters(path: str) -> list[str]:
    return re.findall(r"{(\w+)}", path)


def _word(path: str) -> str:
    return path.removeprefix("/api/v1/").removeprefix("/ogc/collections/").strip("/").split("/")[0]


def _fill(path: str, ids: Ids) -> str:
    word = _word(path)
    for name in _parameters(path):
        assert (word, name) in ids, f"{path}: tell this test how to fill {{{name}}} with a neighbour's row"
        path = path.replace(f"{{{name}}}", str(ids[word, name]))
    return path


def test_without_a_token_every_endpoint_answers_401(world: World) -> None:
    for path, method, operation in operations():
        if path in PUBLIC:
            continue
        target = path
        for name in _parameters(path):
            target = target.replace(f"{{{name}}}", str(uuid4()))
        answer = world.client.request(method, target, headers={"If-Match": '"1"'}, **_body(operation))
        assert answer.status_code == 401, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("username", ["county", "prefecture-other"])
@pytest.mark.usefixtures("walls")
def test_a_neighbours_rows_do_not_exist(world: World, foreign: Ids, username: str) -> None:
    headers = world.headers(username) | {"If-Match": '"1"'}
    for path, method, operation in operations():
        if path in PUBLIC or not _parameters(path) or path in LISTS:
            continue
        body = _body(operation)
        answer = world.client.request(method, _fill(path, foreign), headers=headers, **body)
        words = {key: value for key, value in foreign.items() if key[1] in WORDS}
        nobodys = {key: uuid4() for key in foreign} | words
        unknown = world.client.request(method, _fill(path, nobodys), headers=headers, **body)
        where = f"{username} {method} {path}: {answer.status_code} {answer.text}"
        # What exists next door must look exactly like what does not exist at all.
        assert (answer.status_code, answer.text) == (unknown.status_code, unknown.text), where
        if method == "get":
            assert answer.status_code == 404, where
        else:
            assert answer.status_code in (403, 404), where


@pytest.mark.parametrize("username", ["county", "prefecture-other"])
@pytest.mark.usefixtures("walls")
def test_lists_show_no_neighbours_rows(world: World, foreign: Ids, username: str) -> None:
    for path, method, _ in operations():
        # The versions of a layer are a list for each layer.
        if method != "get" or path in PUBLIC or (_parameters(path) and path not in LISTS):
            continue
        answer = world.client.get(_fill(path, foreign), headers=world.headers(username))
        assert answer.status_code in (200, 403), f"{path}: {answer.text}"
        leaked = [key for key, row_id in foreign.items() if key[1] not in WORDS and str(row_id) in answer.text]
        assert not leaked, f"{username} sees {leaked} at {path}"


@pytest.mark.usefixtures("walls", "foreign")
def test_figures_count_no_neighbours_cases(world: World) -> None:
    def total(username: str) -> int:
        answer = world.client.get("/api/v1/statistics/closure", headers=world.headers(username))
        return int(answer.json()["total"]["total"])

    assert (total("county2"), total("officer")) == (1, 1)
    assert (total("county"), total("prefecture-other")) == (0, 0)


def test_row_level_security_alone_hides_every_table(world: World, foreign: Ids) -> None:
    """The bare tables in a caller's own context: no row of the neighbour, those that hang on another's included."""
    placed = {table.name for table in metadata.tables.values() if "unit_ids" in table.columns}
    hanging = {
        table.name
        for table in metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name in placed
    }
    foreign_ids = set(foreign.values())

    def seen(table: str, username: str) -> set[UUID]:
        with world.database.transaction() as session:
            access.enter(session, world.caller(username))
            return set(session.scalars(text(f"select id from {table}"))) & foreign_ids

    assert len(hanging - placed) >= 7
    for table in sorted(placed | hanging):
        assert seen(table, "county2"), f"{table}: give this test a row of the neighbour"
        for username in ("county", "prefecture-other"):
            assert not seen(table, username), f"{username} sees {table}"


def test_the_walk_covers_the_public_surface() -> None:
    words = {_word(path) for path, _ in OPERATIONS}
    assert {
        "auth", "divisions", "redlines", "protected-areas", "permits", "sources", "scenes", "plans", "runs",
        "detections", "cases", "statistics", "activities", "calibrations", "column-mappings",
        "ogc", "exports", "tiles", "tracks", "look-backs", "samples", "ledger", "clue-lists",
        "webhooks", "inbox",
    } <= words  # fmt: skip
    paths = {path for path, _ in OPERATIONS}
    for collection in (*Layer, "detections", "cases"):
        items = f"/ogc/collections/{collection}/items"
        assert {items, f"{items}/{{feature_id}}", f"/api/v1/exports/{collection}"} <= paths
