"""What is wrong with a layer file, and what was mended in it: the first ones listed, all of them counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from app.boundaries.columns import COLUMNS
from app.boundaries.models import Layer
from app.foundation.errors import Invalid

if TYPE_CHECKING:
    from app.boundaries.reading import Features

MAX_ERRORS = 20
MAX_WARNINGS = 100


class BatchFindings:
    """Findings in one batch, by place in it (from 0).

    Args:
        first: number of the batch's first feature in the file.
        codes: of its features, as far as they can be read.
    """

    def __init__(self, first: int, codes: list[str | None]) -> None:
        self.first, self.codes = first, codes
        self.errors: list[tuple[int, str]] = []
        self.mendings: list[tuple[int, str]] = []
        self.refused: set[int] = set()

    def __len__(self) -> int:
        return len(self.codes)

    def refuse(self, place: int, reason: str) -> None:
        self.errors.append((place, reason))
        self.refused.add(place)

    def mend(self, place: int, what: str) -> None:
        self.mendings.append((place, what))

    def refuse_unless(self, known: set[int]) -> Callable[[int, str], None]:
        """As `refuse`, but not of features about which the worst is said already."""

        def refuse(place: int, reason: str) -> None:
            if place not in known:
                self.refuse(place, reason)

        return refuse


@dataclass
class Findings:
    """Findings in a file so far."""

    errors: list[dict[str, Any]] = field(default_factory=list)
    error_count: int = 0
    warnings: list[str] = field(default_factory=list)
    warning_count: int = 0

    def take(self, notes: BatchFindings) -> None:
        """Add those of the next batch, in the order of its features."""
        self.error_count += len(notes.errors)
        self.warning_count += len(notes.mendings)
        for place, reason in sorted(notes.errors, key=lambda error: error[0])[: MAX_ERRORS - len(self.errors)]:
            self._list(notes.first + place, notes.codes[place], reason)
        for place, what in sorted(notes.mendings, key=lambda one: one[0])[: max(MAX_WARNINGS - len(self.warnings), 0)]:
            self.warnings.append(f"{_label(notes.first + place, notes.codes[place])}: {what}")

    def refuse(self, number: int, code: str | None, reason: str) -> None:
        self.error_count += 1
        if len(self.errors) < MAX_ERRORS:
            self._list(number, code, reason)

    def _list(self, number: int, code: str | None, reason: str) -> None:
        shown = code if code is None else code.encode("utf-8", "replace").decode()
        self.errors.append({"pointer": f"features/{number}", "feature": number, "code": shown, "detail": reason})

    def say(self, warnings: Iterable[str]) -> None:
        """Add warnings of the file as a whole, which stand before those of its features."""
        told = list(warnings)
        self.warnings[:0] = told
        self.warning_count += len(told)

    def told_warnings(self) -> list[str]:
        more = self.warning_count - len(self.warnings)
        return [*self.warnings, f"… and {more:,} more of these"] if more else list(self.warnings)

    def raise_if_any(self) -> None:
        if not self.errors:
            return
        first = self.errors[0]
        more = f" and {self.error_count - 1} more" if self.error_count > 1 else ""
        raise Invalid(
            f"{_label(first['feature'], first['code'])}: {first['detail']}{more}. Nothing was imported.",
            errors=self.errors,
            error_count=self.error_count,
        )


def _label(number: int, code: str | None) -> str:
    return f"Feature {number} ({code})" if code else f"Feature {number}"


class Identities:
    """Finds features of one code, or one code and zone. Keeps some 30 bytes a feature: a million fit anywhere."""

    def __init__(self, layer: Layer) -> None:
        self._names = COLUMNS[layer].identity
        self._hashes: list[npt.NDArray[np.int64]] = []
        self._numbers: list[npt.NDArray[np.int64]] = []
        self._keys: list[bytes] = []

    def add(self, features: Features) -> None:
        if not len(features):
            return
        keys = [code or "" for code in features.texts["code"]]
        if len(self._names) > 1:
            keys = [f"{code}\t{zone}" for code, zone in zip(keys, features.texts["category"], strict=True)]
        self._hashes.append(np.fromiter(map(hash, keys), np.int64, len(keys)))
        self._numbers.append(features.numbers)
        self._keys.append("\0".join(keys).encode())

    def check(self, findings: Findings) -> None:
        """Refuse every feature that is named as one before it."""
        if not self._hashes:
            return
        hashes, numbers = np.concatenate(self._hashes), np.concatenate(self._numbers)
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        repeated = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
        if not len(repeated):
            return
        keys = b"\0".join(self._keys).decode().split("\0")
        for place in repeated.tolist():
            origin = int(first[inverse[place]])
            if keys[place] == keys[origin]:
                what = " and ".join(self._names)
                reason = f"the same {what} as feature {numbers[origin]}"
                findings.refuse(int(numbers[place]), keys[place].partition("\t")[0], reason)
