"""A verification holds the rows of evidence against the events that tell of them."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.casework import proof
from tests.casework_steps import Desk, add_detection
from tests.conftest import World


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("update evidence set sha256 = repeat('0', 64)", "the evidence that it added is another file now"),
        (
            "update evidence set case_id = (select id from cases where id <> case_id limit 1)",
            "the evidence that it added is gone, or of another case",
        ),
        (
            "update evidence set uploaded_at = uploaded_at + interval '1 microsecond'",
            "the evidence that it added is gone, or of another case or time",
        ),
        ("update evidence set id = gen_random_uuid()", "the evidence that it added is another file now"),
        ("delete from evidence", "the evidence that it added is gone"),
        (
            "insert into evidence select gen_random_uuid(), case_id, kind, filename, media_type, size_bytes,"
            " repeat('0', 64), description, taken_at, longitude, latitude, distance_m, uploaded_by, now()"
            " from evidence",
            "was put in, no event added it",
        ),
    ],
)
def test_evidence_is_what_its_event_says(world: World, statement: str, what: str) -> None:
    desk = Desk(world)
    with world.database.transaction(see_all=True) as session:
        ids = [add_detection(session).id for _ in range(2)]
    case, _ = (desk.dispatch(detection_id)["id"] for detection_id in ids)
    assert desk.upload("county", case).status_code == 201
    engine = create_engine(world.urls.owner)
    with engine.connect() as connection, Session(connection) as session:
        session.execute(text("select set_config('redline.scope', 'all', true)"))
        assert proof.verify_with_seals(session).intact
        session.execute(text(statement))
        found = proof.verify_with_seals(session).breaks[0]
        assert what in found.what
        assert (found.case, found.event) == (UUID(case), None if statement.startswith("insert") else 2)
        session.rollback()
    engine.dispose()
