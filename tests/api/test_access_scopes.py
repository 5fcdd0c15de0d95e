"""Scopes of tokens: every endpoint has one decided, and every role, unit and scope is held to it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.access import scopes
from app.access import service as access
from app.access.accounts import UNIT_OF_ROLE
from app.access.models import Role, UnitLevel
from app.access.vocabulary import Scope
from app.casework import lifecycle
from app.foundation.errors import Problem
from app.main import create_app
from app.settings import Settings
from tests.conftest import COUNTY, PREFECTURE, PROVINCE, World
from tests.openapi import document, operations

UNSAFE = ("post", "put", "patch", "delete")
# One endpoint that changes something, for each scope; asked with what is refused as soon as the scope is not.
PROBES = {
    Scope.read: ("GET", "/api/v1/detections"),
    Scope.detections: ("POST", f"/api/v1/detections/{uuid4()}/start-review"),
    Scope.cases: ("POST", f"/api/v1/cases/{uuid4()}/transitions"),
    Scope.administration: ("POST", f"/api/v1/sources/{uuid4()}/sync"),
}
ACCOUNTS = {
    "officer": (Role.officer, PROVINCE), "county": (Role.county, COUNTY), "prefecture": (Role.prefecture, PREFECTURE),
    "inspector": (Role.inspector, PROVINCE), "admin": (Role.admin, PROVINCE),
}  # fmt: skip


def test_every_endpoint_that_changes_something_has_its_scope_decided() -> None:
    """A new room's first word belongs into the table of app/access/scopes.py."""
    unsafe = [(method, path) for path, method, _ in operations() if method in UNSAFE]
    words = {scopes.first_word(path) for _, path in unsafe}
    undecided = words - set(scopes.SCOPE_OF_WORD) - {scopes.OWN}
    assert not undecided, f"say in app/access/scopes.py what scope these need: {undecided}"
    assert all(path.startswith("/api/v1/") for _, path in unsafe)
    assert {scopes.scope_needed(*one) for one in unsafe} == {Scope.detections, Scope.cases, Scope.administration, None}


def test_the_document_says_which_scope_an_operation_needs() -> None:
    schemes = document()["components"]["securitySchemes"]
    assert set(schemes) == {"OAuth2PasswordBearer", "ApiToken"}
    assert set(schemes["OAuth2PasswordBearer"]["flows"]["password"]["scopes"]) == set(Scope)
    for path, method, operation in operations():
        if "security" not in operation:
            assert path in {"/api/v1/auth/token", "/livez", "/readyz"}
            continue
        needed = scopes.scope_needed(method, path)
        expected = [needed.value] if needed else []
        assert all(words == expected for way in operation["security"] for words in way.values()), path
        own = any("ApiToken" in way for way in operation["security"])
        assert own is (needed is not None), f"{method} {path}: an API token opens it only if a scope does"


def test_the_provider_stands_in_the_document() -> None:
    settings = Settings(
        oidc_issuer="https://id.example/realms/redline",
        oidc_audience="redline",
        oidc_role_map={"x": "county"},
        _env_file=None,
    )
    scheme = create_app(settings).openapi()["components"]["securitySchemes"]["OpenIdConnect"]
    assert scheme["openIdConnectUrl"] == "https://id.example/realms/redline/.well-known/openid-configuration"


def _headers(world: World, username: str, given: set[Scope], *, is_sign_in: bool = False) -> dict[str, str]:
    with world.database.transaction() as session:
        account = access.account_by_name(session, username)
        secret, _ = access.issue_token(session, account, "t", timedelta(hours=1), given, is_sign_in=is_sign_in)
    return {"Authorization": f"Bearer {secret}"}


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    username=st.sampled_from(sorted(ACCOUNTS)),
    granted=st.sets(st.sampled_from(Scope)),
    probe=st.sampled_from(sorted(PROBES)),
)
def test_a_token_does_what_its_scopes_say_and_no_more(
    world: World, username: str, granted: set[Scope], probe: Scope
) -> None:
    method, path = PROBES[probe]
    answer = world.client.request(method, path, headers=_headers(world, username, granted) | {"If-Match": '"1"'})
    lacks = answer.status_code == 403 and "lacks the scope" in answer.text
    assert lacks is (probe not in granted), answer.text
    if lacks:
        assert answer.json()["scope"] == probe
        assert f'scope="{probe}"' in answer.headers["www-authenticate"]
    elif username != "admin" and probe is Scope.administration:
        # A scope gives nothing that the role does not.
        assert answer.status_code == 403
        assert "needs the role admin" in answer.text


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(role=st.sampled_from(Role), unit=st.sampled_from([COUNTY, PREFECTURE, PROVINCE]))
def test_a_role_goes_with_units_of_its_level_alone(world: World, role: Role, unit: str) -> None:
    admin = _headers(world, "admin", set(Scope))
    body = {"username": f"a{uuid4().hex}", "role": role, "unit": unit}
    with world.database.transaction() as session:
        fits = access.unit_by_code(session, unit).level in UNIT_OF_ROLE[role]
    # Hashing is what takes long, and is the same for all: one that fits is made in test_access_accounts.
    if not fits:
        answer = world.client.post("/api/v1/accounts", json=body, headers=admin)
        assert answer.status_code == 422
        assert "belongs to a" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_an_api_token_leaves_the_own_account_alone(world: World, method: str) -> None:
    """However many scopes it has: it makes no further token, and takes none away."""
    path = f"/api/v1/auth/tokens/{uuid4()}" if method == "DELETE" else "/api/v1/auth/tokens"
    body = None if method == "DELETE" else {"name": "x", "scopes": ["read"], "expires_in_days": 1}
    answer = world.client.request(method, path, headers=_headers(world, "county", set(Scope)), json=body)
    assert answer.status_code == 403
    assert "Only who signed in" in answer.json()["detail"]


def test_administrators_decide_no_case_and_no_detection() -> None:
    """The tables of casework, walked: an administrator stands in none (DESIGN section 6)."""
    assert all(Role.admin not in roles for roles in lifecycle.ROLES.values())
    assert all(Role.admin not in transition.roles for transition in lifecycle.TRANSITIONS.values())
    named = {name: value for name, value in vars(lifecycle).items() if name.isupper() and "ROLES" in name}
    assert named
    for name, value in named.items():
        groups = value.values() if hasattr(value, "values") else [value]
        assert all(Role.admin not in group for group in groups), name
    assert set(UNIT_OF_ROLE) == set(Role)
    assert UNIT_OF_ROLE[Role.admin] == {UnitLevel.province}


def test_an_administrator_is_refused_at_every_decision(world: World) -> None:
    admin = world.caller("admin")
    everything = frozenset(lifecycle.Actor)
    from app.casework.transitions import refusal

    for transition in lifecycle.TRANSITIONS.values():
        assert isinstance(refusal(transition, admin, everything, []), Problem), transition.command


@pytest.mark.parametrize("host", ["x/api/v1/auth/me?", "x/api/v1/cases/", "x#", "x\\", "@x:1/api/v1/cases?"])
def test_what_the_sender_calls_the_service_opens_nothing(world: World, host: str) -> None:
    """The scope is looked up by the path that was routed, whatever `Host` makes of the address."""
    method, path = PROBES[Scope.administration]
    headers = _headers(world, "admin", {Scope.cases}, is_sign_in=True) | {"Host": host}
    answer = world.client.request(method, path, headers=headers)
    assert answer.status_code == 403 and answer.json()["scope"] == Scope.administration
