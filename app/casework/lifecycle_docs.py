"""docs/lifecycle.md, made from the transition table."""

from __future__ import annotations

from app.access.vocabulary import Role
from app.casework.chain import CHAIN
from app.casework.lifecycle import (
    ACTOR_LABELS,
    DEEDS,
    GUARD_LABELS,
    REVIEW_TRANSITIONS,
    ROLES,
    STATE_LABELS,
    TRANSITIONS,
    CaseState,
    Command,
    Transition,
)
from app.casework.transitions import COMMENTERS
from app.casework.words import TITLES, WORDS

_HEAD = """# The life of a case

Made from the table in `app/casework/lifecycle.py`. Do not edit; write it anew with
`python -m app.casework.lifecycle_docs > docs/lifecycle.md`.
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
    parts += ["", "## Review of a detection", "", "| command | from | to |", "|---|---|---|"]
    parts += [
        f"| `{command}` | {_codes(sources)} | `{target}` |" for command, (sources, target) in REVIEW_TRANSITIONS.items()
    ]
    parts += ["", "## Codes"]
    for kind, words in WORDS.items():
        parts += ["", f"### {TITLES[kind]}", "", "| code | 中文 |", "|---|---|"]
        parts += [f"| `{code}` | {word} |" for code, word in words.items()]
    return "\n".join(parts) + "\n"


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
