"""Signed exports and seals' files, in the hands of a third party."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.casework import proof, seal_files, seals
from app.casework.hash_chain import canonical
from app.casework.ledger_check import check
from app.casework.ledger_export import export_case
from app.casework.models import Case, LedgerSeal
from app.casework.signing import Signer, create_key, load_signer
from app.foundation.identity import new_id
from tests.conftest import World
from tests.ledger_steps import disarm, rehash
from tests.sealed_steps import CHANGES, Sealed, import_one, owner, sealed

__all__ = ["owner", "sealed"]  # fixtures


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
        import_one(session, world)
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
