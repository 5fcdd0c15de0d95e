"""Vector tiles and OGC items over HTTP, against the bare statement and against tipg, on the same rows in one run.

20,000 red lines (maps_data.py) in an embedded cluster. Four clients, two API processes of ours, two of tipg; clients
hold one kept connection each (load.py) and are split evenly. Ours asks with a bearer token and through row-level
security; tipg reads a view as a role that sees every row.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.access.models import Role, UnitLevel
from app.access.service import Caller
from app.foundation.database_setup import connect
from app.foundation.embedded import ClusterUrls, EmbeddedCluster
from app.foundation.identity import new_id
from app.foundation.migrate import upgrade
from app.foundation.time import legal_day, utc_now
from app.maps.tile_grid import BUFFER, EXTENT, TileAddress
from app.maps.tiles import LAYERS, how_made, tile_statement, tile_values
from tests.bench.load import Ask, Load, http_client, run, sql_client
from tests.bench.maps_data import COUNT, fill
from tests.bench.maps_data import EXTENT as GROUND
from tests.bench.service import free_port, ours, service
from tests.bench.tables import show

CLIENTS, PROCESSES = 4, 2
# Contenders take turns, so that whatever else the machine does meets all of them; medians are shown.
ROUNDS, SECONDS = 3, 4.0
SMALLEST_BYTES, TILES_A_ZOOM = 5 * 1024, 30
ZOOMS = (8, 9, 10, 11)
VIEW = "peer.redlines"
BOXES = 60
Clients = Sequence[Callable[[], Ask]]
Contenders = Mapping[str, tuple[Clients, Sequence[str]]]


def everything() -> Caller:
    """A caller of the whole province, for the statement alone."""
    nobody = new_id()
    return Caller(nobody, "bench", Role.officer, nobody, "220000", UnitLevel.province, None)


def own_statement(tile: TileAddress) -> str:
    """Our statement of a tile of red lines, values written in."""
    caller, layer, today = everything(), LAYERS["redlines"], legal_day(utc_now())
    cut, exact = how_made(tile)
    values = {name: value for name, value in tile_values(caller, tile, today).items() if isinstance(name, str)}
    statement = tile_statement(caller, layer, today, cut=cut, exact=exact).params(values)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def plain_statement(tile: TileAddress) -> str:
    """What the manual of PostGIS writes: the same rows, fields, extent and buffer; no simplification."""
    envelope = f"ST_TileEnvelope({tile.z}, {tile.x}, {tile.y})"
    west, south, east, north = tile.box(BUFFER)
    return (
        f"select ST_AsMVT(q.*, 'redlines', {EXTENT}, 'geom') from (select id::text, code, name, category, "
        f"ST_AsMVTGeom(ST_Transform(geom, 3857), {envelope}, {EXTENT}, {BUFFER}, true) as geom from boundary_features "
        f"where layer = 'redlines' and geom && ST_MakeEnvelope({west}, {south}, {east}, {north}, 4490)) q"
    )


def tiles_over(ground: tuple[float, float, float, float], zoom: int) -> list[TileAddress]:
    west, south, east, north = ground
    size = 2**zoom

    def row(latitude: float) -> int:
        return int((1 - np.arcsinh(np.tan(np.radians(latitude))) / np.pi) / 2 * size)

    columns = range(int((west + 180) / 360 * size), int((east + 180) / 360 * size) + 1)
    return [TileAddress(zoom, x, y) for x in columns for y in range(row(north), row(south) + 1)]


def size_of(connection: Any, tile: TileAddress) -> int:
    return len(connection.execute(own_statement(tile)).fetchone()[0] or b"")


def choose(urls: ClusterUrls) -> list[TileAddress]:
    """Up to `TILES_A_ZOOM` tiles of each zoom, each of at least `SMALLEST_BYTES` in our own, simplified form."""
    rng, chosen = np.random.default_rng(7), []
    with connect(urls.superuser) as connection:
        for zoom in ZOOMS:
            there = tiles_over(GROUND, zoom)
            picked = [there[k] for k in rng.permutation(len(there))[: 3 * TILES_A_ZOOM]]
            large = [tile for tile in picked if size_of(connection, tile) >= SMALLEST_BYTES]
            chosen += large[:TILES_A_ZOOM]
    return chosen


@contextmanager
def tipg(urls: ClusterUrls, folder: Path) -> Iterator[list[int]]:
    """tipg's own application under uvicorn, reading the view."""
    address = make_url(urls.superuser)
    with connect(urls.superuser) as connection:
        connection.execute("create schema if not exists peer")
        connection.execute(
            f"create or replace view {VIEW} as select id::text as id, code, name, category, geom from boundary_features"
            " where layer = 'redlines'"
        )
    host, port_of = str(address.query["host"]).replace("/", "%2F"), address.query["port"]
    environment = {
        "DATABASE_URL": f"postgresql://{address.username}:{address.password}@{host}:{port_of}/{address.database}",
        "TIPG_DB_SCHEMAS": '["peer"]', "TIPG_TILE_BUFFER": str(BUFFER), "TIPG_CATALOG_TTL": "36000",
    }  # fmt: skip
    with ExitStack() as stack:
        ports = [free_port() for _ in range(PROCESSES)]
        for port in ports:
            command = [sys.executable, "-m", "uvicorn", "tipg.main:app", "--port", str(port), "--no-access-log"]
            stack.enter_context(service(command, environment, port, folder / "tipg.log"))
        yield ports


