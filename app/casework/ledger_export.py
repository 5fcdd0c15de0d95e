"""A case's whole history as signed JSON, which a third party checks with a public key alone (`ledger_check`)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller, enter, in_jurisdiction
from app.casework.hash_chain import CASES, REVIEWS, Book, event_fields, instant
from app.casework.ledger_check import FORMAT
from app.casework.merkle import inclusion_path, leaf_hash
from app.casework.models import Case, CaseEvent, LedgerSeal
from app.casework.review_models import Review, ReviewEvent
from app.casework.seal_files import digest, leaf
from app.casework.seals import document_of, heads_of, newest
from app.casework.signing import Signer
from app.foundation.database import set_scope
from app.foundation.geometry import from_database, geojson
from app.foundation.time import utc_now
from app.monitoring.models import Detection


@dataclass(frozen=True)
class SealTree:
    """The leaves of a seal's tree of cases, and where each case stands among them."""

    leaves: list[bytes]
    # Place and number of events.
    places: dict[UUID, tuple[int, int]]


# The tree of the newest seal, by the seal's digest: every export until the next one needs it. 200 bytes a case.
_trees: dict[str, SealTree] = {}
_making = threading.Lock()


def seal_tree(session: Session, caller: Caller, seal: LedgerSeal) -> SealTree:
    """The tree of a seal, over all cases, whoever asks; made once a process."""
    name = digest(document_of(seal))
    with _making:
        if name not in _trees:
            # In the transaction of the request: those who wait here hold all other connections.
            set_scope(session, None)
            try:
                heads = heads_of(session, CASES, seal)
            finally:
                enter(session, caller)
            _trees.clear()
            _trees[name] = SealTree(
                [leaf_hash(leaf(CASES, *head)) for head in heads],
                {subject: (place, events) for place, (subject, events, _) in enumerate(heads)},
            )
        return _trees[name]


def export_case(session: Session, caller: Caller, case: Case, signer: Signer) -> dict[str, Any]:
    """The signed export of a case that the caller may see: `{"document", "jws"}`.

    Reviews are those of the detections that lie on the case and that the caller may see too.
    """
    # Before the events, so that it covers none that is not among them.
    seal = newest(session)
    events = session.scalars(
        select(CaseEvent).where(CaseEvent.case_id == case.id).order_by(CaseEvent.case_sequence)
    ).all()
    document = {
        "format": FORMAT,
        "exported_at": instant(utc_now()),
        "key": signer.jwk,
        "case": _facts(session, case),
        "events": [_event(event, CASES) for event in events],
        "reviews": _reviews(session, caller, case),
        "inclusion": _inclusion(session, caller, seal, case) if seal else None,
    }
    return {"document": document, "jws": signer.sign(document)}


def _event(event: CaseEvent | ReviewEvent, book: Book) -> dict[str, Any]:
    hashes = {"previous_hash": event.previous_hash.hex(), "hash": event.hash.hex()}
    return event_fields(event, book.fields) | hashes


def _facts(session: Session, case: Case) -> dict[str, Any]:
    ids = (case.lead_unit_id, case.accepting_unit_id, case.dispatching_unit_id)
    units = {
        row.id: {"code": row.code, "name": row.name} for row in session.scalars(select(Unit).where(Unit.id.in_(ids)))
    }
    return {
        "id": str(case.id),
        "number": case.number,
        "state": case.state.value,
        "version": case.version,
        "simulated": case.simulated,
        "activity": case.activity,
        "priority": case.priority,
        "supervision_source": case.supervision_source,
        "detection_id": str(case.detection_id) if case.detection_id else None,
        "lead_unit": units[case.lead_unit_id],
        "accepting_unit": units[case.accepting_unit_id],
        "dispatching_unit": units[case.dispatching_unit_id],
        "geometry": geojson(from_database(case.geom)),
        "area_m2": case.area_m2,
        "opened_at": instant(case.opened_at),
        "first_due_on": case.first_due_on.isoformat() if case.first_due_on else None,
        "due_on": case.due_on.isoformat() if case.due_on else None,
        "facts": case.facts,
        "plan": case.plan,
    }


def _reviews(session: Session, caller: Caller, case: Case) -> list[dict[str, Any]]:
    seen = in_jurisdiction(select(Detection.id), caller, Detection)
    statement = (
        select(ReviewEvent)
        .join(Review, Review.detection_id == ReviewEvent.detection_id)
        .where(Review.case_id == case.id, ReviewEvent.detection_id.in_(seen))
        .order_by(ReviewEvent.detection_id, ReviewEvent.detection_sequence)
    )
    reviews: dict[UUID, list[dict[str, Any]]] = {}
    for event in session.scalars(statement):
        reviews.setdefault(event.detection_id, []).append(_event(event, REVIEWS))
    return [{"detection_id": str(detection_id), "events": events} for detection_id, events in reviews.items()]


def _inclusion(session: Session, caller: Caller, seal: LedgerSeal, case: Case) -> dict[str, Any] | None:
    """That the newest seal covers the case; None: the case is younger."""
    tree = seal_tree(session, caller, seal)
    if case.id not in tree.places:
        return None
    index, events = tree.places[case.id]
    return {
        "seal": {"document": document_of(seal), "jws": seal.jws},
        "index": index,
        "events": events,
        "path": [step.hex() for step in inclusion_path(tree.leaves, index)],
    }
