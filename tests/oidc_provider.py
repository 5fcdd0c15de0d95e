"""An OpenID Connect provider on this machine: real HTTP, real keys, real signatures, and the ways to get them wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "redline"
# Made once: an RSA key takes a while.
RSA = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def public_jwk(key: PrivateKey) -> dict[str, Any]:
    kinds = ((rsa.RSAPrivateKey, RSAAlgorithm), (ec.EllipticCurvePrivateKey, ECAlgorithm))
    algorithm: Any = next((algorithm for kind, algorithm in kinds if isinstance(key, kind)), OKPAlgorithm)
    return dict(json.loads(algorithm.to_jwk(key.public_key())))


def part(value: Any) -> bytes:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def signed_with_the_public_key(key: PrivateKey, kid: str, claims: dict[str, Any]) -> str:
    """HS256 over the PEM of the public key, which everybody has: what a careless verifier takes for the provider's."""
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    content = part({"alg": "HS256", "typ": "JWT", "kid": kid}) + b"." + part(claims)
    return (content + b"." + part(hmac.new(pem, content, hashlib.sha256).digest())).decode()


@dataclass
class SignerOfTokens:
    """The provider. `published` is what its key set holds; `keys` what it signs with."""

    address: str = ""
    keys: dict[str, tuple[PrivateKey, str]] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    is_down: bool = False
    document: dict[str, Any] = field(default_factory=dict)
    redirect: str | None = None

    def add_key(self, kid: str, key: PrivateKey, algorithm: str) -> None:
        self.keys[kid] = (key, algorithm)
        self.published.append(public_jwk(key) | {"kid": kid, "use": "sig", "alg": algorithm})

    def rotate(self, kid: str, key: PrivateKey, algorithm: str) -> None:
        """A new key in the place of all others."""
        self.keys.clear()
        self.published.clear()
        self.add_key(kid, key, algorithm)

    def claims(self, **other: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.address, "aud": AUDIENCE, "sub": "subject-1", "iat": now, "exp": now + 300,
            "roles": ["redline-county", "offline_access"], "unit": "220621", "name": "王丽",
        }  # fmt: skip
        return {name: value for name, value in (claims | other).items() if value is not None}

    def token(self, kid: str | None = None, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token signed with one of the keys, by default the first; None takes a claim away."""
        name = kid or next(iter(self.keys))
        key, algorithm = self.keys[name]
        return jwt.encode(self.claims(**claims), key, algorithm, headers={"kid": name} | (headers or {}))


@contextmanager
def provider_of_tokens() -> Iterator[SignerOfTokens]:
    provider = SignerOfTokens()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked.append(self.path)
            content = {
                "/.well-known/openid-configuration": {
                    "issuer": provider.address, "jwks_uri": f"{provider.address}/keys"
                } | provider.document,
                "/keys": {"keys": provider.published},
            }.get(self.path)  # fmt: skip
            self.send_response(
                500 if provider.is_down else 302 if provider.redirect else 404 if content is None else 200
            )
            if provider.redirect:
                self.send_header("Location", provider.redirect)
            self.end_headers()
            if content is not None:
                self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    provider.address = f"http://127.0.0.1:{server.server_address[1]}"
    provider.add_key("rsa-1", RSA[0], "RS256")
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
