"""Features written to the database batch by batch, while the next batch is being read."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from hashlib import sha256
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import shapely
import uuid_utils
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.boundaries.models import LayerVersion
from app.boundaries.placing import Grounds
from app.boundaries.reading import DAYS, TEXTS, Features
from app.foundation.geometry import geodesic_areas_m2

# COPY is refused on a table with row-level security; arrays unnested in one statement are nearly as fast, and go
# through every check. Each array is a text of PostgreSQL's own form, and geometries are one piece of bytes: both take
# a fraction of the time of a parameter a row.
_INSERT = text(
    """
    insert into boundary_features (
        id, version_id, layer, code, name, level, category, holder, document, valid_from, valid_to, established_on,
        attributes, area_m2, digest, geom, unit_ids
    )
    select
        told.id, :version, :layer, code, name, level, category, holder, document,
        coalesce(valid_from, :valid_from), valid_to, established_on, cast(attributes as jsonb), area_m2,
        substring(:digests, cast(16 * place - 15 as integer), 16),
        cast(substring(:shapes, begin, length) as geometry), cast(unit_ids as uuid[])
    from unnest(
        cast(:id as uuid[]), cast(:code as text[]), cast(:name as text[]), cast(:level as text[]),
        cast(:category as text[]), cast(:holder as text[]), cast(:document as text[]), cast(:valid_from_each as date[]),
        cast(:valid_to as date[]), cast(:established_on as date[]), cast(:attributes as text[]),
        cast(:area_m2 as float8[]), cast(:begin as integer[]), cast(:length as integer[]), cast(:unit_ids as text[])
    ) with ordinality as told (
        id, code, name, level, category, holder, document, valid_from, valid_to, established_on, attributes, area_m2,
        begin, length, unit_ids, place
    )
    """
)
# Corners in one statement: some 16 MB of text.
_CORNERS = 500_000


class Writer:
    """Writes a version's features; a context, at whose end all are written.

    One statement runs in a thread of its own while the caller reads and measures the next batch; the session must not
    be used otherwise meanwhile.
    """

    def __init__(self, session: Session, version: LayerVersion, grounds: Grounds | None) -> None:
        """
        Args:
            grounds: of the units that see the features; None: nobody's yet (divisions).
        """
        self._session, self._grounds = session, grounds
        self._constants = {"version": version.id, "layer": version.layer.value, "valid_from": version.valid_from}
        self._thread = ThreadPoolExecutor(1, "import")
        self._running: Future[Any] | None = None
        self._digests: list[bytes] = []
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # After an error the statement still has to end before the connection can be used to roll back.
            if self._running is not None and (failed := self._running.exception()) and error is None:
                raise failed
        finally:
            self._thread.shutdown()

    def put(self, features: Features) -> None:
        """Write some features, their areas, digests and units worked out."""
        areas = geodesic_areas_m2(features.geometries)
        shapes = features.ewkb()
        digests = features.digests(shapes)
        self._digests.append(b"".join(digests))
        self.count += len(features)
        units = self._grounds.units_of(features.geometries, areas) if self._grounds else [()] * len(features)
        known = {told: f"{{{','.join(told)}}}" for told in set(units)}
        columns: dict[str, list[Any]] = {name: features.texts[name] for name in TEXTS}
        columns |= {"attributes": features.attributes, "unit_ids": [known[told] for told in units]}
        bare: dict[str, list[Any]] = {
            "id": [str(uuid_utils.uuid7()) for _ in range(len(features))],
            "area_m2": areas.tolist(),
        }
        bare |= {name: _written(features.days[name]) for name in DAYS}
        for part in _parts(features.geometries):
            given: dict[str, Any] = {name: _quoted(values[part]) for name, values in columns.items()}
            given |= {name: _bare(values[part]) for name, values in bare.items()}
            given["valid_from_each"] = given.pop("valid_from")
            given |= {"digests": b"".join(digests[part]), "shapes": b"".join(shapes[part])}
            lengths = np.array([len(shape) for shape in shapes[part]])
            given |= {"length": _bare(lengths.tolist()), "begin": _bare((np.cumsum(lengths) - lengths + 1).tolist())}
            self._send(given | self._constants)

    def _send(self, given: dict[str, Any]) -> None:
        if self._running is not None:
            self._running.result()
        self._running = self._thread.submit(self._session.execute, _INSERT, given)

    def digest(self) -> str:
        """SHA-256 of the content so far, the same for any order of features."""
        halves = np.frombuffer(b"".join(self._digests), ">u8").reshape(-1, 2)
        return sha256(halves[np.lexsort((halves[:, 1], halves[:, 0]))].tobytes()).hexdigest()


def _parts(shapes: npt.NDArray[np.object_]) -> Iterable[slice]:
    """Runs of features with about `_CORNERS` corners, or with one feature of more."""
    which = np.cumsum(shapely.get_num_coordinates(shapes)) // _CORNERS
    edges = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), len(shapes)]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def _written(days: list[date | None]) -> list[str]:
    """Days as PostgreSQL reads them; none at all when there is no day."""
    return ["NULL" if day is None else day.isoformat() for day in days] if any(days) else []


def _bare(values: list[Any]) -> str:
    """An array of values that need no quotes."""
    return f"{{{','.join(map(str, values))}}}"


def _quoted(values: list[str | None]) -> str:
    """An array of texts; an empty one stands for nothing but NULLs, as `unnest` fills up with them."""
    if not any(values):
        return "{}"
    if None in values:
        return f"{{{','.join(['NULL' if value is None else _escaped(value) for value in values])}}}"
    # No text holds a zero character, so all are escaped at once.
    return f"{{{_escaped(_ZERO.join(values)).replace(_ZERO, _BETWEEN)}}}"  # type: ignore[arg-type]


def _escaped(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_ZERO, _BETWEEN = "\0", '","'
