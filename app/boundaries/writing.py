"""Features written to the database batch by batch, while the next batch is being read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.boundaries import encoding
from app.boundaries.models import LayerVersion
from app.boundaries.placing import Grounds
from app.boundaries.reading import Features
from app.foundation.binary_rows import copy_in
from app.foundation.geometry import geodesic_areas_m2
from app.foundation.identity import new_ids

# From so many features on, a version has a partition of its own: its indexes are built at once, in a fifth of the time.
LARGE = 50_000


class Writer:
    """Copies a version's features into a table of its own; a context, at whose end all are there.

    Pieces are sent in a thread of its own while the caller reads and measures the next batch; the session must not be
    used otherwise meanwhile. Afterwards `take_in` makes them features of the layer.
    """

    def __init__(self, session: Session, version: LayerVersion, grounds: Grounds | None) -> None:
        """
        Args:
            version: proposed, and flushed.
            grounds: of the units that see the features; None: nobody's yet (divisions).
        """
        self._session, self._version, self._grounds = session, version, grounds
        self._constants = (version.id, version.layer.value, version.valid_from)
        self._digests: list[bytes] = []
        self.count = 0

    def __enter__(self) -> Self:
        table = self._session.scalar(text("select redline_stage_features(:id)"), {"id": self._version.id})
        self._end = ExitStack()
        self._copy = self._end.enter_context(copy_in(self._session, str(table), encoding.COLUMNS))
        # Entered last and so left first: whatever happened, the thread is done with the connection by then.
        self._thread = self._end.enter_context(ThreadPoolExecutor(1, "import"))
        self._running = self._thread.submit(self._copy.write, encoding.BEGIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._end:
            if error is not None:
                raise error
            self._running.result()
            self._copy.write(encoding.END)

    def put(self, features: Features) -> None:
        """Write some features, their areas, digests and units worked out."""
        areas = geodesic_areas_m2(features.geometries)
        shapes = features.ewkb()
        digests = features.digests(shapes)
        self._digests.append(b"".join(digests))
        self.count += len(features)
        units = self._grounds.units_of(features.geometries, areas) if self._grounds else [()] * len(features)
        block = encoding.rows(
            features,
            constants=self._constants,
            ids=new_ids(len(features)),
            areas=areas,
            digests=self._digests[-1],
            shapes=pa.array(shapes, pa.large_binary()),
            unit_ids=units,
        )
        self._running.result()
        self._running = self._thread.submit(self._copy.write, block)

    def take_in(self) -> None:
        """Make what was copied features of the layer; policies apply to them from now on."""
        taken = text("select redline_take_features_in(:id, :apart)")
        self._session.execute(taken, {"id": self._version.id, "apart": self.count >= LARGE})

    def digest(self) -> str:
        """SHA-256 of the content so far, the same for any order of features."""
        halves = np.frombuffer(b"".join(self._digests), ">u8").reshape(-1, 2)
        return sha256(halves[np.lexsort((halves[:, 1], halves[:, 0]))].tobytes()).hexdigest()
