"""OGC API – Features over HTTP (OGC 17-069r4; filters OGC 19-079r2): boundaries, detections, cases for map clients."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.access.routes import CallerDep
from app.foundation.database import SessionDep
from app.foundation.errors import NotFound, problem_responses
from app.foundation.time import utc_now
from app.maps import openapi30, schemas
from app.maps.collections import COLLECTIONS, Collection
from app.maps.items import ItemsPage, fetch_current_items, fetch_item, fetch_items
from app.maps.parameters import (
    CRS84,
    Choice,
    check_format,
    decode_cursor,
    encode_cursor,
    parse_limit,
    read_parameters,
    wants_hits,
)

PREFIX = "/ogc"
router = APIRouter(prefix=PREFIX, tags=["OGC API – Features"])
_PROBLEMS = problem_responses(400, 401)
_ONE_PROBLEMS = problem_responses(400, 401, 404)


def _root(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{PREFIX}"


def _document(request: Request, content: dict[str, Any], media_type: str = schemas.JSON) -> Response:
    check_format(read_parameters(request, ("f",)), "json")
    return Response(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), media_type=media_type)


def _document_route(path: str, operation: str, media_type: str = schemas.JSON) -> dict[str, Any]:
    return {
        "path": path,
        "operation_id": f"ogc_{operation}",
        "response_class": Response,
        "responses": {
            **_PROBLEMS,
            200: {"description": "The document", "content": {media_type: {"schema": {"type": "object"}}}},
        },
        "openapi_extra": {"parameters": [openapi30.FORMAT]},
    }


@router.get(**_document_route("", "landing_page"))
def show_landing_page(request: Request, caller: CallerDep) -> Response:
    """Where everything of OGC API – Features is."""
    return _document(request, schemas.landing_page(_root(request)))


@router.get(**_document_route("/conformance", "conformance"))
def show_conformance(request: Request, caller: CallerDep) -> Response:
    """The classes of the standards that this part conforms to."""
    return _document(request, {"conformsTo": list(schemas.CONFORMANCE)})


@router.get(**_document_route("/api", "api", schemas.OPENAPI))
def show_api(request: Request, caller: CallerDep) -> Response:
    """The definition of this part, in OpenAPI 3.0."""
    return _document(request, openapi30.document(_root(request)), schemas.OPENAPI)


@router.get(**_document_route("/collections", "collections"))
def list_collections(request: Request, caller: CallerDep) -> Response:
    """The collections there are."""
    return _document(request, schemas.collections_document(_root(request)))


def _items_links(request: Request, collection: Collection, page: ItemsPage) -> list[dict[str, str]]:
    here = f"{_root(request)}/collections/{collection.id}"
    # The address as the client wrote it: without its host, which a proxy may have changed.
    query = f"?{request.url.query}" if request.url.query else ""
    links = [
        schemas.link(f"{here}/items{query}", "self", schemas.GEOJSON, "This page"),
        schemas.link(here, "collection", schemas.JSON, collection.en),
    ]
    if page.last is not None:
        following = request.url.include_query_params(cursor=encode_cursor(page.last)).query
        links.append(schemas.link(f"{here}/items?{following}", "next", schemas.GEOJSON, "The next page"))
    return links


def _feature_collection(request: Request, collection: Collection, page: ItemsPage) -> bytes:
    members: dict[str, Any] = {
        "type": "FeatureCollection",
        "timeStamp": utc_now().isoformat(timespec="seconds").replace("+00:00", "Z"),
        **({} if page.matched is None else {"numberMatched": page.matched}),
        "numberReturned": page.returned,
        "links": _items_links(request, collection, page),
    }
    head = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return f'{head[:-1]},"features":[{page.features}]}}'.encode()


def _collection_routes(collection: Collection) -> None:
    """The routes of one collection, each with its own properties as parameters."""
    path = f"/collections/{collection.id}"
    word = collection.id.replace("-", "_")
    parameters = openapi30.items_parameters(collection)
    allowed = tuple(entry["name"] for entry in parameters)
    headers = {"Content-Crs": f"<{CRS84}>"}

    @router.get(**_document_route(path, f"collection_{word}"), summary=f"Describe {collection.en}")
    def show_collection(request: Request, caller: CallerDep) -> Response:
        return _document(request, schemas.collection_document(collection, _root(request)))

    @router.get(
        **_document_route(f"{path}/queryables", f"queryables_{word}", schemas.JSON_SCHEMA),
        summary=f"What filters of {collection.en} may name",
    )
    def show_queryables(request: Request, caller: CallerDep) -> Response:
        return _document(request, schemas.queryables_document(collection, _root(request)), schemas.JSON_SCHEMA)

    @router.get(
        **_document_route(f"{path}/schema", f"schema_{word}", schemas.JSON_SCHEMA),
        summary=f"What features of {collection.en} look like",
    )
    def show_schema(request: Request, caller: CallerDep) -> Response:
        return _document(request, schemas.feature_schema(collection, _root(request)), schemas.JSON_SCHEMA)

    @router.get(
        f"{path}/items",
        operation_id=f"ogc_items_{word}",
        summary=f"{collection.en} as GeoJSON",
        response_class=Response,
        responses={**_PROBLEMS, 200: openapi30.FEATURES_RESPONSE},
        openapi_extra={"parameters": parameters},
    )
    def list_items(request: Request, session: SessionDep, caller: CallerDep) -> Response:
        given = read_parameters(request, allowed)
        check_format(given, "json", "geojson")
        limit, after = parse_limit(given), decode_cursor(given.get("cursor"))
        choice = Choice(collection, given)
        if wants_hits(given):
            limit, after = 0, None
        if choice.is_plain:
            page = fetch_current_items(session, collection, caller, choice.box(), limit=limit, after=after)
        else:
            page = fetch_items(session, collection, caller, choice.conditions(session), limit=limit, after=after)
        content = _feature_collection(request, collection, page)
        return Response(content, media_type=schemas.GEOJSON, headers=headers)

    @router.get(
        f"{path}/items/{{feature_id}}",
        operation_id=f"ogc_item_{word}",
        summary=f"One feature of {collection.en}",
        response_class=Response,
        responses={**_ONE_PROBLEMS, 200: openapi30.FEATURE_RESPONSE},
        openapi_extra={"parameters": openapi30.ITEM_PARAMETERS},
    )
    def show_item(feature_id: str, request: Request, session: SessionDep, caller: CallerDep) -> Response:
        check_format(read_parameters(request, ("f", "crs")), "json", "geojson")
        try:
            row_id = UUID(feature_id)
        except ValueError:
            raise NotFound() from None
        feature = fetch_item(session, collection, caller, row_id)
        here = f"{_root(request)}{path}"
        links = [
            schemas.link(f"{here}/items/{row_id}", "self", schemas.GEOJSON, "This feature"),
            schemas.link(here, "collection", schemas.JSON, collection.en),
        ]
        content = f'{feature[:-1]},"links":{json.dumps(links, ensure_ascii=False)}}}'
        return Response(content.encode(), media_type=schemas.GEOJSON, headers=headers)


for _collection in COLLECTIONS.values():
    _collection_routes(_collection)
