"""docs/law.md, made from the built-in rule table. ``python -m app.boundaries.law.docs`` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.boundaries.law.files import ESTABLISHMENT_LABELS, SEVERITY_LABELS, built_in
from app.boundaries.law.table import GROUNDS, GROUNDS_ENGLISH, Example, Rule
from app.boundaries.vocabulary import LAYER_LABELS, VERDICT_LABELS

PAGE: Final = Path(__file__).parents[3] / "docs" / "law.md"

_HEAD = """# The law as a table

Made from `app/boundaries/law/` (`rules.csv`, `examples.csv`, `parameters.csv`). Do not edit; write it anew with
`python -m app.boundaries.law.docs`.

How a verdict comes about: [boundaries.md](boundaries.md#the-legal-overlay). Why the law is data:
[decision 18](decisions/0018-the-law-is-data.md).

**What is not checked.** {unchecked} of {rules} rules were written from published summaries and from memory and were not
compared with the gazette; the API says so with every verdict that rests on one (`text_checked`). Above all: which kinds
of permit a zone admits, what becomes of what was there before (历史遗留), the articles cited, and how the zones that are
not yet re-zoned are to be read after the regulations on nature reserves were revised (in force 2026-03-15).
The accuracies of borders below are assumptions. A lawyer has to go through the table before anybody relies on it.

## How to edit and test it

1. `GET /api/v1/rule-sets/{{version}}/workbook`, or `redline rules export rules.xlsx`: a workbook with the sheets 规则
   (rules), 示例 (examples) and 参数 (parameters).
2. Change rules, add the cases that they are meant for to 示例 with the verdicts that they must have, give 参数 a new
   版本. Where you have compared a row with the gazette, write 是 under 已核对原文.
3. `redline rules test rules.xlsx` names each cell that cannot be read and each example that comes out otherwise.
4. `POST /api/v1/rule-sets` (administrators of the province) or `redline rules import rules.xlsx` stores it; a table whose
   examples fail is refused. Nothing is changed in place: another content needs another 版本.
5. `POST /api/v1/rule-sets/{{version}}/activate` with `If-Match` and a reason. From then on it judges; verdicts that were
   given keep the set that they were given by.

## How a row is read

- A row speaks of one class of ground, of some activities (`*`: all of which no other row of the ground speaks), from a
  day on, to a day. Of several that hold, the one that names the activity goes first, then the newest, then the first in
  the table.
- 可准许的许可种类: a valid permit of these kinds that covers the part inside makes the activity allowed there (`*`: any
  kind). A permit of another kind does not: the ten kinds of limited activity recognised in a red line cure no core zone.
- Each class of ground is decided by itself, then the strictest counts. Of two that are as strict, the ground's own law
  (本区域专门法) is named before the red line's, then what stands first.
- 历史遗留 columns replace verdict and severity where the change came before the area was established. Blank: the same.
"""


def law_markdown() -> str:
    """The page."""
    table = built_in()
    unchecked = sum(not rule.text_checked for rule in table.rules)
    parts = [_HEAD.format(unchecked=unchecked, rules=len(table.rules))]
    parts.append(f"\n## Rules {table.version}\n")
    for ground, label in GROUNDS.items():
        rows = [rule for rule in table.rules if rule.ground == ground]
        parts.append(f"\n### {label} (`{ground}`, {GROUNDS_ENGLISH[ground]})\n\n{_RULE_HEAD}")
        parts += [_rule(rule) for rule in rows]
    parts.append("\n## Parameters\n\n| parameter | value |\n|---|---|\n")
    given = table.parameters
    parts += [
        f"| {LAYER_LABELS[layer]}: accuracy of the border where the version states none | {metres:g} m |\n"
        for layer, metres in given.accuracy_m.items()
    ]
    parts.append(f"| pixel, where the imagery's is not known | {given.pixel_m:g} m |\n")
    parts.append(f"| share of the part inside that permits must cover | {given.covered_share:.0%} |\n")
    parts.append(f"| from which on the edge of the permit decides (压线) | {given.nearly_covered_share:.0%} |\n")
    parts.append(f"\n## Examples\n\n{_EXAMPLE_HEAD}")
    parts += [_example(example) for example in table.examples]
    return "".join(parts)


_RULE_HEAD = """| code | activities | from | to | verdict | permits | before: verdict | why | source | checked |
|---|---|---|---|---|---|---|---|---|---|
"""
_EXAMPLE_HEAD = """| case | inside, m² | activity | seen | established | permits | verdict | rule |
|---|---|---|---|---|---|---|---|
"""


def _rule(rule: Rule) -> str:
    verdict = f"{VERDICT_LABELS[rule.verdict]}，{SEVERITY_LABELS[rule.severity]}"
    legacy = [VERDICT_LABELS[rule.legacy_verdict]] if rule.legacy_verdict else []
    legacy += [SEVERITY_LABELS[rule.legacy_severity]] if rule.legacy_severity else []
    note = f"（{rule.note}）" if rule.note else ""
    cells = (
        f"`{rule.code}`",
        _codes(rule.activities),
        str(rule.since),
        str(rule.until or ""),
        verdict,
        _codes(rule.permits),
        "，".join(legacy),
        f"{rule.reason_zh}{note}",
        rule.source,
        "是" if rule.text_checked else "否",
    )
    return f"| {' | '.join(cells)} |\n"


def _example(example: Example) -> str:
    inside = "; ".join(f"{GROUNDS[ground]} {area:,.0f}" for ground, area in example.grounds.items())
    when = f" ({ESTABLISHMENT_LABELS[example.establishment]})" if example.establishment else ""
    severity = f"，{SEVERITY_LABELS[example.severity]}" if example.severity else ""
    cells = (
        example.name,
        inside,
        f"`{example.activity}`" if example.activity else "",
        str(example.first_seen_on),
        f"{example.established or ''}{when}",
        "; ".join(f"`{kind}` {share:.0%}" for kind, share in example.permits.items()),
        f"{VERDICT_LABELS[example.verdict]}{severity}",
        f"`{example.rule}`" if example.rule else "",
    )
    return f"| {' | '.join(cells)} |\n"


def _codes(codes: tuple[str, ...]) -> str:
    return " ".join("\\*" if code == "*" else f"`{code}`" for code in codes)


if __name__ == "__main__":
    PAGE.write_text(law_markdown(), encoding="utf-8")
