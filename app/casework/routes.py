"""All of casework's routes, one file per resource."""

from app.casework import (
    case_routes,
    detection_routes,
    evidence_routes,
    judgement_routes,
    ledger_routes,
    look_back_routes,
    sample_routes,
    track_routes,
)

routers = (
    detection_routes.router,
    judgement_routes.router,
    case_routes.router,
    evidence_routes.router,
    ledger_routes.router,
    ledger_routes.case_router,
    track_routes.router,
    look_back_routes.router,
    sample_routes.router,
)
