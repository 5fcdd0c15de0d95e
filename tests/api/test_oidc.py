"""Tokens of an OpenID Connect provider, against a signer of real ones on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import func, select

from app.access import oidc_keys
from app.access import service as access
from app.access.models import Account
from app.access.oidc import Provider, ProviderMisconfigured
from app.access.oidc_keys import COOLDOWN_S, STALE_S, Unusable, fetch_json, read_keys
from app.foundation.errors import Unauthenticated
from app.main import create_app
from app.settings import Settings
from tests.conftest import COUNTY, COUNTY2, World
from tests.oidc_provider import (
    AUDIENCE,
    RSA,
    SignerOfTokens,
    part,
    provider_of_tokens,
    public_jwk,
    signed_with_the_public_key,
)

ME = "/api/v1/auth/me"
ROLES = {"redline-county": "county", "redline-prefecture": "prefecture", "redline-admin": "admin"}
CURVE = ec.generate_private_key(ec.SECP256R1())


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def signer() -> Iterator[SignerOfTokens]:
    with provider_of_tokens() as provider:
        yield provider


def configured(signer: SignerOfTokens, **more: Any) -> Settings:
    base: dict[str, Any] = {"oidc_issuer": signer.address, "oidc_audience": AUDIENCE, "oidc_role_map": ROLES}
    return Settings(**base | more, _env_file=None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(signer: SignerOfTokens, clock: Clock) -> Provider:
    return Provider(configured(signer), clock)


Ask = Callable[..., Any]


@pytest.fixture
def ask(world: World, signer: SignerOfTokens) -> Iterator[Ask]:
    """Ask the service with a token of the provider's."""
    settings = world.settings.model_copy(
        update={"oidc_issuer": signer.address, "oidc_audience": AUDIENCE, "oidc_role_map": ROLES}
    )
    with TestClient(create_app(settings, database=world.database), raise_server_exceptions=False) as client:

        def get(token: str, path: str = ME, method: str = "GET", **more: Any) -> Any:
            return client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)

        yield get


def refused(provider: Provider, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        provider.identify(token)
    return caught.value.detail


# In the service


def test_first_sight_makes_the_account_and_claims_are_followed(world: World, signer: SignerOfTokens, ask: Ask) -> None:
    first = ask(signer.token(preferred_username="Wang.Li"))
    assert first.status_code == 200, first.text
    assert (first.json()["username"], first.json()["display_name"]) == ("wang.li", "王丽")
    assert (first.json()["role"], first.json()["unit"]["code"]) == ("county", COUNTY)
    # Made by the operator's command; it ends when the provider says something else.
    with world.database.transaction() as session:
        account = access.account_by_name(session, "wang.li")
        kept, _ = access.issue_token(session, account, "script", timedelta(hours=1))
    assert ask(kept).status_code == 200
    assert ask(signer.token()).json()["username"] == "wang.li"
    moved = ask(signer.token(unit=COUNTY2, name="王莉"))
    assert (moved.json()["unit"]["code"], moved.json()["display_name"]) == (COUNTY2, "王莉")
    assert ask(kept).status_code == 401
    raised = ask(signer.token(roles="redline-prefecture", unit="220600"))
    assert raised.json()["role"] == "prefecture"
    events = world.client.get("/api/v1/accounts/events", headers=world.headers("admin")).json()["items"]
    mine = [one for one in events if one["account_id"] == str(account.id)]
    assert [one["kind"] for one in reversed(mine)] == [
        "provider_first_seen", "token_created", "account_changed", "account_changed"
    ]  # fmt: skip
    assert mine[1]["details"]["changed"] == {"display_name": ["王丽", "王莉"], "unit": [COUNTY, COUNTY2]}


def test_a_name_that_somebody_has_here_is_not_taken_over(world: World, signer: SignerOfTokens, ask: Ask) -> None:
    theirs = ask(signer.token(preferred_username="admin"))
    assert theirs.json()["username"].startswith("oidc-")
    assert theirs.json()["role"] == "county"
    other = ask(signer.token(sub="subject-2", preferred_username="no such name!"))
    assert other.json()["username"].startswith("oidc-")
    assert other.json()["username"] != theirs.json()["username"]
    # And no password opens it.
    form = {"username": theirs.json()["username"], "password": ""}
    assert world.client.post("/api/v1/auth/token", data=form | {"password": "x"}).status_code == 401


def test_many_first_requests_make_one_account(world: World, signer: SignerOfTokens, ask: Ask) -> None:
    token = signer.token(preferred_username="many")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(token).status_code, range(8)))
    assert answers == [200] * 8
    with world.database.transaction() as session:
        assert session.scalar(select(func.count()).where(Account.subject == "subject-1")) == 1


