"""The ledger as open data: a row is a case as the ledger had it at an instant, with its ground."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import shapely
from sqlalchemy import func
from sqlalchemy.orm import Session

from app.access.models import Unit
from app.access.service import Caller
from app.casework.interval_models import CaseInterval
from app.casework.models import Case
from app.foundation.time import legal_day
from app.statistics.dimensions import Dimension
from app.statistics.figures import Question, cell
from app.statistics.labels import Labels
from app.statistics.open_data import LEDGER, Kind
from app.statistics.open_files import Batch
from app.statistics.unit_keys import UnitKeys

BATCH = 5_000


class Ground(StrEnum):
    """How exactly a file says where a case is."""

    exact = "exact"
    # A point to 0.01°, about a kilometre: for files that are published.
    coarse = "coarse"


_COARSE = 2
# A centimetre.
_EXACT = 7
_NAMED: Mapping[str, Dimension] = MappingProxyType(
    {
        f"{name}_name": Dimension(name)
        for name in (
            "state", "supervision_source", "activity", "severity", "verdict", "protected_area_level", "key_problem",
        )
    }
)  # fmt: skip
_OWN = {"number": Case.number, "lead_unit": Unit.code, "lead_unit_name": Unit.name}
_STORED = [column.name for column in LEDGER if hasattr(CaseInterval, column.name)]


def ledger(
    session: Session, caller: Caller, question: Question, measure: str | None, ground: Ground
) -> tuple[datetime, Iterator[Batch]]:
    """The instant answered for, and the cases by number in batches.

    Args:
        measure: those alone that this figure counts.

    Raises:
        Invalid: as `figures.cell`.
    """
    effective, statement = cell(session, caller, question, measure)
    stored = [getattr(CaseInterval, name) for name in _STORED]
    own = [column.label(name) for name, column in _OWN.items()]
    wanted = statement.with_only_columns(
        *stored, *own, func.st_asbinary(Case.geom).label("geometry"), maintain_column_froms=True
    ).order_by(Case.number)
    labels = Labels(session, UnitKeys(session, question.units, legal_day(effective)))

    def batches() -> Iterator[Batch]:
        for rows in session.execute(wanted.execution_options(yield_per=BATCH)).mappings().partitions():
            yield _batch(rows, labels, ground)

    return effective, batches()


def _batch(rows: Sequence[Any], labels: Labels, ground: Ground) -> Batch:
    told: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in (*_STORED, *_OWN)}
    told["case_id"] = [str(value) for value in told["case_id"]]
    told["state"] = [value.value for value in told["state"]]
    for name, dimension in _NAMED.items():
        told[name] = [value and labels.of(dimension, value) for value in told[dimension.value]]
    shapes = shapely.from_wkb([bytes(row["geometry"]) for row in rows])
    points = shapely.get_coordinates(shapely.point_on_surface(shapes))
    points = np.round(points, _COARSE if ground is Ground.coarse else _EXACT)
    told["longitude"], told["latitude"] = points[:, 0].tolist(), points[:, 1].tolist()
    drawn = shapely.points(points) if ground is Ground.coarse else shapes
    told["geometry"] = list(shapely.to_wkb(drawn))
    assert all(column.name in told or column.type is Kind.geometry for column in LEDGER)
    return told
