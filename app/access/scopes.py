"""What a token must be allowed for which request: one table, read in one place (`app.access.routes`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.access.vocabulary import Scope

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# One's own account: only who signed in changes it, and no token does.
OWN = "auth"
_ROOMS: dict[Scope, tuple[str, ...]] = {
    Scope.detections: ("detections", "desk", "review-samples"),
    Scope.cases: (
        "cases",
        "clue-lists",
        "clue-items",
        "deadlines",
        "inbox",
        "look-backs",
        "objections",
        "rebounds",
        "rebound-signals",
        "samples",
        # Snapshots of figures, targets.
        "statistics",
        "tracks",
        "webhooks",
    ),
    Scope.administration: (
        "{layer}",
        "accounts",
        "biodiversity-priority-areas",
        "calendars",
        "calibrations",
        "column-mappings",
        "divisions",
        "drinking-water-sources",
        "important-wetlands",
        "key-function-zones",
        "ledger",
        "permits",
        "plans",
        "protected-areas",
        "redlines",
        "rule-sets",
        "runs",
        "scenic-areas",
        "sources",
    ),
}
# What a request that changes something needs, by the first word of its path below /api/v1.
SCOPE_OF_WORD: Mapping[str, Scope] = MappingProxyType(
    {word: scope for scope, words in _ROOMS.items() for word in words}
)
DESCRIPTIONS: Mapping[Scope, str] = MappingProxyType(
    {
        Scope.read: "Read what the account may see",
        Scope.detections: "Decide on detections",
        Scope.cases: "Work on cases and what hangs on them",
        Scope.administration: "Boundaries, permits, rules, sources, plans, accounts",
    }
)
_PREFIX = "/api/v1/"


def first_word(path: str) -> str:
    return path.removeprefix(_PREFIX).lstrip("/").split("/", 1)[0]


def scope_needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None: it is for who signed in, and no scope opens it.

    Args:
        path: as the OpenAPI document has it, or as it was asked for.
    """
    if method.upper() in SAFE:
        return Scope.read
    word = first_word(path)
    if word == OWN:
        return None
    # The layers' own names stand in the table too; tests/api/test_access_scopes.py lets no other word be forgotten.
    return SCOPE_OF_WORD.get(word, Scope.administration)


def describe(document: dict[str, Any], *, provider: str | None) -> None:
    """Write into the OpenAPI document which scope each operation needs, and how else somebody may sign in.

    Args:
        provider: the OpenID Connect issuer, if one is configured.
    """
    schemes = document.get("components", {}).get("securitySchemes", {})
    password = next((name for name, scheme in schemes.items() if scheme.get("type") == "oauth2"), None)
    if password is None:
        return
    others = {
        "ApiToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "A named token made with `POST /api/v1/auth/tokens`; it may be used for its scopes alone.",
        }
    }
    if provider:
        others["OpenIdConnect"] = {
            "type": "openIdConnect",
            "openIdConnectUrl": provider.rstrip("/") + "/.well-known/openid-configuration",
        }
    schemes.update(others)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "security" not in operation:
                continue
            needed = scope_needed(method, path)
            words = [needed.value] if needed else []
            # The scopes of a bearer scheme are told as roles are (OpenAPI 3.1, security requirement object).
            operation["security"] = [{name: words} for name in (password, *others) if needed or name != "ApiToken"]
