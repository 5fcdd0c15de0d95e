"""The published keys of the OpenID Connect provider, kept for a while and fetched again when a new one is named.

Fetched is what the settings name, and nothing that a token says: never `jku` or `x5u`, no redirect, https or this
machine only.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from app.foundation.errors import Problem
from app.settings import is_loopback, is_safe_address

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
MAX_BYTES = 2**20
# Between two fetches, whatever tokens name: garbage must not hammer the provider.
COOLDOWN_S = 10.0
# Keys that were good may serve so long while the provider is away.
STALE_S = 24 * 3600.0
MIN_RSA_BITS = 2048

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


class ProviderUnavailable(Problem):
    """The identity provider does not answer"""

    status, code = 503, "identity-provider-unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": str(int(COOLDOWN_S))})


class Unusable(Exception):
    """What came from the provider cannot be used."""


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fetch_json(address: str) -> dict[str, Any]:
    """The JSON object at an address.

    Raises:
        Unusable: it is not to be had, or is none.
    """
    if not is_safe_address(address):
        raise Unusable("the address is neither https nor of this machine")
    handlers: list[Any] = [_NoRedirect()]
    if is_loopback(urlsplit(address).hostname or ""):
        handlers.append(ProxyHandler({}))
    request = Request(address, headers={"Accept": "application/json"})  # noqa: S310  # checked above
    deadline = time.monotonic() + TIMEOUT_S
    body = bytearray()
    try:
        with build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
            while part := answer.read1(65536):
                body += part
                if len(body) > MAX_BYTES or time.monotonic() > deadline:
                    raise Unusable("the answer is too long, or comes too slowly")
        found = json.loads(body)
    except (URLError, OSError, ValueError, RecursionError) as error:
        raise Unusable(f"{type(error).__name__}") from None
    if not isinstance(found, dict):
        raise Unusable("the answer is no JSON object")
    return found


def fits(key: PublicKey, algorithm: str) -> bool:
    """Whether a key is of the kind that an algorithm signs with (RFC 7518, section 3.1)."""
    if isinstance(key, RSAPublicKey):
        return algorithm[:2] in ("RS", "PS") and key.key_size >= MIN_RSA_BITS
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVES.get(algorithm) == key.curve.name
    return algorithm == "EdDSA"


def read_keys(document: Mapping[str, Any]) -> dict[str, tuple[PublicKey, str | None]]:
    """The public keys of a JWK set by `kid`, each with the algorithm it is for, if it says. Others are left out.

    Raises:
        Unusable: there is none.
    """
    rows = document.get("keys")
    found: dict[str, tuple[PublicKey, str | None]] = {}
    for row in rows if isinstance(rows, list) else []:
        # A symmetric key (`oct`) in a public document is nobody's secret.
        if not isinstance(row, dict) or row.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        name, algorithm = row.get("kid"), row.get("alg")
        if not isinstance(name, str) or row.get("use", "sig") != "sig":
            continue
        try:
            key = PyJWK.from_dict(row).key
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, PublicKey):
            found[name] = (key, algorithm if isinstance(algorithm, str) else None)
    if not found:
        raise Unusable("there is no public key for signatures")
    return found


class Keys:
    """The keys of one provider, for all threads of a process."""

    def __init__(
        self, issuer: str, address: str | None, life_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.issuer = issuer
        self.address = address
        self.life_s = life_s
        self.clock = clock
        self._keys: dict[str, tuple[PublicKey, str | None]] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def find(self, name: str, algorithm: str) -> PublicKey | None:
        """The key of a name, for an algorithm; None: there is no such key.

        Raises:
            ProviderUnavailable: there are no keys, and none can be fetched.
        """
        if self.clock() - self._fetched_at > self.life_s or name not in self._keys:
            self._refresh()
        if self.clock() - self._fetched_at > max(STALE_S, self.life_s):
            raise ProviderUnavailable("The keys of the OpenID Connect provider cannot be fetched. Try again later.")
        key, meant = self._keys.get(name, (None, None))
        if key is None or meant not in (None, algorithm) or not fits(key, algorithm):
            return None
        return key

    def _refresh(self) -> None:
        # One fetches; others go on with the keys that there are, or wait where there are none.
        if not self._lock.acquire(blocking=not self._keys, timeout=-1 if self._keys else 2 * TIMEOUT_S):
            return
        try:
            if self.clock() - self._tried_at < COOLDOWN_S:
                return
            self._tried_at = self.clock()
            self._keys = read_keys(fetch_json(self._jwks_address()))
            self._fetched_at = self.clock()
        except Unusable as fault:
            log.warning("the keys of the OpenID Connect provider cannot be fetched: %s", fault)
        finally:
            self._lock.release()

    def _jwks_address(self) -> str:
        """
        Raises:
            Unusable: the discovery document (OpenID Connect Discovery 1.0, section 4) names none to be trusted.
        """
        if self.address:
            return self.address
        document = fetch_json(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        address = document.get("jwks_uri")
        if document.get("issuer") != self.issuer:
            raise Unusable("its discovery document is another issuer's")
        if not isinstance(address, str) or not is_safe_address(address):
            raise Unusable("its discovery document names no https address of keys")
        if urlsplit(address)[:2] != urlsplit(self.issuer)[:2]:
            raise Unusable("its keys are on another host; name their address in REDLINE_OIDC_JWKS_URL")
        return address
