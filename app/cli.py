"""The `redline` command."""

# The rooms are imported inside the commands that need them: all together take seconds to load, `--help` should not.

from __future__ import annotations

import errno
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.boundaries.vocabulary import AxisOrder, Layer, OffsetSaid
from app.cli_access import token, user
from app.cli_boundaries import versions
from app.cli_calendar import calendar
from app.cli_detectors import detectors
from app.cli_documents import documents
from app.cli_learning import calibrate, evaluate
from app.cli_ledger import ledger
from app.cli_rules import rules
from app.cli_statistics import statistics

if TYPE_CHECKING:
    from app.foundation.database import Database
    from app.monitoring.models import Run
    from app.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
db = typer.Typer(no_args_is_help=True, help="The database.")
scenes = typer.Typer(no_args_is_help=True, help="Image scenes.")
sample = typer.Typer(no_args_is_help=True, help="The simulated sample.")
for name, group in (("db", db), ("scenes", scenes), ("user", user), ("token", token), ("ledger", ledger)):
    app.add_typer(group, name=name)
app.add_typer(sample, name="sample")
app.add_typer(versions, name="versions")
app.add_typer(detectors, name="detectors")
app.add_typer(rules, name="rules")
app.add_typer(calendar, name="calendar")
app.add_typer(statistics, name="statistics")
app.add_typer(documents, name="documents")
detectors.command("evaluate")(evaluate)
detectors.command("calibrate")(calibrate)

# Words for people go to standard error; standard output carries results that a script may read.
say = Console(stderr=True, highlight=False)
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def progress_bar(title: str) -> Iterator[Any]:
    """A bar; yields `advance(done, total)`. Where there is no terminal, a line every tenth."""
    if not say.is_terminal:
        last = -1

        def advance_plainly(done: int, total: int) -> None:
            nonlocal last
            tenth = 10 * done // max(total, 1)
            if tenth != last:
                last = tenth
                say.print(f"{title}: {done}/{total}")

        yield advance_plainly
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=say) as progress:
        task = progress.add_task(title, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield advance


def load_settings() -> Settings:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from app.foundation.errors import Problem, plain
    from app.settings import get_settings

    try:
        return get_settings()
    except SettingsError as error:
        # It names the field and not the value.
        name = str(error).partition('"')[2].partition('"')[0]
        raise Problem(f"The settings cannot be used. REDLINE_{name.upper()}: takes JSON, which this is not.") from None
    except ValidationError as error:
        # Without the values: an address may hold a password.
        faults = [
            f"REDLINE_{str(fault['loc'][0]).upper()}: {plain(fault['msg'])}" if fault["loc"] else plain(fault["msg"])
            for fault in error.errors()
        ]
        raise Problem("The settings cannot be used. " + "; ".join(faults) + ".") from None


@contextmanager
def open_settings_and_database() -> Iterator[tuple[Settings, Database]]:
    from app.foundation.connect import open_database

    settings = load_settings()
    with open_database(settings) as database:
        yield settings, database


@app.command()
def up() -> None:
    """Serve the API and work the timetable: the whole service in one command."""
    from app.foundation.logging import configure_logging

    configure_logging()
    settings = load_settings()
    check_port(settings)
    raise typer.Exit(serve_all(settings))


def check_port(settings: Settings) -> None:
    """Say at once, and not after minutes of preparation, that the port is taken."""
    from app.foundation.errors import Problem

    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            raise Problem(
                f"Port {settings.port} on {settings.host} is taken or not to be had; name another with REDLINE_PORT."
            ) from None


def serve_all(settings: Settings, api_environment: dict[str, str] | None = None) -> int:
    """Run the API and its workers until told to stop; the exit status."""
    from app.foundation.connect import open_database
    from app.foundation.processes import Supervisor
    from app.main import check_exposure

    with open_database(settings) as database, Supervisor() as supervisor:
        check_exposure(database, settings.host)
        program = [sys.executable, "-m", "app.cli"]
        supervisor.start("api", [*program, "api"], env=api_environment)
        for number in range(settings.workers):
            supervisor.start(f"worker-{number + 1}", [*program, "worker"])
        say.print(f"Redline is coming up on http://{settings.host}:{settings.port} (API: /docs). Ctrl-C ends it.")
        return supervisor.wait()


@app.command()
def api() -> None:
    """Serve the API alone."""
    import uvicorn

    from app.foundation.connect import open_database
    from app.foundation.logging import configure_logging
    from app.foundation.processes import exit_with_parent
    from app.main import check_exposure, create_app

    exit_with_parent()
    configure_logging()
    settings = load_settings()
    # Asked once more at the start of the service itself; here it is said in a line, and not as a fault.
    with open_database(settings) as database:
        check_exposure(database, settings.host)
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_config=None, access_log=False)


