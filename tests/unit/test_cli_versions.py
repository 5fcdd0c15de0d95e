"""`redline versions`: what is proposed, compared, confirmed and discarded on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.settings import get_settings
from tests.api.test_boundaries_http import REDLINES


@pytest.fixture
def redline(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command on the world's database."""
    monkeypatch.setenv("REDLINE_DATABASE_URL", str(world.urls.application))
    monkeypatch.setenv("REDLINE_DATA_DIR", str(tmp_path / "data"))
    get_settings.cache_clear()
    yield lambda *words: CliRunner().invoke(app, list(words))
    get_settings.cache_clear()


def test_from_proposal_to_decision(redline: Any, tmp_path: Path) -> None:
    path = tmp_path / "redlines.geojson"
    path.write_bytes(REDLINES)
    imported = redline("import", "redlines", str(path), "--valid-from", "2022-01-01", "--propose")
    assert json.loads(imported.stdout)["status"] == "proposed", imported.output
    listed = redline("versions", "list", "redlines")
    assert "proposed" in listed.stderr
    compared = redline("versions", "compare", "redlines", "1", "--json")
    assert json.loads(compared.stdout)["features"][0]["count"] == 2
    shown = redline("versions", "compare", "redlines", "1")
    assert "0 overlaps, 0 gaps, 0 features outside" in shown.stderr
    assert redline("versions", "confirm", "redlines", "1").exit_code == 0
    again = redline("versions", "discard", "redlines", "1")
    assert again.exit_code != 0
    assert "confirmed already" in str(again.exception)
    assert "no version 7" in str(redline("versions", "discard", "redlines", "7").exception)
