"""What `redline demo` does before it serves. Every step looks first whether it is done, so that a demo that was
killed anywhere, or is started again, goes on and doubles nothing.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.service import has_real_accounts, serves_this_machine_only
from app.boundaries.importing import import_layer
from app.boundaries.models import Layer, LayerVersion
from app.demo.accounts import ensure_accounts
from app.demo.cases import ensure_cases
from app.demo.sample import build_sample
from app.foundation.connect import open_database
from app.foundation.database import Database
from app.foundation.errors import Problem
from app.imagery.models import Source, SourceKind
from app.imagery.schemas import SourceRequest
from app.imagery.service import add_source
from app.monitoring import service as monitoring
from app.monitoring.execution import execute
from app.monitoring.models import Plan, Run, RunStatus
from app.monitoring.schemas import PlanConfiguration, PlanIn
from app.settings import Settings

SEED = 1
Bar = Callable[[str], AbstractContextManager[Any]]
Say = Callable[[str], None]

# The cut of the real series: forest in Romania, felled in summer 2019.
ROMANIA_AREA = {
    "type": "Polygon",
    "coordinates": [
        [[22.1451, 45.2010], [22.1573, 45.1997], [22.1593, 45.2084], [22.1471, 45.2098], [22.1451, 45.2010]]
    ],
}


def prepare(settings: Settings, bar: Bar, say: Say) -> None:
    """Make the demo's data in the settings' database, after `check_no_real_service`.

    Raises:
        Problem: a step cannot be done, and why.
    """
    folder = settings.data_dir / "sample" / f"changbai-{SEED}"
    with _alone(settings.data_dir):
        with bar("simulated scenes") as advance:
            build_sample(folder, SEED, settings.sample_dir, advance)
        _load(settings, folder, bar, say)


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Keep a second demo from preparing the same data directory at the same time."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem("Another demo is being prepared in this data directory; wait for it.") from None
        yield


def _load(settings: Settings, folder: Path, bar: Bar, say: Say) -> None:
    with open_database(settings) as database:
        say("Loading divisions, red lines, protected areas, permits (simulated), accounts, sources and plans.")
        with database.transaction(see_all=True) as session:
            load_boundaries(session, settings.sample_dir, folder)
        with database.transaction(see_all=True) as session:
            ensure_accounts(session)
            _ensure_sources(session, settings.sample_dir, folder)
            _ensure_plans(session, folder)
        for name in ("changbai", "s2-romania"):
            with bar(f"monitoring {name}, tiles") as advance:
                _ensure_run(database, settings, name, advance)
        with database.transaction(see_all=True) as session:
            count = ensure_cases(session)
        say(f"{count} cases are open or closed; sign in as officer, county, … with the password redline-demo.")


def check_no_real_service(settings: Settings) -> None:
    """Keep the demo's accounts, whose password is public, out of a service that others use.

    Raises:
        Problem: the settings serve beyond this machine, or name a database where people have accounts.
    """
    if not serves_this_machine_only(settings.host):
        raise Problem(
            "The demo's accounts have a public password, so it serves this machine alone: unset REDLINE_HOST, which is "
            f"{settings.host}."
        )
    if settings.database_url is None:
        return  # The embedded database is this folder's own.
    with open_database(settings) as database, database.transaction() as session:
        if has_real_accounts(session):
            raise Problem(
                "The database that REDLINE_DATABASE_URL names has accounts that are not the demo's. The demo adds "
                "accounts with a public password: unset it, or name a database of the demo's own."
            )


def load_boundaries(session: Session, sample: Path, folder: Path) -> None:
    """Import the province's divisions and the simulated layers, but for layers that somebody else has imported."""
    boundaries = folder / "boundaries"
    files = (
        (Layer.divisions, sample / "jilin" / "divisions.geojson", "天地图行政区划（GB/T 2260）"),
        (Layer.divisions, boundaries / "zones.geojson", "管理区（模拟）"),
        (Layer.redlines, boundaries / "redlines.gpkg", "生态保护红线（模拟）"),
        (Layer.protected_areas, boundaries / "protected_areas.gpkg", "自然保护地（模拟）"),
        (Layer.permits, boundaries / "permits.gpkg", "有限人为活动许可（模拟）"),
    )
    documents = {document for _, _, document in files}
    # What somebody imported over the demo's layers, or before them, stays the newest.
    theirs = {layer for layer in Layer if _newest_document(session, layer) not in documents | {None}}
    for layer, path, document in files:
        if layer not in theirs:
            import_layer(
                session, layer=layer, path=path, valid_from=date(2020, 1, 1), source_document=document, imported_by=None
            )


