"""The rules that judge, and the sets of them, over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, File, Form, Path, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.idempotency import IdempotentRoute
from app.access.models import Account, Role
from app.access.routes import CallerDep
from app.access.service import Caller
from app.boundaries import rule_sets
from app.boundaries.law.files import MOST_BYTES, write_workbook
from app.boundaries.law.table import Example, Parameters, Rule
from app.boundaries.models import RuleSet
from app.foundation.database import SessionDep
from app.foundation.errors import Forbidden, TooLarge, problem_responses
from app.foundation.paging import Page, PageDep, fetch_page, link_next
from app.foundation.preconditions import ExpectedVersion, set_etag

rules = APIRouter(prefix="/rules", tags=["rules"], route_class=IdempotentRoute)
router = APIRouter(prefix="/rule-sets", tags=["rules"], route_class=IdempotentRoute)
routers = (rules, router)
VersionPath = Annotated[str, Path(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]{0,39}$", examples=["2026.1"])]
WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class RuleSetDecisionAnswer(BaseModel):
    """Who made the set the active one, and why."""

    decided_by: str
    decided_at: datetime
    note: str


class RuleSetSummary(BaseModel):
    """A version of the rule table."""

    id: UUID
    version: str = Field(examples=["2026.1"])
    title: str
    digest: str = Field(description="SHA-256 of the content in a canonical form")
    is_active: bool
    revision: int = Field(description="Goes up with each decision; the ETag")
    source_document: str
    imported_at: datetime
    rules: int = Field(description="How many rules")
    examples: int = Field(description="How many examples with expected verdicts, all of which hold")
    unchecked: int = Field(description="Rules that nobody compared with the published text of the law")
    decisions: list[RuleSetDecisionAnswer]


class RuleSetAnswer(RuleSetSummary):
    """A version of the rule table with its content."""

    table: list[Rule]
    cases: list[Example]
    parameters: Parameters


class ActivateRulesRequest(BaseModel):
    """Judge by these rules from now on."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field(min_length=1, max_length=2000, description="Why", examples=["厅法规处 2026 年第 3 号复核意见"])


@rules.get("", responses=problem_responses(401))
def show_rules(session: SessionDep, _: CallerDep, response: Response) -> RuleSetAnswer:
    """The rules that judge today, with their legal grounds and examples."""
    return _answer(session, response, rule_sets.active(session))


@router.get("", responses=problem_responses(400, 401))
def list_rule_sets(
    session: SessionDep, _: CallerDep, page: PageDep, request: Request, response: Response
) -> Page[RuleSetSummary]:
    """All sets, newest first: the active one, those to come, those of the past."""
    rule_sets.active(session)
    rows, cursor = fetch_page(session, select(RuleSet), page, RuleSet.id)
    link_next(request, response, cursor)
    return Page(items=[RuleSetSummary(**one) for one in _summaries(session, rows)])


@router.post("", status_code=201, responses=problem_responses(401, 403, 409, 413, 422))
def import_rule_set(
    session: SessionDep,
    caller: CallerDep,
    response: Response,
    file: Annotated[UploadFile, File(description="XLSX workbook as exported, or JSON")],
    source_document: Annotated[str, Form(min_length=1, max_length=500, description="Where the rules come from")],
) -> RuleSetAnswer:
    """Store a rule table (administrators of the province); refused where one of its examples fails. Not active yet."""
    _require_admin(caller)
    content = file.file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise TooLarge(f"The file is larger than the {MOST_BYTES:,} bytes that are taken for a rule table.")
    return _answer(session, response, rule_sets.import_rule_set(session, content, source_document, caller.account_id))


@router.get("/{version}", responses=problem_responses(401, 404, 422))
def show_rule_set(version: VersionPath, session: SessionDep, _: CallerDep, response: Response) -> RuleSetAnswer:
    """One set with its content. Its ETag is what activating it needs in If-Match."""
    return _answer(session, response, rule_sets.by_version(session, version))


@router.get(
    "/{version}/workbook",
    responses={200: {"content": {WORKBOOK: {}}}, **problem_responses(401, 404, 422)},
    response_class=Response,
)
def export_rule_set(version: VersionPath, session: SessionDep, _: CallerDep) -> Response:
    """One set as the workbook that a lawyer edits: 规则, 示例, 参数."""
    table = rule_sets.table_of(rule_sets.by_version(session, version))
    name = f'attachment; filename="rules-{table.version}.xlsx"'
    return Response(write_workbook(table), media_type=WORKBOOK, headers={"Content-Disposition": name})


@router.post("/{version}/activate", responses=problem_responses(401, 403, 404, 409, 412, 422, 428))
def activate_rule_set(
    version: VersionPath,
    given: ActivateRulesRequest,
    session: SessionDep,
    caller: CallerDep,
    expected: ExpectedVersion,
    response: Response,
) -> RuleSetAnswer:
    """Judge by another set from now on (administrators of the province). Verdicts that were given keep theirs."""
    _require_admin(caller)
    row = rule_sets.activate(session, version, expected, decided_by=caller.account_id, note=given.note)
    return _answer(session, response, row)


def _require_admin(caller: Caller) -> None:
    caller.require(Role.admin)
    if not caller.is_provincial:
        raise Forbidden("The rules hold for the whole province; only its own administrators decide on them.")


def _answer(session: Session, response: Response, row: RuleSet) -> RuleSetAnswer:
    set_etag(response, row.revision)
    table = rule_sets.table_of(row)
    (summary,) = _summaries(session, [row])
    return RuleSetAnswer(**summary, table=list(table.rules), cases=list(table.examples), parameters=table.parameters)


def _summaries(session: Session, rows: Sequence[RuleSet]) -> list[dict[str, Any]]:
    decided = rule_sets.decisions_of(session, rows)
    accounts = select(Account.id, Account.display_name).where(Account.id.in_({one.decided_by for one in decided}))
    names = {row.id: row.display_name for row in session.execute(accounts)}
    found = []
    for row in rows:
        table = rule_sets.table_of(row)
        found.append(
            {
                "id": row.id,
                "version": row.version,
                "title": table.title,
                "digest": row.digest,
                "is_active": row.is_active,
                "revision": row.revision,
                "source_document": row.source_document,
                "imported_at": row.imported_at,
                "rules": len(table.rules),
                "examples": len(table.examples),
                "unchecked": sum(not rule.text_checked for rule in table.rules),
                "decisions": [
                    RuleSetDecisionAnswer(decided_by=names[one.decided_by], decided_at=one.decided_at, note=one.note)
                    for one in decided
                    if one.rule_set_id == row.id
                ],
            }
        )
    return found
