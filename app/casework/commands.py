"""What each command of a case must be given. The class names stand in the transition table."""

from datetime import date
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.casework.lifecycle import Command
from app.casework.vocabulary import (
    Activity,
    Name,
    ReopenBasis,
    RestorationKind,
    ReturnReason,
    UnitCode,
    Words,
)

Area = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NoFields(Fields):
    """This command needs nothing but itself."""


class ReasonFields(Fields):
    reason: Words = Field(examples=["现场核查为农田翻耕"])


class ReturnFields(Fields):
    """退回"""

    reason: ReturnReason
    explanation: Words = Field(examples=["该地块属邻县管辖"])


class RedispatchFields(Fields):
    """重新派发"""

    lead_unit: UnitCode = Field(description="Code of the unit that shall lead now", examples=["220681"])
    co_responsible: list[UnitCode] = Field([], max_length=20, description="Codes of units that join")


class PermitFields(Fields):
    """A permit's code, or the legal ground without one."""

    permit_code: Name | None = Field(None, examples=["SP-2023-014"])
    legal_ground: Words | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.permit_code is None and self.legal_ground is None:
            raise ValueError("name permit_code or legal_ground")
        return self


class ConfirmFields(Fields):
    """The five precisions (五个精准)."""

    problem: Words = Field(description="精准问题", examples=["未经批准露天采石"])
    occurred_from: date = Field(description="精准时间: not before", examples=["2023-05-01"])
    occurred_to: date = Field(description="精准时间: not after", examples=["2023-06-15"])
    area_m2: Area = Field(description="精准面积, square metres", examples=[12500.0])
    party: Name | None = Field(None, description="精准对象: who did it", examples=["某石料有限公司"])
    unknown_reason: Words | None = Field(None, description="Why the party is unknown")
    responsible_government: Name = Field(
        description="精准对象: the government responsible", examples=["抚松县人民政府"]
    )
    immediate_measure: Words = Field(description="精准措施: what was done at once", examples=["责令立即停工"])
    activity: Activity | None = Field(None, description="When the field check found another activity than the image")

    @model_validator(mode="after")
    def _is_precise(self) -> Self:
        if self.occurred_from > self.occurred_to:
            raise ValueError("occurred_from lies after occurred_to")
        if (self.party is None) == (self.unknown_reason is None):
            raise ValueError("give either party or unknown_reason")
        return self


class Milestone(Fields):
    title: Name = Field(examples=["拆除设备"])
    due_on: date


class PlanFields(Fields):
    """整改方案"""

    measures: Words = Field(examples=["清运弃渣，覆土后栽植红松"])
    responsible_unit: Name = Field(examples=["抚松县林业局"])
    responsible_person: Name = Field(examples=["王某"])
    milestones: list[Milestone] = Field(min_length=1, max_length=50)
    restoration_kind: RestorationKind
    restoration_area_m2: float = Field(ge=0, le=1e12, allow_inf_nan=False)
    due_on: date

    @model_validator(mode="after")
    def _milestones_fit(self) -> Self:
        if any(milestone.due_on > self.due_on for milestone in self.milestones):
            raise ValueError("a milestone is due after due_on")
        return self


class ProgressFields(Fields):
    """整改进展"""

    progress: Words = Field(examples=["设备已拆除，开始覆土"])
    percent: int | None = Field(None, ge=0, le=100)


class ClosureFields(Fields):
    """申请销号"""

    summary: Words = Field(examples=["已恢复林地 12500 平方米"])
    evidence_id: UUID = Field(description="Completion evidence of this case, uploaded after the plan was approved")


class OpinionFields(Fields):
    """验收意见"""

    opinion: Words = Field(examples=["现场验收合格"])


class NoticeFields(Fields):
    """公示"""

    published_at: Words = Field(description="Where the notice is to be read", examples=["https://example.gov.cn/1"])


class ReopenFields(Fields):
    """反弹重启"""

    basis: ReopenBasis
    look_back_id: UUID | None = Field(None, description="The look-back that found it, where that is the basis")
    reason: Words

    @model_validator(mode="after")
    def _names_its_look_back(self) -> Self:
        if (self.basis is ReopenBasis.look_back) != (self.look_back_id is not None):
            raise ValueError("name look_back_id where basis is look_back, and there alone")
        return self


class MergeFields(Fields):
    """并案"""

    into_case_id: UUID
    reason: Words


FIELDS: dict[str, type[Fields]] = {kind.__name__: kind for kind in Fields.__subclasses__()}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    note: Words | None = None
    occurred_on: date | None = Field(None, description="The day it happened, if not today")


class _Plain(_Body):
    fields: NoFields = NoFields()


class _Reasoned(_Body):
    fields: ReasonFields


class StartVerification(_Plain):
    command: Literal[Command.start_verification]


class Return(_Body):
    command: Literal[Command.return_]
    fields: ReturnFields


class Redispatch(_Body):
    command: Literal[Command.redispatch]
    fields: RedispatchFields


class ProposeUnfounded(_Reasoned):
    command: Literal[Command.propose_unfounded]


class ProposePermitted(_Body):
    command: Literal[Command.propose_permitted]
    fields: PermitFields


class UpholdProposal(_Reasoned):
    command: Literal[Command.uphold_proposal]


class RejectProposal(_Reasoned):
    command: Literal[Command.reject_proposal]


class TakeUpAgain(_Reasoned):
    command: Literal[Command.take_up_again]


class Confirm(_Body):
    command: Literal[Command.confirm]
    fields: ConfirmFields


class SubmitPlan(_Body):
    command: Literal[Command.submit_plan]
    fields: PlanFields


class ApprovePlan(_Plain):
    command: Literal[Command.approve_plan]


class ReturnPlan(_Reasoned):
    command: Literal[Command.return_plan]


class ReportProgress(_Body):
    command: Literal[Command.report_progress]
    fields: ProgressFields


class RequestClosure(_Body):
    command: Literal[Command.request_closure]
    fields: ClosureFields


class Accept(_Body):
    command: Literal[Command.accept]
    fields: OpinionFields


class ReturnClosure(_Reasoned):
    command: Literal[Command.return_closure]


class Publicise(_Body):
    command: Literal[Command.publicise]
    fields: NoticeFields


class ReturnAcceptance(_Reasoned):
    command: Literal[Command.return_acceptance]


class Close(_Plain):
    command: Literal[Command.close]


class UpholdObjection(_Reasoned):
    command: Literal[Command.uphold_objection]


class Reopen(_Body):
    command: Literal[Command.reopen]
    fields: ReopenFields


class Resume(_Plain):
    command: Literal[Command.resume]


class Merge(_Body):
    command: Literal[Command.merge]
    fields: MergeFields


class Withdraw(_Reasoned):
    command: Literal[Command.withdraw]


TransitionBody = Annotated[
    StartVerification
    | Return
    | Redispatch
    | ProposeUnfounded
    | ProposePermitted
    | UpholdProposal
    | RejectProposal
    | TakeUpAgain
    | Confirm
    | SubmitPlan
    | ApprovePlan
    | ReturnPlan
    | ReportProgress
    | RequestClosure
    | Accept
    | ReturnClosure
    | Publicise
    | ReturnAcceptance
    | Close
    | UpholdObjection
    | Reopen
    | Resume
    | Merge
    | Withdraw,
    Field(discriminator="command"),
]
