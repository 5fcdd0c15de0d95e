"""A valid county token looks for rows of the neighbouring county: by every endpoint, filter, format, tile and link.

The test walks the OpenAPI document. A query parameter that takes text or an identifier, and of which nobody told it
what a neighbour's value is, fails it. It runs three times: as the service is, with row-level security disabled in the
tables themselves, and with the queries' own wall taken away.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.boundaries.models import Layer
from app.maps.collections import COLLECTIONS
from tests.api.test_jurisdiction import PUBLIC, Ids, _fill, _foreign, _parameters
from tests.api.test_tiles import tile_at
from tests.casework_steps import API, Desk, add_detection
from tests.conftest import COUNTY2, World
from tests.openapi import document, operations
from tests.walls import owner, walls

__all__ = ["owner", "walls"]

# What stands in every free text of the neighbour's rows.
MARK = "xq7neighbour"
ELSEWHERE = "222401"
BOX = "126.89,41.79,126.92,41.82"
EMPTY_BOX = "130.0,43.0,130.001,43.001"
CORNER = (126.905, 41.805)
# How an answer looks, not what is in it; a cursor is a place in a list that the wall has cut already.
FORM = {
    "bbox-crs", "crs", "cursor", "encoding", "f", "filter-crs", "filter-lang", "format", "geometry", "language",
    "limit", "resultType",
}  # fmt: skip
# Values of the neighbour's, and such as are nobody's: what a caller learns by the two must be the same.
TOLD: dict[str, list[tuple[str, str]]] = {
    "bbox": [(BOX, EMPTY_BOX)],
    "unit": [(COUNTY2, ELSEWHERE)],
    "prefecture": [("220600", "222400")],
    "province": [("220000", "220000")],
    "lead_unit": [(COUNTY2, ELSEWHERE)],
    "acting": [(COUNTY2, ELSEWHERE)],
    "number": [("RL-1", "RL-2")],
    "username": [("county2", "nobody")],
    "datetime": [("2020-01-01/..", "1990-01-01/1990-01-02")],
}
# Kinds, by which everybody may ask.
ANY: dict[str, list[str]] = {
    "activity": ["mining"], "as_of": ["2024-01-01"], "state": ["filed"], "rule": ["verifying"], "measure": ["total"],
    # Dimensions of figures.
    "supervision_source": ["satellite_monitoring"], "any_source": ["media"], "supervision_level": ["province"],
    "severity": ["none"], "verdict": ["undetermined"], "priority": ["ordinary"], "origin": ["unrecorded"],
    "key_problem": ["mining_quarrying"], "protected_area": ["unrecorded"], "protected_area_level": ["national"],
    "zone": ["unrecorded"], "redline": ["unrecorded"], "year": ["2024"], "quarter": ["2024Q1"], "month": ["2024-01"],
}  # fmt: skip
OTHERS = (".parquet", ".gpkg")
FORMATS = {"date": "2024-01-01", "date-time": "2024-01-01T00:00:00Z"}
# Identifiers, by the parameter's name: the kind of row that it names.
ROWS = {
    "version": (("{layer}", "version_id"),),
    "from_version": (("{layer}", "version_id"),),
    "to_version": (("{layer}", "version_id"),),
    "plan": (("plans", "plan_id"),),
    "source": (("sources", "source_id"),),
    "case_id": (("cases", "case_id"),),
    "case": (("cases", "case_id"),),
    "account_id": (("accounts", "account_id"),),
    "sample_id": (("samples", "sample_id"),),
    "with": (("statistics", "snapshot_id"),),
}

# Documents of figures, whose questions are those of `/statistics/figures`.
DOCUMENTS = {f"{API}/statistics/{name}" for name in ("rectification-ledger.xlsx", "overdue.xlsx", "bulletin.docx")}


@dataclass
class Neighbour:
    """The neighbour's rows, and what would give them away."""

    ids: Ids
    told: set[str]
    # By collection, what the neighbour itself reads of its row there.
    features: dict[str, dict[str, Any]]

    def given_away(self, answer: httpx2.Response, *said: str) -> set[str]:
        """What an answer holds of the neighbour's that the question did not say itself."""
        content = b"".join([*_unpacked(answer.content), str(answer.headers).encode()]).decode(errors="replace").lower()
        return {secret for secret in self.told if secret in content and not any(secret in words for words in said)}


def _unpacked(content: bytes) -> Iterator[bytes]:
    yield content
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())


