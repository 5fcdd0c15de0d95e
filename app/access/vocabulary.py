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
