"""`redline rules`: try, import and export tables of rules."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

rules = typer.Typer(no_args_is_help=True, help="The law's table of rules.")
FileArgument = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="XLSX workbook or JSON")]


@rules.command("test")
def rules_test(file: FileArgument) -> None:
    """Check a table and its examples, without a database; exit 1 where an example fails."""
    from app.boundaries.law.decision import failures
    from app.boundaries.law.files import read_table

    table = read_table(file.read_bytes())
    wrong = failures(table)
    unchecked = sum(not rule.text_checked for rule in table.rules)
    sys.stdout.write(
        f"Rules {table.version}: {len(table.rules)} rules, {unchecked} not checked with the text of the law; "
        f"{len(table.examples)} examples, {len(wrong)} answered otherwise than expected.\n"
    )
    for fault in wrong:
        sys.stdout.write(f"  {fault}\n")
    if wrong:
        raise typer.Exit(1)


@rules.command("import")
def rules_import(
    file: FileArgument, document: Annotated[str, typer.Option(help="Where the rules come from; the file's name")] = ""
) -> None:
    """Store a table as a new set, not active yet; refused where one of its examples fails."""
    from app.boundaries.rule_sets import import_rule_set
    from app.cli import open_settings_and_database

    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        row = import_rule_set(session, file.read_bytes(), document or file.name, None)
        told = {"version": row.version, "digest": row.digest, "is_active": row.is_active}
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")


@rules.command("export")
def rules_export(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="Workbook to write")],
    version: Annotated[str | None, typer.Option(help="Of a stored set; else the built-in one")] = None,
) -> None:
    """Write a table as the workbook that a lawyer edits."""
    from app.boundaries.law.files import built_in, write_workbook
    from app.boundaries.rule_sets import by_version, table_of
    from app.cli import open_settings_and_database

    if version is None:
        table = built_in()
    else:
        with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
            table = table_of(by_version(session, version))
    out.write_bytes(write_workbook(table))
