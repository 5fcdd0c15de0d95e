"""The OpenAPI document, made once a test run and worker: an app and its document take two seconds of CPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from app.main import create_app
from app.settings import Settings


@cache
def document() -> dict[str, Any]:
    """The document of a service with nothing set. Not to be changed."""
    return create_app(Settings(_env_file=None)).openapi()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of everything that it offers."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation
