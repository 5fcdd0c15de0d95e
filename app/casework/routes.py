"""All of casework's routes, one file per resource."""

from app.casework import case_routes, detection_routes, evidence_routes, judgement_routes, rebound_routes

routers = (
    detection_routes.router,
    judgement_routes.router,
    case_routes.router,
    evidence_routes.router,
    rebound_routes.router,
)
