"""Plans and runs over HTTP."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Role
from app.access.routes import CallerDep
from app.access.service import Caller, get_placed, in_jurisdiction
from app.foundation.database import SessionDep
from app.foundation.errors import problem_responses
from app.foundation.geometry import from_database, geojson
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import legal_day, utc_now
from app.monitoring import baselines, calibration_routes, coverage_routes, service
from app.monitoring.models import Plan, Run, RunStatus, RunTile
from app.monitoring.schemas import (
    BaselineIn,
    PlanAnswer,
    PlanChange,
    PlanConfiguration,
    PlanIn,
    RunAnswer,
    RunTileAnswer,
)

plans = APIRouter(prefix="/plans", tags=["plans"], route_class=IdempotentRoute)
runs = APIRouter(prefix="/runs", tags=["runs"], route_class=IdempotentRoute)
routers = (plans, coverage_routes.router, runs, calibration_routes.activities, calibration_routes.router)


def _answer(session: Session, plan: Plan) -> PlanAnswer:
    return _answers(session, [plan])[0]


def _answers(session: Session, rows: Sequence[Plan]) -> list[PlanAnswer]:
    names = service.source_names(session, [plan.id for plan in rows])
    return [_plan_answer(plan, names[plan.id]) for plan in rows]


def _plan_answer(plan: Plan, sources: list[str]) -> PlanAnswer:
    return PlanAnswer(
        id=plan.id,
        name=plan.name,
        title=plan.title,
        sources=sources,
        area=geojson(from_database(plan.area)),
        history_from=plan.history_from,
        history_until=plan.history_until,
        until=plan.until,
        cron=plan.cron,
        is_active=plan.is_active,
        rebaseline=plan.rebaseline,
        baseline=plan.baseline,
        version=plan.version,
        configuration=PlanConfiguration.model_validate(plan.configuration),
    )


def _run_answer(run: Run, caller: Caller) -> RunAnswer:
    answer = RunAnswer.model_validate(run)
    # What was set aside names places all over the plan's area.
    return answer if caller.is_provincial else answer.model_copy(update={"set_aside": []})


@plans.get("", responses=problem_responses(401))
def list_plans(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[PlanAnswer]:
    """Monitoring plans whose area touches my ground, newest first."""
    rows, cursor = fetch_page(session, in_jurisdiction(select(Plan), caller, Plan), page, Plan.id)
    link_next(request, response, cursor)
    return Page(items=_answers(session, rows))


@plans.post("", status_code=201, responses=problem_responses(401, 403, 404, 409, 422))
def create_plan(given: PlanIn, session: SessionDep, caller: CallerDep) -> PlanAnswer:
    """Make a plan (administrators)."""
    caller.require(Role.admin)
    return _answer(session, service.add_plan(session, given))


@plans.get("/{plan_id}", responses=problem_responses(401, 404))
def show_plan(plan_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> PlanAnswer:
    """One plan."""
    plan = get_placed(session, caller, Plan, plan_id)
    set_etag(response, plan.version)
    return _answer(session, plan)


@plans.patch("/{plan_id}", responses=problem_responses(401, 403, 404, 412, 422, 428))
def change_plan(
    plan_id: UUID,
    change: PlanChange,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> PlanAnswer:
    """Stop a plan, or change its title, timetable, last day or thresholds (administrators)."""
    caller.require(Role.admin)
    plan = service.change_plan(session, get_placed(session, caller, Plan, plan_id, lock=True), change, version)
    set_etag(response, plan.version)
    return _answer(session, plan)


@plans.post("/{plan_id}/baseline", responses=problem_responses(401, 403, 404, 412, 422, 428))
def move_baseline(
    plan_id: UUID,
    given: BaselineIn,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> PlanAnswer:
    """Let the next run fit anew what is normal, on the history given (administrators). Detections stand."""
    caller.require(Role.admin)
    plan = get_placed(session, caller, Plan, plan_id, lock=True)
    plan = baselines.move_baseline(session, plan, given, version, legal_day(utc_now()))
    set_etag(response, plan.version)
    return _answer(session, plan)


@plans.post("/{plan_id}/runs", status_code=202, responses=problem_responses(401, 403, 404, 409, 422))
def create_run(plan_id: UUID, session: SessionDep, caller: CallerDep) -> RunAnswer:
    """Ask for a run now; a worker takes it up (administrators)."""
    caller.require(Role.admin)
    plan = get_placed(session, caller, Plan, plan_id)
    return RunAnswer.model_validate(service.request_run(session, plan, requested_by=caller.account_id))


@runs.get("", responses=problem_responses(401))
def list_runs(
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    plan: Annotated[UUID | None, Query(description="Runs of this plan only")] = None,
    status: Annotated[RunStatus | None, Query()] = None,
) -> Page[RunAnswer]:
    """Runs, newest first."""
    statement = in_jurisdiction(select(Run), caller, Run)
    if plan:
        statement = statement.where(Run.plan_id == plan)
    if status:
        statement = statement.where(Run.status == status)
    rows, cursor = fetch_page(session, statement, page, Run.id)
    link_next(request, response, cursor)
    return Page(items=[_run_answer(row, caller) for row in rows])


@runs.get("/{run_id}", responses=problem_responses(401, 404))
def show_run(run_id: UUID, session: SessionDep, caller: CallerDep) -> RunAnswer:
    """One run with its progress."""
    return _run_answer(get_placed(session, caller, Run, run_id), caller)


@runs.get("/{run_id}/tiles", responses=problem_responses(401, 404))
def list_run_tiles(
    run_id: UUID, session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[RunTileAnswer]:
    """What each tile of a run saw."""
    run = get_placed(session, caller, Run, run_id)
    rows, cursor = fetch_page(session, select(RunTile).where(RunTile.run_id == run.id), page, RunTile.id)
    link_next(request, response, cursor)
    return Page(items=[RunTileAnswer.model_validate(row) for row in rows])


@runs.post("/{run_id}/cancel", responses=problem_responses(401, 403, 404, 409))
def cancel_run(run_id: UUID, session: SessionDep, caller: CallerDep) -> RunAnswer:
    """Stop a run before its next tile; finished tiles keep what they learned (administrators)."""
    caller.require(Role.admin)
    return RunAnswer.model_validate(service.cancel_run(session, get_placed(session, caller, Run, run_id, lock=True)))
