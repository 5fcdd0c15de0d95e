"""All of casework's routes, one file per resource."""

from app.casework import (
    case_routes,
    chip_routes,
    clue_routes,
    deadline_request_routes,
    deadline_routes,
    desk_routes,
    detection_routes,
    evidence_routes,
    judgement_routes,
    ledger_routes,
    ledger_sheet_routes,
    look_back_routes,
    outline_routes,
    overdue_routes,
    rebound_routes,
    recovery_routes,
    repeat_routes,
    sample_routes,
    track_routes,
    upload_routes,
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
    # `uploads` is no id of evidence.
    upload_routes.router,
    upload_routes.piece_router,
    chip_routes.case_router,
    chip_routes.detection_router,
    evidence_routes.router,
    track_routes.router,
    deadline_routes.router,
    look_back_routes.router,
    sample_routes.router,
    ledger_routes.router,
    ledger_routes.case_router,
    clue_routes.router,
    rebound_routes.router,
    recovery_routes.router,
    repeat_routes.router,
    deadline_request_routes.router,
    overdue_routes.router,
)
