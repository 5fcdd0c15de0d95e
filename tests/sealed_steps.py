"""Cases and a review that were sealed, by a key of their own, and what a test of tampering begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.casework import proof, review_ledger, seal_files, seals, transitions
from app.casework.hash_chain import REVIEWS
from app.casework.lifecycle import CaseState, Command, ReviewState
from app.casework.models import Case
from app.casework.opening import import_case
from app.casework.review_models import Review
from app.casework.seal_files import KeptSeal
from app.casework.signing import Jwk, Signer
from app.casework.verifying import VerifyReport
from app.casework.vocabulary import SupervisionSource
from app.foundation.database import Database
from app.foundation.embedded import EmbeddedCluster
from app.foundation.identity import new_id
from app.settings import Settings
from tests.casework_steps import GROUND, add_detection, fields_of, today
from tests.conftest import COUNTY, World, _clone
from tests.ledger_steps import forge_after, rehash

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
        cases = [import_one(session, world) for _ in range(3)]
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


def import_one(session: Session, world: World) -> UUID:
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
             " c as (delete from deadlines where case_id = :case),"
             " i as (delete from case_intervals where case_id = :case),"
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
