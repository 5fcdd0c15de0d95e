"""A database that is away is told from a fault of the service."""

from __future__ import annotations

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from app.foundation.errors import install_error_handlers


def answer(fault: Exception) -> tuple[int, str | None]:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/")
    def fail() -> None:
        raise fault

    said = TestClient(app, raise_server_exceptions=False).get("/")
    assert "127.0.0.1" not in said.text
    return said.status_code, said.headers.get("Retry-After")


def test_a_server_that_is_not_there_is_busy() -> None:
    with pytest.raises(OperationalError) as refused, create_engine("postgresql+psycopg://x@127.0.0.1:1/x").connect():
        pass
    assert answer(refused.value) == (503, "10")
    for kind in (psycopg.errors.AdminShutdown, psycopg.errors.CannotConnectNow, psycopg.errors.ConnectionFailure):
        assert answer(OperationalError("select 1", {}, kind("x"))) == (503, "10"), kind


def test_a_full_disk_of_the_database_is_a_fault() -> None:
    assert answer(OperationalError(str(text("select 1")), {}, psycopg.errors.DiskFull("x")))[0] == 500
