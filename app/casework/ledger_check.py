"""The check of a case's signed export by somebody who has a public key, and neither the service nor its database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from app.casework.hash_chain import CASES, ORIGIN, REVIEWS, Book, canonical
from app.casework.merkle import leaf_hash, root_of_path
from app.casework.seal_files import KeptSeal, leaf
from app.casework.signing import BadSignature, Jwk, verify_jws

FORMAT = "redline-case-export/1"


class BadExport(ValueError):
    """A file is not a case's export."""


def read(path: Path) -> dict[str, Any]:
    """
    Raises:
        BadExport: it is not a case's export.
    """
    try:
        export: dict[str, Any] = json.loads(path.read_bytes())
        document = export["document"]
        whole = {"case", "events", "reviews", "inclusion", "key"} <= document.keys() and isinstance(export["jws"], str)
        if document["format"] != FORMAT or not whole:
            raise BadExport(f"{path.name} is not a case's export of the format {FORMAT}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BadExport):
            raise
        raise BadExport(f"{path.name} is not a case's export") from None
    return export


def check(
    export: dict[str, Any],
    keys: Sequence[Jwk] = (),
    *,
    before: dict[str, Any] | None = None,
    seals: Sequence[KeptSeal] = (),
) -> list[str]:
    """What is wrong with an export, the first place of each kind; nothing when it holds.

    Args:
        keys: public keys that came another way; without them the key in the export is taken, which proves nothing.
        before: an earlier export of the same case: its events must stand in this one as they were.
        seals: kept seals, whose heads this one must hold.
    """
    faults: list[str] = []
    document = export["document"]
    try:
        faults += _signature("the export", document, export["jws"], keys)
        faults += _chain(CASES, str(document["case"]["id"]), document["events"])
        for review in document["reviews"]:
            faults += _chain(REVIEWS, str(review["detection_id"]), review["events"])
        faults += _state(document)
        if document["inclusion"] is not None:
            faults += _inclusion(document, keys)
        if before is not None:
            faults += [
                f"the export before: {fault}" for fault in _signature("it", before["document"], before["jws"], keys)
            ]
            faults += _since(document, before["document"])
        for seal in seals:
            faults += _sealed(document, seal, keys)
    except (KeyError, TypeError, ValueError, IndexError):
        faults.append("the export is incomplete")
    return faults


def _signature(what: str, document: dict[str, Any], jws: str, keys: Sequence[Jwk]) -> list[str]:
    known = {key["kid"]: key for key in keys} or {document["key"]["kid"]: document["key"]}
    try:
        key = known.get(document["key"]["kid"])
        if key is None:
            return [f"{what} is signed by a key that is not the given one"]
        verify_jws(jws, document, key)
    except BadSignature as error:
        return [f"{what}: {error}"]
    return []


def _chain(book: Book, subject: str, events: Sequence[dict[str, Any]]) -> list[str]:
    """The first event that breaks a chain."""
    one = "case" if book is CASES else f"detection {subject}"
    last, state = ORIGIN, None
    for number, event in enumerate(events, start=1):
        where = f"event {number} of the {one} ({event['kind']}, recorded {event['recorded_at']})"
        if event[book.subject] != subject or event[book.number] != number:
            return [f"{where} is event {event[book.number]} of {event[book.subject]}"]
        if bytes.fromhex(event["previous_hash"]) != last:
            return [f"{where} does not follow from the event before it"]
        content = canonical({name: event[name] for name in book.fields})
        last = hashlib.sha256(last + content).digest()
        if last.hex() != event["hash"]:
            return [f"{where}: its content does not match its hash"]
        if event["state_before"] != state and (number > 1 or book is CASES):
            return [f"{where} does not start from the state that the event before it left"]
        state = event["state_after"]
    return []


def _state(document: dict[str, Any]) -> list[str]:
    events, case = document["events"], document["case"]
    if not events:
        return ["the case has no event"]
    if events[-1]["state_after"] != case["state"]:
        return [f"the case is {case['state']}, its last event says {events[-1]['state_after']}"]
    return []


def _inclusion(document: dict[str, Any], keys: Sequence[Jwk]) -> list[str]:
    """That the newest seal covers the case as it is in the export."""
    inclusion, events = document["inclusion"], document["events"]
    sealed, covered = inclusion["seal"]["document"], inclusion["events"]
    faults = _signature(f"seal {sealed['number']}", sealed, inclusion["seal"]["jws"], keys)
    if not 1 <= covered <= len(events):
        return [*faults, f"seal {sealed['number']} covers {covered} events of the case, the export has {len(events)}"]
    own = leaf(CASES, UUID(document["case"]["id"]), covered, bytes.fromhex(events[covered - 1]["hash"]))
    path = [bytes.fromhex(step) for step in inclusion["path"]]
    stated = sealed[CASES.name]
    try:
        fits = root_of_path(leaf_hash(own), inclusion["index"], stated["subjects"], path).hex() == stated["root"]
    except ValueError:
        fits = False
    if not fits:
        faults.append(f"events 1 to {covered} are not those that seal {sealed['number']} covers")
    return faults


def _since(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """The first event that is no longer what it was."""
    if now["case"]["id"] != before["case"]["id"]:
        return ["the export before is of another case"]
    faults = _changed("case", now["events"], before["events"])
    later = {review["detection_id"]: review["events"] for review in now["reviews"]}
    for review in before["reviews"]:
        if review["detection_id"] in later:
            faults += _changed(f"detection {review['detection_id']}", later[review["detection_id"]], review["events"])
    return faults


def _changed(one: str, now: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> list[str]:
    for number, (new, old) in enumerate(zip(now, before, strict=False), start=1):
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if names:
            return [f"event {number} of the {one} was changed since the export before: {', '.join(names)}"]
    if len(now) < len(before):
        return [f"events {len(now) + 1} to {len(before)} of the {one} were cut off since the export before"]
    return []


def _sealed(document: dict[str, Any], seal: KeptSeal, keys: Sequence[Jwk]) -> list[str]:
    faults = _signature(f"seal {seal.number}", seal.document, seal.jws, keys)
    subject, events = UUID(document["case"]["id"]), document["events"]
    kept = seal.books[CASES.name]
    until = seal.document[CASES.name]["sequence"]
    if subject.bytes not in kept.heads:
        if any(event["sequence"] <= until for event in events):
            faults.append(f"seal {seal.number} does not hold the case, whose first event claims to be older")
        return faults
    covered, head = kept.heads[subject.bytes]
    for event in events:
        at = 32 * (event["sequence"] - kept.first)
        sealed = kept.hashes[at : at + 32] if event["sequence"] >= kept.first else b""
        if sealed and sealed.hex() != event["hash"]:
            return [*faults, f"event {event['case_sequence']} is not the one that seal {seal.number} holds"]
    if len(events) < covered:
        faults.append(f"events {len(events) + 1} to {covered}, which seal {seal.number} holds, are cut off")
    elif events[covered - 1]["hash"] != head.hex():
        faults.append(f"one of events 1 to {covered} is not the one that seal {seal.number} holds")
    elif len(events) > covered and events[covered]["sequence"] <= until:
        faults.append(f"event {covered + 1} was put in before seal {seal.number}, which does not hold it")
    return faults
