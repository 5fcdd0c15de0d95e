"""Whoever holds the application's password changes nothing; whoever holds the owner's is found by a kept seal."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.casework import proof, review_ledger, seal_files, seals, transitions
from app.casework.hash_chain import CASES, REVIEWS, canonical
from app.casework.ledger_check import check
from app.casework.ledger_export import export_case
from app.casework.lifecycle import CaseState, Command, ReviewState
from app.casework.models import Case, LedgerSeal
from app.casework.opening import import_case
from app.casework.review_models import Review
from app.casework.seal_files import KeptSeal
from app.casework.signing import Jwk, Signer, create_key, load_signer
from app.casework.verifying import Break, VerifyReport, verify
from app.casework.vocabulary import SupervisionSource
from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.foundation.identity import new_id
from app.settings import Settings
from tests.casework_steps import GROUND, add_detection, fields_of, today
from tests.conftest import COUNTY, World, _clone
from tests.ledger_steps import disarm, forge_after, rehash

STEPS = (
    ("county", Command.start_verification),
    ("county", Command.propose_unfounded),
    ("prefecture", Command.reject_proposal),
)


@dataclass
class Sealed:
    """Three cases of four events, a review of two; all but the last event of the last case sealed, in two seals."""

    world: World
    cases: list[UUID]
    detection: UUID
    kept: list[KeptSeal]
    keys: list[Jwk]
    exported: dict[str, Any]
    signer: Signer

    def verify(self, session: Session, kept: list[KeptSeal] | None = None) -> VerifyReport:
        return proof.verify_with_seals(session, self.kept[-1:] if kept is None else kept, self.keys)


@pytest.fixture(scope="module")
def sealed(cluster: EmbeddedCluster, world_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealed]:
    from app.main import create_app

    own = Settings(data_dir=tmp_path_factory.mktemp("sealed"), _env_file=None)
    for urls in _clone(cluster, world_template):
        database = Database(urls.application)
        with TestClient(create_app(own, database=database), raise_server_exceptions=False) as client:
            yield _work(World(urls, database, own, client))
        database.dispose()


def _work(world: World) -> Sealed:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session).id
        officer = world.caller("officer")
        session.add(
            review := Review(detection_id=detection, state=ReviewState.reviewing, decided_by=officer.account_id)
        )
        review_ledger.append(session, officer, detection, "claim", before=ReviewState.new, after=review.state)
        cases = [_import(session, world) for _ in range(3)]
        for case in cases:
            _step(session, world, case, 0)
    with world.database.transaction(see_all=True) as session:
        seals.seal(session, seals.open_signer(session, world.settings))
    with world.database.transaction(see_all=True) as session:
        for step in (1, 2):
            for case in cases[: 3 if step == 1 else 2]:
                _step(session, world, case, step)
        review = session.get_one(Review, review.id)
        review.state, review.version, review.reason = ReviewState.dismissed, 2, "cloud"
        review_ledger.append(
            session, officer, detection, "dismiss", before=ReviewState.reviewing, after=review.state,
            payload={"reason": "cloud"},
        )  # fmt: skip
    with world.database.transaction(see_all=True) as session:
        seals.seal(session, seals.open_signer(session, world.settings))
    with world.database.transaction(see_all=True) as session:
        _step(session, world, cases[2], 2)
        paths = seals.write_missing(session, world.settings.seals)
        signer = seals.open_signer(session, world.settings)
    exported = world.client.get(f"/api/v1/cases/{cases[0]}/export", headers=world.headers("inspector"))
    assert exported.status_code == 200, exported.text
    return Sealed(
        world, cases, detection, [seal_files.read(path) for path in paths], [signer.jwk], exported.json(), signer
    )


def _import(session: Session, world: World) -> UUID:
    return import_case(
        session, world.caller("province"), state=CaseState.dispatched, lead_unit=COUNTY, geometry=GROUND,
        activity="mining", supervision_source=SupervisionSource.media, occurred_on=date(2022, 3, 1), today=today(),
    ).id  # fmt: skip


def _step(session: Session, world: World, case: UUID, step: int) -> None:
    username, command = STEPS[step]
    transitions.execute(
        session, world.caller(username), case, command, fields_of(command.value), expected_version=step + 1,
        occurred_on=None, note="核查", today=today(),
    )  # fmt: skip


@pytest.fixture
def owner(sealed: Sealed) -> Iterator[Session]:
    """A transaction of the owner of the tables that sees everything, taken back at the end."""
    engine = create_engine(sealed.world.urls.owner)
    with engine.connect() as connection, Session(connection, expire_on_commit=False) as session:
        session.execute(text("select set_config('redline.scope', 'all', true)"))
        yield session
        session.rollback()
    engine.dispose()


def test_what_was_sealed_holds(sealed: Sealed, owner: Session) -> None:
    report = sealed.verify(owner, sealed.kept)
    assert (report.intact, report.seals, report.events, report.review_events) == (True, [1, 2], 12, 2), report.breaks
    assert check(sealed.exported, sealed.keys, before=sealed.exported, seals=sealed.kept) == []
    assert sealed.exported["document"]["inclusion"]["events"] == 4


# With the application's password


REFUSED = (
    "update case_events set note = 'x'",
    "update case_events set hash = hash where false",
    "delete from case_events where sequence = 1",
    "truncate case_events",
    "truncate case_events cascade",
    "alter table case_events disable trigger user",
    "alter table case_events disable row level security",
    "alter table case_events alter column note type varchar",
    "drop trigger append_only on case_events",
    "drop table case_events",
    "create rule r as on insert to case_events do instead nothing",
    "create or replace function redline_refuse_change() returns trigger language plpgsql as 'begin return new; end'",
    "set session_replication_role = replica",
    "set role redline_owner",
    "update review_events set note = 'x'",
    "delete from review_events",
    "truncate review_events",
    "update ledger_seals set jws = 'x'",
    "delete from ledger_seals",
    "truncate ledger_seals",
    "delete from ledger_verifications",
    "delete from ledger_head",
    "insert into ledger_head values (3, 0, now())",
    "delete from cases",
    "delete from reviews",
)


@pytest.mark.parametrize("statement", REFUSED)
def test_the_application_can_change_nothing(sealed: Sealed, statement: str) -> None:
    with pytest.raises(ProgrammingError) as raised, sealed.world.database.transaction(see_all=True) as session:
        session.execute(text(statement))
    assert isinstance(raised.value.orig, InsufficientPrivilege), raised.value.orig


FORGED = (
    "insert into case_events select {sequence}, gen_random_uuid(), case_id, case_sequence + 1, kind, actor_id,"
    " actor_role, actor_unit_id, clock_timestamp(), occurred_on, state_after, state_after, note, payload, hash, {hash}"
    " from case_events order by sequence desc limit 1"
)
COPIED = (
    "insert into ledger_seals select {number}, sealed_at, sequence, review_sequence, document, jws from ledger_seals"
    " where number = 2"
)
LIES = {
    FORGED.format(sequence="sequence + 1", hash="sha256('x')"): "its content does not match its hash",
    FORGED.format(sequence="sequence + 5", hash="hash"): "the sequence jumps from 12 to 17",
    FORGED.format(sequence="0", hash="hash"): "the sequence jumps from 0 to 0",
    "update ledger_head set sequence = 99 where id = 1": "the head says 99, the last event is 12",
    "update ledger_head set recorded_at = now() where id = 2": "the head says 2, the last event is 2",
    "update cases set state = 'closed'": "the case is closed, its last event says verifying",
    "update reviews set state = 'new'": "the review is new, its last event says dismissed",
    "update reviews set version = 1": "the review is of version 1, but there are 2 events",
    COPIED.format(number=4): ("seal 3 is missing before 4"),
    COPIED.format(number=3): ("the seal's row says other than what was signed"),
}


@pytest.mark.parametrize("statement", LIES)
def test_what_the_application_may_add_is_found(sealed: Sealed, statement: str) -> None:
    with sealed.world.database.session() as session:
        session.execute(text("select set_config('redline.scope', 'all', true)"))
        session.execute(text(statement))
        assert LIES[statement] in [found.what for found in proof.verify_with_seals(session).breaks]
        session.rollback()


# With the owner's


Change = Callable[[Session, Sealed], None]


def _run(statement: str) -> Change:
    def change(session: Session, sealed: Sealed) -> None:
        session.execute(text(statement), {"case": sealed.cases[0], "detection": sealed.detection})

    return change


def _with_reviews(statement: str) -> Change:
    def change(session: Session, sealed: Sealed) -> None:
        _run(statement)(session, sealed)
        rehash(session, REVIEWS)

    return change


def _forge(session: Session, sealed: Sealed) -> None:
    forge_after(session, sealed.cases[0], 2)


def _forge_case(session: Session, sealed: Sealed) -> None:
    """A case that seems to have been there before the seal."""
    case = new_id()
    session.execute(text("update case_events set sequence = sequence + 1000 where sequence > 3"))
    columns = [c.name for c in Case.__table__.columns if c.name not in ("id", "number", "detection_id")]
    listed = ", ".join(columns)
    session.execute(
        text(f"insert into cases (id, number, {listed}) select :new, 'RL-X', {listed} from cases where id = :case"),
        {"new": case, "case": sealed.cases[0]},
    )
    session.execute(
        text(
            "insert into case_events select 4, gen_random_uuid(), :new, 1, kind, actor_id, actor_role, actor_unit_id,"
            " recorded_at + interval '1 microsecond', occurred_on, null, state_after, note, payload, hash, hash"
            " from case_events where sequence = 3"
        ),
        {"new": case},
    )


# What is done, and what the kept seal says of it: of case A, which event, what.
CHANGES: dict[str, tuple[Change, int | None, str]] = {
    "a note changed": (
        _run("update case_events set note = '属实' where case_id = :case and case_sequence = 3"),
        3,
        "one of events 1 to 4 was changed, and the chain hashed again; event 3",
    ),
    "the actor changed": (
        _run("update case_events set actor_id = (select id from accounts where username = 'county2')"
             " where case_id = :case and case_sequence = 3"),
        3,
        "one of events 1 to 4 was changed, and the chain hashed again; event 3",
    ),
    "an early event changed": (
        _run("update case_events set occurred_on = '2022-02-01' where case_id = :case and case_sequence = 1"),
        # Of the last seal alone, the first event that came after the seal before it.
        3,
        "one of events 1 to 4 was changed, and the chain hashed again",
    ),
    "the tail cut": (
        _run("delete from case_events where case_id = :case and case_sequence = 4"),
        4,
        "events 4 to 4 are cut off",
    ),
    "the whole end cut": (
        _run("delete from case_events where sequence > 6"),
        3,
        "events 3 to 4 are cut off",
    ),
    "an event taken out of the middle": (
        _run("with e as (delete from case_events where case_id = :case and case_sequence = 2) update case_events"
             " set state_before = 'dispatched' where case_id = :case and case_sequence = 3"),
        None,
        "events 4 to 4 are cut off",
    ),
    "an event put in": (_forge, None, "1 events were put in before the seal, which holds 4"),
    "the case deleted": (
        _run("with e as (delete from case_events where case_id = :case),"
             " v as (delete from evidence where case_id = :case),"
             " p as (delete from case_participations where case_id = :case),"
             " s as (delete from case_sources where case_id = :case)"
             " delete from cases where id = :case"),
        None,
        "the case is gone; it had 4 events when it was sealed",
    ),
    "a case put in": (_forge_case, None, "the case was put in before the seal, which does not hold it"),
    "a dismissal's reason changed": (
        _with_reviews("update review_events set payload = '{\"reason\":\"fire\"}' where detection_id = :detection"
                      " and detection_sequence = 2"),
        2,
        "one of events 1 to 2 was changed, and the chain hashed again; event 2",
    ),
    "a dismissal taken out": (
        _with_reviews("with e as (delete from review_events where detection_id = :detection and detection_sequence = 2)"
                      " update reviews set state = 'reviewing'"),
        2,
        "events 2 to 2 are cut off",
    ),
}  # fmt: skip


def _named(sealed: Sealed, breaks: list[Break], name: str) -> Break:
    """What was found of the row that was changed."""
    _, event, what = CHANGES[name]
    book = REVIEWS if "dismissal" in name else CASES
    subject = sealed.detection if book is REVIEWS else sealed.cases[0]
    found = [
        one for one in breaks
        if one.book == book.name and what in one.what and (name == "a case put in" or one.subject == subject)
    ]  # fmt: skip
    assert found, (name, [str(one) for one in breaks])
    assert event is None or found[0].event == event, found[0]
    return found[0]


@pytest.mark.parametrize("name", CHANGES)
def test_a_kept_seal_names_what_the_owner_changed(sealed: Sealed, owner: Session, name: str) -> None:
    disarm(owner)
    CHANGES[name][0](owner, sealed)
    rehash(owner)
    assert verify(owner).breaks == [], "by itself the ledger holds: the seal alone tells"
    report = sealed.verify(owner)
    found = _named(sealed, report.breaks, name)
    assert found.seal == 2
    assert str(found).startswith(("case ", "detection "))


@pytest.mark.parametrize("name", ["a note changed", "the tail cut", "the case deleted"])
def test_the_owner_who_rewrites_the_seals_is_found(sealed: Sealed, owner: Session, name: str, tmp_path: Path) -> None:
    disarm(owner)
    CHANGES[name][0](owner, sealed)
    rehash(owner)
    _reseal(owner, Signer(create_key(tmp_path / "own.pem")))
    assert proof.verify_with_seals(owner).breaks == [], "without anything kept, there is nothing to tell"
    by_key = [(one.seal, one.what) for one in proof.verify_with_seals(owner, (), sealed.keys).breaks]
    assert by_key == [(2, "the seal is signed by a key that is not the given one")]
    report = sealed.verify(owner)
    _named(sealed, report.breaks, name)
    assert (2, "the seal in the database was replaced: it is not the kept one") in [
        (one.seal, one.what) for one in report.breaks
    ]


def _reseal(session: Session, signer: Signer) -> None:
    """Both seals once more, over the ledger as it is now, with a key of one's own."""
    session.execute(text("delete from ledger_seals"))
    session.expire_all()
    for _ in range(2):
        seals.seal(session, signer)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("delete from ledger_seals", "the kept seal is not in the database: seals were cut off"),
        ("delete from ledger_seals where number = 1", "seal 1 is missing before 2"),
        ("update ledger_seals set sequence = 3", "the seal's row says other than what was signed"),
        ("update ledger_seals set document = document || ' '", "the seal is not in the form that was signed"),
        ("update ledger_seals set document = '{}'", "the seal cannot be read"),
        ("update ledger_seals set jws = 'a.b.c'", "the seal does not hold: the signature cannot be read"),
        (
            "update ledger_seals set document = replace(document, '\"events\"\\:11', '\"events\"\\:12')"
            " , jws = reverse(jws)",
            "the seal does not hold: the signature cannot be read",
        ),
        (
            "update ledger_seals set document = replace(document, '\"number\"\\:2', '\"number\"\\:3'), number = 3"
            " where number = 2",
            "seal 2 is missing before 3",
        ),
        (
            "update ledger_seals set document = replace(document, '\"subjects\"\\:3', '\"subjects\"\\:4')",
            "the seal does not hold: the signature does not fit the content",
        ),
    ],
)
def test_the_table_of_seals_is_checked_against_itself(
    sealed: Sealed, owner: Session, statement: str, what: str
) -> None:
    disarm(owner)
    owner.execute(text(statement))
    owner.expire_all()
    assert what in [one.what for one in sealed.verify(owner).breaks]


