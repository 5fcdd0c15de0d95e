"""The dossier of a case over HTTP: what its Word document says is what the case's ledger says."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from docx import Document
from sqlalchemy import select

from app.access.models import AccessEvent
from app.access.vocabulary import AccessKind
from app.casework.models import CaseEvent, Evidence
from app.documents.drawing import chinese_family
from tests.api.test_chips import SITE, add_images, add_site, folder
from tests.casework_steps import Desk, add_detection, photo
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
    text = text_of(answer.content)
    # What people wrote stands there letter by letter but for those that XML cannot hold; none of it is a template.
    assert f"精准问题 | {NASTY}".replace("\x0b\x07", "") in text
    assert f"精准对象 | {LONG}" in text and "现行整改期限 | " in text and "责任人 | 王某" in text
    with world.database.transaction(see_all=True) as session:
        events = session.scalars(select(CaseEvent).order_by(CaseEvent.case_sequence)).all()
        (evidence,) = session.scalars(select(Evidence)).all()
    assert len(events) == 6
    head = events[-1].hash.hex()
    assert head[:32] in text and head[32:] in text and "载有台账事件6项" in text
    for number, (word, state) in enumerate(COURSE, 1):
        assert f"\n{number} | {events[number - 1].occurred_on} | {word} | {state} | " in text
    assert f"1 | 现场 照片.jpg | 照片 | 2024-06-18 10:30 | 0 | {evidence.sha256}" in text
    assert "合规判定 | 禁止" in text and "整改 | " in text
    document = Document(io.BytesIO(answer.content))
    # The two satellite pictures; the map where the machine has a Chinese font.
    assert len(document.inline_shapes) == 2 + (chinese_family() is not None)
    assert "图2　变化前（2024-05-10" in text and "图3　变化后（2024-05-25" in text


COURSE = (
    ("派发", "已派发"),
    ("开始核查", "已派发→核查中"),
    ("上传证据", "核查中"),
    ("属实确认", "核查中→属实"),
    ("报送方案", "属实→方案待批"),
    ("批准方案", "方案待批→整改中"),
)


def test_a_dossier_is_recorded_and_one_refused_is_not(world: World, desk: Desk, case: dict[str, Any]) -> None:
    path = f"/cases/{case['id']}/dossier"
    assert desk.get("county2", f"{path}.docx").status_code == 404
    world.client.app.state.settings = world.settings.model_copy(update={"office_program": "no-such-office"})
    refused = desk.get("county", f"{path}.pdf")
    assert refused.status_code == 503 and refused.json()["type"].endswith("office-missing")
    assert "libreoffice-writer-nogui" in refused.json()["detail"]
    assert desk.get("county", f"{path}.docx").status_code == 200
    with world.database.transaction(see_all=True) as session:
        taken = session.scalars(select(AccessEvent.details).where(AccessEvent.kind == AccessKind.export_taken)).all()
    assert taken == [{"export": "case-dossier", "case_id": case["id"], "format": "docx"}]


def test_a_case_without_pictures_facts_or_plan_has_a_dossier(world: World, desk: Desk) -> None:
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session).id
    case = desk.dispatch(detection)
    text = text_of(desk.get("county", f"/cases/{case['id']}/dossier.docx").content)
    assert (
        "本案尚未核实确认" in text
        and "本案尚无整改方案" in text
        and "图2　变化前：没有能够显示该时点的清晰影像" in text
    )
    assert "1 | " in text and "派发" in text
