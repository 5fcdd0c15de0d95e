"""Accounts, passwords, tokens and what is kept of them, over HTTP."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import ProgrammingError

from app.access import passwords
from app.access import service as access
from app.access.models import AccessEvent, Account, Token
from app.foundation.errors import Busy, Invalid
from tests.conftest import COUNTY, COUNTY2, PASSWORD, World

API = "/api/v1"


def sign_in(world: World, username: str, password: str = PASSWORD, **form: str) -> Any:
    return world.client.post(f"{API}/auth/token", data={"username": username, "password": password, **form})


def bearer(world: World, username: str, password: str = PASSWORD, **form: str) -> dict[str, str]:
    answer = sign_in(world, username, password, **form)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def account_id(world: World, username: str) -> str:
    with world.database.transaction() as session:
        return str(access.account_by_name(session, username).id)


def change(world: World, headers: dict[str, str], whose: str, version: int, **what: Any) -> Any:
    path = f"{API}/accounts/{account_id(world, whose)}"
    return world.client.patch(path, json=what, headers=headers | {"If-Match": f'"{version}"'})


def events(world: World, headers: dict[str, str], **query: str) -> list[dict[str, Any]]:
    answer = world.client.get(f"{API}/accounts/events", headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_from_a_new_account_to_its_own_password(world: World) -> None:
    admin = world.headers("admin")
    body = {"username": "wang.li", "display_name": "王丽", "role": "county", "unit": COUNTY}
    made = world.client.post(f"{API}/accounts", json=body, headers=admin)
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    assert world.client.post(f"{API}/accounts", json=body, headers=admin).status_code == 409
    path, once = made.headers["location"], made.json()["one_time_password"]
    assert made.json()["account"]["must_change_password"] is True
    # Good for nothing but choosing another.
    mine = bearer(world, "wang.li", once)
    assert world.client.get(f"{API}/auth/me", headers=mine).json()["must_change_password"] is True
    refused = world.client.get(f"{API}/cases", headers=mine)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:redline:problem:password-change-needed")
    assert (
        world.client.post(
            f"{API}/auth/tokens", json={"name": "x", "scopes": ["read"], "expires_in_days": 1}, headers=mine
        ).status_code
        == 403
    )
    other = bearer(world, "wang.li", once)
    chosen = "four words nobody says"
    for old, new, status in (
        (once, once, 422),
        ("not this one", chosen, 403),
        (once, "short", 422),
        (once, chosen, 204),
    ):
        body = {"old_password": old, "new_password": new}
        assert world.client.post(f"{API}/auth/password", json=body, headers=mine).status_code == status
    # The token that was sent goes on; all others have ended.
    assert world.client.get(f"{API}/cases", headers=mine).status_code == 200
    assert world.client.get(f"{API}/cases", headers=other).status_code == 401
    assert sign_in(world, "wang.li", once).status_code == 401
    assert world.client.get(path, headers=mine).json()["username"] == "wang.li"
    told = events(world, admin, account_id=made.json()["account"]["id"])
    assert [one["kind"] for one in told][::-1][:3] == ["account_created", "sign_in", "sign_in"]
    assert told[0]["kind"] == "sign_in_failed"
    assert "password_changed" in {one["kind"] for one in told}
    assert once not in str(told)
    assert chosen not in str(told)


def test_only_administrators_see_accounts_and_others_their_own(world: World) -> None:
    county = world.headers("county")
    assert world.client.get(f"{API}/accounts", headers=county).status_code == 403
    assert world.client.get(f"{API}/accounts/events", headers=county).status_code == 403
    assert world.client.get(f"{API}/accounts/{account_id(world, 'county')}", headers=county).status_code == 200
    assert world.client.get(f"{API}/accounts/{account_id(world, 'county2')}", headers=county).status_code == 404
    for username in ("county", "province", "inspector"):
        refused = change(world, world.headers(username), "county2", 1, is_active=False)
        assert refused.status_code == 403
    assert events(world, world.headers("inspector"))
    admin = world.headers("admin")

    def names(**query: Any) -> set[str]:
        answer = world.client.get(f"{API}/accounts", headers=admin, params=query)
        return {row["username"] for row in answer.json()["items"]}

    assert names(role="county") == {"county", "county2"}
    assert names(unit=COUNTY2) == {"county2"}
    assert names(username="officer") == {"officer"}
    assert names(active=False) == set()
    with world.database.transaction() as session:
        access.system_caller(session)
    # Nobody signs in as the service itself, and nobody makes it somebody's.
    assert names(active=False) == set()
    assert change(world, admin, "_redline", 1, is_active=True).status_code == 404


@pytest.mark.parametrize(
    "what", [{"unit": COUNTY2}, {"role": "prefecture", "unit": "220600"}, {"is_active": False}, {"display_name": "李"}]
)
def test_another_role_or_unit_and_closing_end_all_tokens(world: World, what: dict[str, Any]) -> None:
    admin, mine = world.headers("admin"), bearer(world, "county")
    done = change(world, admin, "county", 1, **what)
    assert done.status_code == 200, done.text
    assert done.headers["etag"] == '"2"'
    ended = "display_name" not in what
    assert world.client.get(f"{API}/auth/me", headers=mine).status_code == (401 if ended else 200)
    told = events(world, admin, kind="account_changed")[0]["details"]
    assert set(told["changed"]) == set(what)
    assert bool(told["tokens_ended"]) is ended
    assert sign_in(world, "county").status_code == (401 if what.get("is_active") is False else 200)
    # The second who decided on the first version.
    assert change(world, admin, "county", 1, display_name="x").status_code == 412


def test_what_an_account_cannot_become(world: World) -> None:
    admin = world.headers("admin")
    assert change(world, admin, "county", 1, role="admin").status_code == 422
    assert change(world, admin, "county", 1, unit="220600").status_code == 422
    assert change(world, admin, "county", 1, unit="nowhere").status_code == 404
    assert change(world, admin, "county", 1).status_code == 422
    assert change(world, admin, "county", 1, role=None).status_code == 422
    path = f"{API}/accounts/{account_id(world, 'county')}"
    assert world.client.patch(path, json={"is_active": False}, headers=admin).status_code == 428
    assert world.client.get(path, headers=admin).headers["etag"] == '"1"'


def test_the_last_administrator_stays(world: World) -> None:
    admin = world.headers("admin")
    for what in ({"is_active": False}, {"role": "inspector"}):
        refused = change(world, admin, "admin", 1, **what)
        assert refused.status_code == 409
        assert "last active administrator" in refused.json()["detail"]
    # A demo's stands in for nobody.
    with world.database.transaction() as session:
        access.add_account(
            session, username="demo", password=PASSWORD, role=access.Role.admin, unit_code="220000", is_demo=True
        )
    assert change(world, admin, "admin", 1, is_active=False).status_code == 409


def test_two_administrators_do_not_close_each_other_at_once(world: World) -> None:
    with world.database.transaction() as session:
        access.add_account(session, username="admin2", password=PASSWORD, role=access.Role.admin, unit_code="220000")
    first, second = world.headers("admin"), world.headers("admin2")
    start = threading.Barrier(2)

    def close(headers: dict[str, str], whose: str) -> int:
        start.wait()
        return int(change(world, headers, whose, 1, is_active=False).status_code)

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(close, first, "admin2"), pool.submit(close, second, "admin")]
    statuses = sorted(answer.result() for answer in answers)
    # The loser finds its own token ended, or itself the last.
    assert statuses[0] == 200
    assert statuses[1] in (401, 409)
    with world.database.transaction() as session:
        left = session.scalars(select(Account.username).where(Account.role == access.Role.admin, Account.is_active))
        assert len(list(left)) == 1


def test_a_reset_password_is_for_one_time(world: World) -> None:
    admin, mine = world.headers("admin"), bearer(world, "county")
    path = f"{API}/accounts/{account_id(world, 'county')}"
    reset = world.client.post(f"{path}/password-reset", headers=admin | {"If-Match": '"1"'})
    assert reset.status_code == 200, reset.text
    assert world.client.get(f"{API}/auth/me", headers=mine).status_code == 401
    assert sign_in(world, "county").status_code == 401
    once = bearer(world, "county", reset.json()["one_time_password"])
    assert world.client.get(f"{API}/detections", headers=once).status_code == 403
    assert world.client.delete(f"{path}/tokens", headers=admin).status_code == 204
    assert world.client.get(f"{API}/auth/me", headers=once).status_code == 401


def test_tokens_are_named_scoped_shown_once_and_revoked(world: World) -> None:
    mine = bearer(world, "county")
    asked = {"name": "monthly report", "scopes": ["read", "cases"], "expires_in_days": 30}
    made = world.client.post(f"{API}/auth/tokens", json=asked, headers=mine)
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    secret = made.json()["token"]
    script = {"Authorization": f"Bearer {secret}"}
    assert world.client.get(f"{API}/auth/me", headers=script).json()["scopes"] == ["read", "cases"]
    listed = world.client.get(f"{API}/auth/tokens", headers=mine)
    assert secret not in listed.text
    rows = {row["name"]: row for row in listed.json()["items"]}
    assert rows["monthly report"]["scopes"] == ["read", "cases"]
    assert (rows["monthly report"]["is_sign_in"], rows["sign-in"]["is_sign_in"]) == (False, True)
    with world.database.transaction() as session:
        assert secret.encode() not in b"".join(session.scalars(select(Token.digest)))
    path = f"{API}/auth/tokens/{made.json()['id']}"
    assert world.client.delete(path, headers=bearer(world, "county2")).status_code == 404
    assert world.client.delete(path, headers=mine).status_code == 204
    assert world.client.delete(path, headers=mine).status_code == 204
    assert world.client.get(f"{API}/auth/me", headers=script).status_code == 401
    admin = world.headers("admin")
    assert len(events(world, admin, kind="token_revoked")) == 1
    assert events(world, admin, kind="token_created", account_id=account_id(world, "county"))[0]["details"] == {
        "token": made.json()["id"], "name": "monthly report", "scopes": ["read", "cases"],
    }  # fmt: skip


def test_a_token_that_cannot_be(world: World) -> None:
    mine = bearer(world, "county")
    for change_of, words in (
        ({"expires_in_days": 367}, "at most 366 days"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"name": " "}, "name"),
        ({"name": "a\u0000b"}, "name"),
    ):
        asked = {"name": "x", "scopes": ["read"], "expires_in_days": 1} | change_of
        answer = world.client.post(f"{API}/auth/tokens", json=asked, headers=mine)
        assert answer.status_code == 422
        assert words in answer.json()["detail"]


def test_a_sign_in_with_fewer_scopes_gives_no_more_on(world: World) -> None:
    mine = bearer(world, "county", scope="read")
    asked = {"name": "x", "scopes": ["read", "cases"], "expires_in_days": 1}
    refused = world.client.post(f"{API}/auth/tokens", json=asked, headers=mine)
    assert (refused.status_code, refused.json()["scope"]) == (403, "cases")
    asked["scopes"] = ["read"]
    assert world.client.post(f"{API}/auth/tokens", json=asked, headers=mine).status_code == 201
    assert sign_in(world, "county", scope="root").status_code == 422


def test_events_cannot_be_changed(world: World) -> None:
    world.headers("county")
    for statement in ("update access_events set kind = 'x'", "delete from access_events"):
        with pytest.raises(ProgrammingError, match="permission denied"), world.database.transaction() as session:
            session.execute(text(statement))


def test_events_are_paged_and_filtered(world: World) -> None:
    headers = bearer(world, "inspector")
    first = world.client.get(f"{API}/accounts/events", headers=headers, params={"limit": 2})
    assert len(first.json()["items"]) == 2
    second = world.client.get(first.links["next"]["url"], headers=headers)
    ids = [row["id"] for row in first.json()["items"] + second.json()["items"]]
    assert len(set(ids)) == 4
    assert events(world, headers, until="2020-01-01T00:00:00Z") == []
    assert {row["kind"] for row in events(world, headers, kind="sign_in")} == {"sign_in"}
    with world.database.transaction() as session:
        told = session.scalars(select(AccessEvent).where(AccessEvent.kind == "sign_in")).one()
    assert told.address == "testclient"


def test_a_hash_with_yesterdays_parameters_is_made_anew(world: World) -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD)
    with world.database.transaction() as session:
        session.execute(update(Account).where(Account.username == "county").values(password_hash=weak))
    bearer(world, "county")
    with world.database.transaction() as session:
        fresh = access.account_by_name(session, "county").password_hash
    assert fresh != weak
    assert passwords.is_outdated(weak)
    assert not passwords.is_outdated(fresh)
    bearer(world, "county")


def test_few_hashes_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than may wait are told so; those that wait get their turn."""
    at_once, most, go = 0, 0, threading.Event()
    lock = threading.Lock()

    class Slow:
        def hash(self, password: str) -> str:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            go.wait(5)
            with lock:
                at_once -= 1
            return password

    monkeypatch.setattr(passwords, "_hasher", Slow())
    room = passwords.AT_ONCE + passwords.WAITING
    with ThreadPoolExecutor(room + 3) as pool:
        asked = [pool.submit(passwords.hash_password, str(number)) for number in range(room + 3)]
        done = as_completed(asked, timeout=5)
        refused = [next(done) for _ in range(3)]
        assert all(isinstance(one.exception(), Busy) for one in refused)
        go.set()
        assert len({one.result() for one in asked if one not in refused}) == room
    assert most == passwords.AT_ONCE


def test_passwords_that_will_not_do() -> None:
    for password in ("short", "x" * 257, "somebody.long"):
        with pytest.raises(Invalid):
            passwords.check_password(password, "somebody.long")
