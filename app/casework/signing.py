"""Signatures over what the ledger states: Ed25519 (RFC 8032, 8037), as a detached JWS (RFC 7515, appendix F).

The private key lies in a file (PKCS#8, PEM) that only the service's account may read, never in the database: whoever
owns the database cannot sign. Public keys stand in the seals themselves, the next one announced by the one before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.casework.hash_chain import canonical
from app.foundation.errors import Problem

Jwk = dict[str, str]


class SigningKeyMissing(Problem):
    """The key that signs the ledger is not there, so nothing can be sealed or exported"""

    status, code = 503, "signing-key-missing"


class BadSignature(ValueError):
    """A signature does not fit what it stands under, or the key."""


@dataclass(frozen=True)
class Signer:
    """The key that signs now, and the one that will sign next where a change is on its way."""

    private: Ed25519PrivateKey
    following: Jwk | None = None

    @property
    def jwk(self) -> Jwk:
        return public_jwk(self.private.public_key())

    def sign(self, document: dict[str, Any]) -> str:
        """A detached JWS over the canonical form of the document."""
        header = canonical({"alg": "EdDSA", "kid": self.jwk["kid"]})
        signed = f"{_encode(header)}.{_encode(canonical(document))}"
        return f"{_encode(header)}..{_encode(self.private.sign(signed.encode()))}"


def public_jwk(key: Ed25519PublicKey) -> Jwk:
    """The key as RFC 8037 writes it; `kid` is its thumbprint (RFC 7638)."""
    x = _encode(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))
    thumbprint = hashlib.sha256(canonical({"crv": "Ed25519", "kty": "OKP", "x": x})).digest()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": _encode(thumbprint), "alg": "EdDSA", "use": "sig"}


def key_of(jwk: Any) -> Ed25519PublicKey:
    """The public key of a JWK.

    Raises:
        BadSignature: it is none of Ed25519, or its `kid` is not its thumbprint.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(_decode(jwk["x"]))
    except (KeyError, TypeError, ValueError):
        raise BadSignature("the key is not an Ed25519 public key") from None
    if public_jwk(key)["kid"] != jwk.get("kid"):
        raise BadSignature("the key does not fit its id")
    return key


def verify_jws(jws: str, document: dict[str, Any], jwk: Jwk) -> None:
    """Check a detached signature over a document.

    Raises:
        BadSignature: it was not made with that key over that document.
    """
    try:
        header_text, middle, signature = jws.split(".")
        header = json.loads(_decode(header_text))
        signed = f"{header_text}.{_encode(canonical(document))}".encode()
        raw = _decode(signature)
    except (ValueError, AttributeError):
        raise BadSignature("the signature cannot be read") from None
    if middle or header != {"alg": "EdDSA", "kid": jwk["kid"]}:
        raise BadSignature("the signature is not of this key")
    try:
        key_of(jwk).verify(raw, signed)
    except InvalidSignature:
        raise BadSignature("the signature does not fit the content") from None


def load_signer(path: Path) -> Signer | None:
    """The key of a file; None where there is none.

    Raises:
        SigningKeyMissing: the file cannot be read, others may read it, or it holds no Ed25519 key.
    """
    private = _read(path)
    if private is None:
        return None
    following = _read(following_path(path))
    return Signer(private, public_jwk(following.public_key()) if following else None)


def create_key(path: Path) -> Ed25519PrivateKey:
    """Make a key in a new file that its owner alone may read.

    Raises:
        FileExistsError: there is one.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Written aside first: whoever looks meanwhile finds no half of a key. A link takes no name that is taken.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    try:
        os.link(draft, path)
    finally:
        draft.unlink()
    return key


def following_path(path: Path) -> Path:
    """Where the next key waits until a seal has announced it."""
    return path.with_name(path.name + ".next")


def _read(path: Path) -> Ed25519PrivateKey | None:
    try:
        if path.stat().st_mode & 0o077:
            raise SigningKeyMissing("The key of the ledger may be read by others than its owner; make its mode 0600.")
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise SigningKeyMissing("The key of the ledger cannot be read; it is a PEM file, PKCS#8, Ed25519.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyMissing("The key of the ledger is not an Ed25519 key.")
    return key


def read_public(path: Path) -> list[Jwk]:
    """The public keys of a file: PEM, one JWK, or a JWK set.

    Raises:
        BadSignature: it holds none.
    """
    content = path.read_bytes()
    try:
        if content.lstrip().startswith(b"{"):
            value = json.loads(content)
            keys = [public_jwk(key_of(key)) for key in value.get("keys", [value])]
        else:
            key = serialization.load_pem_public_key(content)
            keys = [public_jwk(key)] if isinstance(key, Ed25519PublicKey) else []
    except (ValueError, AttributeError):
        keys = []
    if not keys:
        raise BadSignature(f"{path.name} holds no Ed25519 public key; it is PEM, a JWK or a JWK set")
    return keys


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
