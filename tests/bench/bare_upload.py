"""The least that an HTTP service can do with a file: Starlette writes the body of a request to a disk, and syncs it.

Served as the API is: uvicorn with the same loop and parser, one process for each port.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def app(folder: Path) -> Starlette:
    async def take(request: Request) -> Response:
        with (folder / uuid4().hex).open("xb", buffering=0) as target:
            async for chunk in request.stream():
                target.write(chunk)
            await run_in_threadpool(os.fsync, target.fileno())
        return Response(status_code=201)

    return Starlette(routes=[Route("/", take, methods=["POST"])])


if __name__ == "__main__":
    uvicorn.run(app(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
