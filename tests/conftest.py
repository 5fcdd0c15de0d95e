"""A real PostgreSQL with PostGIS for every test: one cluster a test run, one database a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.access import service as access
from app.access.models import Role
from app.foundation.database import Database
from app.foundation.embedded import ClusterUrls, EmbeddedCluster
from app.foundation.migrate import upgrade
from app.settings import REPOSITORY, Settings
from tests.s3_server import S3Server, s3_server

# What is drawn at random is drawn alike in every run: a change is refused for what it does. To search on, pass
# `--hypothesis-profile=search`; what that finds becomes an example of its test.
hypothesis.settings.register_profile("fixed", derandomize=True)
hypothesis.settings.register_profile("search", derandomize=False)
hypothesis.settings.load_profile("fixed")

# The files that take longest go first, so that the workers end together.
LONGEST = ("test_demo.py", "test_runs.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


COUNTY, COUNTY2, PREFECTURE, PROVINCE = "220621", "220681", "220600", "220000"
PASSWORD = "redline-demo"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    """The embedded cluster of this test run; parallel test workers share it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with EmbeddedCluster(shared / "cluster", fsync=False) as running:
        yield running


def _worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def empty_template(cluster: EmbeddedCluster) -> str:
    """The name of a migrated, empty database."""
    name = f"empty_{_worker()}"
    upgrade(cluster.create_database(name).owner)
    return name


@pytest.fixture(scope="session")
def world_template(cluster: EmbeddedCluster, empty_template: str) -> str:
    """The name of a database with the units of Jilin and one account of each role."""
    from app.boundaries.importing import import_layer
    from app.boundaries.models import Layer

    name = f"world_{_worker()}"
    database = Database(cluster.create_database(name, empty_template).application)
    with database.transaction(see_all=True) as session:
        import_layer(
            session,
            layer=Layer.divisions,
            path=REPOSITORY / "sample" / "jilin" / "divisions.geojson",
            valid_from=date(2020, 1, 1),
            source_document="test",
            imported_by=None,
        )
        for username, role, unit in (
            ("officer", Role.officer, PROVINCE),
            ("officer-prefecture", Role.officer, PREFECTURE),
            ("county", Role.county, COUNTY),
            ("county2", Role.county, COUNTY2),
            ("prefecture", Role.prefecture, PREFECTURE),
            ("prefecture-other", Role.prefecture, "222400"),
            ("province", Role.province, PROVINCE),
            ("province-other", Role.province, PROVINCE),
            ("inspector", Role.inspector, PROVINCE),
            ("admin", Role.admin, PROVINCE),
        ):
            access.add_account(session, username=username, password=PASSWORD, role=role, unit_code=unit)
    database.dispose()
    return name


def _clone(cluster: EmbeddedCluster, template: str) -> Iterator[ClusterUrls]:
    name = f"test_{uuid4().hex}"
    yield cluster.create_database(name, template)
    cluster.drop_database(name)


@pytest.fixture
def database_urls(cluster: EmbeddedCluster, empty_template: str) -> Iterator[ClusterUrls]:
    """Addresses of a fresh, migrated, empty database. `world` brings its own."""
    yield from _clone(cluster, empty_template)


@pytest.fixture
def database(database_urls: ClusterUrls) -> Iterator[Database]:
    database = Database(database_urls.application)
    yield database
    database.dispose()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """An open transaction of the application role that sees everything, committed at the end."""
    with database.transaction(see_all=True) as session:
        yield session


@dataclass
class World:
    """A database with Jilin's units and accounts, and the service on it."""

    urls: ClusterUrls
    database: Database
    settings: Settings
    client: TestClient

    def headers(self, username: str) -> dict[str, str]:
        """The Authorization header of an account."""
        with self.database.transaction() as session:
            account = access.account_by_name(session, username)
            secret, _ = access.issue_token(session, account, "test", timedelta(hours=1))
        return {"Authorization": f"Bearer {secret}"}

    def caller(self, username: str) -> access.Caller:
        with self.database.transaction() as session:
            return access.caller_of(session, access.account_by_name(session, username))


@pytest.fixture(scope="session")
def one_s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(one_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A running S3-compatible server, and the environment that leads to it."""
    for name, value in one_s3.environment.items():
        monkeypatch.setenv(name, value)
    if not one_s3.runs:
        one_s3.start()
    return one_s3


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", tile_retry_s=0.05, _env_file=None)


# One app for all worlds that build the same into it: its 180 routes take half a second to make.
_apps: dict[tuple[object, ...], FastAPI] = {}


def app_for(settings: Settings, database: Database) -> FastAPI:
    """The service as `create_app` makes it, for a test that runs no second one beside it."""
    from app.main import create_app, equip

    built_in = settings.max_upload_bytes, settings.max_layer_bytes, settings.oidc_issuer
    if built_in not in _apps:
        _apps[built_in] = create_app(settings)
    app = _apps[built_in]
    equip(app, settings, database)
    return app


@pytest.fixture
def world(cluster: EmbeddedCluster, world_template: str, settings: Settings) -> Iterator[World]:
    for urls in _clone(cluster, world_template):
        database = Database(urls.application)
        with TestClient(app_for(settings, database), raise_server_exceptions=False) as client:
            yield World(urls, database, settings, client)
        database.dispose()


@pytest.fixture
def client(world: World) -> TestClient:
    return world.client