def over_http(ports: Sequence[int], headers: dict[str, str]) -> Clients:
    return [partial(http_client, ports[k % len(ports)], headers) for k in range(CLIENTS)]


def over_sql(url: str, *prepare: str) -> Clients:
    return [partial(sql_client, url, prepare) for _ in range(CLIENTS)]


def compete(contenders: Contenders, against: Sequence[str]) -> list[list[str]]:
    """Rows of a table: answers a second, size, and the rate over that of others in the same round."""
    for clients, questions in contenders.values():
        run(clients, questions, 0)
    rounds = [
        {name: run(clients, questions, SECONDS) for name, (clients, questions) in contenders.items()}
        for _ in range(ROUNDS)
    ]

    def median(of: Callable[[dict[str, Load]], float]) -> float:
        return float(np.median([of(loads) for loads in rounds]))

    rows = []
    for name in contenders:
        rate = median(lambda loads, name=name: loads[name].per_second)  # type: ignore[misc]
        size = median(lambda loads, name=name: loads[name].mean_bytes)  # type: ignore[misc]
        over = [
            median(lambda loads, name=name, other=other: loads[name].per_second / loads[other].per_second)  # type: ignore[misc]
            for other in against
        ]
        rows.append([name, f"{rate:.0f}", f"{size / 1024:.1f}", *(f"{value:.2f}" for value in over)])
    return rows


@dataclass(frozen=True)
class Services:
    """Ports of what serves at once; who does not serve only waits."""

    urls: ClusterUrls
    authorised: dict[str, str]
    ours: list[int]
    uncached: list[int]
    tipg: list[int]


def bench_tiles(services: Services, tiles: Sequence[TileAddress], title: str) -> None:
    counted = ", ".join(f"z{zoom}: {sum(tile.z == zoom for tile in tiles)}" for zoom in ZOOMS)
    print(f"{title}: {len(tiles)} tiles ({counted})")
    scope = "select set_config('redline.scope', 'all', false), set_config('redline.units', '{}', false)"
    alone = "set max_parallel_workers_per_gather = 0"
    paths = [f"/tiles/redlines/{tile.z}/{tile.x}/{tile.y}" for tile in tiles]
    peers = [f"/collections/{VIEW}/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}" for tile in tiles]
    plain = over_sql(services.urls.superuser, alone)
    same = over_sql(services.urls.application, scope, alone)
    contenders: Contenders = {
        "bare ST_AsMVT as in the manual, no row security": (plain, [plain_statement(tile) for tile in tiles]),
        "bare ST_AsMVT, our statement with row security": (same, [own_statement(tile) for tile in tiles]),
        "ours, no tile kept": (over_http(services.uncached, services.authorised), paths),
        "ours, as shipped": (over_http(services.ours, services.authorised), paths),
        "tipg": (over_http(services.tipg, {}), peers),
    }
    rows = compete(contenders, list(contenders)[:2])
    show(("tiles", "a second", "KB each", "of manual's", "of our statement"), rows)


