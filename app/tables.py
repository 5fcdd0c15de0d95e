"""All tables, for migrations: importing a room's models registers them."""

from app.access import models as access
from app.boundaries import models as boundaries
from app.casework import (
    clue_models,
    deadline_models,
    evidence_models,
    interval_models,
    recovery_models,
    review_models,
    supervision_models,
)
from app.casework import models as casework
from app.foundation import timetable
from app.foundation.database import Base
from app.imagery import models as imagery
from app.messages import models as messages
from app.monitoring import models as monitoring
from app.statistics import models as statistics

metadata = Base.metadata

__all__ = [
    "access",
    "boundaries",
    "casework",
    "clue_models",
    "deadline_models",
    "evidence_models",
    "imagery",
    "interval_models",
    "messages",
    "metadata",
    "monitoring",
    "recovery_models",
    "review_models",
    "statistics",
    "supervision_models",
    "timetable",
]
