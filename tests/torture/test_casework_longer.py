"""The casework machine, for longer than `make test` has time: tests/properties/test_casework_machine.py."""

import pytest

from tests.conftest import World
from tests.properties.test_casework_machine import casework, drive


@pytest.mark.torture
def test_many_random_accounts_and_commands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with casework(world, monkeypatch) as machine:
        drive(machine, examples=60, steps=60)
