"""Canonical JSON (RFC 8785), so that anyone who holds an event's fields computes the same hash."""

from __future__ import annotations

import json
import math
from typing import Any


def canonical(value: Any) -> bytes:
    """A JSON value in canonical form, UTF-8.

    Object members stand in the order of their names' UTF-16 code units, numbers are written as ECMAScript writes
    doubles, nothing is put between tokens.

    Raises:
        ValueError: a number is not finite, or a text holds half a surrogate pair.
        TypeError: it is not a JSON value.
    """
    return _text(value).encode()


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{_text(item)}" for name, item in members) + "}"
    raise TypeError(f"not a JSON value: {type(value).__name__}")


def _number(value: float) -> str:
    """ECMA-262, 6.1.6.1.20 Number::toString. Whole numbers beyond 2**53 are taken as the nearest double."""
    if isinstance(value, int) and abs(value) <= 2**53:
        return str(value)
    double = float(value)
    if not math.isfinite(double):
        raise ValueError("canonical JSON has no infinity and no NaN")
    if double == 0:
        return "0"
    sign = "-" if double < 0 else ""
    mantissa, exponent = f"{abs(double)!r}e0".split("e")[:2]
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(whole) + int(exponent) if whole != "0" else int(exponent) - (len(fraction) - len(fraction.lstrip("0")))
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = point - 1
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{'+' if power > 0 else '-'}{abs(power)}"
