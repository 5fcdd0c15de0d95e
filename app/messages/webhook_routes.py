"""Webhooks over HTTP: my own, their deliveries, and sending again."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Select, or_, select

from app.access.idempotency import IdempotentRoute
from app.access.routes import CallerDep
from app.access.service import Caller, in_jurisdiction
from app.casework.models import Case
from app.foundation.database import SessionDep
from app.foundation.errors import Conflict, NotFound, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag
from app.foundation.time import Instant
from app.messages import delivering, sending, webhooks
from app.messages.destinations import Network
from app.messages.models import Delivery, Webhook
from app.messages.schemas import (
    DeliveryAnswer,
    NewWebhook,
    Replayed,
    Rotation,
    WebhookAnswer,
    WebhookChange,
    WebhookWithSecret,
)
from app.messages.vocabulary import DeliveryState

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=IdempotentRoute)
# Keys are not taken where a secret is shown: the answer would be kept, and told again to whoever sends the key.
secret_router = APIRouter(prefix="/webhooks", tags=["webhooks"])
WRITES = problem_responses(401, 403, 404, 409, 412, 422, 428)


def _networks(request: Request) -> list[Network]:
    networks: list[Network] = request.app.state.settings.webhook_networks
    return networks


def _answer(session: SessionDep, response: Response, hook: Webhook) -> WebhookAnswer:
    set_etag(response, hook.version)
    return webhooks.answers(session, [hook])[0]


def _with_secret(session: SessionDep, response: Response, hook: Webhook) -> WebhookWithSecret:
    answer = _answer(session, response, hook)
    response.headers["Cache-Control"] = "no-store"
    return WebhookWithSecret(**answer.model_dump(), secret=sending.shown(hook.secret))


@secret_router.post("", status_code=201, responses=problem_responses(401, 403, 409, 422, 503))
def add_webhook(
    given: NewWebhook, session: SessionDep, caller: CallerDep, request: Request, response: Response
) -> WebhookWithSecret:
    """Register an address; it gets what I may see from now on. The secret is shown this once."""
    return _with_secret(session, response, webhooks.add(session, caller, given, _networks(request)))


@router.get("", responses=problem_responses(400, 401, 422))
def list_webhooks(
    session: SessionDep, caller: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[WebhookAnswer]:
    """My webhooks, newest first."""
    mine = select(Webhook).where(Webhook.account_id == caller.account_id)
    rows, cursor = fetch_page(session, mine, page, Webhook.id)
    link_next(request, response, cursor)
    return Page(items=webhooks.answers(session, rows))


@router.get("/{webhook_id}", responses=problem_responses(401, 404))
def show_webhook(webhook_id: UUID, session: SessionDep, caller: CallerDep, response: Response) -> WebhookAnswer:
    """One of my webhooks. Its ETag is what a change needs in If-Match."""
    return _answer(session, response, webhooks.own(session, caller, webhook_id))


@router.patch("/{webhook_id}", responses=WRITES | problem_responses(503))
def change_webhook(
    webhook_id: UUID,
    given: WebhookChange,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    request: Request,
    response: Response,
) -> WebhookAnswer:
    """Change its address or what it gets, or switch it on or off. Pending messages go to the new address."""
    hook = webhooks.change(session, caller, webhook_id, version, given, _networks(request))
    return _answer(session, response, hook)


@router.delete("/{webhook_id}", status_code=204, responses=WRITES)
def remove_webhook(webhook_id: UUID, session: SessionDep, caller: CallerDep, version: ExpectedVersion) -> None:
    """Delete it, and what is on its way to it."""
    webhooks.remove(session, caller, webhook_id, version)


@secret_router.post("/{webhook_id}/rotate", responses=WRITES)
def rotate_secret(
    webhook_id: UUID,
    given: Rotation,
    session: SessionDep,
    caller: CallerDep,
    version: ExpectedVersion,
    response: Response,
) -> WebhookWithSecret:
    """Another secret, shown this once. For a while messages carry two signatures, one by each."""
    return _with_secret(session, response, webhooks.rotate(session, caller, webhook_id, version, given.overlap_hours))


@router.post("/{webhook_id}/test", status_code=202, responses=problem_responses(401, 403, 404, 409))
def test_webhook(webhook_id: UUID, session: SessionDep, caller: CallerDep) -> DeliveryAnswer:
    """Send a message that tells nothing (`ping`)."""
    return DeliveryAnswer.model_validate(webhooks.ping(session, caller, webhook_id))


def _deliveries(caller: Caller, hook: Webhook) -> Select[Any]:
    """Messages of a webhook that its account may still see."""
    statement = select(Delivery).outerjoin(Case, Case.id == Delivery.case_id).where(Delivery.webhook_id == hook.id)
    if caller.units is None:
        return statement
    seen = in_jurisdiction(select(Case.id), caller, Case)
    return statement.where(or_(Delivery.case_id.is_(None), Delivery.case_id.in_(seen)))


@router.get("/{webhook_id}/deliveries", responses=problem_responses(400, 401, 404, 422))
def list_deliveries(
    webhook_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    page: PageDep,
    request: Request,
    response: Response,
    state: Annotated[DeliveryState | None, Query(description="`dead` is the list of what was given up")] = None,
) -> Page[DeliveryAnswer]:
    """What was sent to one of my webhooks, or waits to be; newest first."""
    statement = _deliveries(caller, webhooks.own(session, caller, webhook_id))
    if state:
        statement = statement.where(Delivery.state == state)
    rows, cursor = fetch_page(session, statement, page, Delivery.id)
    link_next(request, response, cursor)
    return Page(items=[DeliveryAnswer.model_validate(row) for row in rows])


@router.post("/{webhook_id}/deliveries/{delivery_id}/replay", responses=problem_responses(401, 403, 404, 409))
def replay_delivery(webhook_id: UUID, delivery_id: UUID, session: SessionDep, caller: CallerDep) -> DeliveryAnswer:
    """Send a message again, under its own id and at its place among those of its case."""
    hook = webhooks.own(session, caller, webhook_id)
    delivery = session.scalar(_deliveries(caller, hook).where(Delivery.id == delivery_id).with_for_update(of=Delivery))
    if delivery is None:
        raise NotFound()
    if delivery.state is DeliveryState.pending:
        raise Conflict("It is on its way already.")
    delivering.replay_one(session, delivery)
    return DeliveryAnswer.model_validate(delivery)


@router.post("/{webhook_id}/replay", responses=problem_responses(401, 403, 404, 422))
def replay_webhook(
    webhook_id: UUID,
    session: SessionDep,
    caller: CallerDep,
    state: Annotated[DeliveryState, Query(description="Those in this state; `pending` are on their way already")] = (
        DeliveryState.dead
    ),
    since: Annotated[Instant | None, Query(description="Made at this instant or later")] = None,
) -> Replayed:
    """Send again what was given up, or all that was sent since an instant, if a receiver lost it."""
    hook = webhooks.own(session, caller, webhook_id)
    states = [] if state is DeliveryState.pending else [state]
    return Replayed(count=delivering.replay(session, hook.id, since, states))
