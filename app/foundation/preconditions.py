"""`If-Match`: writes on a versioned resource say which version they decided on."""

import re
from typing import Annotated

from fastapi import Depends, Header, Response

from app.foundation.errors import PreconditionRequired, StaleVersion

_TAG = re.compile(r'"(\d{1,9})"')


def etag(version: int) -> str:
    return f'"{version}"'


def set_etag(response: Response, version: int) -> None:
    response.headers["ETag"] = etag(version)


def _expected_version(
    if_match: Annotated[
        str | None, Header(description="The `ETag` that the decision was made on", examples=['"3"'])
    ] = None,
) -> int:
    if if_match is None:
        raise PreconditionRequired("Send If-Match with the ETag that you decided on.")
    match = _TAG.fullmatch(if_match.strip())
    if match is None:
        raise StaleVersion("If-Match names no version of this resource; read it again and send its ETag.")
    return int(match[1])


ExpectedVersion = Annotated[int, Depends(_expected_version)]
