"""Logs: one line an event through structlog, plain for people on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
import time

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.foundation.identity import new_id


def configure_logging(*, level: int = logging.INFO) -> None:
    """Send everything, the standard library's loggers too, through one structlog chain to standard error."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    terminal = sys.stderr.isatty()
    # A plain traceback shows no variables: those of a failing sign-in hold the password.
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    last: list[structlog.types.Processor] = [] if terminal else [structlog.processors.format_exc_info]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("rasterio", "apscheduler", "alembic", "uvicorn.access", "pyogrio", "fiona"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class RequestLog:
    """ASGI middleware: one line a request, with an id that the answer carries as `X-Request-Id`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.log = logging.getLogger("redline.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = str(new_id())
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, named)
            elapsed = (time.perf_counter() - started) * 1000
            self.log.info("%s %s %d %.0f ms", scope["method"], scope["path"], status, elapsed)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")


def install_request_log(app: FastAPI) -> None:
    """Log every request with an id that the answer carries as `X-Request-Id`."""
    app.add_middleware(RequestLog)
