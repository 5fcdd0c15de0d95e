"""Key problems of protected areas (自然保护地重点问题) as the 绿盾 campaigns name them, by year.

Four kinds: mining and quarrying; industry and mines; tourism, and hydropower, in the core or buffer zone. The zones of
the reserves' old division and of the present one both count (自然保护区条例 art. 18; 中办发〔2019〕42号).

The scopes were written from reports of the campaigns and not from their notices; the province must check them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

_STRICT = frozenset({"core_protection", "reserve_core", "reserve_buffer"})
_NATIONAL = frozenset({"national"})
_RESERVES = frozenset({"national", "provincial"})


@dataclass(frozen=True)
class KeyProblem:
    """One kind of key problem.

    Attributes:
        activities: codes of activities that are of this kind.
        zones: of protected areas, in one of which it must lie; None: in any.
        levels: of protected areas that the campaign looks at, by the first day from which it does.
    """

    label: str
    activities: frozenset[str]
    zones: frozenset[str] | None
    levels: Mapping[date, frozenset[str]]


# 2017: reserves of the nation; 2018 onwards those of the provinces too.
_SCOPE = MappingProxyType({date(2017, 1, 1): _NATIONAL, date(2018, 1, 1): _RESERVES})
# The first kind of which a case is counts: mining before industry.
KEY_PROBLEMS: Mapping[str, KeyProblem] = MappingProxyType(
    {
        "mining_quarrying": KeyProblem("采石采砂采矿", frozenset({"mining", "quarry"}), None, _SCOPE),
        "industry": KeyProblem("工矿用地", frozenset({"industry", "energy"}), None, _SCOPE),
        "tourism": KeyProblem("核心区缓冲区旅游设施", frozenset({"tourism"}), _STRICT, _SCOPE),
        "hydropower": KeyProblem("核心区缓冲区水电设施", frozenset({"hydropower", "impoundment"}), _STRICT, _SCOPE),
    }
)


def key_problem(activity: str | None, level: str | None, zones: Collection[str], on: date) -> str | None:
    """The kind of key problem that an activity in a protected area is, by the scope of a day; None: it is none.

    Args:
        level: of the protected area, as `ground.protected_area_level` has it.
        zones: of protected areas that it touches.
    """
    for name, kind in KEY_PROBLEMS.items():
        scopes = [levels for since, levels in sorted(kind.levels.items()) if since <= on]
        lies_there = kind.zones is None or kind.zones.intersection(zones)
        if lies_there and activity in kind.activities and scopes and level in scopes[-1]:
            return name
    return None
