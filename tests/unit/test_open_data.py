"""The columns of open data: what readers of the files rely on."""

from __future__ import annotations

from itertools import pairwise

from app.settings import REPOSITORY
from app.statistics.measure_names import MEASURE_NAMES
from app.statistics.open_data import GROUPS, TABLES, TITLES, VERSION, Column, Kind, digest
from app.statistics.open_docs import open_data_markdown
from app.statistics.open_files import Form, written
from app.statistics.open_measures import measures_of
from app.statistics.reports import Report

# As they were first published, in their order. Never change a line here: new columns come after these.
FIRST = {
    "ledger": (
        "number case_id lead_unit lead_unit_name state state_name state_since opened_on checked_on confirmed "
        "confirmed_on applied_on closed_on closures reopenings returns supervision_source "
        "supervision_source_name sources supervision_level activity activity_name priority origin simulated "
        "severity severity_name verdict verdict_name protected_area_level protected_area_level_name zones "
        "protected_areas redlines key_problem key_problem_name first_due_on due_on paused_days later_permit "
        "boundary_change area_m2 restoration_area_m2 last_clear_on first_seen_on seen_confirmed_on "
        "published_on recorded_from longitude latitude geometry"
    ),
    "figures/closure": (
        "row row_name column column_name ever_confirmed closed closure_rate reopened later_permits "
        "boundary_changes unfounded permitted undecided merged withdrawn total simulated"
    ),
    "figures/key_problems": (
        "row row_name column column_name key_problems rectified rectification_rate key_problem_area_m2"
    ),
    "figures/timeliness": (
        "row row_name column column_name due_first on_time_first on_time_rate_first due on_time on_time_rate "
        "application_unrecorded paused paused_days overdue overdue_days_median overdue_days_p90 overdue_days_most"
    ),
    "figures/stages": "row row_name column column_name passages days_median days_p90",
    "figures/quality": (
        "row row_name column column_name applied returned returned_rate returns ever_closed rebounded rebound_rate"
    ),
    "figures/outcomes": (
        "row row_name column column_name decided confirmed unfounded permitted confirmed_share "
        "unfounded_share permitted_share"
    ),
    "figures/new_problems": (
        "row row_name column column_name new new_area_m2 new_before new_area_before_m2 new_ratio new_area_ratio"
    ),
    "figures/areas": (
        "row row_name column column_name found_area_m2 in_violation_area_m2 rectified_area_m2 "
        "restored_area_m2 restoration_planned_area_m2"
    ),
    "figures/latency": (
        "row row_name column column_name from_imagery gap_cases gap_days_median gap_days_p90 "
        "to_confirmed_cases to_confirmed_days_median to_confirmed_days_p90 to_published_cases "
        "to_published_days_median to_published_days_p90 to_dispatched_cases to_dispatched_days_median "
        "to_dispatched_days_p90 to_checked_cases to_checked_days_median to_checked_days_p90 "
        "seen_to_checked_cases seen_to_checked_days_median seen_to_checked_days_p90"
    ),
}


def test_columns_are_only_ever_added_at_the_end() -> None:
    for name, columns in FIRST.items():
        here = [column.name for column in TABLES[name]]
        assert here[: len(columns.split())] == columns.split(), name
    for name, table in TABLES.items():
        assert [c.name for c in table if c.since == "1"] == FIRST.get(name, "").split()
        assert all(one.since <= other.since <= VERSION for one, other in pairwise(table)), "the older come first"
        assert len({c.name for c in table}) == len(table)


def test_no_column_holds_a_party_or_an_account() -> None:
    words = {word for table in TABLES.values() for column in table for word in column.name.split("_")}
    assert not words & {"party", "person", "account", "actor", "description", "note", "facts", "plan", "holder"}


def test_no_cell_of_csv_is_a_formula() -> None:
    columns = (Column("name", Kind.string, "名称", "A text"), Column("codes", Kind.list, "代码", "Several"))
    stream, rows = written(Form.csv, "t", columns, [{"name": ["=1+1"], "codes": [["@SUM(1)", "b"]]}], {})
    with stream:
        assert (rows, stream.read().decode("utf-8-sig").splitlines()) == (1, ["name,codes", "'=1+1,'@SUM(1);b"])


def test_every_measure_has_a_label_and_a_definition() -> None:
    assert set(MEASURE_NAMES) >= {name for report in Report for name in measures_of(report)}
    for name, table in TABLES.items():
        assert TITLES[name]
        assert all(column.label and column.definition for column in table)
        assert not any("2001" in column.definition for column in table), "no period of the page's own"
    assert all(
        [c.name for c in TABLES[f"figures/{r.value}"]][: len(GROUPS)] == [g.name for g in GROUPS] for r in Report
    )
    assert len({digest(table) for table in TABLES.values()}) == len(TABLES)


def test_the_documentation_is_made_from_the_table() -> None:
    written = (REPOSITORY / "docs" / "open-data.md").read_text(encoding="utf-8")
    assert written == open_data_markdown(), "run: python -m app.statistics.open_docs > docs/open-data.md"
