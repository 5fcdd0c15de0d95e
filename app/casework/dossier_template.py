"""The standard template of a case's dossier (一案一档). docs/documents.md lists the names that stand in it."""

from __future__ import annotations

from functools import cache

from app.documents.layout import (
    CELL_RIGHT,
    COVER,
    PICTURE,
    SMALL,
    Column,
    blank,
    heading,
    listing,
    loop,
    page_break,
    pairs,
    paragraph,
    saved,
    when,
)
from app.documents.templates import Template

_COVER = (
    ("案件编号", "{{ case.number }}"),
    ("活动类型", "{{ case.activity }}"),
    ("当前状态", "{{ case.state }}"),
    ("监管单元（牵头）", "{{ case.lead_unit }}"),
    ("共同负责单位", "{{ case.co_units or '无' }}"),
    ("验收单位", "{{ case.accepting_unit }}"),
    ("派发单位", "{{ case.dispatching_unit }}"),
    ("问题来源", "{{ case.source }}"),
    ("督办级别", "{{ case.level }}"),
    ("优先级", "{{ case.priority }}"),
    ("立案日期", "{{ case.opened_on }}"),
    ("首次批准整改期限", "{{ case.first_due_on or '—' }}"),
    ("现行整改期限", "{{ case.due_on or '—' }}"),
)
_FACTS = (
    ("精准问题", "{{ facts.problem }}"),
    ("精准时间", "{{ facts.occurred }}"),
    ("精准面积", "{{ facts.area }}"),
    ("精准对象", "{{ facts.party }}"),
    ("责任政府", "{{ facts.government }}"),
    ("精准措施", "{{ facts.measure }}"),
)
_PLAN = (
    ("整改措施", "{{ plan.measures }}"),
    ("措施类别", "{{ plan.kinds }}"),
    ("责任单位", "{{ plan.unit }}"),
    ("责任人", "{{ plan.person }}"),
    ("修复方式及面积", "{{ plan.restoration }}"),
    ("计划完成日期", "{{ plan.due_on }}"),
)
_LAW = (
    ("合规判定", "{{ law.verdict }}"),
    ("严重程度", "{{ law.severity }}"),
    ("判定理由", "{{ law.words }}"),
    ("适用规则", "{{ law.rule }}"),
    ("法律依据", "{{ law.source }}"),
    ("所涉地类", "{{ law.ground }}"),
)


@cache
def build() -> bytes:
    """The template's DOCX."""
    document = blank("一案一档 {{ case.number }}")
    for _ in range(3):
        paragraph(document, "", COVER)
    paragraph(document, "生态保护红线问题", "Title")
    paragraph(document, "一案一档", "Title")
    when(document, "case.simulated", [("（模拟影像数据，仅供演示）", COVER)])
    paragraph(document, "", COVER)
    pairs(document, _COVER, 45)
    paragraph(document, "{{ made.unit }}", COVER)
    paragraph(document, "{{ made.on }}", COVER)
    page_break(document)
    _facts(document)
    _law(document)
    _pictures(document)
    _course(document)
    _proof(document)
    return saved(document)


def _facts(document: object) -> None:
    heading(document, "一、基本事实")
    paragraph(document, "图斑面积{{ case.area_m2 }}平方米（{{ case.area_mu }}亩）。{{ case.description }}")
    when(document, "not facts", [("本案尚未核实确认，五个精准待填报。", "正文文字")])
    _pairs_when(document, "facts", _FACTS, 35)
    heading(document, "（一）问题清单", 2)
    listing(
        document,
        "row in sources",
        (
            Column("问题来源", 52, "{{ row.source }}"),
            Column("轮次", 32, "{{ row.round }}"),
            Column("清单序号", 36, "{{ row.item_number }}"),
            Column("清单期限", 24, "{{ row.due_on }}"),
            Column("主", 12, "{{ row.primary }}"),
        ),
    )
    heading(document, "（二）整改方案", 2)
    when(document, "not plan", [("本案尚无整改方案。", "正文文字")])
    _pairs_when(document, "plan", _PLAN, 35)
    when(document, "plan", [("整改节点：{{ plan.milestones }}。", "正文文字")])


