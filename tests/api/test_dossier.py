"""The dossier of a case over HTTP: what its Word document says is what the case's ledger says."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from docx import Document

from tests.api.test_chips import SITE, add_images, add_site, folder
from tests.casework_steps import Desk, photo
from tests.conftest import World

__all__ = ["folder"]

PLACE = (SITE.centroid.x, SITE.centroid.y)
LONG = "名称很长的石料开采加工销售有限责任公司抚松县第一分公司（原国有林场采石队改制企业）"
NASTY = '=HYPERLINK("http://x") {{ case.number }} {% for x in y %} <w:p/> & ]]> \x0b\x07尾'


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


@pytest.fixture
def case(world: World, desk: Desk, folder: Path) -> dict[str, Any]:
    """A case that is being rectified, with pictures before and after."""
    case = desk.dispatch(add_site(world, add_images(world, folder)))
    case = desk.done("county", case, "start_verification")
    assert desk.upload("county", case["id"], data=photo(at=PLACE)).status_code == 201
    case = desk.done("county", case, "confirm", problem=NASTY, party=LONG)
    case = desk.done("county", case, "submit_plan")
    return desk.done("prefecture", case, "approve_plan")


def text_of(content: bytes) -> str:
    """Every paragraph and cell of a document, a line each."""
    document = Document(io.BytesIO(content))
    lines = [paragraph.text for paragraph in document.paragraphs]
    for table in document.tables:
        for row in table.rows:
            lines.append(" | ".join(dict.fromkeys(cell.text for cell in row.cells)))
    return "\n".join(lines)


def test_the_dossier_says_what_the_case_is(world: World, desk: Desk, case: dict[str, Any]) -> None:
    answer = desk.get("county", f"/cases/{case['id']}/dossier.docx")
    assert answer.status_code == 200, answer.text
    if os.environ.get("KEEP"):
        Path(os.environ["KEEP"], "dossier.docx").write_bytes(answer.content)
