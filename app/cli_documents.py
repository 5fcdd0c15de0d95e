"""`redline documents`: the standard templates, written down for an office to change."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

documents = typer.Typer(no_args_is_help=True, help="Templates of documents.")


@documents.callback()
def _documents() -> None:
    """Without a callback, a group of one command would be that command."""


@documents.command("templates")
def documents_templates(
    folder: Annotated[Path, typer.Argument(help="Where to; REDLINE_TEMPLATES_DIR names it to the service")],
) -> None:
    """Write the standard templates into a folder, to be changed in Word or WPS. What is there already stays."""
    from app.casework.dossier_template import DOSSIER
    from app.statistics.documents.bulletin_template import BULLETIN

    folder.mkdir(parents=True, exist_ok=True)
    for template in (DOSSIER, BULLETIN):
        path = folder / template.filename
        try:
            with path.open("xb") as sink:
                sink.write(template.build())
        except FileExistsError:
            sys.stdout.write(f"{path}: is there already, and stays\n")
            continue
        sys.stdout.write(f"{path}\n")