def _rewrite(session: Session, sealed: Sealed) -> None:
    disarm(session)
    CHANGES["an early event changed"][0](session, sealed)
    rehash(session)


def test_what_is_sealed_after_it_was_rewritten_is_found(sealed: Sealed, owner: Session) -> None:
    """The owner rewrites what seals cover, and lets the service seal that: the newest seal agrees, the older do not."""
    _rewrite(owner, sealed)
    seals.seal(owner, sealed.signer)
    assert [(one.book, one.seal, one.what) for one in proof.verify_with_seals(owner).breaks] == [
        ("cases", 1, "the events of sequence 1 to 6 are not those that were sealed")
    ]


def test_the_files_of_the_service_hold_seals_that_were_replaced(sealed: Sealed, owner: Session, tmp_path: Path) -> None:
    """The owner rewrites the seals too, the last one announcing the service's key, which then seals on top of them."""
    own = Signer(create_key(tmp_path / "own.pem"), sealed.signer.jwk)
    _rewrite(owner, sealed)
    _reseal(owner, own)
    seals.seal(owner, sealed.signer)
    assert proof.verify_with_seals(owner, (), sealed.keys).breaks == [], "neither seals nor keys tell"
    found = proof.verify_with_seals(owner, directory=sealed.world.settings.seals).breaks
    assert [(one.seal, one.what) for one in found] == [
        (number, f"the seal in the database was replaced: it is not that of seal-00000{number}.jsonl.gz")
        for number in (1, 2)
    ]
    owner.execute(text("delete from ledger_seals where number >= 2"))
    owner.expire_all()
    found = proof.verify_with_seals(owner, directory=sealed.world.settings.seals).breaks
    assert "the seal of seal-000002.jsonl.gz is not in the database: seals were cut off" in [one.what for one in found]


