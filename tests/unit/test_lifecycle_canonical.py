"""Canonical JSON against the vectors of RFC 8785 and against the standard library."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.casework.hash_chain import canonical


# RFC 8785, appendix B: bits of a double, and how it is written.
@pytest.mark.parametrize(
    ("bits", "written"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_of_rfc_8785(bits: str, written: str) -> None:
    number = struct.unpack(">d", bytes.fromhex(bits))[0]
    assert canonical(number).decode() == written


def test_members_are_sorted_by_utf_16() -> None:
    # RFC 8785, 3.2.3
    given_ = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert list(json.loads(canonical(given_)).values()) == [2, 4, 6, 7, 1, 5, 3]


def test_nothing_stands_between_tokens() -> None:
    assert canonical({"b": [1.0, True, None], "a": "核查\n"}) == '{"a":"核查\\n","b":[1,true,null]}'.encode()


def test_whole_numbers_beyond_doubles_are_the_nearest_double() -> None:
    given_ = [2**53, 2**53 + 1, {"x": -(10**21)}, 10**25, 2**53 - 1, True]
    written = '[9007199254740992,9007199254740992,{"x":-1e+21},1e+25,9007199254740991,true]'
    assert canonical(given_).decode() == written


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, object(), "\ud800"])
def test_what_is_no_json(value: object) -> None:
    with pytest.raises(ValueError, match=r"JCS|number that large|unsupported|UTF-8"):
        canonical({"x": value})


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_it_says_the_same_as_before(value: object) -> None:
    assert json.loads(canonical(value), parse_int=float) == value
    # As it comes back from the database, where a whole double may have turned into an integer.
    assert canonical(json.loads(canonical(value))) == canonical(value)
