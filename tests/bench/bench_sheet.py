"""The ledger's spreadsheet: 5,000 open cases down, and 5,000 commands up, beside the bare writing and reading.

The commands are reports of progress, which change no state, and then applications for closure, each of which has its
evidence checked, tells the case's recovery from its readings, ends a clock and starts another.

Beside the service stands what cannot be saved: XlsxWriter writing the same cells in the same mode, and openpyxl reading
the same file, both in this process; and the statements of one transition each, by the API, as what it replaces.
"""

from __future__ import annotations

import http.client
import io
import json
import tempfile
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import xlsxwriter
from openpyxl import load_workbook
from sqlalchemy import select

from app.access import service as access
from app.access.models import Account
from app.casework.deadline_rules import rule_in_force
from app.casework.ledger_sheet import COLUMNS, SHEET
from app.foundation.database import Database
from app.foundation.database_setup import connect
from app.foundation.embedded import ClusterUrls, EmbeddedCluster
from app.foundation.migrate import upgrade
from tests.bench.casework_data import fill
from tests.bench.service import ours
from tests.bench.tables import ratio, show

CASES, EVENTS_A_CASE = 5_000, 12
ONE_BY_ONE = 100
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PROGRESS = {"本次操作": "填报进展", "进展说明": "设备已拆除，开始覆土", "进度（%）": 40}
CLOSURE = {"本次操作": "申请销号", "销号说明": "已恢复林地"}
# Some six years of a place that is often under cloud.
READINGS = 120
# A clock of the plan, evidence and a curve for every case: lost in a winter, and coming back.
_CLOSABLE = (
    "insert into deadlines (id, case_id, rule, rule_version, started_sequence, started_on, first_due_on, due_on,"
    " is_provisional, state, version) select gen_random_uuid(), id, 'rectification', '{version}', 1, '2025-06-01',"
    " '2030-06-30', '2030-06-30', false, 'running', 1 from cases",
    "insert into evidence (id, case_id, kind, filename, media_type, size_bytes, sha256, uploaded_by, uploaded_at)"
    " select gen_random_uuid(), c.id, 'document', 'closure.pdf', 'application/pdf', 1000,"
    " encode(sha256(c.id::text::bytea), 'hex'), (select id from accounts limit 1), now() from cases c",
    "insert into recovery_sites (id, case_id, subject_digest, last_clear_on, first_seen_on, grid, inside_px, ring_px,"
    " is_behind, failures, looked_at) select gen_random_uuid(), id, 'bench', '2023-12-20', '2024-01-05',"
    " jsonb_build_object(), 120, 400, false, '[]', now() from cases",
    "insert into recovery_readings (id, site_id, case_id, acquired_on, mission, scene_ids, digest, inside_ndvi,"
    " ring_ndvi, inside_ndmi, ring_ndmi, clear_inside, clear_ring)"
    " select gen_random_uuid(), s.id, s.case_id, day, 'sentinel-2', jsonb_build_array('scene-' || k), md5(k::text),"
    " green * case when day < '2024-01-01' then 0.98 else least(0.3 + 0.2 * (day - date '2024-01-01') / 365.0, 0.9)"
    " end, green, 0.5 * green, 0.5 * green, 1, 1 from recovery_sites s,"
    " (select k, date '2020-04-01' + k * 2400 / {readings} as day from generate_series(0, {readings} - 1) k) days,"
    " lateral (select 0.75 - 0.3 * cos((extract(doy from day) - 20) / 58.1) as green) season",
)
FACTS = {
    "problem": "未经批准露天采石，破坏林地植被，弃渣未清运", "occurred_from": "2024-05-01", "occurred_to": "2024-06-15",
    "area_m2": 12500.0, "party": "某石料有限公司", "responsible_government": "抚松县人民政府",
    "immediate_measure": "责令立即停工，封存设备",
}  # fmt: skip
PLAN = {
    "measures": "清运弃渣，覆土后栽植红松", "responsible_unit": "县林业局", "responsible_person": "王某",
    "milestones": [{"title": "拆除设备", "due_on": "2026-05-01"}], "restoration_kind": "forest",
    "restoration_area_m2": 12000.0, "measure_kinds": ["demolition", "restoration"], "due_on": "2030-06-30",
}  # fmt: skip


