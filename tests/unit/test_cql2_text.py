"""CQL2 text is read as the Rust library `cql2` reads it: an implementation of the same standard by others."""

from typing import Any

import cql2
from hypothesis import given, settings
from hypothesis import strategies as st

from app.maps.cql2_text import parse_text

NAMES = st.sampled_from(["a", "area_m2", '"two words"', "名称"])
NUMBERS = st.integers(0, 10**6).map(str)
STRINGS = st.text("ab'%_ 红线", max_size=6).map(lambda text: "'" + text.replace("'", "''") + "'")
DAYS = st.dates().map(lambda day: f"DATE('{day.isoformat()}')")
SUMS = st.lists(st.one_of(NAMES, NUMBERS), min_size=1, max_size=4).flatmap(
    lambda parts: st.lists(st.sampled_from("+-*/"), min_size=len(parts) - 1, max_size=len(parts) - 1).map(
        lambda signs: parts[0] + "".join(f" {sign} {part}" for sign, part in zip(signs, parts[1:], strict=True))
    )
)
PREDICATES = st.one_of(
    st.tuples(SUMS, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), SUMS).map(" ".join),
    st.tuples(NAMES, st.sampled_from([" LIKE ", " NOT LIKE "]), STRINGS).map("".join),
    st.tuples(NAMES, st.sampled_from([" IS NULL", " IS NOT NULL"])).map("".join),
    st.tuples(NAMES, st.sampled_from([" IN (", " NOT IN ("]), STRINGS, st.just(", "), STRINGS, st.just(")")).map(
        "".join
    ),
    st.tuples(NAMES, st.sampled_from([" BETWEEN ", " NOT BETWEEN "]), NUMBERS, st.just(" AND "), NUMBERS).map("".join),
    st.tuples(st.just("T_AFTER("), NAMES, st.just(", "), DAYS, st.just(")")).map("".join),
    st.tuples(st.just("casei("), NAMES, st.just(") = casei("), STRINGS, st.just(")")).map("".join),
)


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Predicates with and without brackets round them, so that ranks of AND, OR and NOT decide."""
    bracketed = parts.map(lambda part: f"({part})")
    pair = st.tuples(parts, st.sampled_from([" AND ", " OR "]), parts).map("".join)
    return st.one_of(pair, pair.map(lambda text: f"({text})"), bracketed.map(lambda text: f"NOT {text}"))


def _flat(node: Any) -> Any:
    """AND and OR with what they hold of their own kind: (a AND b) AND c is a AND (b AND c)."""
    if isinstance(node, list):
        return [_flat(part) for part in node]
    if not isinstance(node, dict):
        return node
    told = {key: _flat(value) for key, value in node.items()}
    if told.get("op") in ("and", "or"):
        parts = [
            (part["args"] if isinstance(part, dict) and part.get("op") == told["op"] else [part])
            for part in told["args"]
        ]
        told["args"] = [part for group in parts for part in group]
    return told


@settings(max_examples=300, deadline=None)
@given(st.recursive(PREDICATES, _joined, max_leaves=8))
def test_text_is_read_as_others_read_it(text: str) -> None:
    assert _flat(parse_text(text)) == _flat(cql2.parse_text(text).to_json()), text
