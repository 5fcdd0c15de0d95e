"""`redline ledger`: verify, seal, keys, and the check of what was exported, which needs no database."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.casework.signing import Jwk

ledger = typer.Typer(no_args_is_help=True, help="The ledgers of cases and of reviews.")
key = typer.Typer(no_args_is_help=True, help="The key that signs the ledgers.")
ledger.add_typer(key, name="key")
SealFiles = Annotated[
    list[Path] | None, typer.Option("--seal", exists=True, dir_okay=False, help="A seal's file that was kept elsewhere")
]
KeyFiles = Annotated[
    list[Path] | None,
    typer.Option("--key", exists=True, dir_okay=False, help="A public key that was kept elsewhere: PEM, JWK, JWK set"),
]


def public_keys(paths: list[Path] | None) -> list[Jwk]:
    from app.casework.signing import BadSignature, read_public

    try:
        return [jwk for path in paths or [] for jwk in read_public(path)]
    except BadSignature as error:
        raise typer.BadParameter(str(error)) from None


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


@ledger.command("verify")
def ledger_verify(seal: SealFiles = None, key: KeyFiles = None) -> None:
    """Check every event's hash, every chain and the order of both ledgers; exit 1 where one breaks.

    With a seal that somebody else kept, nothing before it can have been changed unnoticed, by the owner of the
    database either.
    """
    from app.casework import proof, seal_files
    from app.cli import open_settings_and_database

    trusted = public_keys(key)
    try:
        kept = [seal_files.read(path) for path in seal or []]
    except seal_files.BadSeal as error:
        raise typer.BadParameter(str(error)) from None
    with open_settings_and_database() as (settings, database), database.transaction(see_all=True) as session:
        report = proof.verify_with_seals(session, kept, trusted, directory=settings.seals)
    _say(
        f"{report.events} events of {report.cases} cases, {report.review_events} of {report.reviews} reviews, "
        f"seals {', '.join(map(str, report.seals)) or 'none'}: " + ("intact" if report.intact else "BROKEN")
    )
    for found in report.breaks:
        _say(f"  {found}")
    if not report.intact:
        raise typer.Exit(1)


@ledger.command("seal")
def ledger_seal() -> None:
    """Seal both ledgers now, and write the seals' files that are missing."""
    from app.casework import seals
    from app.cli import open_settings_and_database

    with open_settings_and_database() as (settings, database):
        with database.transaction(see_all=True) as session:
            number = seals.seal(session, seals.open_signer(session, settings)).number
        # Not before the seal is committed: a file that somebody keeps must be of a seal that there is.
        with database.transaction(see_all=True) as session:
            seals.write_missing(session, settings.seals)
        _say(f"Seal {number}: {settings.seals / seals.file_name(number)}")


@ledger.command("check")
def ledger_check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A case's signed export")],
    key: KeyFiles = None,
    before: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="An earlier export of the same case")
    ] = None,
    seal: SealFiles = None,
) -> None:
    """Check a case's signed export, without the service; exit 1 where it does not hold."""
    from app.casework import seal_files
    from app.casework.ledger_check import BadExport, check, read

    try:
        export = read(file)
        faults = check(
            export,
            public_keys(key),
            before=read(before) if before else None,
            seals=[seal_files.read(path) for path in seal or []],
        )
    except (BadExport, seal_files.BadSeal) as error:
        raise typer.BadParameter(str(error)) from None
    document = export["document"]
    _say(f"{document['case']['number']}, {len(document['events'])} events: " + ("BROKEN" if faults else "it holds"))
    if not key:
        _say("  Without --key the signature proves nothing: the key came with the export.")
    for fault in faults:
        _say(f"  {fault}")
    if faults:
        raise typer.Exit(1)


@key.command("create")
def key_create(
    replace: Annotated[bool, typer.Option(help="Begin anew where the old key is lost; no seal announces it")] = False,
) -> None:
    """Make the key that signs the ledgers, and print its public half."""
    from app.casework.signing import Signer, create_key, load_signer
    from app.cli import load_settings

    path = load_settings().signing_key
    if replace and load_signer(path) is not None:
        raise typer.BadParameter("the key is there; `redline ledger key rotate` goes over to another one")
    try:
        signer = Signer(create_key(path))
    except FileExistsError:
        raise typer.BadParameter(
            "there is a key already; `redline ledger key rotate` goes over to another one"
        ) from None
    _say(json.dumps(signer.jwk))


@key.command("rotate")
def key_rotate() -> None:
    """Go over to a new key: a seal by the old one announces it."""
    from app.casework import seals
    from app.casework.signing import create_key, following_path
    from app.cli import open_settings_and_database

    with open_settings_and_database() as (settings, database):
        with database.transaction(see_all=True) as session:
            seals.open_signer(session, settings)
            if not following_path(settings.signing_key).exists():
                create_key(following_path(settings.signing_key))
            announced = seals.seal(session, seals.open_signer(session, settings))
        with database.transaction(see_all=True) as session:
            seals.write_missing(session, settings.seals)
            signer = seals.open_signer(session, settings)
        _say(f"Seal {announced.number} announced the key that signs from now on:")
        _say(json.dumps(signer.jwk))


@key.command("show")
def key_show() -> None:
    """Print the public keys as a JWK set, for others to keep."""
    from app.casework import seals
    from app.casework.signing import load_signer
    from app.cli import open_settings_and_database

    with open_settings_and_database() as (settings, database), database.transaction(see_all=True) as session:
        _say(json.dumps({"keys": seals.public_keys(session, load_signer(settings.signing_key))}))
