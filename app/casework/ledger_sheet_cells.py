"""What a cell of the ledger's spreadsheet says: from a case into a cell, and from a cell into a command's field."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from app.casework.clue_reading import read_day
from app.casework.ledger_sheet import SEPARATOR, Column, Kind

MOST_CELL = 32_767  # of Excel, in UTF-16 units
# A spreadsheet keeps fifteen digits of a number; what is longer was meant as text.
_MOST_DIGITS = 10**15
# Before it, LibreOffice counts days otherwise than Excel, and Excel knows none at all before 1900: such days are text.
FIRST_DAY = date(1900, 3, 1)
# What XML 1.0 cannot hold (section 2.2).
_UNFIT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_BETWEEN = re.compile(r"[；;、,，\n]+")
_STEP = re.compile(r"[；;\n]\s*(?=[0-9]{4}[-年./][0-9]{1,2})")
_DAY = re.compile(r"\s*([0-9]{4}[-年./][0-9]{1,2}[-月./][0-9]{1,2}日?)[\s:：]*(.*)", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]{1,3}(,?[0-9]{3})*(\.[0-9]+)?|-?[0-9]+(\.[0-9]+)?")


class Unreadable(ValueError):
    """What is wrong with a cell, in words for whoever filled it in."""


def cell_text(value: str) -> str:
    """A text as a cell can hold it: lines end with LF, without what XML cannot hold, cut at Excel's limit."""
    told = value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value
    if _UNFIT.search(told):
        told = _UNFIT.sub("", told)
    if len(told) * 2 <= MOST_CELL:
        return told
    units = told.encode("utf-16-le")
    return told if len(units) // 2 <= MOST_CELL else units[: (MOST_CELL - 1) * 2].decode("utf-16-le", "ignore") + "…"


def shown(column: Column, value: Any) -> str | float | date | None:
    """The cell of a value as the API's JSON has it."""
    if value is None or value in ("", []):
        return None
    if column.kind is Kind.number:
        return float(value)
    if column.kind is Kind.day:
        day = value if isinstance(value, date) else date.fromisoformat(str(value))
        return day if day >= FIRST_DAY else day.isoformat()
    if column.kind is Kind.code:
        return cell_text(column.words.get(str(value), str(value)))
    if column.kind is Kind.codes:
        return SEPARATOR.join(column.words.get(str(code), str(code)) for code in value)
    if column.kind is Kind.steps:
        return cell_text(SEPARATOR.join(f"{step['due_on']} {step['title']}" for step in value))
    return cell_text(str(value))


def plain(column: Column, value: Any) -> str | float | None:
    """A cell in the form in which two are compared: text, a number, a day in ISO 8601; None: empty."""
    if isinstance(value, str):
        value = cell_text(value).strip() or None
    if value is None:
        return None
    if column.kind is Kind.day:
        day = _day(value)
        return str(value) if day is None else day.isoformat()
    if column.kind is Kind.number:
        number = _number(value)
        return str(value) if number is None else number
    if isinstance(value, datetime | date):
        return value.isoformat()
    return _text_of_number(value) if isinstance(value, int | float) else str(value)


def same(one: str | float | None, other: str | float | None) -> bool:
    """Whether two cells say the same. Spreadsheets keep fifteen digits of a number."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other


def read(column: Column, value: Any) -> Any:
    """What a filled cell says, for the schemas of `commands`.

    Raises:
        Unreadable: it is none of what the column holds.
    """
    if column.kind is Kind.day:
        day = _day(value)
        if day is None:
            raise Unreadable("is no day; write it as 2026-05-01")
        return day
    if column.kind is Kind.number:
        number = _number(value)
        if number is None:
            raise Unreadable("is no number; write digits alone, without a unit")
        return number
    if isinstance(value, int | float) and abs(value) >= _MOST_DIGITS:
        raise Unreadable("is a number too long to keep its digits; format the cell as text and write it again")
    told = str(plain(column, value) or "")
    if column.kind is Kind.code:
        return _code(column.words, told)
    if column.kind is Kind.codes:
        return [_code(column.words, part.strip()) for part in _BETWEEN.split(told) if part.strip()]
    if column.kind is Kind.steps:
        return [_step(part) for part in _STEP.split(told) if part.strip()]
    return told


def _day(value: Any) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else read_day(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    told = unicodedata.normalize("NFKC", str(value)).strip()
    return float(told.replace(",", "")) if len(told) <= 40 and _NUMBER.fullmatch(told) else None


def _text_of_number(value: float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_DIGITS:
        return str(int(value))
    return str(value)


def _code(words: Mapping[str, str], told: str) -> str:
    for code, word in words.items():
        if told in (word, code):
            return code
    raise Unreadable(f"is none of {'、'.join(words.values())}")


def _step(part: str) -> dict[str, Any]:
    match = _DAY.fullmatch(part)
    day = read_day(match[1]) if match else None
    if match is None or day is None or not match[2].strip():
        raise Unreadable("holds a step that is not a day and then words, as in 2026-05-01 清运弃渣；2026-06-30 覆土")
    return {"due_on": day, "title": match[2].strip().rstrip("；;")}
