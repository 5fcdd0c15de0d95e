"""The ledger as a spreadsheet (台账): its columns and the commands that can be given in it, as data.

One column is one heading, wherever it is moved to. What a command takes beyond these columns (evidence as a file, parts
of a ground, other cases) is given through the API alone; docs/spreadsheet.md says how the sheet is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from app.casework.commands import FIELDS
from app.casework.lifecycle import TRANSITIONS, Command
from app.casework.vocabulary import MeasureKind, Priority, RestorationKind, ReturnReason
from app.casework.words import WORDS
from app.monitoring.activities import human_activities, known_activities

SHEET, HELP, KEYS = "台账", "说明", "_redline"
# Of the sheet: a file of another format is refused.
FORMAT = "redline-ledger-1"
MOST_CASES = 5_000
SEPARATOR = "；"
MU_M2 = 2000 / 3


class Kind(StrEnum):
    """What a cell holds. `codes` are several of a list, `steps` days with what is due on them."""

    text = "text"
    number = "number"
    day = "day"
    code = "code"
    codes = "codes"
    steps = "steps"


class Group(StrEnum):
    """What stands together under one colour of heading."""

    shown = "案件信息（只读）"
    action = "本次操作"
    facts = "核实情况（五个精准）"
    plan = "整改方案"
    progress = "进展、销号与意见"


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        width: in characters.
        takes: of which schemas of `commands` it is which field; empty: the cell is read-only, or says how.
        words: the Chinese words of a list, by code.
        hint: shown when the cell is chosen, and in the sheet of instructions.
    """

    key: str
    heading: str
    width: int
    group: Group
    kind: Kind = Kind.text
    takes: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""

    @property
    def is_editable(self) -> bool:
        return self.group is not Group.shown


COMMAND_WORDS: Mapping[Command, str] = MappingProxyType(
    {
        Command.start_verification: "开始核查",
        Command.return_: "退回",
        Command.propose_unfounded: "拟认定不属实",
        Command.propose_permitted: "拟认定合规",
        Command.uphold_proposal: "同意认定",
        Command.reject_proposal: "不同意认定",
        Command.confirm: "属实确认",
        Command.submit_plan: "报送方案",
        Command.approve_plan: "批准方案",
        Command.return_plan: "退回方案",
        Command.report_progress: "填报进展",
        Command.request_closure: "申请销号",
        Command.accept: "验收通过",
        Command.return_closure: "退回销号申请",
        Command.publicise: "公示",
        Command.return_acceptance: "退回验收",
        Command.close: "销号",
        Command.resume: "重新核查",
        Command.withdraw: "撤销案件",
    }
)
"""The commands of the sheet. What merges, splits or hands over cases, or decides objections, is not among them."""

PRIORITY_WORDS: Mapping[str, str] = MappingProxyType(
    {Priority.ordinary.value: "一般", Priority.high.value: "重要", Priority.urgent.value: "紧急"}
)


def _words(kind: type[StrEnum]) -> dict[str, str]:
    return {code.value: word for code, word in WORDS[kind].items()}


def activity_words() -> dict[str, str]:
    """Every activity that a case may be about."""
    return {code: known.cause.label for code, known in known_activities().items()}


def _shown(key: str, heading: str, width: int, kind: Kind = Kind.text) -> Column:
    return Column(key, heading, width, Group.shown, kind)


def _field(
    group: Group,
    heading: str,
    width: int,
    takes: str,
    kind: Kind = Kind.text,
    *,
    words: Mapping[str, str] | None = None,
    hint: str = "",
) -> Column:
    """A column of commands' fields; `takes` is "Schema.field …", the column's key that of the first."""
    fields = dict(one.split(".") for one in takes.split())
    for schema, name in fields.items():
        assert name in FIELDS[schema].model_fields, (schema, name)
    key = takes.split()[0]
    return Column(key, heading, width, group, kind, fields, words or {}, hint)


