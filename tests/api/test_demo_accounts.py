"""The demo's accounts and layers: for this machine alone, and never over what people brought themselves."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from shapely import box
from shapely.geometry import mapping
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.access.models import Account, Role
from app.access.service import add_account, serves_this_machine_only
from app.boundaries.importing import import_layer
from app.boundaries.models import Layer, LayerVersion
from app.demo.accounts import PASSWORD, ensure_accounts
from app.demo.setup import check_no_real_service, load_boundaries
from app.foundation.errors import Problem
from app.main import DemoAccountsExposed, create_app
from app.sample.layers import write_layers
from app.sample.world import build_world
from app.settings import REPOSITORY, Settings
from tests.conftest import World

SAMPLE = REPOSITORY / "sample"
FORM = {"username": "demo", "password": PASSWORD}


def add_demo_account(world: World) -> None:
    with world.database.transaction() as session:
        add_account(session, username="demo", password=PASSWORD, role=Role.officer, unit_code="220000", is_demo=True)


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("db", False)],
)
def test_loopback(host: str, own: bool) -> None:
    assert serves_this_machine_only(host) is own


def test_a_service_for_others_does_not_start_with_demo_accounts(world: World) -> None:
    add_demo_account(world)
    settings = world.settings.model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(DemoAccountsExposed), TestClient(create_app(settings, database=world.database)):
        pass


def test_demo_accounts_that_come_later_stay_closed_to_others(world: World) -> None:
    settings = world.settings.model_copy(update={"host": "0.0.0.0"})
    with TestClient(create_app(settings, database=world.database)) as exposed:
        add_demo_account(world)
        assert exposed.post("/api/v1/auth/token", data=FORM).status_code == 401
        answer = world.client.post("/api/v1/auth/token", data=FORM)
        assert answer.status_code == 200
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert world.client.get("/api/v1/auth/me", headers=headers).status_code == 200
        assert exposed.get("/api/v1/auth/me", headers=headers).status_code == 401
        assert exposed.get("/api/v1/auth/me", headers=world.headers("officer")).status_code == 200


def test_the_demo_leaves_a_real_service_alone(world: World) -> None:
    settings = Settings(
        data_dir=world.settings.data_dir, database_url=world.database.engine.url.render_as_string(False), _env_file=None
    )
    with pytest.raises(Problem, match="accounts that are not the demo's"):
        check_no_real_service(settings)
    with world.database.transaction() as session:
        session.execute(update(Account).values(is_demo=True))
        ensure_accounts(session)
    check_no_real_service(settings)
    with pytest.raises(Problem, match=r"REDLINE_HOST, which is 192\.0\.2\.1"):
        check_no_real_service(settings.model_copy(update={"host": "192.0.2.1"}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample of which only the boundaries are there."""
    folder = tmp_path_factory.mktemp("sample")
    write_layers(build_world(1, SAMPLE / "jilin" / "divisions.geojson", 240, 0.5), folder / "boundaries")
    return folder


def versions(session: Session) -> list[tuple[str, int, str]]:
    rows = session.execute(select(LayerVersion.layer, LayerVersion.number, LayerVersion.source_document))
    return sorted((row.layer.value, row.number, row.source_document) for row in rows)


def load(session: Session, layer: Layer, path: Path, row: dict[str, str]) -> None:
    feature = {"type": "Feature", "properties": row, "geometry": mapping(box(127.5, 42.25, 127.52, 42.27))}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    import_layer(
        session, layer=layer, path=path, valid_from=date(2024, 1, 1), source_document="theirs", imported_by=None
    )


def test_the_demo_loads_its_layers_once_and_nothing_over_others(session: Session, folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.geojson"
    load(session, Layer.redlines, own, {"code": "HX-1", "name": "红线", "main_function": "水源涵养"})
    load_boundaries(session, SAMPLE, folder)
    first = versions(session)
    assert [layer for layer, *_ in first] == ["divisions", "divisions", "permits", "protected-areas", "redlines"]
    assert first[-1] == ("redlines", 1, "theirs")
    load_boundaries(session, SAMPLE, folder)
    assert versions(session) == first
    load(session, Layer.divisions, own, {"code": "220699", "name": "区", "level": "zone", "parent": "220000"})
    load_boundaries(session, SAMPLE, folder)
    assert versions(session) == sorted([*first, ("divisions", 3, "theirs")])