def test_a_file_of_the_service_that_does_not_hold_is_named(sealed: Sealed, owner: Session, tmp_path: Path) -> None:
    source = sealed.world.settings.seals / seals.file_name(2)
    lines = gzip.decompress(source.read_bytes()).splitlines(keepends=True)
    for content in (b"", source.read_bytes()[:40], gzip.compress(lines[0].replace(b'"number":2', b'"number":1'))):
        (tmp_path / source.name).write_bytes(content)
        found = proof.verify_with_seals(owner, directory=tmp_path).breaks
        assert [one.what for one in found if "the file of a seal does not hold" in one.what], found


FIELDS = ("note", "kind", "occurred_on", "payload", "actor_role", "state_after", "recorded_at")
VALUES = {
    "note": "'另一份'", "kind": "'withdraw'", "occurred_on": "'2020-01-01'", "payload": """'{"a"\\:1}'""",
    "actor_role": "'admin'", "state_after": "'closed'", "recorded_at": "recorded_at + interval '1 microsecond'",
}  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(FIELDS), case=st.integers(0, 2), number=st.integers(1, 3), hashed=st.booleans())
def test_any_field_of_any_event(
    sealed: Sealed, owner: Session, field: str, case: int, number: int, hashed: bool
) -> None:
    """Whatever is changed of an event, hashed again or not: both seals together name that very event."""
    with owner.begin_nested() as savepoint:
        disarm(owner)
        where = {"case": sealed.cases[case], "number": number}
        owner.execute(
            text(f"update case_events set {field} = {VALUES[field]} where case_id = :case and case_sequence = :number"),
            where,
        )
        if hashed:
            rehash(owner)
        breaks = sealed.verify(owner, sealed.kept).breaks
        assert (sealed.cases[case], number) in {(one.case, one.event) for one in breaks}, [str(one) for one in breaks]
        savepoint.rollback()


