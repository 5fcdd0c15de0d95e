"""Spreadsheets that are written: text stays text, whatever it begins with."""

from __future__ import annotations

from datetime import date
from typing import Any

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# A text goes in as text, whatever it begins with; nothing is made a link or a number.
OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}
FONT = {"font_name": "宋体", "font_size": 10}


def put(sheet: Any, row: int, place: int, value: Any, look: Any) -> None:
    """Write a cell by what its value is."""
    if value is None:
        sheet.write_blank(row, place, None, look)
    elif isinstance(value, str):
        sheet.write_string(row, place, value, look)
    elif isinstance(value, date):
        sheet.write_datetime(row, place, value, look)
    else:
        sheet.write_number(row, place, value, look)
