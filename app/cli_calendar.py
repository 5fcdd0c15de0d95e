"""`redline calendar`: a year's official arrangement of holidays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.casework.calendar_imports import CalendarFile

calendar = typer.Typer(no_args_is_help=True, help="Working calendars.")
# A year has 366 lines of some twenty characters.
_MOST_BYTES = 100_000


@calendar.callback()
def _group() -> None:
    """Working calendars."""


@calendar.command("import")
def calendar_import(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON as the API takes it, or CSV")],
    year: Annotated[int | None, typer.Option(help="Of a CSV file")] = None,
    source: Annotated[str | None, typer.Option(help="Of a CSV file: the notice that says so")] = None,
) -> None:
    """Append a version of a year's arrangement of holidays; clocks that it moves are counted anew by the worker."""
    from app.casework.calendar_imports import import_calendar
    from app.cli import open_settings_and_database, say
    from app.foundation.time import legal_day, utc_now

    given = _read(file, year, source)
    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        row = import_calendar(session, None, given, today=legal_day(utc_now()))
        said = f"{row.year}, version {row.version}: {len(row.days)} days that differ from Monday to Friday."
    say.print(said)


def _read(file: Path, year: int | None, source: str | None) -> CalendarFile:
    from pydantic import ValidationError

    from app.casework.calendar_imports import CalendarFile

    if file.stat().st_size > _MOST_BYTES:
        raise typer.BadParameter(f"{file.name} is larger than a year's calendar can be")
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".csv":
            if year is None or source is None:
                raise typer.BadParameter("a CSV file needs --year and --source")
            return CalendarFile(year=year, source=source, csv=text)
        return CalendarFile.model_validate_json(text)
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file.name} is not text in UTF-8") from None
    except ValidationError as error:
        faults = "; ".join(f"{'/'.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors()[:5])
        raise typer.BadParameter(faults) from None