# The third party


def _export(sealed: Sealed, session: Session) -> dict[str, Any]:
    case = session.get_one(Case, sealed.cases[0])
    export = export_case(session, sealed.world.caller("inspector"), case, sealed.signer)
    return dict(json.loads(json.dumps(export)))


@pytest.mark.parametrize(
    ("name", "since", "sealed_says"),
    [
        (
            "a note changed",
            "event 3 of the case was changed since the export before: hash, note",
            "event 3 is not the one",
        ),
        ("an early event changed", "event 1 of the case was changed since the export before", "event 3 is not the one"),
        ("the tail cut", "events 4 to 4 of the case were cut off", "events 4 to 4, which seal 2 holds, are cut off"),
        ("an event put in", "event 3 of the case was changed since the export before", "event 4 is not the one"),
    ],
)
def test_a_third_party_finds_it_in_the_exports(
    sealed: Sealed, owner: Session, name: str, since: str, sealed_says: str
) -> None:
    disarm(owner)
    CHANGES[name][0](owner, sealed)
    rehash(owner)
    after = _export(sealed, owner)
    assert any("seal 2 covers" in fault for fault in check(after, sealed.keys)), "the seal in the export tells already"
    assert any(fault.startswith(since) for fault in check(after, sealed.keys, before=sealed.exported))
    assert any(fault.startswith(sealed_says) for fault in check(after, sealed.keys, seals=sealed.kept[-1:]))


