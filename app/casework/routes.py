"""All of casework's routes, one file per resource."""

from app.casework import (
    case_routes,
    clue_routes,
    desk_routes,
    detection_routes,
    evidence_routes,
    judgement_routes,
    ledger_routes,
    ledger_sheet_routes,
    look_back_routes,
    outline_routes,
    rebound_routes,
    repeat_routes,
    sample_routes,
    track_routes,
)

# What stands beside the single detections goes before them: `audits` is no id.
routers = (
    desk_routes.router,
    detection_routes.router,
    judgement_routes.router,
    outline_routes.router,
    # `ledger.xlsx` is no id either.
    ledger_sheet_routes.router,
    case_routes.router,
    evidence_routes.router,
    track_routes.router,
    look_back_routes.router,
    sample_routes.router,
    ledger_routes.router,
    ledger_routes.case_router,
    clue_routes.router,
    rebound_routes.router,
    repeat_routes.router,
)
