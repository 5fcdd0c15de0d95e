"""The HTTP service."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from sqlalchemy import text

from app import __version__
from app.access import account_routes, scopes
from app.access import routes as access
from app.access.oidc import Provider
from app.access.service import has_demo_accounts, serves_this_machine_only
from app.boundaries import mapping_routes, permit_routes, rule_routes, version_routes
from app.boundaries import routes as boundaries
from app.casework import routes as casework
from app.foundation.connect import DatabaseNotReady, open_database
from app.foundation.database import Database
from app.foundation.errors import Problem, install_error_handlers, problem_responses
from app.foundation.limits import BodyLimit
from app.foundation.logging import install_request_log
from app.foundation.migrate import is_current
from app.foundation.storage import Storage, StorageAway
from app.imagery import routes as imagery
from app.maps import export_routes, ogc_routes, tile_routes
from app.maps.tile_cache import TileCache
from app.messages import inbox_routes, webhook_routes
from app.monitoring import routes as monitoring
from app.settings import Settings, get_settings
from app.statistics import desk_routes, figure_routes, open_routes, register_routes, snapshot_routes, zero_out_routes
from app.statistics import routes as statistics
from app.statistics.documents import routes as document_routes

ROUTERS = (
    access.router,
    account_routes.router,
    # Before the layers: its paths are longer than /permits/{feature_id}.
    permit_routes.router,
    # Before the items of a layer, whose address would take theirs.
    *version_routes.routers,
    *boundaries.routers,
    *rule_routes.routers,
    mapping_routes.router,
    *imagery.routers,
    *monitoring.routers,
    *casework.routers,
    inbox_routes.router,
    webhook_routes.router,
    webhook_routes.secret_router,
    statistics.router,
    desk_routes.router,
    # The files before the reports, whose address would take theirs.
    open_routes.router,
    figure_routes.router,
    snapshot_routes.router,
    zero_out_routes.router,
    document_routes.router,
    register_routes.router,
    export_routes.router,
)
DESCRIPTION = """
Finds human activity inside ecological red lines and protected areas from satellite images, judges it by the law of
the place, and carries each finding through a case ledger to a rectified, re-checked, closed case.

Sign in with `POST /api/v1/auth/token` (OAuth 2 password form). Errors are problem details (RFC 9457). Lists answer
`{"items": [...]}` with a `Link: rel="next"` header. Writes on a versioned resource need `If-Match`.
"""


class DemoAccountsExposed(Problem):
    """The demo accounts' password is public, so they are for this machine alone"""


def check_exposure(database: Database, host: str) -> None:
    """Refuse to serve demo accounts on anything but a loopback address."""
    if serves_this_machine_only(host):
        return
    with database.transaction() as session:
        if has_demo_accounts(session):
            raise DemoAccountsExposed(
                f"This database has demo accounts, whose password is public; it is not served on {host}. "
                "Serve it on 127.0.0.1, or deactivate them with `redline user deactivate-demo`."
            )


def create_app(settings: Settings | None = None, *, database: Database | None = None) -> FastAPI:
    """The service. `database` is for callers that have one open; else the settings name it at start-up."""
    settings = settings or get_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if app.state.database is None:
                app.state.database = stack.enter_context(open_database(settings))
            check_exposure(app.state.database, app.state.settings.host)
            yield

    # The documentation page comes with its own scripts: an office network may reach no other host.
    app = FastAPIOffline(
        title="Redline",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    equip(app, settings, database)
    install_error_handlers(app)
    # A form's headers and boundaries come on top of the file that it carries.
    app.add_middleware(
        BodyLimit,
        limit=settings.max_upload_bytes + 2**20,
        import_limit=settings.max_layer_bytes + 2**20,
        piece_limit=settings.max_evidence_bytes,
    )
    install_request_log(app)
    # First what is asked for most often: routes are tried in turn.
    app.include_router(tile_routes.router)
    app.include_router(ogc_routes.router)
    api = APIRouter(prefix="/api/v1")
    for router in ROUTERS:
        api.include_router(router)
    app.include_router(api)
    _add_health(app)
    _describe_scopes(app, settings)
    return app


def equip(app: FastAPI, settings: Settings, database: Database | None) -> None:
    """Give an app that does not run what its endpoints work with. Largest bodies and the provider that the OpenAPI
    document names were built into it when it was made."""
    app.state.settings, app.state.database = settings, database
    app.state.oidc = Provider(settings) if settings.oidc_issuer else None
    app.state.storage = Storage(settings.storage)
    app.state.tile_cache = TileCache(settings.tile_cache_bytes)


def _describe_scopes(app: FastAPI, settings: Settings) -> None:
    """Say in the OpenAPI document which scope each operation needs."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            scopes.describe(generate(), provider=settings.oidc_issuer)
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI has one extend it


def _add_health(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def show_root() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/livez", tags=["health"])
    def check_live() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], responses=problem_responses(503))
    def check_ready() -> dict[str, Any]:
        """The database answers, its tables are of this version, spatial indexes work behind row-level security; the
        storage of files answers."""
        checks: dict[str, Callable[[Database], bool]] = {
            "database": _answers,
            "tables": lambda database: is_current(database.engine),
            "spatial_index": _overlap_is_leakproof,
        }
        failed = [name for name, check in checks.items() if not _passes(check, app.state.database)]
        answers = _storage_answers(app.state.storage)
        if failed:
            failed += [] if answers else ["storage"]
            raise DatabaseNotReady("Not ready: " + ", ".join(failed) + ".", checks=failed)
        if not answers:
            raise StorageAway("Not ready: storage.", checks=["storage"])
        return {"status": "ok", "checks": [*checks, "storage"]}


def _passes(check: Callable[[Database], bool], database: Database) -> bool:
    try:
        return check(database)
    except Problem:
        raise
    except Exception:  # whatever it was, the answer is "not ready"
        return False


def _storage_answers(storage: Storage) -> bool:
    with suppress(StorageAway):
        storage.check()
        return True
    return False


def _answers(database: Database) -> bool:
    with database.transaction() as session:
        return session.scalar(text("select postgis_lib_version()")) is not None


def _overlap_is_leakproof(database: Database) -> bool:
    # Otherwise a policy hides the spatial index and `&&` scans the table (DESIGN section 6).
    statement = "select proleakproof from pg_proc where oid = 'geometry_overlaps(geometry, geometry)'::regprocedure"
    with database.transaction() as session:
        return bool(session.scalar(text(statement)))
