"""What the closed lists of casework are called in Chinese (DESIGN section 5); docs/lifecycle.md lists them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from app.casework.vocabulary import (
    MeasureKind,
    ReopenBasis,
    RestorationKind,
    ReturnReason,
    SupervisionLevel,
    SupervisionSource,
    TakeUpBasis,
)

WORDS: Mapping[type[StrEnum], Mapping[StrEnum, str]] = MappingProxyType(
    {
        SupervisionSource: {
            SupervisionSource.satellite_monitoring: "卫星监测",
            SupervisionSource.green_shield: "绿盾行动",
            SupervisionSource.central_inspection_1: "第一轮中央生态环境保护督察",
            SupervisionSource.central_inspection_1_look_back: "第一轮中央督察“回头看”",
            SupervisionSource.central_inspection_2: "第二轮中央生态环境保护督察",
            SupervisionSource.provincial_inspection: "省级督察",
            SupervisionSource.provincial_inspection_look_back: "省级督察“回头看”",
            SupervisionSource.grand_survey: "大排查大整治",
            SupervisionSource.national_platform: "国家平台线索",
            SupervisionSource.forest_inspection: "森林督查",
            SupervisionSource.public_report: "群众举报",
            SupervisionSource.media: "媒体曝光",
            SupervisionSource.routine_patrol: "日常巡查",
        },
        SupervisionLevel: {
            SupervisionLevel.ordinary: "一般",
            SupervisionLevel.prefecture: "市级挂牌督办",
            SupervisionLevel.province: "省级挂牌督办",
        },
        ReturnReason: {
            ReturnReason.not_ours: "非本辖区",
            ReturnReason.wrong_department: "非本部门职责",
            ReturnReason.duplicate: "重复",
            ReturnReason.other: "其他",
        },
        TakeUpBasis: {
            TakeUpBasis.new_evidence: "新证据",
            TakeUpBasis.new_detection: "新变化图斑",
            TakeUpBasis.revoked_permit: "许可被撤销",
        },
        ReopenBasis: {
            ReopenBasis.rebound_signal: "反弹线索",
            ReopenBasis.look_back: "回头看",
        },
        MeasureKind: {
            MeasureKind.cessation: "停止违法行为",
            MeasureKind.demolition: "拆除",
            MeasureKind.clearance: "清理",
            MeasureKind.restoration: "生态修复",
            MeasureKind.relocation: "搬迁退出",
            MeasureKind.later_permit: "补办手续",
            MeasureKind.boundary_change: "调出",
            MeasureKind.other: "其他",
        },
        RestorationKind: {
            RestorationKind.forest: "林地",
            RestorationKind.grassland: "草地",
            RestorationKind.wetland: "湿地",
            RestorationKind.cropland: "耕地",
            RestorationKind.bare: "裸地",
            RestorationKind.none: "无需修复",
        },
    }
)
TITLES: Mapping[type[StrEnum], str] = MappingProxyType(
    {
        SupervisionSource: "Supervision source (问题来源)",
        SupervisionLevel: "Supervision level (挂牌督办)",
        ReturnReason: "Returning a case (退回)",
        TakeUpBasis: "Taking a case up again (重新核查)",
        ReopenBasis: "Reopening a case (反弹重启)",
        MeasureKind: "Measures of a plan (整改措施)",
        RestorationKind: "Restoration (修复)",
    }
)
