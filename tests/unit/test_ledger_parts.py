"""Merkle trees, keys and signatures against the vectors and the implementations of others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.casework.hash_chain import canonical
from app.casework.merkle import inclusion_path, leaf_hash, root, root_of_path
from app.casework.signing import (
    BadSignature,
    Signer,
    SigningKeyMissing,
    create_key,
    key_of,
    load_signer,
    read_public,
    verify_jws,
)

# Of the reference implementation of Certificate Transparency, whose trees RFC 9162 keeps: leaves, and the root of as
# many of them.
LEAVES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def test_roots_of_the_reference_implementation() -> None:
    hashes = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]
    assert tuple(root(hashes[: k + 1]).hex() for k in range(len(hashes))) == ROOTS
    assert root([]) == hashlib.sha256(b"").digest()


@given(st.integers(1, 70), st.data())
def test_every_leaf_has_its_path_and_no_other(size: int, data: st.DataObject) -> None:
    hashes = [leaf_hash(bytes([k])) for k in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(hashes, index)
    assert root_of_path(hashes[index], index, size, path) == root(hashes)
    assert root_of_path(leaf_hash(b"other"), index, size, path) != root(hashes)
    for wrong in ([*path, hashes[0]], path[:-1] if path else [b""], path[1:] if path else [b""]):
        with pytest.raises(ValueError, match="path is too"):
            root_of_path(hashes[index], index, size, wrong)
    with pytest.raises(ValueError, match="no such leaf"):
        root_of_path(hashes[index], size, size, path)


def test_the_thumbprint_of_rfc_8037() -> None:
    # Appendix A.3
    x, kid = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    key_of({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid})
    with pytest.raises(BadSignature, match="does not fit its id"):
        key_of({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid[::-1]})
    with pytest.raises(BadSignature, match="not an Ed25519"):
        key_of({"x": "AAAA", "kid": kid})


def test_another_implementation_takes_the_signature(tmp_path: Path) -> None:
    signer = Signer(create_key(tmp_path / "key"))
    document = {"b": 1.0, "a": ["销号"]}
    header, middle, signature = signer.sign(document).split(".")
    assert middle == ""
    payload = jwt.utils.base64url_encode(canonical(document)).decode()
    key = jwt.PyJWK(signer.jwk)
    assert jwt.PyJWS().decode(f"{header}.{payload}.{signature}", key, algorithms=["EdDSA"]) == canonical(document)
    verify_jws(signer.sign(document), document, signer.jwk)
    for wrong in ({"b": 2, "a": ["销号"]}, {}):
        with pytest.raises(BadSignature, match="does not fit"):
            verify_jws(signer.sign(document), wrong, signer.jwk)
    with pytest.raises(BadSignature, match="not of this key"):
        verify_jws(Signer(create_key(tmp_path / "other")).sign(document), document, signer.jwk)


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key.pem"
    assert load_signer(path) is None
    create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["key.pem"]
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        create_key(path)
    assert path.read_bytes() == before
    path.chmod(0o640)
    with pytest.raises(SigningKeyMissing, match="mode 0600"):
        load_signer(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(SigningKeyMissing, match="PEM file"):
        load_signer(path)


def test_public_keys_are_read_as_pem_as_jwk_and_as_a_set(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    signer, path = Signer(create_key(tmp_path / "key")), tmp_path / "public"
    pem = signer.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for content in (pem, json.dumps(signer.jwk).encode(), json.dumps({"keys": [signer.jwk]}).encode()):
        path.write_bytes(content)
        assert read_public(path) == [signer.jwk]
    for content in (b"", b"{}", b"[]", b'{"keys": []}', b"-----BEGIN"):
        path.write_bytes(content)
        with pytest.raises(BadSignature, match="holds no Ed25519"):
            read_public(path)
