"""How large a request may be, checked before anything of it is kept."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.foundation.errors import TooLarge, problem_response


class BodyLimit:
    """ASGI middleware: a body over `limit` bytes is answered 413, whether its length is declared or not; where
    somebody says who they are, over `import_limit` at a path that ends in `/imports`, and over `piece_limit` at a piece
    of a resumable upload, which goes to storage as it arrives.

    Forms are read, and spooled to disk, before the endpoint or even the sign-in is looked at; an endpoint's own limit
    comes too late to spare the disk.
    """

    def __init__(self, app: ASGIApp, limit: int, import_limit: int, piece_limit: int) -> None:
        self.app = app
        self.limit = limit
        self.import_limit = import_limit
        self.piece_limit = piece_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        limit = self._limit_of(scope) if b"authorization" in headers else self.limit
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await problem_response(_problem(limit))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                # Any other exception FastAPI would turn into "400, error parsing the body".
                raise HTTPException(413, _problem(limit).detail)
            return message

        await self.app(scope, counted, send)

    def _limit_of(self, scope: Scope) -> int:
        if scope["path"].endswith("/imports"):
            return self.import_limit
        if scope["method"] == "PATCH" and "/evidence/uploads/" in scope["path"]:
            return self.piece_limit
        return self.limit


def _problem(limit: int) -> TooLarge:
    return TooLarge(f"A request may be at most {limit} bytes long.")