@app.command()
def worker() -> None:
    """Work the timetable and the queue of runs."""
    from app.foundation.logging import configure_logging
    from app.foundation.processes import exit_with_parent
    from app.worker import stop_on_signals, work

    exit_with_parent()
    configure_logging()
    stop = stop_on_signals()
    with open_settings_and_database() as (settings, database):
        work(database, settings, stop)


@app.command()
def demo() -> None:
    """Load the sample, find changes, open cases, and serve it all on this machine."""
    from app.demo.setup import check_no_real_service, prepare
    from app.foundation.connect import addresses
    from app.foundation.logging import configure_logging
    from app.foundation.processes import Supervisor

    settings = load_settings()
    check_no_real_service(settings)
    check_port(settings)
    configure_logging()
    # A case of the demo can be walked to its end in one sitting (decision 6).
    environment = {"REDLINE_NOTICE_DAYS": "0"} if settings.notice_days is None else {}
    # Held from here to the end, so that the embedded database is started once.
    with addresses(settings):
        try:
            # The supervisor turns signals into an orderly end of the preparation, too.
            with Supervisor():
                prepare(settings, progress_bar, say.print)
        except KeyboardInterrupt:
            say.print("Stopped. `make demo` goes on where this ended.")
            raise typer.Exit(130) from None
        status = serve_all(settings, environment)
    raise typer.Exit(status)


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the tables to this version."""
    from app.casework.interval_checks import complete
    from app.foundation import migrate
    from app.foundation.connect import DatabaseNotReady, addresses

    with addresses(load_settings()) as where:
        if where.owner is None:
            raise DatabaseNotReady("Name the owner's login in REDLINE_DATABASE_OWNER_URL; the application may not.")
        migrate.upgrade(where.owner)
    with open_settings_and_database() as (_, database), database.transaction(see_all=True) as session:
        complete(session)
    say.print(f"The tables are at revision {migrate.head()}.")


@app.command("import")
def import_(
    layer: Layer,
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="GeoPackage, zipped Shapefile or FileGDB, KML …")
    ],
    valid_from: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="In force since; today")] = None,
    document: Annotated[str, typer.Option(help="The document that the layer comes from")] = "",
    crs: Annotated[str | None, typer.Option(help="CRS, when the file declares none")] = None,
    encoding: Annotated[str | None, typer.Option(help="Text encoding, when it is not UTF-8")] = None,
    mapping: Annotated[str | None, typer.Option(help="Name of the stored column mapping")] = None,
    layer_name: Annotated[str | None, typer.Option(help="The layer to read of a file that holds several")] = None,
    axis_order: Annotated[AxisOrder, typer.Option(help="yx: northing or latitude stands first")] = "xy",
    offset: Annotated[OffsetSaid | None, typer.Option(help="Convert from it; none: take the file as it is")] = None,
    accuracy_m: Annotated[
        float | None, typer.Option(min=0, help="How far a drawn border may lie from the true one, in metres")
    ] = None,
    propose: Annotated[bool, typer.Option("--propose", help="Leave the version to be confirmed or discarded")] = False,
) -> None:
    """Import a boundary layer as a new version, whole or not at all."""
    from app.boundaries.importing import import_layer
    from app.foundation.time import legal_day, utc_now

    with open_settings_and_database() as (settings, database):
        try:
            with progress_bar(f"import {file.name}") as advance, database.transaction(see_all=True) as session:
                report = import_layer(
                    session,
                    layer=layer,
                    path=file,
                    valid_from=valid_from.date() if valid_from else legal_day(utc_now()),
                    source_document=document or file.name,
                    imported_by=None,
                    crs=crs,
                    encoding=encoding,
                    mapping=mapping,
                    layer_name=layer_name,
                    axis_order=axis_order,
                    offset=offset,
                    propose=propose,
                    accuracy_m=accuracy_m,
                    progress=advance,
                    max_unpacked_bytes=settings.max_unpacked_bytes,
                )
        except KeyboardInterrupt:
            say.print("Interrupted; nothing was imported.", style="red")
            raise typer.Exit(130) from None
    print_json(report)


@scenes.command("sync")
def scenes_sync(
    source: Annotated[str | None, typer.Option(help="Name of one source; all of them when unset")] = None,
) -> None:
    """Find new scenes of the image sources and take them in once; exit 1 where no item of a source could be."""
    unusable = False
    from sqlalchemy import select

    from app.imagery.models import Source
    from app.imagery.service import sync

    with open_settings_and_database() as (_, database):
        with database.transaction(see_all=True) as session:
            statement = select(Source.id, Source.name).order_by(Source.name)
            rows = session.execute(statement.where(Source.name == source) if source else statement).all()
        if source and not rows:
            raise typer.BadParameter(f"there is no source named {source!r}")
        for source_id, source_name in rows:
            with database.transaction(see_all=True) as session:
                report = sync(session, session.get_one(Source, source_id))
            say.print(
                f"{source_name}: {report.found} found, {report.added} added, {report.updated} updated, "
                f"{report.missing} missing, {report.failed} failed",
                soft_wrap=True,
            )
            for failure in report.failures[:10]:
                say.print(f"  {failure.item}: {failure.reason}", markup=False, soft_wrap=True)
            if report.failed > 10:
                say.print(f"  and {report.failed - 10} more")
            unusable = unusable or (report.found == 0 and report.failed > 0)
    if unusable:
        raise typer.Exit(1)


@app.command()
def run(
    plan: str,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day to look at")] = None,
) -> None:
    """Run a monitoring plan now, or go on with a run of it that broke off."""
    from app.foundation.logging import configure_logging
    from app.monitoring.models import RunStatus

    configure_logging()
    with open_settings_and_database() as (settings, database):
        done = run_plan(database, settings, plan, until.date() if until else None)
        print_json({"run": str(done.id), "status": done.status, "new": done.detections_new, "detail": done.detail})
    if done.status is not RunStatus.succeeded:
        raise typer.Exit(1)


def run_plan(database: Database, settings: Settings, name: str, until: date | None = None) -> Run:
    """Carry out the plan's live run, or a new one; where a worker was quicker, watch it to the end."""
    from sqlalchemy import select

    from app.monitoring import service as monitoring
    from app.monitoring.execution import execute
    from app.monitoring.models import Run

    with database.transaction(see_all=True) as session:
        plan = monitoring.plan_by_name(session, name)
        live = session.scalar(select(Run).where(Run.plan_id == plan.id, Run.status.in_(monitoring.LIVE)))
        run_id = (live or monitoring.request_run(session, plan, until=until)).id
    with progress_bar(f"plan {name}") as advance:
        # Not taken: a worker holds it. Tried again each time, in case that worker dies.
        while execute(database, settings, run_id, advance) is None:
            with database.transaction(see_all=True) as session:
                done = session.get_one(Run, run_id)
            advance(done.tiles_done, done.tiles_total)
            if done.status not in monitoring.LIVE:
                return done
            time.sleep(0.5)
    with database.transaction(see_all=True) as session:
        return session.get_one(Run, run_id)


