"""What the events of a case's ledger are called in Chinese, for documents."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.casework.ledger_sheet import COMMAND_WORDS
from app.casework.lifecycle import Command
from app.casework.track_lifecycle import KIND_LABELS, TrackCommand

_COMMANDS: Mapping[Command, str] = MappingProxyType(
    {
        **COMMAND_WORDS,
        Command.redispatch: "重新派发",
        Command.take_up_again: "重新启动核查",
        Command.record_objection: "登记异议",
        Command.dismiss_objection: "驳回异议",
        Command.uphold_objection: "采纳异议",
        Command.reopen: "反弹重启",
        Command.merge: "并案",
        Command.transfer: "移交管辖",
        Command.split_: "拆分",
        Command.supervise: "调整督办级别",
        Command.add_source: "补充问题来源",
        Command.make_primary: "确定主要来源",
    }
)
_STEPS: Mapping[TrackCommand, str] = MappingProxyType(
    {
        TrackCommand.finish_investigation: "调查终结",
        TrackCommand.extend: "延期",
        TrackCommand.decide: "作出决定",
        TrackCommand.not_impose: "不予处罚",
        TrackCommand.execute: "执行完毕",
        TrackCommand.revoke: "撤销决定",
        TrackCommand.approve: "批准移送",
        TrackCommand.disapprove: "不批准移送",
        TrackCommand.send: "移送",
        TrackCommand.accept: "立案",
        TrackCommand.refuse: "不予立案",
        TrackCommand.return_: "退回",
        TrackCommand.end_transfer: "终止移送",
        TrackCommand.request_reconsideration: "提请复议",
        TrackCommand.uphold_refusal: "维持不予立案",
        TrackCommand.conclude: "程序终结",
        TrackCommand.reply: "回复",
        TrackCommand.close: "终结案件",
        TrackCommand.sue: "提起诉讼",
        TrackCommand.judge: "裁判",
        TrackCommand.start: "启动",
        TrackCommand.not_pursue: "不予追究",
        TrackCommand.report_appraisal: "提交鉴定评估",
        TrackCommand.negotiate: "磋商",
        TrackCommand.agree: "达成协议",
        TrackCommand.dismiss_suit: "驳回诉讼请求",
        TrackCommand.perform: "履行完毕",
        TrackCommand.handle: "作出处理",
    }
)
_OTHERS: Mapping[str, str] = MappingProxyType(
    {
        "dispatch": "派发",
        "imported": "历史案件导入",
        "detection_attached": "关联图斑",
        "detection_grown": "图斑扩大",
        "detection_confirmed": "影像确认",
        "detection_replayed": "影像重新判读",
        "detection_vanished": "影像不再显示",
        "rejudged": "重新合规判定",
        "evidence_added": "上传证据",
        "comment": "意见",
        "sampled": "抽样选中",
        "new_offender": "同一地块出现新主体",
        "case_merged_in": "并入他案",
        "look_back_ordered": "布置回头看",
        "look_back_reported": "回头看结果",
        "rebound_raised": "反弹线索",
        "rebound_rejected": "排除反弹线索",
        "deadline.requested": "申请调整期限",
        "deadline.refused": "不同意调整期限",
        "deadline.withdrawn": "撤回期限申请",
        "deadline.extended": "延期",
        "deadline.paused": "中止计时",
        "deadline.resumed": "恢复计时",
        "deadline.excluded": "扣除期间",
        "deadline.recomputed": "重新计算期限",
    }
)
_TRACKS = {
    f"{kind}.{step}": f"{label}：{word}" for kind, label in KIND_LABELS.items() for step, word in _STEPS.items()
} | {f"{kind}.open": f"{label}：立项" for kind, label in KIND_LABELS.items()}
EVENT_WORDS: Mapping[str, str] = MappingProxyType(
    {command.value: word for command, word in _COMMANDS.items()} | dict(_OTHERS) | _TRACKS
)


def event_word(kind: str, *, is_first: bool = False) -> str:
    """What an event is called; one that has no name here, by its kind.

    Args:
        is_first: whether it opened its case: a part that was cut off is no case that was cut.
    """
    if is_first and kind == "split":
        return "由拆分立案"
    return EVENT_WORDS.get(kind, kind)