_F, _P, _R = Group.facts, Group.plan, Group.progress
ACTION = Column("action", "本次操作", 14, Group.action, Kind.code, hint="从下拉列表选择；不填表示本行不办理")
OCCURRED = Column("occurred_on", "发生日期", 12, Group.action, Kind.day, hint="实际发生的日期；不填即为上传当日")
NOTE = Column("note", "备注", 20, Group.action, hint="随本次操作记入台账")
COLUMNS: tuple[Column, ...] = (
    _shown("number", "编号", 21),
    _shown("state", "状态", 12),
    _shown("lead_unit", "乡镇/单元", 16),
    _shown("activity", "活动类型", 14),
    _shown("area_mu", "面积（亩）", 11, Kind.number),
    _shown("area_m2", "面积（平方米）", 14, Kind.number),
    _shown("source", "问题来源", 28),
    _shown("level", "挂牌督办", 13),
    _shown("priority", "优先级", 8),
    _shown("grounds", "保护地/红线", 36),
    _shown("verdict", "合规判定", 12),
    _shown("description", "问题描述", 28),
    _shown("opened_on", "立案日期", 12, Kind.day),
    _shown("due_on", "整改期限", 12, Kind.day),
    _shown("days_left", "剩余/逾期天数", 14),
    _shown("notice_until", "公示截止", 12, Kind.day),
    _shown("version", "版本", 7, Kind.number),
    ACTION,
    OCCURRED,
    NOTE,
    _field(_F, "精准问题", 28, "ConfirmFields.problem", hint="存在什么问题"),
    _field(_F, "发生时间（起）", 14, "ConfirmFields.occurred_from", Kind.day),
    _field(_F, "发生时间（止）", 14, "ConfirmFields.occurred_to", Kind.day),
    _field(_F, "核实面积（平方米）", 18, "ConfirmFields.area_m2", Kind.number, hint="单位为平方米；1亩约为667平方米"),
    _field(_F, "面积差异说明", 20, "ConfirmFields.area_reason", hint="核实面积与图斑面积相差10倍以上时填写"),
    _field(_F, "责任主体", 22, "ConfirmFields.party", hint="与“主体不明原因”填其一"),
    _field(_F, "统一社会信用代码", 22, "ConfirmFields.party_code", hint="18位"),
    _field(_F, "主体不明原因", 20, "ConfirmFields.unknown_reason"),
    _field(_F, "责任政府", 20, "ConfirmFields.responsible_government"),
    _field(_F, "立行立改措施", 24, "ConfirmFields.immediate_measure"),
    _field(
        _F, "核实活动类型", 16, "ConfirmFields.activity", Kind.code,
        words={code: activity_words()[code] for code in human_activities()}, hint="与影像判读不同时填写",
    ),
    _field(_P, "整改措施", 30, "PlanFields.measures"),
    _field(
        _P, "措施类别", 22, "PlanFields.measure_kinds", Kind.codes, words=_words(MeasureKind),
        hint="可填多项，用；隔开；可填的词见“说明”",
    ),
    _field(_P, "责任单位", 20, "PlanFields.responsible_unit"),
    _field(_P, "责任人", 12, "PlanFields.responsible_person"),
    _field(
        _P, "阶段目标", 30, "PlanFields.milestones", Kind.steps,
        hint="每项先写日期再写内容，用；隔开，如：2026-05-01 清运弃渣；2026-06-30 覆土",
    ),
    _field(_P, "恢复类型", 12, "PlanFields.restoration_kind", Kind.code, words=_words(RestorationKind)),
    _field(_P, "恢复面积（平方米）", 18, "PlanFields.restoration_area_m2", Kind.number, hint="无需修复时填0"),
    _field(_P, "无需修复原因", 20, "PlanFields.no_restoration_reason"),
    _field(_P, "许可编号", 18, "PlanFields.permit_code PermitFields.permit_code", hint="补办手续或拟认定合规时填写"),
    _field(_P, "调出依据", 18, "PlanFields.boundary_document"),
    _field(_P, "计划完成日期", 14, "PlanFields.due_on", Kind.day),
    _field(_R, "合规依据", 22, "PermitFields.legal_ground", hint="拟认定合规而没有许可编号时填写"),
    _field(_R, "退回原因", 14, "ReturnFields.reason", Kind.code, words=_words(ReturnReason)),
    _field(_R, "理由", 26, "ReasonFields.reason ReturnFields.explanation", hint="退回、认定、撤销等操作的理由"),
    _field(_R, "进展说明", 28, "ProgressFields.progress"),
    _field(_R, "进度（%）", 10, "ProgressFields.percent", Kind.number, hint="0至100的整数"),
    _field(_R, "销号说明", 26, "ClosureFields.summary"),
    _field(_R, "销号佐证编号", 24, "ClosureFields.evidence_id", hint="先在系统中上传佐证，再填其编号"),
    _field(_R, "验收意见", 22, "OpinionFields.opinion"),
    _field(_R, "公示位置", 24, "NoticeFields.published_at", hint="网址或张贴处"),
)  # fmt: skip
BY_KEY: Mapping[str, Column] = MappingProxyType({column.key: column for column in COLUMNS})
BY_HEADING: Mapping[str, Column] = MappingProxyType({column.heading: column for column in COLUMNS})
COMMANDS_BY_WORD: Mapping[str, Command] = MappingProxyType({word: code for code, word in COMMAND_WORDS.items()})


@cache
def columns_of(command: Command) -> Mapping[str, Column]:
    """The columns that a command takes, by its field."""
    schema = TRANSITIONS[command].fields
    return MappingProxyType({column.takes[schema]: column for column in COLUMNS if schema in column.takes})
