"""Documents through LibreOffice: names of forty letters and sixty counties stay on their pages."""

from __future__ import annotations

import io
import re
import subprocess
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn
from PIL import Image
from sqlalchemy import select, update

from app.access.models import Unit, UnitLevel
from app.casework.lifecycle import CaseState
from app.casework.models import Case
from app.documents.pdf import to_pdf
from tests.api.test_chips import SITE, add_images, add_site, folder
from tests.api.test_figure_documents import keep
from tests.casework_steps import Desk, photo, today
from tests.conftest import World
from tests.look_back_steps import imported
from tests.office.soffice import converted

__all__ = ["folder"]

pytestmark = pytest.mark.office
DPI = 60
# Of GB/T 9704-2012, in millimetres; letters may hang over the edge by a punctuation mark.
LEFT, RIGHT, TOP, SLACK = 28, 26, 37, 4


@pytest.fixture
def desk(world: World) -> Desk:
    """All units have names of forty letters."""
    with world.database.transaction(see_all=True) as session:
        for unit in session.scalars(select(Unit)):
            name = f"{unit.name}长白山生态功能区和松花江源头水源涵养及生物多样性维护生态保护红线监督管理单元"[:40]
            session.execute(update(Unit).where(Unit.id == unit.id).values(name=name.ljust(40, "县")))
    return Desk(world)


def pages(pdf: bytes, tmp_path: Path, name: str) -> tuple[list[Any], list[str]]:
    """The pages of a PDF as pictures (rows, columns; 0 black) and as text."""
    keep(f"{name}.pdf", pdf)
    path = tmp_path / f"{name}.pdf"
    path.write_bytes(pdf)
    subprocess.run(["pdftoppm", "-r", str(DPI), "-gray", str(path), str(tmp_path / name)], check=True, timeout=120)
    text = subprocess.run(["pdftotext", "-layout", str(path), "-"], check=True, capture_output=True, timeout=60).stdout
    pictures = [np.asarray(Image.open(file)) for file in sorted(tmp_path.glob(f"{name}-*.pgm"))]
    return pictures, text.decode().split("\f")[: len(pictures)]


def assert_margins_are_white(pictures: list[Any]) -> None:
    """Nothing runs over the type page."""
    for number, page in enumerate(pictures, 1):
        mm = page.shape[1] / 210
        left, right, top = round((LEFT - SLACK) * mm), round((210 - RIGHT + SLACK) * mm), round((TOP - SLACK) * mm)
        assert page[:, :left].min() > 200, f"page {number}: ink left of the type page"
        assert page[:, right:].min() > 200, f"page {number}: ink right of the type page"
        assert page[:top].min() > 200, f"page {number}: ink above the type page"


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_the_bulletin_of_sixty_counties(world: World, desk: Desk, tmp_path: Path) -> None:
    with world.database.transaction(see_all=True) as session:
        units = {unit.code: unit.name for unit in session.scalars(select(Unit).where(Unit.level == UnitLevel.county))}
    assert len(units) == 60 and {len(name) for name in units.values()} == {40}
    for number, code in enumerate(sorted(units)):
        day = today() - timedelta(days=20 + number)
        imported(
            world,
            lead=code,
            on=day,
            count=1 + number % 3,
            state=CaseState.closed if number % 2 else CaseState.rectifying,
        )
        imported(world, lead=code, on=day, state=CaseState.rectifying)
    asked = {"from": (today() - timedelta(days=100)).isoformat(), "to": today().isoformat()}
    answer = desk.get("province", "/statistics/bulletin.docx", **asked)
    assert answer.status_code == 200, answer.text
    keep("bulletin60.docx", answer.content)
    pictures, text = pages(to_pdf(answer.content, "soffice"), tmp_path, "bulletin60")
    assert_margins_are_white(pictures)
    whole = bare("".join(text))
    # No name is cut, and the headings stand on every page of the table.
    table = [page for page in text if "属实问题" in page and "按期率" in page and "名次" in page]
    assert len(table) >= 3
    assert whole.count("未销号面积（亩）") >= len(table)
    assert all(str(number) in whole for number in (60, 120))
    for sheet in ("rectification-ledger", "overdue"):
        content = desk.get("province", f"/statistics/{sheet}.xlsx").content
        keep(f"{sheet}.xlsx", content)
        (tmp_path / sheet).mkdir()
        pictures, text = pages(converted(content, tmp_path / sheet, "pdf"), tmp_path, sheet)
        assert all(page.min() < 128 for page in pictures)
        assert "案件编号" in text[0]


def test_the_dossier_of_long_names(world: World, desk: Desk, folder: Path, tmp_path: Path) -> None:
    case = desk.dispatch(add_site(world, add_images(world, folder)))
    case = desk.done("county", case, "start_verification")
    data = photo(at=(SITE.centroid.x, SITE.centroid.y))
    assert desk.upload("county", case["id"], data=data).status_code == 201
    party = "某" * 40
    case = desk.done("county", case, "confirm", problem="露天采石，" * 300, party=party, responsible_government=party)
    case = desk.done("county", case, "submit_plan", measures="覆土栽植，" * 300, responsible_person="王" * 40)
    case = desk.done("prefecture", case, "approve_plan")
    for number in range(12):
        desk.done("county", case | {"version": case["version"] + number}, "report_progress", progress="进展" * 40)
    answer = desk.get("province", f"/cases/{case['id']}/dossier.pdf")
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"%PDF-")
    pictures, text = pages(answer.content, tmp_path, "dossier40")
    assert_margins_are_white(pictures)
    whole = bare("".join(text))
    with world.database.transaction(see_all=True) as session:
        row = session.scalars(select(Case)).one()
        lead = session.get_one(Unit, row.lead_unit_id).name
    assert whole.count("露天采石，") >= 300 and party in whole and lead[:20] in whole
    assert case["number"] in text[0] and "四、办理过程" in whole and "SHA-256" in whole
    # Both pictures and the map are on their pages, in colour that is no grey of letters.
    assert sum(bool((page < 230).mean() > 0.12) for page in pictures) >= 1


def test_a_picture_that_a_template_links_to_is_not_fetched() -> None:
    """Whoever makes templates cannot make the service ask other hosts."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_OPTIONS = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        document, sink = Document(), io.BytesIO()
        Image.new("RGB", (9, 9)).save(sink, "PNG")
        document.add_picture(sink)
        blip = document.element.body.find(f".//{qn('a:blip')}")
        address = f"http://127.0.0.1:{server.server_port}/x.png"
        del blip.attrib[qn("r:embed")]
        blip.set(qn("r:link"), document.part.relate_to(address, RELATIONSHIP_TYPE.IMAGE, is_external=True))
        made = io.BytesIO()
        document.save(made)
        assert to_pdf(made.getvalue(), "soffice").startswith(b"%PDF-")
        server.shutdown()
    assert asked == []
