"""docs/lifecycle.md, made from the transition table."""

from __future__ import annotations

from app.access.vocabulary import Role
from app.casework.chain import CHAIN
from app.casework.lifecycle import (
    ACTOR_LABELS,
    DEEDS,
    GUARD_LABELS,
    REVIEW_STATE_LABELS,
    ROLES,
    STATE_LABELS,
    TRANSITIONS,
    CaseState,
    Command,
    ReviewState,
    Transition,
)
from app.casework.review_lifecycle import (
    AUDITED_SHARE,
    CLAIM_LASTS,
    GRAVE_GROUNDS,
    GRAVE_SEVERITIES,
    HAND_LABELS,
    REVIEW_TRANSITIONS,
    ReviewTransition,
)
from app.casework.transitions import COMMENTERS
from app.casework.vocabulary import DISMISS_REASONS
from app.casework.words import TITLES, WORDS

_HEAD = """# The life of a case, and of a detection's review

Made from the tables in `app/casework/lifecycle.py` and `app/casework/review_lifecycle.py`. Do not edit; write it
anew with `python -m app.casework.lifecycle_docs > docs/lifecycle.md`.
"""


def lifecycle_markdown() -> str:
    """The page: diagram, states, commands, who may give them, the chain, review, codes."""
    parts = [_HEAD, "```mermaid", mermaid(), "```", "", "## States", "", "| state | 中文 |", "|---|---|"]
    parts += [f"| `{state}` | {STATE_LABELS[state]} |" for state in CaseState]
    parts += ["", "## Commands", "", "| command | from | to | by | needs | checked | never by the account that |"]
    parts += ["|---|---|---|---|---|---|---|", *(_command_row(row) for row in TRANSITIONS.values())]
    parts += ["", "## Who speaks for whom", "", "| as | roles |", "|---|---|"]
    parts += [f"| {ACTOR_LABELS[actor]} | {_codes(roles)} |" for actor, roles in ROLES.items()]
    parts += ["", "## Role by command", "", *_permissions()]
    parts += ["", "Inspectors and administrators decide no case.", "", "## Deeds that bar", "", "| deed | events |"]
    parts += ["|---|---|", *(f"| {deed} | {_codes(events)} |" for deed, events in DEEDS.items())]
    parts += ["", *_chain()]
    parts += _review()
    parts += ["", "## Codes"]
    for kind, words in WORDS.items():
        parts += ["", f"### {TITLES[kind]}", "", "| code | 中文 |", "|---|---|"]
        parts += [f"| `{code}` | {word} |" for code, word in words.items()]
    return "\n".join(parts) + "\n"


