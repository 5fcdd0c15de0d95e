"""The parts of docs/activities.md and docs/detectors.md that are made from the code.

``python -m detectors.detectors_docs`` writes them anew. docs/activities.md is made as a whole; docs/detectors.md is
written by people, but for the tables between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``: parameters, by the
fields and docstrings of the monitors' classes, and what each registered recogniser expects, by listening to it while
it judges a patch of which everything is known.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from unittest import mock

from pydantic.fields import FieldInfo

from detectors import registry
from detectors.activities.expect import Expectation, judge
from detectors.evidence import GROUND, INDICES, Neighbours, PatchEvidence, Spread, Surroundings, Terrain, Timing
from detectors.monitors.bitemporal import BitemporalParameters
from detectors.monitors.harmonic import HarmonicParameters
from detectors.monitors.sparse import SparseParameters
from detectors.protocol import Parameters, Recogniser
from detectors.taxonomy import STANDARD, known
from detectors.types import BANDS, EVIDENCE, Reason, Shape

DOCS: Final = Path(__file__).parents[1] / "docs"

_HEAD = f"""# What a change can be

Made from `detectors/taxonomy.py` and `detectors/registry.py`; the codes follow {STANDARD}. Do not edit; write it anew
with `python -m detectors.detectors_docs`. What each recogniser expects: [detectors.md](detectors.md#recognition).

`human`: somebody answers for it. `natural` and `routine` causes stop a false alarm: what nature does, and what comes
every year or lies in the image alone. A code without a version is named by people only.

| code | 中文 | kind | recogniser | what it looks at |
|---|---|---|---|---|
"""


def activities_markdown(recognisers: Mapping[str, Recogniser] | None = None) -> str:
    """docs/activities.md; of all registered recognisers, or of those given."""
    entries = known(registry.ACTIVITIES if recognisers is None else recognisers)
    return _HEAD + "".join(
        f"| `{code}` | {entry.cause.label} | {entry.cause.kind} | {entry.version or ''} | {entry.looks_at or ''} |\n"
        for code, entry in entries.items()
    )


def parameters_markdown(parameters: type[Parameters]) -> str:
    """A table of parameters: name, default, bounds, unit and meaning; the last two from the docstring.

    Raises:
        ValueError: a parameter that the docstrings of the class and its bases do not describe as ``name (unit): …``.
    """
    said = _described(parameters)
    missing = [name for name in parameters.model_fields if name not in said]
    if missing:
        raise ValueError(f"the docstring of {parameters.__name__} does not describe {', '.join(missing)} with a unit")
    rows = "".join(
        f"| `{name}` | {field.default:,} | {_bounds(field)} | {said[name][0]} | {said[name][1]} |\n"
        for name, field in parameters.model_fields.items()
    )
    return "| parameter | default | may be | unit | what it is |\n|---|---|---|---|---|\n" + rows


def _described(parameters: type[Parameters]) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each field, of the docstrings of a class and its bases."""
    found: dict[str, tuple[str, str]] = {}
    for cls in reversed(parameters.__mro__):
        if not issubclass(cls, Parameters):
            continue
        text = " ".join((inspect.getdoc(cls) or "").partition("Attributes:")[2].split())
        parts = re.split(r"(?:^|(?<=\. ))(\w+) \(([^)]+)\): ", text)
        named = zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        found |= {name: (unit, meaning.strip().rstrip(".").replace("``", "`")) for name, unit, meaning in named}
    return found


_SIGNS: Final = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def _bounds(field: FieldInfo) -> str:
    limits = [(name, getattr(item, name)) for item in field.metadata for name in _SIGNS if hasattr(item, name)]
    return ", ".join(f"{_SIGNS[name]} {value:,}" for name, value in limits)


def recognisers_markdown(recognisers: Mapping[str, Recogniser] | None = None) -> str:
    """What each recogniser expects, a section with a table for each; of all registered ones, or of those given."""
    given = registry.ACTIVITIES if recognisers is None else recognisers
    entries = known(given)
    parts = []
    for code, recogniser in given.items():
        entry = entries[code]
        source = inspect.getdoc(_module_of(recogniser)) or ""
        parts.append(f"#### `{code}` {entry.cause.label}, version {entry.version} ({entry.cause.kind})\n")
        parts.append(source.strip() + "\n")
        ways, told = expected_by(recogniser)
        for number, way in enumerate(ways, start=1):
            if len(ways) > 1:
                parts.append(f"Way {number} of {len(ways)}:\n")
            parts.append(_HEAD_OF_WAY + "".join(way))
        if told:
            parts.append("Told, but not counted: " + ", ".join(f"`{name}`" for name in told) + ".\n")
    return "\n".join(parts)


_HEAD_OF_WAY: Final = "| value | in words | expected | width | unit | weight |\n|---|---|---|---|---|---|\n"


def _module_of(recogniser: Recogniser) -> ModuleType:
    return sys.modules[type(recogniser).__module__]


def expected_by(recogniser: Recogniser) -> tuple[list[list[str]], list[str]]:
    """Rows of a table for each way in which an activity can look, and the names of reasons that do not count.

    The recogniser's module calls ``judge`` of ``detectors.activities.expect``; here it is listened to.
    """
    module = _module_of(recogniser)
    ways: list[Sequence[Expectation]] = []

    def listen(*expected: Sequence[Expectation]) -> tuple[float, tuple[Reason, ...]]:
        ways.extend(expected)
        return judge(*expected)

    with mock.patch.object(module, "judge", listen) if hasattr(module, "judge") else nullcontext():
        _, reasons = recogniser.score(EVERYTHING)
    counted = {expectation.of.name for way in ways for expectation in way}
    told = [reason.name for reason in reasons if reason.name not in counted]
    return [[_row(expectation) for expectation in way] for way in ways], told


def _row(expectation: Expectation) -> str:
    low, high, of = expectation.low, expectation.high, expectation.of
    if math.isinf(high):
        ends = f"at least {low:,g}"
    elif math.isinf(low):
        ends = f"at most {high:,g}"
    else:
        ends = f"{low:,g} to {high:,g}"
    unit = of.unit or ("share" if of.kind == "share" else "")
    width = f"factor {expectation.width:g}" if expectation.scaled else f"{expectation.width:g}"
    return f"| `{of.name}` | {of.label} | {ends} | {width} | {unit} | {expectation.weight:g} |\n"


_HALF: Final[Any] = 0.5
_SPREAD: Final = Spread(0.2, 0.1, 0.3)
_SHARES: Final = {kind: 0.5 for kind in GROUND if kind != "unknown"}

EVERYTHING: Final = PatchEvidence(
    before=dict.fromkeys((*BANDS, *INDICES), _SPREAD),
    after=dict.fromkeys((*BANDS, *INDICES), _SPREAD),
    strength=dict.fromkeys(EVIDENCE, _SPREAD),
    timing=Timing(180, 10.0, 10.0, 4.0, 40.0, 0.0, {2023: 0.8, 2024: 0.7, 2025: 0.6}),
    shape=Shape(**dict.fromkeys((f.name for f in fields(Shape)), _HALF)),
    texture={"visible_contrast": 0.1, "nir_contrast": 0.1, "mixture": 0.5},
    around=Surroundings(100.0, _SHARES, _SHARES, _SHARES, 0.0, 1.0),
    neighbours=Neighbours(500.0, 1, 0, 100.0, False),
    terrain=Terrain(**dict.fromkeys((f.name for f in fields(Terrain)), _HALF)),
    pixel_m=10.0,
)
"""A patch of which everything is known, so that a recogniser leaves nothing out; its numbers do not matter."""


def blocks() -> dict[str, str]:
    """The tables of docs/detectors.md by name."""
    return {
        "harmonic": parameters_markdown(HarmonicParameters),
        "bitemporal": parameters_markdown(BitemporalParameters),
        "sparse": parameters_markdown(SparseParameters),
        "recognisers": recognisers_markdown(),
    }


def with_blocks(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables between their marks.

    Raises:
        ValueError: a table has no place in the page, or more than one.
    """
    for name, table in tables.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page must hold {begin.strip()} and {end} once each")
        head, _, rest = page.partition(begin)
        page = head + begin + table + end + rest.partition(end)[2]
    return page


def main() -> None:
    """Write both pages anew."""
    (DOCS / "activities.md").write_text(activities_markdown(), encoding="utf-8")
    page = DOCS / "detectors.md"
    page.write_text(with_blocks(page.read_text(encoding="utf-8"), blocks()), encoding="utf-8")


if __name__ == "__main__":
    main()