class _Clerk:
    """A clerk of the county that leads all cases, over HTTP."""

    def __init__(self, token: str, port: int) -> None:
        self.headers = {"Authorization": f"Bearer {token}"}
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[bytes, float]:
        """The answer and how long it took.

        Raises:
            RuntimeError: any answer but a 2xx one.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        began = time.perf_counter()
        connection.request(method, f"/api/v1{path}", body, self.headers | headers)
        answer = connection.getresponse()
        read = answer.read()
        took = time.perf_counter() - began
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {read[:500]!r}")
        return read, took


def _token(urls: ClusterUrls) -> str:
    """All cases in `rectifying`, led by one county; a token of its clerk."""
    with connect(urls.superuser) as connection:
        code, unit = connection.execute(
            "select u.code, u.id from cases c join units u on u.id = c.lead_unit_id limit 1"
        ).fetchall()[0]
        connection.execute(
            "update cases set state = 'rectifying', lead_unit_id = %s, unit_ids = unit_ids || %s::uuid,"
            " due_on = '2030-06-30', facts = %s, plan = %s",
            (unit, unit, json.dumps(FACTS), json.dumps(PLAN)),
        )
        connection.execute("update case_participations set unit_id = %s where kind = 'lead'", (unit,))
        connection.execute("vacuum analyze cases, case_participations")
    database = Database(urls.application)
    with database.transaction(see_all=True) as session:
        account = session.scalars(select(Account).where(Account.username == f"county-{code}")).one()
        secret, _ = access.issue_token(session, account, "bench", timedelta(hours=1))
    database.dispose()
    return secret


def _closable(urls: ClusterUrls) -> dict[str, str]:
    """Give every case what an application for closure looks at; the evidence of each, by number."""
    with connect(urls.superuser) as connection:
        version = rule_in_force("rectification", date(2025, 6, 1)).version
        for statement in _CLOSABLE:
            connection.execute(statement.format(readings=READINGS, version=version))
        connection.execute("vacuum analyze")
        rows = connection.execute(
            "select c.number, e.id::text from cases c join evidence e on e.case_id = c.id"
            " where e.filename = 'closure.pdf'"
        ).fetchall()
    return {str(number): str(evidence) for number, evidence in rows}


def _filled(content: bytes, values: Mapping[str, Any], evidence: Mapping[str, str] | None = None) -> bytes:
    """The sheet as a clerk fills it in, saved by another program."""
    book = load_workbook(io.BytesIO(content))
    sheet: Any = book[SHEET]
    places = {cell.value: cell.column for cell in sheet[1]}
    for row in range(2, sheet.max_row + 1):
        for heading, value in values.items():
            sheet.cell(row, places[heading]).value = value
        if evidence is not None:
            number = sheet.cell(row, places["编号"]).value
            sheet.cell(row, places["销号佐证编号"]).value = evidence[number]
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def _read(content: bytes) -> tuple[list[list[list[Any]]], float]:
    """The cells of every sheet, as openpyxl reads them by itself."""
    began = time.perf_counter()
    book = load_workbook(io.BytesIO(content), read_only=True)
    cells = [[list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets]
    return cells, time.perf_counter() - began


def _write(cells: list[list[list[Any]]]) -> float:
    """The seconds that XlsxWriter takes to write cells."""
    began = time.perf_counter()
    book = xlsxwriter.Workbook(io.BytesIO(), {"constant_memory": True, "strings_to_formulas": False})
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    for rows in cells:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            for place, value in enumerate(row):
                if isinstance(value, str):
                    sheet.write_string(number, place, value)
                elif isinstance(value, date):
                    sheet.write_datetime(number, place, value, day)
                elif value is not None:
                    sheet.write_number(number, place, value)
    book.close()
    return time.perf_counter() - began


def _one_by_one(clerk: _Clerk, content: bytes) -> float:
    """Seconds a case where each is asked for and reported on by itself."""
    cells, _ = _read(content)
    ids = [row[1] for row in cells[2][1 : ONE_BY_ONE + 1]]
    body = json.dumps({"command": "report_progress", "fields": {"progress": "已拆除", "percent": 50}}).encode()
    began = time.perf_counter()
    for case_id in ids:
        case = json.loads(clerk.ask("GET", f"/cases/{case_id}")[0])
        headers = {"If-Match": f'"{case["version"]}"', "Content-Type": "application/json"}
        clerk.ask("POST", f"/cases/{case_id}/transitions", body, **headers)
    return (time.perf_counter() - began) / len(ids)


def main(cases: int = CASES) -> None:
    """Fill, take down, send back, print the table."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        with EmbeddedCluster(folder / "cluster") as cluster:
            urls = cluster.create_database("bench")
            upgrade(urls.owner)
            fill(urls.superuser, cases, EVENTS_A_CASE, reviewed=True)
            token = _token(urls)
            with ours(urls, folder) as ports:
                clerk = _Clerk(token, ports[0])
                clerk.ask("GET", "/cases/ledger.xlsx?overdue=true")
                content, down = clerk.ask("GET", "/cases/ledger.xlsx")
                cells, _ = _read(content)
                given = _filled(content, PROGRESS)
                _, reading = _read(given)
                writing = _write(cells)
                headers = {"Content-Type": XLSX}
                answer, dry = clerk.ask("POST", "/cases/ledger.xlsx?dry_run=true", given, **headers)
                assert json.loads(answer)["counts"] == {"would_change": cases}, answer[:500]
                _, up = clerk.ask("POST", "/cases/ledger.xlsx?dry_run=false", given, **headers)
                each = _one_by_one(clerk, content)
                closing = _filled(clerk.ask("GET", "/cases/ledger.xlsx")[0], CLOSURE, _closable(urls))
                done, closed = clerk.ask("POST", "/cases/ledger.xlsx?dry_run=false", closing, **headers)
                assert json.loads(done)["counts"] == {"changed": cases}, done[:500]
    count = sum(value is not None for rows in cells for row in rows for value in row)
    print(
        f"{cases:,} cases of {EVENTS_A_CASE} events, {len(COLUMNS)} columns, {count:,} filled cells,"
        f" {len(content) / 1e6:.1f} MB down, {len(given) / 1e6:.1f} MB up, answer {len(answer) / 1e6:.1f} MB\n"
    )
    show(
        ("step", "s", "bare", "s", "ratio"),
        [
            ["down", f"{down:.1f}", "XlsxWriter, same cells", f"{writing:.1f}", ratio(down, writing)],
            ["up, dry run", f"{dry:.1f}", "openpyxl, same file", f"{reading:.1f}", ratio(dry, reading)],
            ["up", f"{up:.1f}", "openpyxl, same file", f"{reading:.1f}", ratio(up, reading)],
            ["up", f"{up:.1f}", "case by case, API", f"{each * cases:.1f}", ratio(up, each * cases)],
            ["up, closures", f"{closed:.1f}", "openpyxl, same file", f"{reading:.1f}", ratio(closed, reading)],
        ],
    )
