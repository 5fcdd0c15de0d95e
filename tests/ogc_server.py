"""The service in a real server on a free port, features in large numbers, and GDAL's own programs against it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from urllib.parse import unquote_plus

import uvicorn
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.boundaries.models import Layer, LayerVersion, Verdict
from app.foundation.identity import new_id
from app.main import create_app
from app.monitoring.models import Confidence, Detection, Plan, Run
from tests.conftest import World


@dataclass
class Server:
    """A running service; `requests` are the addresses asked for, decoded."""

    address: str
    token: str
    requests: list[str] = field(default_factory=list)

    def gdal(self, program: str, *args: str) -> str:
        """What a GDAL program writes, signed in by a bearer token."""
        environment = {**os.environ, "GDAL_HTTP_HEADERS": f"Authorization: Bearer {self.token}"}
        done = subprocess.run([program, *args], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr, done.stderr
        return done.stdout

    def features(self, *args: str) -> list[dict[str, Any]]:
        """The features that ogr2ogr reads, as GeoJSON with full precision."""
        options = ("-f", "GeoJSON", "-lco", "COORDINATE_PRECISION=15", "/vsistdout/", f"OAPIF:{self.address}/ogc")
        return list(json.loads(self.gdal("ogr2ogr", *options, *args))["features"])


@contextmanager
def serving(world: World, username: str) -> Iterator[Server]:
    app = create_app(world.settings, database=world.database)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", world.headers(username)["Authorization"].removeprefix("Bearer "))

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            server.requests.append(unquote_plus(scope["path"] + "?" + scope["query_string"].decode()))
        await app(scope, receive, send)

    running = uvicorn.Server(uvicorn.Config(noted, port=port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join()


def add_version(session: Session, layer: Layer, number: int, **columns: Any) -> LayerVersion:
    version = LayerVersion(layer=layer, number=number, source_document="", digest="", feature_count=0, **columns)
    session.add(version)
    session.flush()
    return version


def add_squares(session: Session, version: LayerVersion, count: int, unit: Unit, *, west: float = 127.0) -> None:
    """Squares of 0.0005° side by side in rows of 400, made by one statement; the n-th has code `S<n>` and area n."""
    session.execute(
        text(
            """
            insert into boundary_features
                (id, version_id, layer, code, name, category, valid_from, attributes, area_m2, geom, unit_ids)
            select (lpad(to_hex(:base + n), 12, '0') || '70008' || :mark || lpad(to_hex(n), 8, '0'))::uuid,
                :version, :layer, 'S' || n, '斑块' || n, 'water_conservation', :valid_from, '{}', n,
                ST_Multi(ST_MakeEnvelope(
                    :west + (n % 400) * 0.001, 42 + (n / 400) * 0.001,
                    :west + (n % 400) * 0.001 + 0.0005, 42 + (n / 400) * 0.001 + 0.0005, 4490)),
                array[:unit]::uuid[]
            from generate_series(1, :count) n
            """
        ),
        {
            "mark": new_id().hex[-7:], "base": int(new_id().hex[:12], 16),
            "version": version.id, "layer": version.layer.value, "west": west,
            "valid_from": version.valid_from, "count": count, "unit": unit.id,
        },
    )  # fmt: skip


def add_detection(session: Session, ground: Any, unit: Unit, **columns: Any) -> Detection:
    """A detection, with the plan and the run that it hangs on."""
    place = {"unit_ids": [unit.id]}
    plan = Plan(
        name=f"p-{new_id()}", title="p", area=ground, history_from=date(2020, 1, 1), history_until=date(2021, 1, 1),
        configuration={}, **place,
    )  # fmt: skip
    session.add(plan)
    session.flush()
    session.add(run := Run(plan_id=plan.id, until=date(2022, 1, 1), **place))
    session.flush()
    given = {
        "activity": "mining", "activities": [], "confidence": Confidence.high, "first_seen_on": date(2022, 1, 1),
        "detector": "d", "verdict": Verdict.undetermined, "verdict_ground": "", "area_m2": 1, **columns,
    }  # fmt: skip
    detection = Detection(plan_id=plan.id, run_id=run.id, geom=ground, lead_unit_id=unit.id, **place, **given)
    session.add(detection)
    session.flush()
    return detection
