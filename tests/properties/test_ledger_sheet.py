"""Whatever a case says is read from its cell again as it was written."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.casework.ledger_sheet import BY_KEY, COLUMNS
from app.casework.ledger_sheet_cells import cell_text, plain, read, same, shown
from app.casework.ledger_sheet_reading import read_sheet
from app.casework.ledger_sheet_rows import SheetRow
from app.casework.ledger_sheet_writing import write_sheet

TEXT, NUMBER, DAY = BY_KEY["ConfirmFields.problem"], BY_KEY["ConfirmFields.area_m2"], BY_KEY["PlanFields.due_on"]
STEPS, KINDS = BY_KEY["PlanFields.milestones"], BY_KEY["PlanFields.measure_kinds"]
NASTY = st.sampled_from(
    (*("=1+1", "+1", "-1", "@x", "\tx", "\rx", "00123", "9" * 30, "1E5", "  两端空格  ", "a\r\nb\n\nc", "_x0041_"),
     *("_x000D_", "\x01\x1f控制\x0b", "😀" * 50, "长" * 32_767, "😀" * 20_000, "TRUE", "2024-01-01", "#N/A", "{=A1}"),
     *("<a&b>", "\ufffe\uffff", "&#10;", "=", "'", '"', "\u200b", "\x85\u2028"))
)  # fmt: skip
TEXTS = st.one_of(NASTY, st.text(max_size=60), st.text(alphabet=st.characters(exclude_categories=()), max_size=20))
DAYS = st.one_of(
    st.dates(),
    st.sampled_from([date(1, 1, 1), date(1899, 12, 31), date(1900, 1, 1), date(1900, 2, 28), date(1900, 3, 1),
                     date(2000, 2, 29), date(2024, 2, 29), date(9999, 12, 31)]),
)  # fmt: skip
NUMBERS = st.floats(min_value=0, max_value=1e12, allow_nan=False)


def _row(number: int, values: dict[str, Any]) -> SheetRow:
    values = {"number": f"RL-{number}", "version": 1} | values
    cells = {column.key: shown(column, values.get(column.key)) for column in COLUMNS}
    case: Any = SimpleNamespace(id=uuid4(), number=f"RL-{number}", version=1)
    return SheetRow(case, cells, ())


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(TEXTS, NUMBERS, DAYS), min_size=1, max_size=12))
@example([("=cmd|' /C calc'!A1", 0.1 + 0.2, date(1900, 2, 28)), ("长" * 40_000, 1e12, date(1899, 12, 30))])
def test_a_cell_is_read_as_it_was_written(said: list[tuple[str, float, date]]) -> None:
    rows = [_row(k, {TEXT.key: t, NUMBER.key: n, DAY.key: d.isoformat()}) for k, (t, n, d) in enumerate(said)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sheet")
        path.write_bytes(write_sheet(rows, date(2026, 1, 1)))
        sheet = read_sheet(path)
    assert [row.number for row in sheet.rows] == list(range(2, len(said) + 2))
    for row, (text, number, day) in zip(sheet.rows, said, strict=True):
        assert row.formulas == [] and row.original is not None
        assert (row.values.get(TEXT.key) or "").strip() == cell_text(text).strip()
        assert same(read(NUMBER, row.values[NUMBER.key]), number)
        assert read(DAY, row.values[DAY.key]) == day
        # And nothing counts as changed.
        for column in COLUMNS:
            assert same(plain(column, row.values.get(column.key)), row.original.cells.get(column.key)), column


@given(TEXTS)
def test_a_text_fits_a_cell(text: str) -> None:
    told = cell_text(text)
    assert len(told.encode("utf-16-le", "surrogatepass")) // 2 <= 32_767
    assert cell_text(told) == told and "\r" not in told


WORDS = st.text(alphabet="清运弃渣覆土，、 abc123；-", min_size=1, max_size=20).filter(lambda word: word.strip("； "))
PARTS = st.tuples(st.dates(min_value=date(1900, 1, 1)), WORDS)


@given(st.lists(PARTS, min_size=1, max_size=5), st.sets(st.sampled_from(sorted(KINDS.words)), min_size=1))
def test_lists_in_a_cell_are_taken_apart_again(steps: list[tuple[date, str]], kinds: set[str]) -> None:
    given = [{"due_on": day.isoformat(), "title": title.strip("； ")} for day, title in steps]
    got = read(STEPS, shown(STEPS, given))
    assert [(step["due_on"].isoformat(), step["title"]) for step in got] == [
        (step["due_on"], step["title"]) for step in given
    ]
    assert read(KINDS, shown(KINDS, sorted(kinds))) == sorted(kinds)
