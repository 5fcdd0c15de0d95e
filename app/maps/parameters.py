"""What a request for items or an export asks for: its query parameters, each a 400 that names it when it is wrong."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.foundation.errors import BadRequest
from app.maps.collections import Collection, meets_box
from app.maps.filters import compile_filter, equals_text
from app.maps.moments import condition, parse_moment

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
CRS84H = "http://www.opengis.net/def/crs/OGC/0/CRS84h"
DEFAULT_LIMIT = 100
MAX_LIMIT = 10_000
# What chooses features, in items and exports alike; besides, every queryable by its name.
CHOOSING = ("bbox", "bbox-crs", "datetime", "filter", "filter-lang", "filter-crs")
PAGING = ("limit", "cursor", "crs", "f")


def read_parameters(request: Request, allowed: Sequence[str]) -> dict[str, str]:
    """The query parameters of a request, each at most once (OGC 17-069r4, 7.8: any other is a 400).

    Raises:
        BadRequest: one is unknown, or is given twice.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in allowed:
            known = ", ".join(allowed) or "none"
            raise BadRequest(f"There is no query parameter {name!r} here; there are: {known}.")
        if name in given:
            raise BadRequest(f"The query parameter {name} is given more than once.")
        if "\x00" in value:
            raise BadRequest(f"{name} must not contain NUL (the character U+0000).")
        given[name] = value
    return given


def check_format(given: Mapping[str, str], *names: str) -> None:
    """Raises: BadRequest: `f` asks for a format that there is not."""
    if given.get("f", names[0]) not in names:
        raise BadRequest(f"f takes {' or '.join(names)}.")


def parse_limit(given: Mapping[str, str]) -> int:
    """Raises: BadRequest: `limit` is no number from 1 to the most."""
    text = given.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise BadRequest(f"limit takes a number from 1 to {MAX_LIMIT:,}.")
    # More than the most is cut to the most (/req/core/fc-limit-response-1), so that clients need not know it.
    return min(int(text), MAX_LIMIT)


def wants_hits(given: Mapping[str, str]) -> bool:
    """Raises: BadRequest: `resultType` is neither `results` nor `hits`."""
    wanted = given.get("resultType", "results")
    if wanted not in ("results", "hits"):
        raise BadRequest("resultType takes results or hits.")
    return wanted == "hits"


def encode_cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def decode_cursor(text: str | None) -> UUID | None:
    """Raises: BadRequest: it is no cursor."""
    if text is None:
        return None
    try:
        return UUID(bytes=base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True))
    except ValueError:
        raise BadRequest("The cursor is not one that a next link gave out; start again without it.") from None


def parse_box(text: str) -> list[tuple[float, float, float, float]]:
    """West, south, east, north of `bbox`; two boxes when it crosses the antimeridian. Heights are passed over.

    Raises:
        BadRequest: it is not four or six finite numbers, or south is north of north.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 6:
        numbers = [*numbers[:2], *numbers[3:5]]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise BadRequest("bbox takes four numbers, west,south,east,north in degrees, or six with heights between.")
    west, south, east, north = numbers
    if south > north or not all(-90 <= value <= 90 for value in (south, north)):
        raise BadRequest("bbox has its south and north from -90 to 90 degrees, south first.")
    if not all(-180 <= value <= 180 for value in (west, east)):
        raise BadRequest("bbox has its west and east from -180 to 180 degrees.")
    if west <= east:
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _check_crs(given: Mapping[str, str], name: str) -> None:
    if given.get(name, CRS84) not in (CRS84, CRS84H):
        raise BadRequest(f"{name} takes {CRS84} alone: longitude, latitude in degrees.")


@dataclass(frozen=True)
class Choice:
    """Which features of a collection a request asks for."""

    collection: Collection
    given: Mapping[str, str]

    @property
    def is_plain(self) -> bool:
        """Whether it asks for nothing but what there is today, in one box or anywhere."""
        boxes = parse_box(self.given["bbox"]) if "bbox" in self.given else []
        return len(boxes) < 2 and not any(
            name in self.given
            for name in (*self.collection.queryables, "datetime", "filter", "filter-lang", "filter-crs")
        )

    def box(self) -> tuple[float, float, float, float] | None:
        """The box of a plain choice. Raises: BadRequest: it cannot be understood."""
        self._check_crs()
        return parse_box(self.given["bbox"])[0] if "bbox" in self.given else None

    def _check_crs(self) -> None:
        for name in ("crs", "bbox-crs", "filter-crs"):
            _check_crs(self.given, name)

    def conditions(self, session: Session) -> list[ColumnElement[bool]]:
        """Raises: BadRequest: a parameter cannot be understood; which, and why."""
        given, collection = self.given, self.collection
        self._check_crs()
        moment = parse_moment(given["datetime"]) if "datetime" in given else None
        found = [condition(session, collection, moment)]
        if "bbox" in given:
            boxes = [meets_box(collection, box) for box in parse_box(given["bbox"])]
            found.append(boxes[0] if len(boxes) == 1 else boxes[0] | boxes[1])
        for name, entry in collection.queryables.items():
            if name in given:
                found.append(equals_text(entry, given[name]))
        if "filter" in given:
            found.append(compile_filter(collection, given["filter"], given.get("filter-lang", "cql2-text")))
        elif "filter-lang" in given or "filter-crs" in given:
            raise BadRequest("filter-lang and filter-crs go with a filter; there is none.")
        return found
