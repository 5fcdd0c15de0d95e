"""A snapshot as signed JSON, and its check by somebody who has a public key and neither service nor database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.casework.hash_chain import canonical
from app.casework.merkle import leaf_hash, root
from app.casework.signing import BadSignature, Jwk, verify_jws
from app.statistics.models import Snapshot
from app.statistics.snapshot_cases import kept, rows_of
from app.statistics.snapshots import FORMAT, document_of


class BadExport(ValueError):
    """A file is not a snapshot's export."""


def export(session: Session, row: Snapshot) -> dict[str, Any]:
    """`{"document", "jws", "cases"}`.

    Raises:
        SnapshotUnreadable: somebody changed its document into something else.
    """
    cases = [case.told() for case in rows_of(session, kept(row.id))]
    return {"document": document_of(row), "jws": row.jws, "cases": cases}


def read(path: Path) -> dict[str, Any]:
    """
    Raises:
        BadExport: it is not a snapshot's export.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        document = content["document"]
        whole = {"answer", "cases", "key", "ledger", "name", "question"} <= document.keys()
        if document["format"] == FORMAT and whole and isinstance(content["cases"], list):
            return content
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise BadExport(f"{path.name} is not a snapshot's export of the format {FORMAT}")


def check(content: dict[str, Any], keys: Sequence[Jwk] = ()) -> list[str]:
    """What is wrong with an export; nothing when it holds.

    Args:
        keys: public keys that came another way; without them the key in the export is taken, which proves nothing.
    """
    faults, document = [], content["document"]
    try:
        known = {key["kid"]: key for key in keys} or {document["key"]["kid"]: document["key"]}
        key = known.get(document["key"]["kid"])
        if key is None:
            return ["it is signed by a key that is not the given one"]
        verify_jws(content["jws"], document, key)
    except (BadSignature, KeyError, TypeError) as error:
        faults.append(str(error))
    try:
        leaves = [leaf_hash(canonical(case)) for case in content["cases"]]
        if {"count": len(leaves), "root": root(leaves).hex()} != document["cases"]:
            faults.append("its cases are not those that were signed")
    except (ValueError, TypeError):
        faults.append("its cases cannot be read")
    return faults
