"""docs/figures.md is the tables'."""

from app.settings import REPOSITORY
from app.statistics.dimensions import DIMENSIONS, Dimension
from app.statistics.figure_docs import figures_markdown
from app.statistics.reports import REPORTS, Report


def test_the_page_is_the_tables() -> None:
    page = figures_markdown()
    written = (REPOSITORY / "docs" / "figures.md").read_text(encoding="utf-8")
    assert written == page, "run: python -m app.statistics.figure_docs > docs/figures.md"


def test_every_dimension_and_report_has_its_row() -> None:
    assert list(DIMENSIONS) == list(Dimension)
    assert list(REPORTS) == list(Report)