def _review() -> list[str]:
    """Diagram, states, commands and reasons of a detection's review."""
    lines = [
        "",
        "## Review of a detection",
        "",
        "```mermaid",
        review_mermaid(),
        "```",
        "",
        "| state | 中文 |",
        "|---|---|",
    ]
    lines += [f"| `{state}` | {REVIEW_STATE_LABELS[state]} |" for state in ReviewState]
    lines += ["", "| command | from | to | proposed first as | roles | by | needs words | claimed afterwards |"]
    lines += ["|---|---|---|---|---|---|---|---|", *(_review_row(row) for row in REVIEW_TRANSITIONS.values())]
    grave = ", ".join(f"`{ground}`" for ground in sorted(GRAVE_GROUNDS))
    lines += ["", "Proposed first, for a second account to affirm: what stands on ground of "]
    lines[-1] += f"{grave}, or has the severity {_codes(GRAVE_SEVERITIES)}, by any judgement of it."
    hours = int(CLAIM_LASTS.total_seconds() // 3600)
    lines += [
        f"A claim lasts {hours} hours. Of all other dismissals {AUDITED_SHARE:.0%} are drawn to be looked at again."
    ]
    lines += ["", "### Reasons for a dismissal", "", "| reason | 中文 | speaks of | meaning |", "|---|---|---|---|"]
    lines += [f"| `{code}` | {row.label} | {row.kind} | {row.meaning} |" for code, row in DISMISS_REASONS.items()]
    return lines


def review_mermaid() -> str:
    """The review as a state diagram; what stays in its state is left out."""
    lines = ["stateDiagram-v2", "    [*] --> new: published"]
    for row in REVIEW_TRANSITIONS.values():
        for source in (state for state in ReviewState if state in row.sources):
            targets = dict.fromkeys([row.leads_to(source), *([row.proposes] if row.proposes else [])])
            lines += [f"    {source} --> {target}: {row.command}" for target in targets if target is not source]
    return "\n".join(lines)


def _review_row(row: ReviewTransition) -> str:
    sources = [state for state in ReviewState if state in row.sources]
    cells = (
        f"`{row.command}`",
        ", ".join(f"`{state}`" for state in sources),
        ", ".join(f"`{state}`" for state in dict.fromkeys(row.leads_to(state) for state in sources)),
        f"`{row.proposes}`" if row.proposes else "",
        _codes(row.roles),
        HAND_LABELS[row.hand],
        "yes" if row.words else "",
        "yes" if row.claims else "",
    )
    return "| " + " | ".join(cells) + " |"


def _permissions() -> list[str]:
    """Which role may give which command, on a case in which its unit takes the part that the command is for."""
    header = "| command | " + " | ".join(f"`{role}`" for role in Role) + " |"
    rows = [
        f"| `{row.command}` | " + " | ".join("yes" if role in row.roles else "" for role in Role) + " |"
        for row in TRANSITIONS.values()
    ]
    rows.append("| comment | " + " | ".join("yes" if role in COMMENTERS else "" for role in Role) + " |")
    return [header, "|---" * (len(Role) + 1) + "|", *rows]


def _chain() -> list[str]:
    """The chain's rules."""
    lines = [
        "## Chain",
        "",
        "A case is judged by the version in force when it was dispatched, by its most specific rule: that of its",
        "primary source before that of its protected-area level. The accepting unit is the lead unit's own; of a unit",
        "directly under the province it is the province.",
        "",
        "| version | from | source | level | accepts | publicises | closes | re-checks | notice, calendar days |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rule in CHAIN:
        cells = (rule.version, rule.valid_from, rule.source or "any", rule.level or "any")
        steps = (rule.accepts, rule.publicises, rule.closes, rule.rechecks)
        lines.append("| " + " | ".join(map(str, (*cells, *(f"`{step}`" for step in steps), rule.notice_days))) + " |")
    return lines


def mermaid() -> str:
    """The main line as a state diagram; what is possible in most states, or changes none, is left out."""
    lines = ["stateDiagram-v2", "    [*] --> dispatched: dispatch"]
    for row in TRANSITIONS.values():
        if row.command not in (Command.merge, Command.withdraw, Command.transfer):
            moves = [state for state in CaseState if state in row.sources and row.leads_to(state) != state]
            lines += [f"    {state} --> {row.leads_to(state)}: {row.command}" for state in moves]
    return "\n".join([*lines, "    closed --> [*]"])


def _command_row(row: Transition) -> str:
    sources = [state for state in CaseState if state in row.sources]
    stays = all(row.leads_to(state) == state for state in sources)
    targets = ["stays"] if stays else [f"`{state}`" for state in dict.fromkeys(row.leads_to(s) for s in sources)]
    cells = (
        f"`{row.command}`",
        ", ".join(f"`{state}`" for state in sources),
        ", ".join(targets),
        ACTOR_LABELS[row.actor],
        f"`{row.fields}`",
        "; ".join(GUARD_LABELS[guard] for guard in row.guards),
        ", ".join(row.never),
    )
    return "| " + " | ".join(cells) + " |"


def _codes(values: object) -> str:
    assert isinstance(values, frozenset)
    return ", ".join(f"`{value}`" for value in sorted(str(value) for value in values))


if __name__ == "__main__":
    print(lifecycle_markdown(), end="")