@pytest.fixture
def neighbour(world: World, owner: Engine) -> Neighbour:
    with world.database.transaction(see_all=True) as session:
        ids = _foreign(session)
    # What stands for no row is made up anew, and layers and units are known to everybody.
    rows = {str(value) for value in ids.values() if isinstance(value, UUID)}
    _mark(owner, rows)
    features = {}
    for name in COLLECTIONS:
        answer = world.client.get(f"/ogc/collections/{name}/items", headers=world.headers("county2"))
        found = [entry for entry in answer.json()["features"] if str(entry.get("id")) in rows]
        assert found, f"{name}: the neighbour does not see its own row"
        features[name] = {"id": found[0]["id"], **found[0]["properties"]}
    return Neighbour(ids, rows | {MARK}, features)


def _mark(owner: Engine, rows: set[str]) -> None:
    """Write `MARK` into every text of the neighbour's rows that takes it: of tables that are yet to come, too."""
    columns = text(
        "select c.table_name, c.column_name from information_schema.columns c"
        " join information_schema.columns i on i.table_name = c.table_name and i.column_name = 'id'"
        " where c.table_schema = 'public' and c.data_type = 'text' and i.data_type = 'uuid'"
        # What everybody may know: units and accounts hold no place, versions of layers are the province's.
        " and c.table_name not in ('units', 'accounts', 'tokens', 'layer_versions', 'sources')"
        # What queries choose by, and what files and hashes are found by.
        " and not c.column_name = any('{number,code,activity,detector,sha256,hash,digest}')"
    )
    marked = 0
    with owner.connect() as connection:
        # No trigger keeps what is written once.
        connection.execute(text("set session_replication_role = replica"))
        connection.commit()
        for table, column in connection.execute(columns).all():
            statement = f'update "{table}" set "{column}" = :mark where id::text = any(:rows)'
            try:
                marked += connection.execute(text(statement), {"mark": MARK, "rows": list(rows)}).rowcount
                connection.commit()
            except DBAPIError:
                # A code of a list.
                connection.rollback()
        connection.execute(text("reset session_replication_role"))
    assert marked > 10


@dataclass(frozen=True)
class Question:
    """A query parameter with a value of the neighbour's, and one that is nobody's."""

    path: str
    name: str
    neighbours: str
    nobodys: str


def _collection(path: str) -> str | None:
    match = re.fullmatch(r"/(?:ogc/collections|api/v1/exports)/([a-z-]+)(?:/items)?", path)
    return match[1] if match else None


def _nobodys(value: str) -> str:
    try:
        UUID(value)
        return str(uuid4())
    except ValueError:
        return value if value in ("true", "false") or re.match(r"\d", value) else "nobody"


def _values(path: str, parameter: dict[str, Any], neighbour: Neighbour) -> Iterator[tuple[str, str]]:
    """The values of one query parameter: the neighbour's and nobody's."""
    name, kinds = parameter["name"], list(_kinds(parameter["schema"]))
    collection = _collection(path)
    if collection is not None and name in neighbour.features[collection]:
        value = neighbour.features[collection][name]
        if value is not None:
            given = str(value).lower() if isinstance(value, bool) else str(value)
            yield given, _nobodys(given)
    elif collection is not None and name == "filter":
        yield from _filters(neighbour.features[collection]["id"])
    elif name in TOLD:
        yield from TOLD[name]
    elif all(_is_listed(kind) for kind in kinds):
        # Of a list, a day, a number, or true or false: anybody may say it.
        yield from ((value, value) for kind in kinds for value in _listed(kind))
    elif name in ROWS:
        yield from ((str(neighbour.ids[key]), str(uuid4())) for key in ROWS[name])
    elif name in ANY:
        yield from ((value, value) for value in ANY[name])
    elif name in ("holder", "code"):
        yield MARK, "nobody"
    else:
        assert collection is not None, f"{path}: tell this test what {name} is for a neighbour's row"