def test_an_export_that_was_touched(sealed: Sealed, tmp_path: Path) -> None:
    touched = json.loads(json.dumps(sealed.exported))
    touched["document"]["events"][1]["note"] = "属实"
    faults = check(touched, sealed.keys)
    assert faults[0] == "the export: the signature does not fit the content"
    assert faults[1].startswith("event 2 of the case (start_verification, recorded ")
    assert faults[1].endswith("its content does not match its hash")
    other = Signer(create_key(tmp_path / "other.pem"))
    touched["document"]["key"] = other.jwk
    touched["jws"] = other.sign(touched["document"])
    assert check(touched, sealed.keys)[0] == "the export is signed by a key that is not the given one"
    del touched["document"]["events"][0]["kind"]
    assert "the export is incomplete" in check(touched, sealed.keys)


def test_a_seals_file_that_was_touched(sealed: Sealed, tmp_path: Path) -> None:
    source = sealed.world.settings.seals / seals.file_name(2)
    lines = gzip.decompress(source.read_bytes()).splitlines(keepends=True)
    for k, line in enumerate(lines):
        row = json.loads(line)
        if "events" in row:
            row["events"] += 1
        elif "hashes" in row:
            row["hashes"] = row["hashes"][:-4] + "AAA="
        else:
            row["document"]["sealed_at"] = "2020-01-01T00:00:00.000000Z"
        path = tmp_path / "touched.jsonl.gz"
        for touched in [row, json.loads(line) | {"first": 1}] if "hashes" in row else [row]:
            path.write_bytes(gzip.compress(b"".join([*lines[:k], canonical(touched) + b"\n", *lines[k + 1 :]])))
            with pytest.raises(seal_files.BadSeal):
                seal_files.read(path)
    path.write_bytes(source.read_bytes()[:-20])
    with pytest.raises(seal_files.BadSeal, match="cannot be read"):
        seal_files.read(path)