def test_closed_here_is_refused_whatever_the_provider_says(world: World, signer: SignerOfTokens, ask: Ask) -> None:
    assert ask(signer.token(preferred_username="wang.li")).status_code == 200
    admin = world.headers("admin")
    with world.database.transaction() as session:
        path = f"/api/v1/accounts/{access.account_by_name(session, 'wang.li').id}"
    with_version = admin | {"If-Match": '"1"'}
    for what in ({"role": "county"}, {"display_name": "x"}):
        assert world.client.patch(path, json=what, headers=with_version).status_code == 409
    assert world.client.post(f"{path}/password-reset", headers=with_version).status_code == 409
    assert world.client.patch(path, json={"is_active": False}, headers=with_version).status_code == 200
    for token in (signer.token(), signer.token(unit=COUNTY2)):
        closed = ask(token)
        assert (closed.status_code, "was closed" in closed.text) == (403, True)
    assert world.client.patch(path, json={"is_active": True}, headers=admin | {"If-Match": '"2"'}).status_code == 200
    assert ask(signer.token()).status_code == 200


def test_what_does_not_fit_is_named(world: World, signer: SignerOfTokens, ask: Ask) -> None:
    for claims, words in (
        ({"roles": ["offline_access"]}, "`roles`; it gives none"),
        ({"roles": ["redline-county", "redline-admin"]}, "admin and county"),
        ({"roles": {"redline-county": 1}}, "it gives none"),
        ({"unit": None}, "`unit`"),
        ({"unit": ["220621", "220681"]}, "`unit`"),
        ({"unit": "999999"}, "no supervising unit with the code '999999'"),
        ({"unit": "220600"}, "belongs to a county or zone"),
    ):
        answer = ask(signer.token(**claims))
        assert answer.status_code == 403, answer.text
        assert words in answer.json()["detail"]
    with world.database.transaction() as session:
        assert session.scalar(select(func.count()).where(Account.subject == "subject-1")) == 0


def test_our_own_tokens_go_on_beside_it_and_no_token_is_made_of_the_providers(
    world: World, signer: SignerOfTokens, ask: Ask
) -> None:
    ours = world.headers("county")["Authorization"].removeprefix("Bearer ")
    assert ask(ours).status_code == 200
    assert signer.asked == []
    body = {"name": "x", "scopes": ["read"], "expires_in_days": 1}
    made = ask(signer.token(), "/api/v1/auth/tokens", "POST", json=body)
    assert (made.status_code, "provider's to give" in made.text) == (403, True)
    body = {"old_password": "x", "new_password": "a long enough one"}
    assert ask(signer.token(), "/api/v1/auth/password", "POST", json=body).status_code == 409
    # Without a provider configured it is nothing at all.
    headers = {"Authorization": f"Bearer {signer.token()}"}
    assert world.client.get(ME, headers=headers).status_code == 401


def test_a_provider_that_is_away_is_503_for_its_people_alone(world: World, signer: SignerOfTokens, ask: Ask) -> None:
    signer.is_down = True
    away = ask(signer.token())
    assert (away.status_code, away.headers["retry-after"]) == (503, "10")
    assert away.json()["type"] == "urn:redline:problem:identity-provider-unavailable"
    assert signer.address not in away.text
    assert ask(world.headers("county")["Authorization"].removeprefix("Bearer ")).status_code == 200


# The token


def test_each_kind_of_signature(signer: SignerOfTokens) -> None:
    every = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
    provider = Provider(configured(signer, oidc_algorithms=every))
    signer.add_key("es256", CURVE, "ES256")
    signer.add_key("es384", ec.generate_private_key(ec.SECP384R1()), "ES384")
    signer.add_key("eddsa", ed25519.Ed25519PrivateKey.generate(), "EdDSA")
    for algorithm in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        signer.add_key(algorithm, RSA[1], algorithm)
    for kid in signer.keys:
        assert provider.identify(signer.token(kid)).subject == "subject-1"
    assert signer.asked == ["/.well-known/openid-configuration", "/keys"]
    # Only what is on the list.
    listed = Provider(configured(signer, oidc_algorithms=["ES256"]))
    assert listed.identify(signer.token("es256")).role == "county"
    assert "algorithm" in refused(listed, signer.token("rsa-1"))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 1e400},
        {"nbf": int(time.time()) + 3600},
        {"iat": int(time.time()) + 3600},
        {"aud": "another"},
        {"aud": ["another", "redline2"]},
        {"aud": None},
        {"aud": []},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\x00b"},
        {"sub": "x" * 300},
        {"aud": [AUDIENCE, "account"]},
        {"aud": [AUDIENCE, "account"], "azp": "somebody-else"},
        {"name": "x" * 20000},
        # An ID token for the same client, and a logout token.
        {"at_hash": "x"},
        {"c_hash": "x", "nonce": "y"},
        {"typ": "ID"},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    ],
)
def test_claims_that_do_not_hold(provider: Provider, signer: SignerOfTokens, claims: dict[str, Any]) -> None:
    refused(provider, signer.token(**claims))


