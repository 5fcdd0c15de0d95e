"""What a change can be: the one table of codes that recognisers name, officers choose from and the API lists.

A recogniser whose code does not stand here works all the same if it brings its own words (``Named``), so that a new
activity is one file and one line of the registry.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from detectors.protocol import Recogniser

STANDARD: Final = "HJ 1156-2021"
"""《自然保护地人类活动遥感监测技术规范》, whose kinds of human activity the codes follow."""


class Kind(StrEnum):
    """Whether somebody answers for a change."""

    human = "human"
    natural = "natural"
    # What comes every year or lies in the image alone.
    routine = "routine"


@dataclass(frozen=True, slots=True)
class Cause:
    """A row of the table.

    Attributes:
        code: as stored and sent. label: shown to people, Chinese. kind: whether somebody answers for it.
    """

    code: str
    label: str
    kind: Kind


@runtime_checkable
class Named(Protocol):
    """A recogniser that brings its own row: its code is not in the table yet."""

    @property
    def label(self) -> str:
        """Chinese, shown to people."""

    @property
    def kind(self) -> Kind:
        """Whether somebody answers for it."""


@dataclass(frozen=True, slots=True)
class Known:
    """A cause, and the recogniser that names it.

    Attributes:
        version: of the recogniser; None: there is none yet, only people name this cause.
        looks_at: what it looks at: the first paragraph of its file.
    """

    cause: Cause
    version: str | None = None
    looks_at: str | None = None


def _table(rows: tuple[tuple[str, str, Kind], ...]) -> Mapping[str, Cause]:
    return MappingProxyType({code: Cause(code, label, kind) for code, label, kind in rows})


TAXONOMY: Final = _table(
    (
        ("mining", "采矿", Kind.human),
        ("quarry", "采石采砂", Kind.human),
        ("industry", "工业开发", Kind.human),
        ("energy", "能源开发", Kind.human),
        ("hydropower", "水电设施", Kind.human),
        ("impoundment", "人造湖/筑坝", Kind.human),
        ("tourism", "旅游开发", Kind.human),
        ("road", "交通开发/修路", Kind.human),
        ("construction", "建设", Kind.human),
        ("aquaculture", "养殖开发", Kind.human),
        ("cultivation", "陡坡垦殖/开垦", Kind.human),
        ("grazing", "过度放牧", Kind.human),
        ("clearing", "毁林毁草", Kind.human),
        ("settlement", "居民点", Kind.human),
        ("other", "其它", Kind.human),
        ("fire", "火烧", Kind.natural),
        ("flood", "洪水", Kind.natural),
        ("landslide", "滑坡", Kind.natural),
        ("drought", "干旱", Kind.natural),
        ("water_level", "水位变化", Kind.routine),
        ("crop_calendar", "农事季节", Kind.routine),
        ("snow", "积雪", Kind.routine),
        ("cloud", "云或阴影", Kind.routine),
    )
)


def known(recognisers: Mapping[str, Recogniser]) -> dict[str, Known]:
    """Every cause by code: the table's, then those that a recogniser brings itself.

    Raises:
        ValueError: a recogniser has a code that is not in the table, and no words of its own.
    """
    found = {code: Known(cause) for code, cause in TAXONOMY.items()}
    for code, recogniser in recognisers.items():
        cause = TAXONOMY.get(code)
        if cause is None:
            if not isinstance(recogniser, Named):
                raise ValueError(f"{code!r} is not in detectors.taxonomy; give its recogniser a label and a kind")
            cause = Cause(code, recogniser.label, recogniser.kind)
        found[code] = Known(cause, recogniser.version, _looks_at(recogniser))
    return found


def _looks_at(recogniser: Recogniser) -> str:
    """The first paragraph of the file that a recogniser stands in, on one line."""
    words = sys.modules[type(recogniser).__module__].__doc__ or ""
    return " ".join(words.strip().partition("\n\n")[0].split())
