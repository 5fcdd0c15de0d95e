"""docs/figures.md, made from the tables of dimensions, measures and reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from app.statistics import clue_figures, desk_figures
from app.statistics.dimensions import DIMENSIONS, UNRECORDED
from app.statistics.figures import kind_of, words_of
from app.statistics.measure_names import MEASURE_NAMES
from app.statistics.measures import Days, Measures
from app.statistics.reports import REPORTS, Report

_HEAD = f"""# Figures

Made from the tables in `app/statistics` (`dimensions.py`, `measures.py`, `reports.py`, `desk_figures.py`,
`clue_figures.py`). Do not edit; write it anew with `python -m app.statistics.figure_docs > docs/figures.md`.

`GET /api/v1/statistics/figures/{{report}}` answers a report of the cases that the account may see, grouped by at most
two dimensions (`rows`, `columns`) and filtered by any of them; the answer brings every definition with it.
`GET /api/v1/statistics/cases` lists the cases behind a figure; every group links to its own.

- **`as_of`** is time of recording: a case is what the ledger had of it at that instant, an event's own instant
  included. A date means its end in Asia/Shanghai. Without it: now.
- **`effective_as_of`** is the instant answered for: `as_of`, or the newest event's where that lies before it. What lies
  before it never changes, whatever is recorded later. Whose cases are counted is of today: one that was handed to
  another county is gone from the first one's figures of the past too, and stays in those of who stands above both.
- **`on`** is the legal day that due dates are compared with, else the day of `as_of` (today where that lies ahead):
  time goes on while nothing is recorded.
- **`units`**: `then` counts a case under its lead unit with the name and the place in the tree that this had on the
  day that the ledger learned it; `now` under the unit that answers for it today. Where several follow a unit, its
  cases stay with it, under their common prefecture if they have one.
- **Roll-ups add up**: a case counts once, at its lead unit and its primary source, also where its ground crosses a
  border. The dimensions marked as overlapping count it in each of several groups; the answer says so, and margins and
  the total count it once.
- A case of which the ledger says nothing in a dimension stands under `{UNRECORDED}` (未记录).
- Percentiles are nearest-rank: days that some case had. Areas are square metres, added as decimals of 15 digits.
- Figures are counted from intervals that are written with each event and can be written anew from the events
  (`redline statistics`, [decision 34](decisions/0034-figures-are-counted-from-intervals.md)).

## Dimensions

| `rows`, `columns`, filter | 中文 | what it is | overlaps |
|---|---|---|---|
"""
_DESK = """## What came in

`GET /api/v1/statistics/dismissals` counts detections by what the officers' desk decided, `GET /api/v1/statistics/clues`
the items of clue lists. Both take `as_of` and `group_by` and answer with their definitions.
"""


def figures_markdown() -> str:
    """The page: how figures are asked for, the dimensions, every report with its measures."""
    lines = [_HEAD + "\n".join(_dimensions()), ""]
    # Of a period, the words name its days.
    days = Days(date(2025, 6, 30), date(2025, 1, 1), date(2025, 6, 30))
    for report in Report:
        row = REPORTS[report]
        lines += [f"## {row.title} (`{report}`)", "", *_measures(row.measures(days))]
        if row.has_period:
            lines += ["", f"Here with `from={days.first}` and `to={days.last}`; without them the year until `on`."]
        lines += ["", *(f"- {note}" for note in row.notes), *([""] if row.notes else [])]
    lines.append(_DESK)
    for title, path, measures, groups, notes in (
        (desk_figures.TITLE, "dismissals", desk_figures.MEASURES, desk_figures.GROUPINGS, desk_figures.NOTES),
        (clue_figures.TITLE, "clues", clue_figures.MEASURES, clue_figures.GROUPINGS, clue_figures.NOTES),
    ):
        lines += [f"### {title} (`{path}`)", "", "| measure | 中文 | kind | definition |", "|---|---|---|---|"]
        lines += [
            f"| `{name}` | {MEASURE_NAMES[name]} | {measure.kind} | {measure.words} |"
            for name, measure in measures.items()
        ]
        lines += [
            "",
            "| `group_by` | a group is |",
            "|---|---|",
            *(f"| `{by}` | {what} |" for by, what in groups.items()),
        ]
        lines += ["", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines).rstrip() + "\n"


def _dimensions() -> Iterator[str]:
    for dimension, row in DIMENSIONS.items():
        yield f"| `{dimension}` | {row.label} | {row.definition} | {'yes' if row.overlaps else ''} |"


def _measures(measures: Measures) -> Iterator[str]:
    yield from ("| measure | 中文 | kind | definition |", "|---|---|---|---|")
    for name, measure in measures.items():
        yield f"| `{name}` | {MEASURE_NAMES[name]} | {kind_of(measure)} | {words_of(measure)} |"


if __name__ == "__main__":
    print(figures_markdown(), end="")