def _pairs_when(document: object, condition: str, rows: tuple[tuple[str, str], ...], first_mm: float) -> None:
    paragraph(document, f"{{%p if {condition} %}}", "表格文字")
    pairs(document, rows, first_mm)
    paragraph(document, "{%p endif %}", "表格文字")


def _law(document: object) -> None:
    heading(document, "二、合规判定")
    pairs(document, _LAW, 35)
    heading(document, "（一）所涉图层", 2)
    listing(
        document,
        "row in law.features",
        (
            Column("图层", 32, "{{ row.layer }}"),
            Column("名称", 62, "{{ row.name }}"),
            Column("级别、分区", 34, "{{ row.level }}"),
            Column("重叠面积（平方米）", 28, "{{ row.area_m2 }}", CELL_RIGHT),
        ),
    )


def _pictures(document: object) -> None:
    heading(document, "三、位置图和影像")
    when(
        document,
        "pictures.map",
        [("{{ pictures.map }}", PICTURE), ("图1　案件位置图（{{ pictures.place }}）", PICTURE)],
        "未能绘制位置图：{{ pictures.map_reason }}",
    )
    for name, number in (("before", "图2　变化前"), ("after", "图3　变化后")):
        when(
            document,
            f"pictures.{name}",
            [
                (f"{{{{ pictures.{name} }}}}", PICTURE),
                (f"{number}（{{{{ pictures.{name}_words }}}}）", PICTURE),
            ],
            f"{number}：{{{{ pictures.{name}_words }}}}",
        )


def _course(document: object) -> None:
    heading(document, "四、办理过程")
    listing(
        document,
        "row in events",
        (
            Column("序号", 10, "{{ row.number }}"),
            Column("发生日期", 24, "{{ row.occurred_on }}"),
            Column("事项", 26, "{{ row.kind }}"),
            Column("状态", 20, "{{ row.state }}"),
            Column("经办", 30, "{{ row.actor }}"),
            Column("内容", 46, "{{ row.note }}"),
        ),
    )
    heading(document, "（一）期限", 2)
    listing(
        document,
        "row in deadlines",
        (
            Column("期限", 46, "{{ row.label }}"),
            Column("起算日", 24, "{{ row.started_on }}"),
            Column("首次期限", 24, "{{ row.first_due_on }}"),
            Column("现行期限", 24, "{{ row.due_on }}"),
            Column("状态", 38, "{{ row.state }}"),
        ),
    )
    heading(document, "（二）处罚、移送、赔偿、追责等事项", 2)
    listing(
        document,
        "row in tracks",
        (
            Column("事项", 32, "{{ row.kind }}"),
            Column("状态", 30, "{{ row.state }}"),
            Column("承办机关及文号", 46, "{{ row.authority }}"),
            Column("立项日期", 24, "{{ row.opened_on }}"),
            Column("期限", 24, "{{ row.due_on }}"),
        ),
    )


def _proof(document: object) -> None:
    heading(document, "五、证据清单")
    listing(
        document,
        "row in evidence",
        (
            Column("序号", 10, "{{ row.number }}"),
            Column("文件", 40, "{{ row.name }}"),
            Column("类别", 16, "{{ row.kind }}"),
            Column("拍摄时间", 24, "{{ row.taken }}"),
            Column("距图斑（米）", 18, "{{ row.distance }}", CELL_RIGHT),
            Column("SHA-256", 48, "{{ row.sha256 }}"),
        ),
    )
    heading(document, "六、台账校验")
    paragraph(
        document,
        "本档案载有台账事件{{ ledger.events }}项，末项全局序号{{ ledger.sequence }}，记录时间{{ ledger.recorded_at }}。"
        "本案哈希链末端为：",
    )
    loop(document, "part in ledger.head_parts", [("{{ part }}", PICTURE)])
    paragraph(
        document,
        "校验方法：从系统下载本案签名台账（/api/v1/cases/{{ case.id }}/export），其末项事件的哈希值应与上列"
        "一致；或由管理员运行“redline ledger verify”，以另行保存的封存文件校验全部台账。证据文件以SHA-256值比对，"
        "一字之差即不相符。",
        SMALL,
    )


DOSSIER = Template("dossier", build)
