"""The table of causes, what a new one needs, and whether a change is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from detectors.change_type import change_type
from detectors.detectors_docs import activities_markdown
from detectors.evidence import NAN, Neighbours, PatchEvidence, Surroundings, Timing
from detectors.registry import ACTIVITIES
from detectors.taxonomy import TAXONOMY, Kind, known
from detectors.types import Shape

PAGE = Path(__file__).parents[2] / "docs" / "activities.md"


def test_every_recogniser_names_a_cause_of_the_table() -> None:
    entries = known(ACTIVITIES)
    assert set(ACTIVITIES) <= set(entries) and set(TAXONOMY) <= set(entries)
    for code, recogniser in ACTIVITIES.items():
        assert entries[code].version == recogniser.version
        assert entries[code].looks_at and "\n" not in entries[code].looks_at
    assert {code for code, entry in entries.items() if entry.cause.kind is not Kind.human} >= {"fire", "snow"}


def test_a_code_that_nobody_knows_brings_its_words_or_is_refused() -> None:
    class Nameless:
        code, version = "ski_slope", "1"

    class Slope(Nameless):
        label, kind = "滑雪场", Kind.human

    with pytest.raises(ValueError, match="'ski_slope' is not in"):
        known({"ski_slope": Nameless()})  # type: ignore[dict-item]
    cause = known({"ski_slope": Slope()})["ski_slope"].cause  # type: ignore[dict-item]
    assert (cause.label, cause.kind) == ("滑雪场", "human")
    assert "| `ski_slope` | 滑雪场 | human | 1 |" in activities_markdown({"ski_slope": Slope()})  # type: ignore[dict-item]


def test_the_page_is_made_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == activities_markdown(), "run: python -m detectors.detectors_docs"


def evidence(contact: dict[str, float], *, gap: float = NAN, earlier: int = 0) -> PatchEvidence:
    return PatchEvidence(
        before={},
        after={},
        strength={},
        timing=Timing(),
        shape=Shape(20, 2000.0, 50.0, 40.0, 1.25, 1.0, 0.8),
        texture={},
        around=Surroundings(ring_m=100.0, contact=contact, known=1.0),
        neighbours=Neighbours(within_m=500.0, count=2, earlier=earlier, nearest_m=gap, touches=False),
        terrain=None,
        pixel_m=10.0,
    )


@pytest.mark.parametrize(
    ("given", "expected", "name", "value"),
    [
        (evidence({"forest": 1.0}), "new", "contact_bare", 0.0),
        (evidence({"forest": 0.8, "bare": 0.2}), "new", "contact_bare", 0.2),
        (evidence({"forest": 0.75, "bare": 0.25}), "expanded", "contact_bare", 0.25),
        (evidence({}), "new", "contact_bare", 0.0),
        # An older change far off, or one of the same days at its edge, does not make it an expansion.
        (evidence({}, gap=30.0, earlier=2), "new", "contact_bare", 0.0),
        (evidence({}, gap=10.0), "new", "contact_bare", 0.0),
        (evidence({}, gap=20.0, earlier=2), "expanded", "nearest_change", 20.0),
    ],
)
def test_what_begins_at_the_edge_of_opened_ground_is_an_expansion(
    given: PatchEvidence, expected: str, name: str, value: float
) -> None:
    kind, reason = change_type(given)
    assert (kind, reason.name, reason.value) == (expected, name, value)
    assert (reason.support == 1) == (expected == "expanded")
