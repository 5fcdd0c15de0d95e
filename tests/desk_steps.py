"""Detections on the officer's desk, for tests."""

from typing import Any

import httpx2

from app.access import service as access
from app.access.models import Role
from tests.casework_steps import Desk, add_detection
from tests.conftest import PASSWORD, PREFECTURE, PROVINCE, World


def add_officers(world: World) -> Desk:
    """The desk, with a second officer of the prefecture and of the province."""
    with world.database.transaction(see_all=True) as session:
        for username, unit in (("officer-prefecture-2", PREFECTURE), ("officer-2", PROVINCE)):
            access.add_account(session, username=username, password=PASSWORD, role=Role.officer, unit_code=unit)
    return Desk(world)


def place(world: World, **given: Any) -> str:
    """A detection; `given` sets its columns."""
    with world.database.transaction(see_all=True) as session:
        detection = add_detection(session)
        for name, value in given.items():
            setattr(detection, name, value)
        return str(detection.id)


def do(desk: Desk, username: str, detection: str, command: str, version: int, **body: Any) -> httpx2.Response:
    return desk.post(username, f"/detections/{detection}/{command}", body, version)
