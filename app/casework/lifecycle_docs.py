"""docs/lifecycle.md, made from the transition table."""

from __future__ import annotations

from app.casework.lifecycle import (
    ACTOR_LABELS,
    CHAIN,
    DEEDS,
    GUARD_LABELS,
    REVIEW_TRANSITIONS,
    ROLES,
    STATE_LABELS,
    TRANSITIONS,
    CaseState,
    Transition,
)

_HEAD = """# The life of a case

Made from the table in `app/casework/lifecycle.py`. Do not edit; write it anew with
`python -m app.casework.lifecycle_docs > docs/lifecycle.md`.
"""


def lifecycle_markdown() -> str:
    """The page: diagram, states, commands, who speaks for whom, notice days, review."""
    parts = [_HEAD, "```mermaid", mermaid(), "```", "", "## States", "", "| state | 中文 |", "|---|---|"]
    parts += [f"| `{state}` | {STATE_LABELS[state]} |" for state in CaseState]
    parts += ["", "## Commands", "", "| command | from | to | by | needs | checked | never by the account that |"]
    parts += ["|---|---|---|---|---|---|---|", *(_command_row(row) for row in TRANSITIONS.values())]
    parts += ["", "## Who speaks for whom", "", "| as | roles |", "|---|---|"]
    parts += [f"| {ACTOR_LABELS[actor]} | {_codes(roles)} |" for actor, roles in ROLES.items()]
    parts += ["", "Inspectors and administrators decide no case.", "", "## Deeds that bar", "", "| deed | events |"]
    parts += ["|---|---|", *(f"| {deed} | {_codes(events)} |" for deed, events in DEEDS.items())]
    parts += ["", "## Notice days", "", "| version | from | source | level | calendar days |", "|---|---|---|---|---|"]
    parts += [
        f"| {rule.version} | {rule.valid_from} | {rule.source or 'any'} | {rule.level or 'any'} | {rule.notice_days} |"
        for rule in CHAIN
    ]
    parts += ["", "## Review of a detection", "", "| command | from | to |", "|---|---|---|"]
    parts += [
        f"| `{command}` | {_codes(sources)} | `{target}` |" for command, (sources, target) in REVIEW_TRANSITIONS.items()
    ]
    return "\n".join(parts) + "\n"


def mermaid() -> str:
    """The main line as a state diagram; merging and withdrawing, possible from most states, are left out."""
    lines = ["stateDiagram-v2", "    [*] --> dispatched: dispatch"]
    for row in TRANSITIONS.values():
        if row.command.value not in ("merge", "withdraw"):
            lines += [f"    {s} --> {row.leads_to(s)}: {row.command}" for s in CaseState if s in row.sources]
    return "\n".join([*lines, "    closed --> [*]"])


def _command_row(row: Transition) -> str:
    sources = [state for state in CaseState if state in row.sources]
    targets = dict.fromkeys(row.leads_to(state) for state in sources)
    cells = (
        f"`{row.command}`",
        ", ".join(f"`{state}`" for state in sources),
        ", ".join(f"`{state}`" for state in targets),
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
