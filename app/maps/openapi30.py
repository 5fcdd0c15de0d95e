"""The definition of `/ogc` in OpenAPI 3.0, as the conformance class oas30 asks (OGC 17-069r4, clause 9).

The service's own document is OpenAPI 3.1; the parameters below stand in both.
"""

from __future__ import annotations

from typing import Any

from app import __version__
from app.foundation.errors import MEDIA_TYPE, PROBLEM_SCHEMA
from app.maps import schemas
from app.maps.collections import COLLECTIONS, Collection
from app.maps.parameters import CRS84, DEFAULT_LIMIT, MAX_LIMIT

FILTER_LANGUAGES = ("cql2-text", "cql2-json", "cql-text")


def _parameter(name: str, schema: dict[str, Any], description: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description, **more}


FORMAT = _parameter("f", {"type": "string", "enum": ["json"]}, "The format of the answer")
_GEOJSON_FORMAT = _parameter("f", {"type": "string", "enum": ["json", "geojson"]}, "The format of the answer: GeoJSON")
_CRS = _parameter("crs", {"type": "string", "enum": [CRS84]}, "Of the answer's coordinates: longitude, latitude")
ITEM_PARAMETERS = [_GEOJSON_FORMAT, _CRS]
RESULT_TYPE = _parameter(
    "resultType",
    {"type": "string", "enum": ["results", "hits"], "default": "results"},
    "`hits`: only how many features match, as WFS has it; not of the standard, GDAL counts by it",
)
# GDAL looks for it by this reference alone.
_RESULT_REFERENCE = {"$ref": "#/components/parameters/resultType"}
# Arrays of numbers, as the standard's own definition has it (7.15.3).
_BOX = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 6,
}
_LIST = {"style": "form", "explode": False}


def choosing_parameters(collection: Collection) -> list[dict[str, Any]]:
    """What chooses features, in items and exports alike."""
    return [
        _parameter("bbox", _BOX, "west,south,east,north in degrees, or six numbers with heights between", **_LIST),
        _parameter("bbox-crs", {"type": "string", "enum": [CRS84]}, "Of the numbers of bbox"),
        _parameter(
            "datetime",
            {"type": "string", "example": "2024-01-01/.."},
            "A date, an instant, or an interval of them, open at one side with `..`: boundaries in force on any day "
            f"of it, or features whose `{collection.moment or 'valid_from'}` lies in it",
        ),
        _parameter("filter", {"type": "string", "example": "area_m2 > 10000"}, "A condition in CQL2"),
        _parameter(
            "filter-lang",
            {"type": "string", "enum": list(FILTER_LANGUAGES), "default": "cql2-text"},
            "The language of `filter`; `cql-text` is what older clients call CQL2 text",
        ),
        _parameter("filter-crs", {"type": "string", "enum": [CRS84]}, "Of the geometries in `filter`"),
        *(
            _parameter(name, {k: v for k, v in schemas.property_schema(entry).items() if k != "description"}, "Equals")
            for name, entry in collection.queryables.items()
        ),
    ]


def items_parameters(collection: Collection) -> list[dict[str, Any]]:
    """All query parameters of a collection's items."""
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    return [
        _parameter("limit", limit, "Most features to answer with; a page of large features ends earlier"),
        RESULT_TYPE,
        _parameter("cursor", {"type": "string"}, "From the `next` link of the page before"),
        _GEOJSON_FORMAT,
        _CRS,
        *choosing_parameters(collection),
    ]


def _content(media_type: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


_LINKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["href", "rel"],
        "properties": {name: {"type": "string"} for name in ("href", "rel", "type", "title")},
    },
}
_FEATURE = {
    "type": "object",
    "required": ["type", "id", "geometry", "properties"],
    "properties": {
        "type": {"type": "string", "enum": ["Feature"]},
        "id": {"type": "string", "format": "uuid"},
        "geometry": {"type": "object"},
        "properties": {"type": "object"},
        "links": _LINKS,
    },
}
_FEATURES = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"type": "string", "enum": ["FeatureCollection"]},
        "timeStamp": {"type": "string", "format": "date-time"},
        "numberMatched": {"type": "integer", "minimum": 0},
        "numberReturned": {"type": "integer", "minimum": 0},
        "links": _LINKS,
        "features": {"type": "array", "items": _FEATURE},
    },
}
FEATURE_RESPONSE = _content(schemas.GEOJSON, _FEATURE, "The feature")
FEATURES_RESPONSE = _content(schemas.GEOJSON, _FEATURES, "A page of features")
_PROBLEM = {"$ref": "#/components/responses/Problem"}


def _operation(operation: str, summary: str, ok: dict[str, Any], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "parameters": parameters,
            "responses": {"200": ok, "400": _PROBLEM, "401": _PROBLEM, "404": _PROBLEM},
        }
    }


def _collection_paths(collection: Collection) -> dict[str, Any]:
    path, word = f"/collections/{collection.id}", collection.id.replace("-", "_")
    feature_id = {"name": "feature_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    document = {"type": "object"}
    return {
        path: _operation(
            f"collection_{word}", f"Describe {collection.en}", _content(schemas.JSON, document, "It"), [FORMAT]
        ),
        f"{path}/queryables": _operation(
            f"queryables_{word}",
            f"What filters of {collection.en} may name",
            _content(schemas.JSON_SCHEMA, document, "A JSON Schema"),
            [FORMAT],
        ),
        f"{path}/items": _operation(
            f"items_{word}",
            f"{collection.en} as GeoJSON",
            FEATURES_RESPONSE,
            [_RESULT_REFERENCE if entry is RESULT_TYPE else entry for entry in items_parameters(collection)],
        ),
        f"{path}/items/{{feature_id}}": _operation(
            f"item_{word}", f"One feature of {collection.en}", FEATURE_RESPONSE, [feature_id, *ITEM_PARAMETERS]
        ),
    }


def document(root: str) -> dict[str, Any]:
    """The OpenAPI 3.0 document of the API whose landing page is at `root`."""
    documents = {
        "/": ("landing_page", "Where everything is", schemas.JSON),
        "/conformance": ("conformance", "What this API conforms to", schemas.JSON),
        "/api": ("api", "This document", schemas.OPENAPI),
        "/collections": ("collections", "The collections", schemas.JSON),
    }
    paths: dict[str, Any] = {
        path: _operation(name, summary, _content(media_type, {"type": "object"}, "The document"), [FORMAT])
        for path, (name, summary, media_type) in documents.items()
    }
    for collection in COLLECTIONS.values():
        paths |= _collection_paths(collection)
    return {
        "openapi": "3.0.3",
        "info": {"title": "Redline: OGC API – Features", "version": __version__, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": root}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "parameters": {RESULT_TYPE["name"]: RESULT_TYPE},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": _content(MEDIA_TYPE, _problem_schema(), "A problem (RFC 9457)")},
        },
    }


def _problem_schema() -> dict[str, Any]:
    """The schema of a problem without `examples`, which OpenAPI 3.0 does not know."""
    properties = {
        name: {key: value for key, value in schema.items() if key != "examples"}
        for name, schema in PROBLEM_SCHEMA["properties"].items()
    }
    return {**PROBLEM_SCHEMA, "properties": properties}
