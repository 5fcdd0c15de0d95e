"""How large a request may be, checked before anything of it is kept."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.foundation.errors import TooLarge, problem_response


class BodyLimit:
    """ASGI middleware: a body over `limit` bytes is answered 413, whether its length is declared or not.

    Forms are read, and spooled to disk, before the endpoint or even the sign-in is looked at; an endpoint's own limit
    comes too late to spare the disk.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            await problem_response(self._problem())(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                # Any other exception FastAPI would turn into "400, error parsing the body".
                raise HTTPException(413, self._problem().detail)
            return message

        await self.app(scope, counted, send)

    def _problem(self) -> TooLarge:
        return TooLarge(f"A request may be at most {self.limit} bytes long.")
