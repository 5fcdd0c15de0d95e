"""The two walls of jurisdiction (DESIGN section 6), and each of them alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text

from app.access import service as access
from tests.conftest import World


@pytest.fixture
def owner(world: World) -> Iterator[Engine]:
    engine = create_engine(world.urls.superuser)
    yield engine
    engine.dispose()


def _clear_statements() -> None:
    """Statements that were compiled once hold the wall that stood then."""
    for name, module in list(sys.modules.items()):
        if name.startswith("app."):
            for entry in vars(module).values():
                if hasattr(entry, "cache_clear"):
                    entry.cache_clear()


@pytest.fixture(params=["the queries alone", "row-level security alone"])
def walls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, owner: Engine) -> Iterator[str]:
    """Which of the two walls stands: what holds behind each of them holds behind both."""
    if request.param == "the queries alone":
        secured = text("select relname from pg_class where relrowsecurity and relnamespace = 'public'::regnamespace")
        with owner.begin() as connection:
            for table in connection.scalars(secured).all():
                connection.execute(text(f'alter table "{table}" disable row level security'))
    if request.param == "row-level security alone":
        real = access.in_jurisdiction
        for name, module in list(sys.modules.items()):
            if name.startswith("app.") and getattr(module, "in_jurisdiction", None) is real:
                monkeypatch.setattr(module, "in_jurisdiction", lambda statement, caller, entity: statement)
        _clear_statements()
    yield str(request.param)
    if request.param == "row-level security alone":
        monkeypatch.undo()
        _clear_statements()
