"""An activity that was not there before: one file and one line of the registry."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from detectors import registry
from detectors.detectors_docs import activities_markdown, recognisers_markdown
from detectors.registry import register
from tests.casework_steps import Desk
from tests.conftest import World
from tests.learning_steps import add_scored

FILE = '''"""Ski slope: a wide strip down a forested hillside.

Only a test knows it.
"""

from dataclasses import dataclass
from typing import Any

from detectors.taxonomy import Kind


@dataclass(frozen=True)
class SkiSlope:
    code: str = "ski_slope"
    version: str = "1"
    label: str = "滑雪场"
    kind: Kind = Kind.human

    def score(self, evidence: Any) -> tuple[float, tuple[()]]:
        return 0.9, ()
'''


def test_one_file_and_one_line(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(world)
    assert desk.get("officer", "/detections", activity="ski_slope").status_code == 422
    (tmp_path / "ski_slope.py").write_text(FILE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("detectors.activities.ski_slope", tmp_path / "ski_slope.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    line = (module.SkiSlope.code, module.SkiSlope())
    monkeypatch.setattr(registry, "ACTIVITIES", register([*registry.ACTIVITIES.items(), line]))

    # The list, the filters, a dispatch, the documentation.
    items = {item["code"]: item for item in desk.get("county", "/activities").json()["items"]}
    assert items["ski_slope"] == {
        "code": "ski_slope",
        "label": "滑雪场",
        "kind": "human",
        "standard": "HJ 1156-2021",
        "recogniser_version": "1",
        "looks_at": "Ski slope: a wide strip down a forested hillside.",
    }
    with world.database.transaction(see_all=True) as session:
        detection = add_scored(session, {"ski_slope": 0.9, "road": 0.2})
    shown = desk.get("officer", "/detections", activity="ski_slope").json()["items"]
    assert [one["activity"] for one in shown] == ["ski_slope"]
    case = desk.dispatch(detection.id, activity="ski_slope")
    assert case["activity"] == "ski_slope"
    assert len(desk.get("officer", "/cases", activity="ski_slope").json()["items"]) == 1
    assert "| `ski_slope` | 滑雪场 | human | 1 | Ski slope: a wide strip" in activities_markdown()
    assert "#### `ski_slope` 滑雪场, version 1 (human)\n\nSki slope: a wide strip" in recognisers_markdown()
