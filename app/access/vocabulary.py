"""Words of access. Apart from the tables, so that the command line has them without loading a database library."""

from __future__ import annotations

from enum import StrEnum


class UnitLevel(StrEnum):
    province = "province"
    prefecture = "prefecture"
    county = "county"
    zone = "zone"
    agency = "agency"
    department = "department"


class Role(StrEnum):
    officer = "officer"
    county = "county"
    agency = "agency"
    department = "department"
    prefecture = "prefecture"
    province = "province"
    inspector = "inspector"
    admin = "admin"


class Scope(StrEnum):
    """What a token may be used for; never more than its account may do."""

    read = "read"
    detections = "detections"
    cases = "cases"
    administration = "administration"


class AccessKind(StrEnum):
    """What is kept of who came in, of who changed whose account or token, and of who took what away."""

    sign_in = "sign_in"
    sign_in_failed = "sign_in_failed"
    provider_first_seen = "provider_first_seen"
    account_created = "account_created"
    account_changed = "account_changed"
    password_changed = "password_changed"  # noqa: S105  # a word, not a secret
    password_reset = "password_reset"  # noqa: S105  # a word, not a secret
    token_created = "token_created"  # noqa: S105  # a word, not a secret
    token_revoked = "token_revoked"  # noqa: S105  # a word, not a secret
    evidence_read = "evidence_read"
    export_taken = "export_taken"
