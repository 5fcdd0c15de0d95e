"""The documents of OGC API – Features (OGC 17-069r4) that describe collections, as plain JSON."""

from __future__ import annotations

from typing import Any

from app.maps.collections import COLLECTIONS, Collection, Kind, Property
from app.maps.parameters import CRS84

FEATURES = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf"
FILTERS = "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf"
CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"
CONFORMANCE = (
    *(f"{FEATURES}/{name}" for name in ("core", "geojson", "oas30")),
    *(f"{FILTERS}/{name}" for name in ("queryables", "queryables-query-parameters", "filter", "features-filter")),
    *(
        f"{CQL2}/{name}"
        for name in (
            "cql2-text",
            "cql2-json",
            "basic-cql2",
            "advanced-comparison-operators",
            "case-insensitive-comparison",
            "basic-spatial-functions",
            "basic-spatial-functions-plus",
            "temporal-functions",
            "property-property",
            "arithmetic",
        )
    ),
)
JSON = "application/json"
GEOJSON = "application/geo+json"
JSON_SCHEMA = "application/schema+json"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
QUERYABLES_RELATION = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.text: {"type": "string"},
    Kind.uuid: {"type": "string", "format": "uuid"},
    Kind.number: {"type": "number"},
    Kind.integer: {"type": "integer"},
    Kind.boolean: {"type": "boolean"},
    Kind.day: {"type": "string", "format": "date"},
    Kind.instant: {"type": "string", "format": "date-time"},
    Kind.object: {"type": "object"},
}


def link(href: str, rel: str, media_type: str, title: str) -> dict[str, str]:
    return {"href": href, "rel": rel, "type": media_type, "title": title}


def landing_page(root: str) -> dict[str, Any]:
    """Where everything is (7.2)."""
    return {
        "title": "Redline",
        "description": "Boundaries in force, suspected sites and cases, as far as the account's jurisdiction reaches",
        "links": [
            link(root, "self", JSON, "This document"),
            link(f"{root}/api", "service-desc", OPENAPI, "The definition of this API (OpenAPI 3.0)"),
            link(f"{root}/conformance", "conformance", JSON, "What this API conforms to"),
            link(f"{root}/collections", "data", JSON, "The collections"),
        ],
    }


def collection_document(collection: Collection, root: str) -> dict[str, Any]:
    """A collection's description (7.14)."""
    here = f"{root}/collections/{collection.id}"
    return {
        "id": collection.id,
        "title": f"{collection.zh} {collection.en}",
        "description": _description(collection),
        "itemType": "feature",
        "crs": [CRS84],
        "storageCrs": "http://www.opengis.net/def/crs/EPSG/0/4490",
        "links": [
            link(here, "self", JSON, collection.en),
            link(f"{here}/items", "items", GEOJSON, f"{collection.en}: the features"),
            link(f"{here}/schema", "describedby", JSON_SCHEMA, f"{collection.en}: what features look like"),
            # As drafts wrote it, and GDAL 3.6 looks for it.
            link(f"{here}/schema", "describedBy", JSON_SCHEMA, f"{collection.en}: what features look like"),
            link(f"{here}/queryables", QUERYABLES_RELATION, JSON_SCHEMA, f"{collection.en}: what filters may name"),
        ],
    }


def _description(collection: Collection) -> str:
    if collection.layer is not None:
        return "What is in force today, or on any day of `datetime`; days are those of Asia/Shanghai."
    return f"`datetime` is compared with `{collection.moment}`; days are those of Asia/Shanghai."


def collections_document(root: str) -> dict[str, Any]:
    """All collections (7.13)."""
    return {
        "links": [link(f"{root}/collections", "self", JSON, "The collections")],
        "collections": [collection_document(collection, root) for collection in COLLECTIONS.values()],
    }


def property_schema(entry: Property) -> dict[str, Any]:
    schema = {"title": f"{entry.zh} {entry.en}", **_TYPES[entry.kind]}
    labels = entry.labels()
    if labels:
        schema["description"] = "; ".join(f"{code}: {label}" for code, label in labels.items())
    return schema


def feature_schema(collection: Collection, root: str) -> dict[str, Any]:
    """What a feature looks like, as a JSON Schema: clients need not guess types from the first features."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{root}/collections/{collection.id}/schema",
        "type": "object",
        "title": f"{collection.zh} {collection.en}",
        "required": ["type", "geometry", "properties"],
        "properties": {
            "type": {"type": "string", "enum": ["Feature"]},
            "id": {"type": "string", "format": "uuid"},
            "geometry": {"$ref": "https://geojson.org/schema/MultiPolygon.json"},
            "properties": {
                "type": "object",
                "properties": {entry.name: property_schema(entry) for entry in collection.properties},
            },
        },
    }


def queryables_document(collection: Collection, root: str) -> dict[str, Any]:
    """What filters may name, as a JSON Schema (OGC 19-079r2, 6.2)."""
    properties: dict[str, Any] = {name: property_schema(entry) for name, entry in collection.queryables.items()}
    properties["geometry"] = {
        "title": "范围 Ground",
        "x-ogc-role": "primary-geometry",
        "format": "geometry-multipolygon",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{root}/collections/{collection.id}/queryables",
        "type": "object",
        "title": f"{collection.zh} {collection.en}",
        "properties": properties,
        "additionalProperties": False,
    }
