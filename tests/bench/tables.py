"""Plain tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def ratio(part: float, whole: float) -> str:
    """``part / whole`` for a table; "-" where it is not a number."""
    return f"{part / whole:.2f}" if whole else "-"


def show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns: the first one to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    print(flush=True)
