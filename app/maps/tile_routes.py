"""Vector tiles over HTTP: `/tiles`."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from app.access.routes import CallerDep, TokenDep, signed_in
from app.foundation.database import SessionDep
from app.foundation.errors import NotFound, problem_responses
from app.foundation.time import legal_day, utc_now
from app.maps import tiles as service
from app.maps.tile_cache import TileCache
from app.maps.tile_grid import MAX_ZOOM, MIN_ZOOM, TileAddress
from app.maps.tiles import LAYERS, find_layer

router = APIRouter(prefix="/tiles", tags=["tiles"])
MEDIA_TYPE = "application/vnd.mapbox-vector-tile"
OnQuery = Annotated[date | None, Query(description="In force on this day; default: today in Asia/Shanghai")]
IfNoneMatch = Annotated[str | None, Header(description="Answered 304 while the tile is the same")]


class TileLayerAnswer(BaseModel):
    """A layer and where its tiles are."""

    id: str
    title: str
    tilejson: str
    tiles: str


class TileLayers(BaseModel):
    items: list[TileLayerAnswer]


class VectorLayer(BaseModel):
    id: str
    description: str
    minzoom: int
    maxzoom: int
    fields: dict[str, str]


class TileJSON(BaseModel):
    """TileJSON 3.0.0"""

    tilejson: str = "3.0.0"
    name: str
    scheme: str = "xyz"
    tiles: list[str]
    minzoom: int = MIN_ZOOM
    maxzoom: int = Field(service.FINEST_ZOOM, description="Finer tiles down to 22 are served, and show no more")
    bounds: tuple[float, float, float, float]
    vector_layers: list[VectorLayer]


def _template(request: Request, name: str) -> str:
    return f"{request.base_url}tiles/{name}/{{z}}/{{x}}/{{y}}"


@router.get("", responses=problem_responses(401))
def list_tile_layers(request: Request, caller: CallerDep) -> TileLayers:
    """The layers that there are tiles of."""
    return TileLayers(
        items=[
            TileLayerAnswer(
                id=layer.id,
                title=layer.collection.zh,
                tilejson=f"{request.base_url}tiles/{layer.id}",
                tiles=_template(request, layer.id),
            )
            for layer in LAYERS.values()
        ]
    )


@router.get("/{layer}", responses=problem_responses(401, 404, 422))
def show_tile_layer(
    layer: str, request: Request, session: SessionDep, caller: CallerDep, on: OnQuery = None
) -> TileJSON:
    """A layer as TileJSON 3.0: where its tiles are, the ground that mine cover, the properties of its features."""
    found = find_layer(layer)
    bounds = service.extent(session, caller, found, on or legal_day(utc_now()))
    return TileJSON(
        name=found.collection.zh,
        tiles=[_template(request, found.id) + (f"?on={on.isoformat()}" if on else "")],
        bounds=bounds or (-180.0, -85.05112877980659, 180.0, 85.0511287798066),
        vector_layers=[
            VectorLayer(
                id=found.id,
                description=found.collection.en,
                minzoom=MIN_ZOOM,
                maxzoom=service.FINEST_ZOOM,
                fields=dict(found.descriptions),
            )
        ],
    )


@router.get(
    "/{layer}/{z}/{x}/{y}",
    response_class=Response,
    responses={
        200: {"content": {MEDIA_TYPE: {}}, "description": "Mapbox Vector Tile 2.1, one layer"},
        204: {"description": "Nothing here"},
        304: {"description": "As it was"},
        **problem_responses(401, 404, 422),
    },
)
def show_tile(
    layer: str,
    z: Annotated[str, Path(description="Zoom, 0 to 22", examples=["8"])],
    x: Annotated[str, Path(description="Column from the west", examples=["218"])],
    y: Annotated[str, Path(description="Row from the north", examples=["94"])],
    request: Request,
    token: TokenDep,
    on: OnQuery = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One tile of WebMercatorQuad: what I may see of a layer."""
    with signed_in(request, token) as (session, caller):
        found, tile = find_layer(layer), TileAddress.parse(z, x, y.removesuffix(".mvt"))
        if tile is None:
            raise NotFound(f"There is no such tile: z is {MIN_ZOOM} to {MAX_ZOOM}, x and y below 2 to the z.")
        day = on or legal_day(utc_now())
        stamp = service.stamp(session, caller, found, tile, day)
        headers = {
            # Weak: the same rows may be written in another order.
            "ETag": f'W/"{stamp}"',
            "Cache-Control": f"private, max-age={found.max_age_s}, must-revalidate",
            "Vary": "Authorization",
        }
        if if_none_match is not None and (stamp in if_none_match or if_none_match == "*"):
            return Response(status_code=304, headers=headers)
        kept: TileCache | None = request.app.state.tile_cache if found.collection.layer else None
        made = kept.get(stamp) if kept else None
        if made is None:
            made = service.make_tile(session, caller, found, tile, day)
            if kept:
                kept.put(stamp, made)
    if not made:
        return Response(status_code=204, headers=headers)
    return Response(made, media_type=MEDIA_TYPE, headers=headers)
