"""docs/deadlines.md, made from the table of deadlines."""

from __future__ import annotations

from app.casework.deadline_rules import GROUNDS, RULES, Allowance, DeadlineRule, Starts, Term
from app.casework.lifecycle import ACTOR_LABELS
from app.casework.vocabulary import Priority, RequestKind

_HEAD = """# Deadlines

Made from the table in `app/casework/deadline_rules.py`. Do not edit; write it anew with
`python -m app.casework.deadline_docs > docs/deadlines.md`.

Every state of a case in which somebody has to act has a clock; so has every clock of a [side track](tracks.md), every
look-back and the oldest undecided objection. `GET /api/v1/cases/{case_id}/deadlines` shows them,
`GET /api/v1/deadline-rules` this table. An event of the ledger starts, meets or ends a clock in the same transaction.
Clocks of side tracks go on when their case is merged or withdrawn. The parts of a case that is split keep its clocks,
their days and what was granted on them.

## How days are counted

- Days are those of Asia/Shanghai. The day of the event is not counted; months end on the corresponding day, or on the
  month's last (Civil Code arts. 201, 202).
- Working days are those of the official arrangement of holidays. The library chinesecalendar has it from 2004 to the
  present year; a file can be imported (below). In any other year Monday to Friday is assumed, and a clock that runs
  through it is **provisional**.
- Where "rolls" stands, a last day of rest moves to the next working day (Civil Code art. 203). It speaks of civil
  terms, so terms by which an authority has to act stay where they fall: the earlier day is the safe one.
- Pauses and excluded time push the last day out by the days of the rule's own counting that lie in them, once where
  they overlap. While a pause is open the clock is `paused`; its day is counted when it ends.
- A clock of a case's state starts on the legal day on which the ledger learned of the step that led to it, and a step
  comes late if the ledger learned of it after the last day. `occurred_on`, which whoever takes the step states, is kept
  and shown (`ended_on`), and durations use it; but a stated day proves nothing, and would make a late step look timely
  or start the clock of whoever acts next in the past. Imported cases start on the day that is stated: they are from
  before the ledger. Clocks of side tracks start on the day of the legal act; where a side track waits for somebody else
  (the party, the police), the day stated counts, since he acted whenever it was written down.
- A clock keeps the version of the rule by which it started.

"Unchecked" marks what was written from knowledge of the field: read it against the text of the law before you rely on
it. "Working practice" marks a term that no law sets; it is the service's default, for the province to change.
"""
_CALENDARS = """
## Working calendars

The State Council arranges the next year's holidays in the last months of a year. Until the library has it, or where it
errs, the province's administrators import it with `POST /api/v1/calendars` or on the server:

```
redline calendar import 2027.json
redline calendar import 2027.csv --year 2027 --source "国务院办公厅关于2027年部分节假日安排的通知"
```

The JSON file is `{"year": 2027, "source": "…", "days": [{"day": "2027-01-01", "kind": "rest"}, …]}`; the CSV file has
the heading `day,kind` and a line for each day. Only days that differ from Monday to Friday stand in it: `rest` on a
weekday, `work` on a weekend. Refused are days of another year, days that stand there twice or say nothing new, and
whole years that cannot be: fixed holidays that are working days, too few or too many days. An import appends a version,
and the newest one of a year holds; nothing is changed or deleted. `GET /api/v1/calendars` lists the years, where each
comes from (`published`, `imported`, `missing`), and all versions.

Within ten minutes the worker counts anew every clock that the calendar moves: provisional ones whose year is known now,
by an import or by a new release of the library, and those that run through a year that was imported within the last
seven days. Each whose day or provisional mark changes writes `deadline.recomputed` into its case's ledger, with the
day before and after, the rule and the calendars. A second job starts clocks that are missing (of cases from before
there were deadlines), from the ledger's own events.
"""


def deadlines_markdown() -> str:
    """The page: how days are counted, the rules by what starts them, what may be asked for, calendars."""
    titles = {
        Starts.case_state: "States of a case",
        Starts.track: "Side tracks",
        Starts.look_back: "Look-backs",
        Starts.objection: "Objections",
    }
    parts = [_HEAD]
    for starts, title in titles.items():
        parts += [f"## {title}", ""]
        parts += ["| rule | 中文 | to be done | within (urgent / high / ordinary) | who acts | remind | escalate |"]
        parts += ["|---|---|---|---|---|---|---|"]
        parts += [_row(rule) for rule in RULES if rule.starts is starts]
        parts += ["", "| rule | met by | source | version |", "|---|---|---|---|"]
        parts += [_source_row(rule) for rule in RULES if rule.starts is starts]
        parts.append("")
    parts += [
        "## What may be asked for",
        "",
        "| rule | kind | grounds | how often | days each |",
        "|---|---|---|---|---|",
    ]
    parts += [_allowance_row(rule, kind, row) for rule in RULES for kind, row in rule.allows.items()]
    parts += ["", "Any other rule allows none of it. Extensions of a penalty are steps of its track."]
    parts += ["", "| ground | 中文 |", "|---|---|", *(f"| `{ground}` | {label} |" for ground, label in GROUNDS.items())]
    return "\n".join(parts) + "\n" + _CALENDARS


def _row(rule: DeadlineRule) -> str:
    terms = [_term(rule.term(priority)) for priority in (Priority.urgent, Priority.high, Priority.ordinary)]
    within = terms[0] if len(set(terms)) == 1 else " / ".join(terms)
    rolls = ", rolls" if rule.rolls else ""
    acts = ACTOR_LABELS[rule.acts] + (f", after {rule.awaits}" if rule.awaits else "")
    remind = ", ".join(map(str, rule.remind_before))
    escalate = "lapses" if rule.lapses else "never" if rule.escalate_after is None else str(rule.escalate_after)
    return f"| `{rule.name}` | {rule.label} | {rule.step} | {within}{rolls} | {acts} | {remind} | {escalate} |"


def _source_row(rule: DeadlineRule) -> str:
    met_by = ", ".join(f"`{event}`" for event in sorted(rule.met_by))
    source = rule.source if rule.checked else f"{rule.source} (unchecked)"
    return f"| `{rule.name}` | {met_by} | {source} | {rule.version} |"


def _term(term: Term) -> str:
    day = "working day" if term.working else "day"
    spans = ((term.months, "month"), (term.days, day), (term.hours, "hour"))
    return ", ".join(f"{number} {unit}{'s' if number > 1 else ''}" for number, unit in spans if number) or "as named"


def _allowance_row(rule: DeadlineRule, kind: RequestKind, row: Allowance) -> str:
    grounds = ", ".join(f"`{ground}`" for ground in row.grounds)
    often = "any" if row.most is None else str(row.most)
    return f"| `{rule.name}` | {kind} | {grounds} | {often} | {row.most_days or 'as approved'} |"


if __name__ == "__main__":
    print(deadlines_markdown(), end="")
