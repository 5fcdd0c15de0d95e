"""docs/tracks.md, made from the tables of side tracks."""

from __future__ import annotations

from app.casework.lifecycle import ACTOR_LABELS
from app.casework.track_lifecycle import (
    CLOCKS,
    EXTENSIONS,
    KIND_LABELS,
    OPENINGS,
    RECORDERS,
    STATES,
    STEPS,
    Clock,
    Recorder,
    Step,
)
from app.casework.vocabulary import TrackKind

_HEAD = """# Side tracks

Made from the tables in `app/casework/track_lifecycle.py`. Do not edit; write it anew with
`python -m app.casework.track_docs > docs/tracks.md`.

What runs beside the main line of a case, each with its own clock and outcome. A step changes its track and writes one
event into the case's ledger (`penalty.decide`); the case's state stays. Several tracks of a kind may run, also after
closure; a case that is merged or withdrawn takes no new ones. `due_on` is counted from the day after the event, as
[deadlines](deadlines.md) says. "Unchecked" marks what was written from knowledge of the field: read
it against the text of the law before you rely on it.
"""


def tracks_markdown() -> str:
    """The page: a diagram, states and commands for each kind; clocks; extensions; who records."""
    parts = [_HEAD]
    for kind in TrackKind:
        parts += _kind(kind)
    parts += ["## Clocks", "", "| clock | to be done | within | from | source |", "|---|---|---|---|---|"]
    parts += [_clock_row(clock) for clock in CLOCKS.values()]
    parts += ["", "## Extensions", "", "| clock | the | at most | approved by | source |", "|---|---|---|---|---|"]
    counted: dict[str, int] = {}
    for row in EXTENSIONS:
        number = counted[row.clock] = counted.get(row.clock, 0) + 1
        source = _source(row.source, row.checked)
        parts.append(f"| `{row.clock}` | {number}. | {row.most_days} days | {row.approved_by} | {source} |")
    parts += [
        "",
        "Time that does not count towards `penalty_decision` is asked for on its clock, and the unit above decides",
        "([deadlines.md](deadlines.md)).",
    ]
    parts += ["", "## Who records", "", "| as | role | whose unit is |", "|---|---|---|"]
    parts += [
        _recorder_row(recorder, role, actors) for recorder in Recorder for role, actors in RECORDERS[recorder].items()
    ]
    return "\n".join(parts) + "\n"


def mermaid(kind: TrackKind) -> str:
    """A kind as a state diagram; steps that stay are left out."""
    rows = _rows(kind)
    lines = ["stateDiagram-v2", f"    [*] --> {OPENINGS[kind][0]}: open"]
    for state in STATES[kind]:
        lines += [f"    {state} --> {row.target}: {row.command}" for row in rows if row.target and state in row.sources]
    lines += [f"    {state} --> [*]" for state, about in STATES[kind].items() if about.ends]
    return "\n".join(lines)


def _rows(kind: TrackKind) -> list[Step]:
    return [row for row in STEPS.values() if row.kind is kind]


def _kind(kind: TrackKind) -> list[str]:
    parts = [f"## {KIND_LABELS[kind]} (`{kind}`)", "", "```mermaid", mermaid(kind), "```", ""]
    parts += [f"Opened by: {OPENINGS[kind][1]}.", "", "| state | 中文 | clock | end |", "|---|---|---|---|"]
    for state, about in STATES[kind].items():
        clocks = ", ".join(f"`{name}`" for name in about.clocks)
        parts.append(f"| `{state}` | {about.label} | {clocks} | {'yes' if about.ends else ''} |")
    parts += ["", "| command | from | to | by | needs | law |", "|---|---|---|---|---|---|"]
    for row in _rows(kind):
        sources = ", ".join(f"`{state}`" for state in STATES[kind] if state in row.sources)
        target = f"`{row.target}`" if row.target else "stays"
        law = _source(row.law, row.checked)
        parts.append(f"| `{row.command}` | {sources} | {target} | {row.recorder} | `{row.fields}` | {law} |")
    return [*parts, ""]


def _clock_row(clock: Clock) -> str:
    day = "working day" if clock.working else "day"
    spans = ((clock.months, "month"), (clock.days, day), (clock.hours, "hour"))
    within = ", ".join(f"{number} {unit}s" for number, unit in spans if number) or "as named"
    when = f" (`{clock.when}`)" if clock.when else ""
    source = _source(clock.source, clock.checked)
    return f"| `{clock.name}`{when} | {clock.step} | {within} | {clock.starts} | {source} |"


def _source(source: str, checked: bool) -> str:
    return source if checked else f"{source} (unchecked)"


def _recorder_row(recorder: Recorder, role: str, actors: frozenset[str]) -> str:
    labels = " or ".join(label for actor, label in ACTOR_LABELS.items() if actor in actors)
    return f"| {recorder} | `{role}` | {labels} |"


if __name__ == "__main__":
    print(tracks_markdown(), end="")
