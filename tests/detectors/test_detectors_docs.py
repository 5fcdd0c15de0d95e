"""docs/detectors.md follows the code (docs/activities.md: test_taxonomy.py)."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import Field

from detectors import registry
from detectors.activities.mining import Mining
from detectors.detectors_docs import (
    DOCS,
    EVERYTHING,
    blocks,
    expected_by,
    parameters_markdown,
    recognisers_markdown,
    with_blocks,
)
from detectors.evidence import GROUND, INDICES, Neighbours, PatchEvidence, Surroundings, Terrain, Timing
from detectors.protocol import Parameters
from detectors.types import BANDS, EVIDENCE, Shape

PAGE = (DOCS / "detectors.md").read_text(encoding="utf-8")


def test_the_tables_of_the_page_are_made_from_the_code() -> None:
    assert with_blocks(PAGE, blocks()) == PAGE, "run: python -m detectors.detectors_docs"


def test_every_recogniser_has_a_table_with_all_that_it_weighs() -> None:
    for code, recogniser in registry.ACTIVITIES.items():
        section = PAGE.partition(f"#### `{code}` ")[2].partition("####")[0]
        score, reasons = recogniser.score(EVERYTHING)
        assert -1 <= score <= 1 and reasons
        for reason in reasons:
            assert f"`{reason.name}`" in section, (code, reason.name)


def test_what_is_listened_to_is_what_is_judged() -> None:
    before = Mining().score(EVERYTHING)
    (rows, *_), _ = expected_by(Mining())
    assert len(rows) == len(before[1])
    assert Mining().score(EVERYTHING) == before


def test_an_activity_that_is_added_is_in_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("detectors.activities.ski_slope", "Ski slope: a wide strip.\n\nIt fails in summer.")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source = Mining.__module__
    slope = type("SkiSlope", (Mining,), {"__module__": module.__name__, "label": "滑雪场", "kind": "human"})
    module.judge = sys.modules[source].judge  # type: ignore[attr-defined]
    page = recognisers_markdown({"ski_slope": slope(code="ski_slope", version="7")})
    assert page.startswith(
        "#### `ski_slope` 滑雪场, version 7 (human)\n\nSki slope: a wide strip.\n\nIt fails in summer."
    )


class Tuned(Parameters):
    """Parameters.

    Attributes:
        reach (pixels): how far it sees. share (share of reach): how much
            of it counts.
    """

    reach: int = Field(1200, gt=0, le=5000)
    share: float = Field(0.5, ge=0, lt=1)


class Undescribed(Tuned):
    """Parameters.

    Attributes:
        more: without a unit.
    """

    more: int = 1


def test_parameters_are_described_with_unit_and_bounds() -> None:
    table = parameters_markdown(Tuned)
    assert "| `reach` | 1,200 | > 0, ≤ 5,000 | pixels | how far it sees |\n" in table
    assert "| `share` | 0.5 | ≥ 0, < 1 | share of reach | how much of it counts |\n" in table
    with pytest.raises(ValueError, match="Undescribed does not describe more with a unit"):
        parameters_markdown(Undescribed)


def test_a_table_without_a_place_is_refused() -> None:
    page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n"
    assert with_blocks(page, {"x": "new\n"}) == "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n"
    with pytest.raises(ValueError, match="begin y"):
        with_blocks(page, {"y": "new\n"})


def test_every_value_of_the_evidence_is_described() -> None:
    section = PAGE.partition("## Patch evidence")[2].partition("\n## ")[0]
    names = [f.name for part in (PatchEvidence, Timing, Surroundings, Neighbours, Terrain, Shape) for f in fields(part)]
    names += [*BANDS, *INDICES, *EVIDENCE, *GROUND[1:]]
    missing = [name for name in names if not re.search(rf"\b{name}\b", section)]
    assert not missing


def test_pictures_are_small_and_shown() -> None:
    sizes = {path.name: path.stat().st_size for path in (DOCS / "detectors").iterdir()}
    assert sizes and all(f"](detectors/{name})" in PAGE for name in sizes)
    assert max(sizes.values()) < 250_000 and sum(sizes.values()) < 1_500_000


@pytest.mark.parametrize("page", ["detectors.md", "architecture.md"])
def test_links_and_files_that_a_page_names_exist(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        assert (DOCS / link).exists(), link
    for name in re.findall(r"`((?:detectors|app|tests|docs)/[\w/]+\.(?:py|md))`", text):
        assert (Path(DOCS).parent / name).is_file(), name


@dataclass(frozen=True)
class Silent:
    """A recogniser that expects nothing in so many words."""

    code: str = "tourism"
    version: str = "1"

    def score(self, evidence: object) -> tuple[float, tuple[()]]:
        return 0.0, ()


def test_a_recogniser_that_does_not_judge_has_no_table() -> None:
    assert expected_by(Silent()) == ([], [])