def _newest_document(session: Session, layer: Layer) -> str | None:
    return session.scalar(
        select(LayerVersion.source_document)
        .where(LayerVersion.layer == layer)
        .order_by(LayerVersion.number.desc())
        .limit(1)
    )


def _ensure_sources(session: Session, sample: Path, folder: Path) -> None:
    for name, title, location, simulated in (
        ("changbai-simulated", "模拟数据：长白山 Sentinel-2 序列", folder / "catalog.json", True),
        ("s2-romania", "Sentinel-2 L2A, forest in Romania (real)", sample / "s2-romania" / "catalog.json", False),
    ):
        source = session.scalar(select(Source).where(Source.name == name))
        if source is None:
            request = SourceRequest(
                name=name, title=title, kind=SourceKind.stac_catalog, location=str(location), simulated=simulated
            )
            add_source(session, request)
        else:
            # The data directory may have been moved since.
            source.location = str(location.resolve())


def _ensure_plans(session: Session, folder: Path) -> None:
    if session.scalar(select(Plan.id).where(Plan.name == "changbai")) is None:
        info = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        collection = json.loads((folder / "area.geojson").read_text(encoding="utf-8"))
        monitoring.add_plan(
            session,
            PlanIn(
                name="changbai",
                title="长白山模拟区",
                source="changbai-simulated",
                area=_first_geometry(collection),
                history_from=date.fromisoformat(info["dates"][0]),
                history_until=date.fromisoformat(info["history_until"]),
                until=date.fromisoformat(info["until"]),
                cron="0 6 * * *",
                # 300 pixels cut the 6 km square into four equal tiles.
                configuration=PlanConfiguration(crs="EPSG:32652", tile_px=300),
            ),
        )
    if session.scalar(select(Plan.id).where(Plan.name == "s2-romania")) is None:
        monitoring.add_plan(
            session,
            PlanIn(
                name="s2-romania",
                title="Forest cut in Romania (real series)",
                source="s2-romania",
                area=ROMANIA_AREA,
                history_from=date(2016, 1, 1),
                history_until=date(2018, 12, 31),
                until=date(2019, 12, 31),
                cron="30 6 * * *",
                configuration=PlanConfiguration(crs="EPSG:3035"),
            ),
        )


def _first_geometry(geojson: dict[str, Any]) -> dict[str, Any]:
    geometry: dict[str, Any] = geojson["features"][0]["geometry"] if "features" in geojson else geojson["geometry"]
    return geometry


def _ensure_run(database: Database, settings: Settings, name: str, advance: Callable[[int, int], None]) -> None:
    with database.transaction(see_all=True) as session:
        plan = monitoring.plan_by_name(session, name)
        runs = list(session.scalars(select(Run).where(Run.plan_id == plan.id)))
        if any(run.status is RunStatus.succeeded for run in runs):
            return
        live = next((run for run in runs if run.status in monitoring.LIVE), None)
        run_id = (live or monitoring.request_run(session, plan)).id
    status = execute(database, settings, run_id, advance)
    if status is RunStatus.failed:
        with database.transaction(see_all=True) as session:
            raise Problem(f"The run of {name} failed: {session.get_one(Run, run_id).detail}")