@sample.command("build")
def sample_build(
    out: Annotated[Path, typer.Option(help="Folder to write")],
    seed: Annotated[int, typer.Option(min=0)] = 1,
    recipe: Annotated[
        str, typer.Option(help="sample: one change of each kind; many: about a hundred; regrown: sites that grow green")
    ] = "sample",
) -> None:
    """Simulate an area in the Changbai mountains: scenes, boundaries, heights, and the truth that was planted."""
    from app.demo.sample import build_sample

    with progress_bar("simulated scenes") as advance:
        info = build_sample(out, seed, load_settings().sample_dir, advance, recipe)
    say.print(f"Simulated sample in {out}: seed {seed}, history until {info.history_until}, until {info.until}.")


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.main import create_app

    print_json(create_app(load_settings()).openapi())


def print_json(value: Any) -> None:
    content = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
    sys.stdout.write(json.dumps(content, ensure_ascii=False, indent=2, default=str) + "\n")


def explain(error: Exception) -> str | None:
    """What to tell people of an error that they can mend; None for a fault of the program, whose traceback counts."""
    from sqlalchemy.exc import ArgumentError, OperationalError

    from app.foundation.embedded import ClusterError
    from app.foundation.errors import Problem

    if isinstance(error, Problem):
        return error.detail
    if isinstance(error, ClusterError):
        return str(error)
    if isinstance(error, OperationalError):
        # The server's last words, without the address.
        reason = str(error.orig).partition("\n")[0].rsplit("failed: ", 1)[-1]
        return f"The database cannot be reached, or broke off: {reason}"
    if isinstance(error, ArgumentError):
        return "The database's address cannot be read: it is postgresql://USER:PASSWORD@HOST:PORT/NAME."
    if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
        return f"{error.filename or 'A file'} cannot be written: {error.strerror}."
    return None


def main() -> None:
    """Run the command; what people can mend is said in a line, without a traceback."""
    try:
        app()
    except Exception as error:
        words = explain(error)
        if words is None:
            raise
        say.print(words, style="red", markup=False, soft_wrap=True)
        for fault in getattr(error, "members", {}).get("errors", []):
            say.print("  " + " ".join(str(value) for value in fault.values()), markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
