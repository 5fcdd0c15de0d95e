"""docs/activities.md, made from the table and the registry."""

from __future__ import annotations

from collections.abc import Mapping

from detectors import registry
from detectors.protocol import Recogniser
from detectors.taxonomy import STANDARD, known

_HEAD = f"""# What a change can be

Made from `detectors/taxonomy.py` and `detectors/registry.py`; the codes follow {STANDARD}. Do not edit; write it anew
with `python -m detectors.activities_docs > docs/activities.md`.

`human`: somebody answers for it. `natural` and `routine` causes stop a false alarm: what nature does, and what comes
every year or lies in the image alone. A code without a version is named by people only.

| code | 中文 | kind | recogniser | what it looks at |
|---|---|---|---|---|
"""


def activities_markdown(recognisers: Mapping[str, Recogniser] | None = None) -> str:
    """The page; of all registered recognisers, or of those given."""
    entries = known(registry.ACTIVITIES if recognisers is None else recognisers)
    return _HEAD + "".join(
        f"| `{code}` | {entry.cause.label} | {entry.cause.kind} | {entry.version or ''} | {entry.looks_at or ''} |\n"
        for code, entry in entries.items()
    )


if __name__ == "__main__":
    print(activities_markdown(), end="")
