"""The life of a detection's review and of a case (DESIGN section 7), as data."""

from enum import StrEnum


class ReviewState(StrEnum):
    new = "new"
    reviewing = "reviewing"
    dismissed = "dismissed"
    authorised = "authorised"
    linked = "linked"
    dispatched = "dispatched"


class CaseState(StrEnum):
    dispatched = "dispatched"
    returned = "returned"
    verifying = "verifying"
    unfounded_proposed = "unfounded_proposed"
    permitted_proposed = "permitted_proposed"
    unfounded = "unfounded"
    permitted = "permitted"
    confirmed = "confirmed"
    planned = "planned"
    rectifying = "rectifying"
    closure_requested = "closure_requested"
    accepted = "accepted"
    publicised = "publicised"
    closed = "closed"
    reopened = "reopened"
    merged = "merged"
    withdrawn = "withdrawn"
