"""Complete bodies of side tracks' openings and steps, for several tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.foundation.time import utc_now
from tests.casework_steps import today

OPENINGS: dict[str, dict[str, Any]] = {
    "penalty": {"cause": "未经批准占用林地采石", "party": "某石料有限公司"},
    "transfer": {"offence": "非法占用农用地"},
    "procuratorial": {"recommendation": "依法履行监管职责"},
    "compensation": {"clue": "植被破坏"},
    "accountability": {"grounds": "监管不力"},
}


def opening(kind: str, **extra: Any) -> dict[str, Any]:
    return {"kind": kind, "authority": "抚松县林业局"} | OPENINGS[kind] | extra


def step_fields(kind: str, command: str) -> dict[str, Any]:
    """Complete fields of a command that happens today."""
    day = today().isoformat()
    due = (today() + timedelta(days=60)).isoformat()
    now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {"document_number": "〔2024〕12号", "document_on": day}
    reason = {"reason": "见附件"}
    fields: dict[str, dict[str, Any]] = {
        "finish_investigation": {"summary": "已查明"},
        "extend": {"days": 30, "reason": "案情复杂", "approved_by": "局长"},
        "decide": {"decision_number": "抚林罚〔2024〕12号", "document_on": day, "amount_yuan": "12000.50"},
        "execute": {"how": "paid", "amount_yuan": 12000.5},
        "revoke": document | reason,
        "approve": {"approved_by": "局长", "approved_at": now},
        "send": {"police": "抚松县公安局", **document, "sent_at": now},
        "accept": document,
        "refuse": document | reason,
        "uphold_refusal": document | reason,
        "conclude": document | {"outcome": "convicted"},
        "reply": {"document_on": day, "summary": "已停工并恢复"},
        "sue": {"court": "抚松县人民法院"},
        "start": {"summary": "损害明显"},
        "report_appraisal": document | {"appraiser": "省环科院", "damage_yuan": "350000.00"},
        "negotiate": {"obligor": "某石料有限公司"},
        "agree": document | {"amount_yuan": "350000.00", "due_on": due},
        "dismiss_suit": document,
        "perform": {"summary": "已缴纳", "amount_yuan": "350000.00"},
        "handle": document | {"persons": 3, "outcome": "admonition"},
    }
    if command == "judge":
        more = {"outcome": "upheld"} if kind == "procuratorial" else {"amount_yuan": "1.00", "due_on": due}
        return document | more
    return fields.get(command, reason)
