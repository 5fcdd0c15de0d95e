"""Whoever holds the application's password changes nothing; whoever holds the owner's is found by a kept seal."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.casework import proof, seals
from app.casework.hash_chain import CASES, REVIEWS
from app.casework.ledger_check import check
from app.casework.signing import Signer, create_key
from app.casework.verifying import Break, verify
from tests.ledger_steps import disarm, rehash
from tests.sealed_steps import CHANGES, Sealed, owner, sealed

__all__ = ["owner", "sealed"]  # fixtures


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
