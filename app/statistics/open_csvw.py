"""What a CSV file holds by W3C "Metadata Vocabulary for Tabular Data" (CSVW), and where a file says so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.statistics.open_data import TITLES, Column, Kind
from app.statistics.open_files import SEPARATOR

MEDIA_TYPE = "application/csvm+json"
_DATATYPES = {
    Kind.string: "string",
    Kind.integer: "integer",
    Kind.number: "double",
    Kind.boolean: "boolean",
    Kind.date: "date",
    Kind.instant: "dateTime",
    Kind.list: "string",
}


def link(path: str, query: str) -> str:
    """The header by which a file of that address names its metadata (CSVW "Locating Metadata", section 5.2)."""
    return f'<{path}-metadata.json{_query(query)}>; rel="describedby"; type="{MEDIA_TYPE}"'


def metadata(name: str, columns: Sequence[Column], query: str, effective: datetime) -> dict[str, Any]:
    """The metadata of the file that the same query gives.

    Args:
        name: of the table.
        effective: instant of recording that is answered for now.
    """
    told: dict[str, Any] = {
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "zh"}],
        "url": f"{name.rpartition('/')[2]}.csv{_query(query)}",
        "dc:title": TITLES[name],
        "dc:temporal": effective.isoformat(),
        "dialect": {"encoding": "utf-8", "header": True, "lineTerminators": ["\r\n"]},
        "tableSchema": {"columns": [_column(c) for c in columns if c.type is not Kind.geometry]},
    }
    if name == "ledger":
        told["tableSchema"]["primaryKey"] = "number"
    return told


def _column(column: Column) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": column.name,
        # The first is what the file has at the head of the column.
        "titles": [column.name, column.label],
        "datatype": _DATATYPES[column.type],
        "dc:description": {"@value": column.definition, "@language": "en"},
    }
    if column.unit:
        told["schema:unitText"] = column.unit
    if column.type is Kind.list:
        told["separator"] = SEPARATOR
    return told


def _query(query: str) -> str:
    return f"?{query}" if query else ""