def test_claims_that_hold(provider: Provider, signer: SignerOfTokens) -> None:
    now = int(time.time())
    assert provider.identify(signer.token(exp=now - 20, nbf=now + 20))
    assert provider.identify(signer.token(aud=[AUDIENCE]))
    assert provider.identify(signer.token(typ="Bearer", nonce="as Keycloak wrote it once"))
    assert provider.identify(signer.token(aud=[AUDIENCE, "account"], azp=AUDIENCE))
    parties = Provider(configured(signer, oidc_authorised_parties=["console"]))
    assert parties.identify(signer.token(aud=[AUDIENCE, "account"], azp="console"))
    assert "another party" in refused(parties, signer.token())


def test_forged_tokens(provider: Provider, signer: SignerOfTokens) -> None:
    """What verifiers were fooled by before (RFC 8725, section 2)."""
    good, claims = signer.token(), signer.claims()
    assert provider.identify(good)
    header, body, signature = good.split(".")
    unsigned = b".".join([part({"alg": "none", "kid": "rsa-1"}), part(claims), b""]).decode()
    for forged in (
        unsigned,
        unsigned.replace(unsigned.split(".")[0], part({"alg": "None", "kid": "rsa-1"}).decode()),
        signed_with_the_public_key(RSA[0], "rsa-1", claims),
        f"{header}.{part(claims | {'roles': ['redline-admin']}).decode()}.{signature}",
        f"{header}.{body}.",
        f"{header}.{body}",
        f"{part({'alg': 'ES256', 'kid': 'rsa-1'}).decode()}.{body}.{signature}",
        f"{part({'alg': 'PS256', 'kid': 'rsa-1'}).decode()}.{body}.{signature}",
        f"{part([]).decode()}.{body}.{signature}",
        f"{part({'alg': ['RS256'], 'kid': 'rsa-1'}).decode()}.{body}.{signature}",
        "",
        "..",
        "é.é.é",
        "e" * 20000,
    ):
        refused(provider, forged)
    # ES256 with r = s = 0 (CVE-2022-21449).
    signer.add_key("es256", CURVE, "ES256")
    empty = b".".join([part({"alg": "ES256", "kid": "es256"}), part(claims), part(b"\x00" * 64)]).decode()
    refused(Provider(configured(signer)), empty)


def test_what_a_header_points_at_is_not_looked_at(provider: Provider, signer: SignerOfTokens) -> None:
    mallory = rsa.generate_private_key(65537, 2048)
    with provider_of_tokens() as elsewhere:
        elsewhere.rotate("rsa-1", mallory, "RS256")
        elsewhere.address, there = signer.address, elsewhere.address
        pointing = {"jku": f"{there}/keys", "x5u": f"{there}/keys", "jwk": public_jwk(mallory)}
        refused(provider, elsewhere.token(headers=pointing))
        assert provider.identify(signer.token(headers=pointing))
        assert elsewhere.asked == []
    for kid in ("../../etc/passwd", "/dev/null", "rsa-1' or '1'='1", "http://127.0.0.1/keys", "", "rsa-1\x00"):
        key, algorithm = signer.keys["rsa-1"]
        signer.keys[kid] = (key, algorithm)
        refused(provider, signer.token(headers={"kid": kid}))
    assert set(signer.asked) == {"/.well-known/openid-configuration", "/keys"}
    refused(provider, signer.token(headers={"crit": ["exp"], "exp": 1}))
    refused(provider, signer.token(headers={"typ": "logout+jwt"}))


# The keys


def test_keys_are_kept_and_rotation_is_followed(provider: Provider, signer: SignerOfTokens, clock: Clock) -> None:
    old = signer.token()
    for _ in range(5):
        assert provider.identify(old)
    assert signer.asked.count("/keys") == 1
    clock.now = COOLDOWN_S
    signer.rotate("es-2", CURVE, "ES256")
    assert provider.identify(signer.token())
    # The provider took it back.
    refused(provider, old)
    clock.now += provider.settings.oidc_keys_s + 1
    assert provider.identify(signer.token())
    assert signer.asked.count("/keys") == 3


def test_made_up_names_of_keys_do_not_hammer_the_provider(
    provider: Provider, signer: SignerOfTokens, clock: Clock
) -> None:
    assert provider.identify(signer.token())
    key, algorithm = signer.keys["rsa-1"]
    for number in range(100):
        clock.now += COOLDOWN_S / 40
        signer.keys[f"garbage-{number}"] = (key, algorithm)
        refused(provider, signer.token(f"garbage-{number}"))
    assert signer.asked.count("/keys") == 1 + 2


