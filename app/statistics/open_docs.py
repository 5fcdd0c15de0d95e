"""The page docs/open-data.md, made from the table of columns: python -m app.statistics.open_docs > docs/open-data.md"""

from __future__ import annotations

from collections.abc import Sequence

from app.statistics.open_data import GROUPS, TABLES, TITLES, VERSION, Column

_HEAD = f"""# Open data

Version {VERSION}. Made from `app/statistics/open_data.py`: `python -m app.statistics.open_docs > docs/open-data.md`.

| address below `/api/v1/statistics` | what it gives |
|---|---|
| `ledger.csv`, `.parquet`, `.gpkg` | a row a case, as the ledger had it at `as_of`, with its ground |
| `figures/REPORT.csv`, `.parquet` | a row a group of the report of that name, margins included |
| `figures/REPORT.gpkg` | a report by `unit`, `prefecture` or `province` as a map, with the outlines |
| `ledger.csv-metadata.json`, `figures/REPORT.csv-metadata.json` | its columns by W3C CSVW; `Link` leads there |
| `data-dictionary` | this page as JSON |

They take what `figures/REPORT` and `cases` take: `as_of`, `units`, `on`, `from`, `to`, `rows`, `columns`, `report`,
`measure` and a filter by the name of each dimension. The link of a figure to its cases is, with `ledger.csv` for
`cases`, the file of these cases. A file for an `as_of` before the last event never changes, but for names, which are
today's, and the ground, which is drawn as today.

- **Who gets what.** Who may see a case gets it; each file is kept in the audit as `export_taken`. No column holds a
  party, a description, an account or a note. For a file that is published, `ground=coarse` gives a point to 0.01°
  (about a kilometre) in place of the ground. Whether a list of cases is published at all is the province's decision.
- **Columns.** Their names and order stay. New ones come at the end, with the version under "since".
- **CSV** is RFC 4180 in UTF-8 with a byte order mark, for Excel's sake; pandas reads it with `encoding="utf-8-sig"`.
  Days are `2025-06-30`, instants UTC with offset, `true` and `false`, lists separated by `;`, nothing where nothing
  is known. A text that a spreadsheet would take for a formula has `'` before it.
- **Parquet** has typed columns and lists; the ledger's is GeoParquet 1.1 (WKB, EPSG:4490, longitude before latitude).
  Its key-value metadata say `as_of`, `effective_as_of`, the filters and `definitions_sha256`, the digest of this
  page's table.
- **GeoPackage** has one layer (`cases`, or the name of the report) in EPSG:4490, and the same facts as its metadata.
- In figures an empty `row` or `column` means all of them together. Where a dimension overlaps, groups do not add up,
  and `rows_overlap` in the metadata is `true`. On a map, a unit without a case has 0, and the whole has no outline.

"""


def open_data_markdown() -> str:
    """The whole page."""
    parts = [_HEAD, "## Ledger (`ledger`)", "", *_table(TABLES["ledger"])]
    parts += ["## Figures: the groups", "", "The first columns of every report.", "", *_table(GROUPS)]
    for name, columns in TABLES.items():
        if name != "ledger":
            parts += [f"## {TITLES[name]} (`{name}`)", "", *_table(columns[len(GROUPS) :])]
    return "\n".join(parts).rstrip() + "\n"


def _table(columns: Sequence[Column]) -> list[str]:
    lines = ["| column | type | unit | 中文 | definition | since |", "|---|---|---|---|---|---|"]
    for c in columns:
        lines.append(f"| `{c.name}` | {c.type} | {c.unit or ''} | {c.label} | {c.definition} | {c.since} |")
    return [*lines, ""]


if __name__ == "__main__":
    print(open_data_markdown(), end="")
