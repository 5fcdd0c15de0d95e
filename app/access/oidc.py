"""Tokens of an OpenID Connect provider: verified by its keys, read by the settings' mapping of claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from app.access.oidc_keys import Keys
from app.access.vocabulary import Role, Scope
from app.foundation.errors import Forbidden, Problem, Unauthenticated
from app.settings import Settings

MAX_TOKEN_LENGTH = 16384
MAX_NAME_LENGTH = 255
# Access tokens (RFC 9068) and what providers write instead.
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
# What the provider's other tokens say of themselves: ID tokens (OpenID Connect Core 1.0, 2 and 3.3.2.11), logout tokens
# (Back-Channel Logout 1.0, 2.4), and Keycloak's own word. They are shown around; they open nothing.
_OTHER_CLAIMS = ("at_hash", "c_hash", "events")
_OTHER_KINDS = ("ID", "Refresh", "Offline", "Logout")


class ProviderMisconfigured(Problem):
    """The settings of the OpenID Connect provider cannot be used"""


@dataclass(frozen=True)
class Identity:
    """Whom a verified token names, in our words. `unit` is the unit's code."""

    issuer: str
    subject: str
    role: Role
    unit: str
    display_name: str
    preferred_name: str | None
    scopes: frozenset[Scope]


class Provider:
    """The configured provider."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Raises:
            ProviderMisconfigured: a map names a role or a scope that there is not.
        """
        assert settings.oidc_issuer and settings.oidc_audience
        self.settings = settings
        self.issuer = settings.oidc_issuer
        self.audience = settings.oidc_audience
        self.keys = Keys(self.issuer, settings.oidc_jwks_url, settings.oidc_keys_s, clock)
        try:
            self.roles = {word: Role(role) for word, role in settings.oidc_role_map.items()}
            self.scopes = {word: frozenset(map(Scope, given)) for word, given in settings.oidc_scope_map.items()}
        except ValueError as error:
            raise ProviderMisconfigured(
                f"REDLINE_OIDC_ROLE_MAP or REDLINE_OIDC_SCOPE_MAP cannot be used: {error}."
            ) from None

    def identify(self, token: str) -> Identity:
        """Whom a token names.

        Raises:
            Unauthenticated: it is not one of this provider's for this service, or no longer valid.
            ProviderUnavailable: its keys cannot be had.
            Forbidden: it is valid, but says no role or unit of ours.
        """
        return self._map(self._verify(token))

    def _verify(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_LENGTH:
            raise Unauthenticated("The token is too long.")
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError):
            raise Unauthenticated() from None
        algorithm, name, kind = header.get("alg"), header.get("kid"), header.get("typ")
        if algorithm not in self.settings.oidc_algorithms:
            raise Unauthenticated("The token is not signed with an algorithm that is accepted here.")
        # Extensions that a token calls critical (RFC 7515, 4.1.11): none is understood here.
        if (
            "crit" in header
            or not isinstance(name, str)
            or (kind.lower() if isinstance(kind, str) else kind) not in _TYPES
        ):
            raise Unauthenticated("The token's header cannot be used: it names its key in `kid`, and nothing critical.")
        key = self.keys.find(name, algorithm)
        if key is None:
            raise Unauthenticated("The token is signed with a key that its provider does not publish.")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self.audience,
                issuer=self.issuer,
                leeway=self.settings.oidc_leeway_s,
                options={"require": ["iss", "aud", "exp", "sub"], "strict_aud": False},
            )
        except ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except (PyJWTError, ValueError, OverflowError, TypeError, RecursionError):
            raise Unauthenticated("The token is not valid here: signature, issuer, audience or time.") from None
        if claims.get("typ") in _OTHER_KINDS or any(name in claims for name in _OTHER_CLAIMS):
            raise Unauthenticated("This is not an access token; send the one that the provider gives for that.")
        self._check_parties(claims)
        return claims

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        """The party that the token was given to (OpenID Connect Core 1.0, 3.1.3.7): asked where several are meant."""
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_NAME_LENGTH or not subject.isprintable():
            raise Unauthenticated("The token names no subject.")
        audiences, allowed = claims["aud"], self.settings.oidc_authorised_parties
        several = isinstance(audiences, list) and len(audiences) > 1
        if (several or allowed) and claims.get("azp") not in (allowed or [self.audience]):
            raise Unauthenticated("The token was given to another party (`azp`).")

    def _map(self, claims: Mapping[str, Any]) -> Identity:
        given = self.settings
        roles = {self.roles[word] for word in _words(_claim(claims, given.oidc_role_claim)) if word in self.roles}
        if len(roles) != 1:
            said = "none" if not roles else " and ".join(sorted(roles))
            raise Forbidden(
                f"The provider must give this account exactly one role of Redline in the claim "
                f"`{given.oidc_role_claim}`; it gives {said}."
            )
        words = _words(_claim(claims, given.oidc_unit_claim))
        unit = (given.oidc_unit_map.get(words[0]) if given.oidc_unit_map else words[0]) if len(words) == 1 else None
        if not unit or len(unit) > MAX_NAME_LENGTH or not unit.isprintable():
            raise Forbidden(f"The provider must name exactly one known unit in the claim `{given.oidc_unit_claim}`.")
        preferred = claims.get("preferred_username")
        shown = _claim(claims, given.oidc_name_claim) or preferred or claims["sub"]
        return Identity(
            issuer=self.issuer,
            subject=claims["sub"],
            role=roles.pop(),
            unit=unit,
            display_name=_printable(str(shown))[:MAX_NAME_LENGTH] or claims["sub"],
            preferred_name=preferred.lower() if isinstance(preferred, str) else None,
            scopes=self._scopes(claims),
        )

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        if not self.scopes:
            return frozenset(Scope)
        words = claims.get("scope")
        listed = words.split() if isinstance(words, str) else _words(words)
        return frozenset(scope for word in listed for scope in self.scopes.get(word, ()))


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or by the way to it: `realm_access.roles`. The name as a whole goes first."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for word in path.split("."):
        found = found.get(word) if isinstance(found, Mapping) else None
    return found


def _words(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [word for word in values if isinstance(word, str) and word]


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())
