"""`redline user …` and `redline token …`: accounts and tokens by the operator's hand."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.access.vocabulary import Role, Scope

user = typer.Typer(no_args_is_help=True, help="Accounts.")
token = typer.Typer(no_args_is_help=True, help="API tokens.")
Password = Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)]


@user.command("add")
def user_add(
    username: str,
    role: Annotated[Role, typer.Option()],
    unit: Annotated[str, typer.Option(help="Code of the supervising unit")],
    password: Password,
    display_name: Annotated[str | None, typer.Option()] = None,
) -> None:
    """Add an account; the password is asked for."""
    from app.access.accounts import add_account
    from app.cli import open_settings_and_database, say

    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        add_account(session, username=username, password=password, role=role, unit_code=unit, display_name=display_name)
    say.print(f"Account {username} added.")


@user.command("set-password")
def user_set_password(username: str, password: Password) -> None:
    """Give an account another password, which is asked for; its tokens end. Also the way back for a lost one."""
    from app.access import passwords
    from app.access.accounts import account_by_name, set_password
    from app.access.audit import OPERATOR
    from app.cli import open_settings_and_database, say

    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        account = account_by_name(session, username)
        passwords.check_password(password, username)
        set_password(session, account, passwords.hash_password(password), is_temporary=False, by=OPERATOR)
    say.print(f"Account {username} has another password; its tokens have ended.")


@user.command("deactivate-demo")
def user_deactivate_demo() -> None:
    """Close the demo accounts, so that the service may be served beyond this machine."""
    from app.access.accounts import deactivate_demo_accounts
    from app.cli import open_settings_and_database, say

    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        count = deactivate_demo_accounts(session)
    say.print(f"{count} demo accounts closed.")


@token.command("create")
def token_create(
    username: Annotated[str, typer.Option("--user", help="Whose token")],
    label: Annotated[str, typer.Option("--name", help="What it is for")] = "command line",
    days: Annotated[float, typer.Option(min=0.01, help="Its life; at most REDLINE_MAX_TOKEN_DAYS")] = 30,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may be used for; repeatable; all, unless named")
    ] = None,
) -> None:
    """Print a new API token, and nothing else."""
    from app.access.accounts import account_by_name
    from app.access.audit import OPERATOR
    from app.access.tokens import create_api_token
    from app.cli import open_settings_and_database

    with open_settings_and_database() as (settings, database), database.transaction(see_all=True) as session:
        account = account_by_name(session, username)
        secret, _ = create_api_token(
            session, account, label, days, scope or list(Scope), most_days=settings.max_token_days, by=OPERATOR
        )
    sys.stdout.write(secret + "\n")


@token.command("revoke-all")
def token_revoke_all(username: Annotated[str, typer.Option("--user", help="Whose tokens")]) -> None:
    """End all tokens of an account."""
    from app.access.accounts import account_by_name
    from app.access.audit import OPERATOR, record
    from app.access.tokens import end_tokens
    from app.access.vocabulary import AccessKind
    from app.cli import open_settings_and_database, say

    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        account = account_by_name(session, username)
        ended = end_tokens(session, account.id)
        record(session, AccessKind.token_revoked, OPERATOR, account.id, tokens_ended=ended)
    say.print(f"{ended} tokens of {username} have ended.")