def test_kept_keys_serve_while_the_provider_is_away(provider: Provider, signer: SignerOfTokens, clock: Clock) -> None:
    assert provider.identify(signer.token())
    signer.is_down = True
    for clock.now in (3600.0, STALE_S - 1):
        assert provider.identify(signer.token())
    clock.now = STALE_S + COOLDOWN_S
    with pytest.raises(oidc_keys.ProviderUnavailable):
        provider.identify(signer.token())
    signer.is_down = False
    clock.now += COOLDOWN_S
    assert provider.identify(signer.token())


def test_many_at_once_fetch_once(provider: Provider, signer: SignerOfTokens) -> None:
    token = signer.token()
    with ThreadPoolExecutor(12) as pool:
        assert len(list(pool.map(provider.identify, [token] * 12))) == 12
    assert signer.asked.count("/keys") == 1


def test_keys_that_are_none(signer: SignerOfTokens) -> None:
    good = public_jwk(RSA[0]) | {"kid": "a"}
    assert set(
        read_keys({"keys": [good, good | {"kid": "b", "use": "enc"}, {"kty": "oct", "k": "eA", "kid": "c"}]})
    ) == {"a"}
    small = public_jwk(rsa.generate_private_key(65537, 1024)) | {"kid": "small"}
    assert not oidc_keys.fits(read_keys({"keys": [small]})["small"][0], "RS256")
    for nothing in ({}, {"keys": {}}, {"keys": ["x", None, {"kty": "RSA", "kid": "a"}, good | {"kid": 1}]}):
        with pytest.raises(Unusable):
            read_keys(nothing)


def test_only_what_is_configured_is_fetched(signer: SignerOfTokens, clock: Clock) -> None:
    with provider_of_tokens() as elsewhere:
        for document in (
            {"jwks_uri": f"{elsewhere.address}/keys"},
            {"jwks_uri": "file:///etc/passwd"},
            {"jwks_uri": "http://192.0.2.1/keys"},
            {"issuer": elsewhere.address},
        ):
            signer.document = document
            with pytest.raises(oidc_keys.ProviderUnavailable):
                Provider(configured(signer), clock).identify(signer.token())
        signer.document, signer.redirect = {}, f"{elsewhere.address}/keys"
        with pytest.raises(Unusable):
            fetch_json(f"{signer.address}/keys")
        assert elsewhere.asked == []
        signer.redirect = None
        # Named in the settings, another host is fine.
        named = Provider(configured(signer, oidc_jwks_url=f"{elsewhere.address}/keys"), clock)
        assert named.identify(signer.token())
        assert elsewhere.asked == ["/keys"]
    for address in ("file:///etc/passwd", "ftp://127.0.0.1/x", "http://192.0.2.1/keys"):
        with pytest.raises(Unusable):
            fetch_json(address)


# The settings


def test_claims_are_mapped_as_the_settings_say(signer: SignerOfTokens) -> None:
    provider = Provider(
        configured(
            signer,
            oidc_role_claim="realm_access.roles",
            oidc_unit_claim="https://example.org/unit",
            oidc_unit_map={"fusong": COUNTY},
            oidc_scope_map={"redline.read": ["read"], "redline.work": ["detections", "cases"]},
        )
    )
    claims = {"realm_access": {"roles": ["redline-county"]}, "https://example.org/unit": "fusong"}
    known = provider.identify(signer.token(scope="openid redline.read redline.work", **claims))
    assert (known.role, known.unit, known.scopes) == ("county", COUNTY, {"read", "detections", "cases"})
    assert provider.identify(signer.token(**claims)).scopes == set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"oidc_issuer": "http://id.example"},
        {"oidc_issuer": "https://user@id.example"},
        {"oidc_issuer": "id.example"},
        {"oidc_jwks_url": "file:///keys"},
        {"oidc_audience": None},
        {"oidc_role_map": {}},
        {"oidc_algorithms": ["HS256"]},
        {"oidc_algorithms": ["none"]},
        {"oidc_algorithms": []},
    ],
)
def test_settings_that_would_not_hold(wrong: dict[str, Any]) -> None:
    right = {"oidc_issuer": "https://id.example", "oidc_audience": AUDIENCE, "oidc_role_map": ROLES}
    assert Settings(**right, _env_file=None)
    with pytest.raises(ValidationError):
        Settings(**right | wrong, _env_file=None)


def test_a_map_to_a_role_that_is_none() -> None:
    settings = Settings(
        oidc_issuer="https://id.example", oidc_audience="a", oidc_role_map={"x": "emperor"}, _env_file=None
    )
    with pytest.raises(ProviderMisconfigured, match="emperor"):
        Provider(settings)
