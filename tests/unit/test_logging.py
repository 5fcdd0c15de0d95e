"""What a fault leaves in the log: where it was, and no secret."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.foundation.database import Database
from app.foundation.logging import configure_logging

SECRET = "correct horse battery"


class Screen(io.StringIO):
    """Standard error, on a terminal or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("terminal", [True, False])
def test_a_fault_shows_its_place_and_no_variables(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    configure_logging()

    def sign_in(password: str) -> None:
        raise RuntimeError("the hasher broke")

    try:
        sign_in(SECRET)
    except RuntimeError:
        logging.getLogger("test").exception("fault")
    said = screen.getvalue()
    assert "the hasher broke" in said
    assert "in sign_in" in said
    assert SECRET not in said


def test_a_database_error_hides_the_parameters(database: Database) -> None:
    with pytest.raises(ProgrammingError) as caught, database.transaction() as session:
        session.execute(text("select * from nothing where secret = :secret"), {"secret": SECRET})
    assert "nothing" in str(caught.value)
    assert SECRET not in str(caught.value)