def _kinds(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a parameter may be: the branches of its schema, without references, lists as what is in them."""
    if "$ref" in schema:
        yield from _kinds(document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]])
    elif schema.get("type") == "array":
        yield from _kinds(schema["items"])
    elif "anyOf" in schema:
        for branch in schema["anyOf"]:
            yield from _kinds(branch)
    else:
        yield schema


def _is_listed(kind: dict[str, Any]) -> bool:
    return kind.get("type") != "string" or "enum" in kind or "const" in kind or kind.get("format") in FORMATS


def _listed(kind: dict[str, Any]) -> list[str]:
    if kind.get("format") in FORMATS:
        return [FORMATS[kind["format"]]]
    if kind.get("type") == "boolean":
        return ["true", "false"]
    if kind.get("type") in ("integer", "number"):
        return ["0", "1"]
    return [str(value) for value in kind.get("enum", [kind["const"]] if "const" in kind else [])]


def _filters(row_id: str) -> Iterator[tuple[str, str]]:
    """CQL2 that names the neighbour's row by its id and its ground, or everything that there is."""
    yield f"id = '{row_id}'", f"id = '{uuid4()}'"
    yield f"NOT id <> '{row_id}'", f"NOT id <> '{uuid4()}'"
    yield f"S_INTERSECTS(geometry, BBOX({BOX}))", f"S_INTERSECTS(geometry, BBOX({EMPTY_BOX}))"
    yield f"id = '{row_id}' OR area_m2 >= 0", f"id = '{uuid4()}' OR area_m2 >= 0"


def _questions(neighbour: Neighbour) -> Iterator[Question]:
    for path, method, operation in operations():
        # Other files of open data hold the rows of the CSV of the same question, and the time of day besides.
        if method != "get" or path in PUBLIC or (path.startswith(f"{API}/statistics/") and path.endswith(OTHERS)):
            continue
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and parameter["name"] not in FORM:
                for neighbours, nobodys in _values(path, parameter, neighbour):
                    yield Question(path, parameter["name"], neighbours, nobodys)


def _learned(answer: httpx2.Response, said: str) -> tuple[int, str]:
    """What an answer says, without what was said to it and the time of day."""
    body = answer.text.replace(said, "…") if len(said) > 3 else answer.text
    body = re.sub(r'"(timeStamp|as_of|effective_as_of)":"[^"]*"', "", body)
    # Addresses of the same list repeat the question.
    return answer.status_code, re.sub(r'"href":"[^"]*"', "", body)


@pytest.mark.parametrize("username", ["county"])
def test_no_filter_tells_of_a_neighbours_rows(world: World, neighbour: Neighbour, walls: str, username: str) -> None:
    """What exists next door is answered exactly as what does not exist at all, and none of it is in any answer."""
    headers, told_its_owner, asked = world.headers(username), 0, 0
    owner = world.headers("county2")
    for question in _questions(neighbour):
        if not _is_asked(question, walls):
            continue
        for path in _every_layer(question.path, neighbour):
            target = _fill(path, neighbour.ids)
            more = {"format": "csv"} if path.startswith(f"{API}/exports/") else {}
            answer = world.client.get(target, headers=headers, params=more | {question.name: question.neighbours})
            where = f"{username} {target}?{question.name}={question.neighbours}: {answer.text[:500]}"
            assert answer.status_code != 500, where
            assert not neighbour.given_away(answer, question.neighbours), where
            if question.nobodys != question.neighbours:
                other = world.client.get(target, headers=headers, params=more | {question.name: question.nobodys})
                assert _learned(answer, question.neighbours) == _learned(other, question.nobodys), where
            asked += 1
        if walls == "the queries alone" and not _parameters(question.path):
            own = world.client.get(question.path, headers=owner, params={question.name: question.neighbours})
            told_its_owner += bool(neighbour.given_away(own, question.neighbours))
    assert asked > (200 if walls == "the queries alone" else 60), asked
    # The same questions do find the rows when they are the asker's own.
    assert walls != "the queries alone" or told_its_owner > 40, told_its_owner


def _is_asked(question: Question, walls: str) -> bool:
    """Whether a filter is tried while these walls stand: all of them where the queries alone must hold."""
    if question.path in DOCUMENTS:
        # They ask as the figures do, and are tried below.
        return False
    if question.path.startswith(f"{API}/exports/"):
        # They choose as the items do, and are tried below in every format.
        return question.name in ("id", "filter") and walls == "the queries alone"
    if walls == "the queries alone" or _collection(question.path) in (None, "cases", "detections", "permits"):
        return True
    # The layers are one table behind one policy.
    return question.name in ("id", "bbox")


def _every_layer(path: str, neighbour: Neighbour) -> list[str]:
    if not _parameters(path) or (_parameters(path) == ["layer"] and "tiles" in path):
        return [path.replace("{layer}", layer) for layer in (Layer if "{layer}" in path else [""])]
    return [path]


@pytest.mark.usefixtures("walls")
def test_no_export_and_no_tile_holds_a_neighbours_row(world: World, neighbour: Neighbour) -> None:
    mine, theirs = world.headers("county"), world.headers("county2")
    for name in COLLECTIONS:
        for format_ in ("gpkg", "shp", "geojson", "csv"):
            path = f"{API}/exports/{name}"
            answer = world.client.get(path, headers=mine, params={"format": format_})
            assert answer.status_code == 200, answer.text
            assert not neighbour.given_away(answer), f"{path} as {format_}"
        # Text in which the neighbour does find its own.
        assert neighbour.given_away(world.client.get(path, headers=theirs, params={"format": "csv"})), path
    layers = [entry["id"] for entry in world.client.get("/tiles", headers=mine).json()["items"]]
    assert len(layers) >= len(COLLECTIONS) - 1
    for layer in layers:
        for zoom in (6, 10, 14):
            tile = tile_at(zoom, *CORNER)
            path = f"/tiles/{layer}/{tile.z}/{tile.x}/{tile.y}"
            assert not neighbour.given_away(world.client.get(path, headers=mine)), path
        assert neighbour.given_away(world.client.get(path, headers=theirs)), path


@pytest.mark.usefixtures("walls")
def test_no_document_tells_of_a_neighbours_cases(world: World, neighbour: Neighbour, owner: Engine) -> None:
    """Asked for everything, and for the neighbour's, whose case is one that each document lists."""
    with owner.begin() as connection:
        overdue = "update case_intervals set state = 'rectifying', confirmed = true, due_on = '2020-01-01', area_m2 = 1"
        assert connection.execute(text(overdue)).rowcount
    for path in DOCUMENTS:
        for asked in ({}, {"unit": COUNTY2}):
            answer = world.client.get(path, headers=world.headers("county"), params=asked)
            assert answer.status_code == 200, answer.text
            assert not neighbour.given_away(answer), f"{path} {asked}"
            assert b"RL-1" not in b"".join(_unpacked(answer.content)), path
        own = world.client.get(path, headers=world.headers("county2"))
        assert b"RL-1" in b"".join(_unpacked(own.content)), path


@pytest.mark.usefixtures("walls")
def test_no_link_leads_to_a_neighbours_row(world: World, neighbour: Neighbour) -> None:
    """Every address that an answer names is followed, with the same token."""
    headers = world.headers("county")
    open_ = [path for path, method, _ in operations() if method == "get" and not _parameters(path)]
    seen: set[str] = set()
    while open_:
        address = open_.pop()
        if address in seen or len(seen) > 400:
            continue
        seen.add(address)
        answer = world.client.get(address, headers=headers)
        assert answer.status_code < 500, f"{address}: {answer.text}"
        assert not neighbour.given_away(answer), address
        if "json" in answer.headers.get("content-type", "") and address != "/ogc/api":
            named = re.findall(r'"(?:href|url|Location)":"([^"{]+)"', answer.text)
            named += re.findall(r"<([^>]+)>", answer.headers.get("link", ""))
            open_ += [_local(link) for link in named]
    assert len(seen) > 80


def _local(link: str) -> str:
    parts = urlsplit(link)
    return parts.path + (f"?{parts.query}" if parts.query else "")


@pytest.mark.usefixtures("walls")
def test_no_field_of_a_command_reaches_a_neighbours_row(world: World, neighbour: Neighbour) -> None:
    """A county names rows of next door in commands on its own case: as if they did not exist."""
    desk = Desk(world)
    with world.database.transaction(see_all=True) as session:
        detection_id = add_detection(session).id
    case = desk.done("county", desk.dispatch(detection_id), "start_verification")
    code = str(neighbour.features["permits"]["code"])
    answers = [desk.give("county", case, "propose_permitted", permit_code=value) for value in (code, str(uuid4()))]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].text == answers[1].text
    assert desk.upload("county", case["id"]).status_code == 201
    case = desk.done("county", case, "confirm")
    case = desk.done("prefecture", desk.done("county", case, "submit_plan"), "approve_plan")
    theirs = neighbour.ids["cases", "evidence_id"]
    answers = [desk.give("county", case, "request_closure", evidence_id=str(value)) for value in (theirs, uuid4())]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert answers[0].text == answers[1].text