def test_the_key_goes_over_to_another_one(world: World) -> None:
    with world.database.transaction(see_all=True) as session:
        _import(session, world)
        first = seals.open_signer(session, world.settings)
        seals.seal(session, first)
    path = world.settings.signing_key
    assert path.stat().st_mode & 0o777 == 0o600
    create_key(seals.following_path(path))
    for _ in range(3):
        with world.database.transaction(see_all=True) as session:
            seals.seal(session, seals.open_signer(session, world.settings))
    with world.database.transaction(see_all=True) as session:
        second = load_signer(path)
        assert second is not None
        documents = session.scalars(select(LedgerSeal.document).order_by(LedgerSeal.number))
        signed_by = [json.loads(one)["key"]["kid"] for one in documents]
        assert signed_by == [first.jwk["kid"]] * 2 + [second.jwk["kid"]] * 2
        assert seals.public_keys(session, second) == [first.jwk, second.jwk]
        for trusted in (first.jwk, second.jwk):
            assert proof.verify_with_seals(session, (), [trusted]).intact
        path.unlink()
        with pytest.raises(seals.SigningKeyMissing, match="is missing"):
            seals.open_signer(session, world.settings)


def test_seals_and_exports_over_http(sealed: Sealed) -> None:
    client, headers = sealed.world.client, sealed.world.headers("inspector")
    listed = client.get("/api/v1/ledger/seals?limit=1", headers=headers)
    assert [one["number"] for one in listed.json()["items"]] == [2]
    assert 'rel="next"' in listed.headers["link"]
    one = client.get("/api/v1/ledger/seals/1", headers=headers).json()
    assert one["document"] == sealed.kept[0].document
    file = client.get("/api/v1/ledger/seals/2/export", headers=headers)
    assert file.content == (sealed.world.settings.seals / seals.file_name(2)).read_bytes()
    assert client.get("/api/v1/ledger/seals/3", headers=headers).status_code == 404
    assert client.get("/api/v1/ledger/seals/1", headers=sealed.world.headers("county")).status_code == 403
    assert client.get("/api/v1/ledger/keys", headers=headers).json() == {"keys": sealed.keys}
    found = client.get(f"/api/v1/ledger/verification?case={sealed.cases[0]}", headers=headers).json()
    assert (found["intact"], found["events"], found["case_id"]) == (True, 4, str(sealed.cases[0]))
    assert client.get("/api/v1/ledger/verification", headers=headers).status_code == 404
    with sealed.world.database.transaction(see_all=True) as session:
        proof.keep_verification(session, settings=sealed.world.settings)
    found = client.get("/api/v1/ledger/verification", headers=headers).json()
    assert (found["intact"], found["events"], found["review_events"], found["seal"]) == (True, 12, 2, 2)
    assert client.get(f"/api/v1/cases/{new_id()}/export", headers=headers).status_code == 404
