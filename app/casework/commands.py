"""What each command of a case must be given. The class names stand in the transition table."""

from datetime import date
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.casework.lifecycle import Command
from app.casework.vocabulary import (
    Activity,
    MeasureKind,
    Name,
    ReopenBasis,
    RestorationKind,
    ReturnReason,
    SupervisionLevel,
    SupervisionSource,
    TakeUpBasis,
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


class TakeUpFields(Fields):
    """重新核查: on evidence that came after the finding, or a permit that was revoked."""

    basis: TakeUpBasis
    reason: Words
    evidence_id: UUID | None = Field(None, description="Of new_evidence: evidence of this case")
    permit_code: Name | None = Field(None, description="Of revoked_permit")

    @model_validator(mode="after")
    def _names_its_basis(self) -> Self:
        if (self.evidence_id is None) == (self.basis is TakeUpBasis.new_evidence):
            raise ValueError("evidence_id goes with new_evidence, and with it alone")
        if (self.permit_code is None) == (self.basis is TakeUpBasis.revoked_permit):
            raise ValueError("permit_code goes with revoked_permit, and with it alone")
        return self


class ConfirmFields(Fields):
    """The five precisions (五个精准)."""

    problem: Words = Field(description="精准问题", examples=["未经批准露天采石"])
    occurred_from: date = Field(description="精准时间: not before", examples=["2023-05-01"])
    occurred_to: date = Field(description="精准时间: not after", examples=["2023-06-15"])
    area_m2: Area = Field(description="精准面积, square metres", examples=[12500.0])
    area_reason: Words | None = Field(None, description="Why the area is so unlike the ground's, where it is")
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
    no_restoration_reason: Words | None = Field(None, description="Why nothing is restored, with kind none")
    measure_kinds: list[MeasureKind] = Field([], max_length=8, description="The measures, coded")
    permit_code: Name | None = Field(None, description="补办手续: the permit of later_permit, in the register")
    boundary_document: Words | None = Field(None, description="调出: the decision behind boundary_change")
    due_on: date

    @model_validator(mode="after")
    def _restoration_is_whole(self) -> Self:
        nothing = self.restoration_kind is RestorationKind.none
        if nothing != (self.no_restoration_reason is not None):
            raise ValueError("no_restoration_reason goes with restoration_kind none, and with it alone")
        if nothing != (self.restoration_area_m2 == 0):
            raise ValueError("restoration_area_m2 is 0 with restoration_kind none, and with it alone")
        return self

    @model_validator(mode="after")
    def _measures_are_documented(self) -> Self:
        if (self.permit_code is None) == (MeasureKind.later_permit in self.measure_kinds):
            raise ValueError("permit_code goes with the measure later_permit, and with it alone")
        if (self.boundary_document is None) == (MeasureKind.boundary_change in self.measure_kinds):
            raise ValueError("boundary_document goes with the measure boundary_change, and with it alone")
        return self

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


class RecordObjectionFields(Fields):
    """公示异议"""

    objector: Name = Field(examples=["李某"])
    content: Words = Field(examples=["弃渣未清运"])
    received_on: date


class DismissObjectionFields(Fields):
    """异议不成立"""

    objection_id: UUID
    answer: Words = Field(examples=["现场复核，弃渣已清运"])


class UpholdObjectionFields(Fields):
    """异议成立，退回整改"""

    objection_id: UUID
    reason: Words = Field(examples=["弃渣仍在"])


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


class TransferFields(Fields):
    """移交: another unit leads from now on"""

    lead_unit: UnitCode = Field(examples=["220681"])
    co_responsible: list[UnitCode] = Field([], max_length=20)
    reason: Words


class SplitPart(BaseModel):
    """A part of the ground. The first one stays with the case itself."""

    model_config = ConfigDict(extra="forbid")

    geometry: dict[str, Any] = Field(description="GeoJSON Polygon or MultiPolygon, longitude and latitude")
    lead_unit: UnitCode | None = Field(
        None, description="Unset: the unit with the largest part of it; not of the first part, which keeps its lead"
    )


class SplitFields(Fields):
    """分案: the parts cover the ground and nothing else"""

    reason: Words
    parts: list[SplitPart] = Field(min_length=2, max_length=50)

    @model_validator(mode="after")
    def _first_stays(self) -> Self:
        if self.parts[0].lead_unit is not None:
            raise ValueError("the first part stays with the case and its lead unit; transfer it afterwards")
        return self


class SuperviseFields(Fields):
    """挂牌督办"""

    level: SupervisionLevel
    reason: Words = Field(description="The decision and its number")


class AddSourceFields(Fields):
    """The case stands in this list too"""

    source: SupervisionSource
    round: Name | None = None
    item_number: Name | None = None
    due_on: date | None = Field(None, description="By when the list wants it closed")


class MakePrimaryFields(Fields):
    """Roll-ups count the case under this list from now on"""

    source_id: UUID
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


class TakeUpAgain(_Body):
    command: Literal[Command.take_up_again]
    fields: TakeUpFields


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


class RecordObjection(_Body):
    command: Literal[Command.record_objection]
    fields: RecordObjectionFields


class DismissObjection(_Body):
    command: Literal[Command.dismiss_objection]
    fields: DismissObjectionFields


class UpholdObjection(_Body):
    command: Literal[Command.uphold_objection]
    fields: UpholdObjectionFields


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


class Transfer(_Body):
    command: Literal[Command.transfer]
    fields: TransferFields


class Split(_Body):
    command: Literal[Command.split_]
    fields: SplitFields


class Supervise(_Body):
    command: Literal[Command.supervise]
    fields: SuperviseFields


class AddSource(_Body):
    command: Literal[Command.add_source]
    fields: AddSourceFields


class MakePrimary(_Body):
    command: Literal[Command.make_primary]
    fields: MakePrimaryFields


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
    | RecordObjection
    | DismissObjection
    | UpholdObjection
    | Reopen
    | Resume
    | Merge
    | Withdraw
    | Transfer
    | Split
    | Supervise
    | AddSource
    | MakePrimary,
    Field(discriminator="command"),
]