def bench_items(services: Services, limit: int) -> None:
    """Requests by bbox that find 100 to 900 of the features: one page of ours, which ends at 8 MiB, holds them."""
    rng = np.random.default_rng(3)
    west, south, east, north = GROUND
    per_degree2 = COUNT / (east - west) / (north - south)
    boxes = []
    for _ in range(BOXES):
        side = float(np.sqrt(rng.uniform(100, 900) / per_degree2))
        x, y = rng.uniform(west, east - side), rng.uniform(south, north - side)
        boxes.append(f"bbox={x:.5f},{y:.5f},{x + side:.5f},{y + side:.5f}&limit={limit}")
    contenders: Contenders = {
        "ours": (
            over_http(services.ours, services.authorised),
            [f"/ogc/collections/redlines/items?{query}" for query in boxes],
        ),
        "tipg": (over_http(services.tipg, {}), [f"/collections/{VIEW}/items?{query}&f=geojson" for query in boxes]),
    }
    show((f"items, limit {limit}", "a second", "KB each", "of tipg"), compete(contenders, ["tipg"]))


def settings(urls: ClusterUrls) -> None:
    with connect(urls.superuser) as connection:
        names = ("server_version", "shared_buffers", "jit", "work_mem", "max_parallel_workers_per_gather")
        shown: list[Any] = [connection.execute(f"show {name}").fetchone() for name in names]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; everything on this machine")
    print("; ".join(f"{name} {value[0]}" for name, value in zip(names, shown, strict=True) if value))
    print(
        f"{CLIENTS} client processes (one kept connection each, raw socket), {PROCESSES} API processes each; "
        f"medians of {ROUNDS} rounds of {SECONDS:.0f} s in turns, after every question once.\n"
        f"Ours: uvicorn, SQLAlchemy pool 10 + 10 a process, psycopg, plan_cache_mode force_custom_plan.\n"
        f"tipg {version('tipg')}: uvicorn, asyncpg {version('asyncpg')} pool 1 to 10 a process, default settings, "
        f"tile buffer {BUFFER} (ours).\n"
    )


def bench(urls: ClusterUrls, token: str, folder: Path) -> None:
    """Every table, on a database that `fill` has loaded."""
    settings(urls)
    tiles, small = choose(urls), ZOOMS[-2:]
    authorised = {"Authorization": f"Bearer {token}"}
    with (
        ours(urls, folder) as kept,
        ours(urls, folder, {"REDLINE_TILE_CACHE_BYTES": "0"}) as uncached,
        tipg(urls, folder) as peer,
    ):
        services = Services(urls, authorised, kept, uncached, peer)
        bench_tiles(services, tiles, f"of at least {SMALLEST_BYTES // 1024} KB")
        bench_tiles(services, [tile for tile in tiles if tile.z in small], "the smaller ones of these")
        for limit in (100, 1000):
            bench_items(services, limit)


def main(count: int = COUNT) -> None:
    """Everything, in a cluster of its own; prints tables."""
    with tempfile.TemporaryDirectory(prefix="redline-bench-") as folder, EmbeddedCluster(Path(folder)) as cluster:
        upgrade(cluster.urls.owner)
        bench(cluster.urls, fill(cluster.urls, count), Path(folder))
