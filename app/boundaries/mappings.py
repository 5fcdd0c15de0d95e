"""What the columns and values of a file are called here: mappings that are stored, used again, and proposed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.boundaries.columns import COLUMNS, known_columns, match_columns
from app.boundaries.models import ColumnMapping, Layer
from app.foundation.errors import Conflict, Invalid, NotFound, StaleVersion
from app.foundation.identity import new_id

MAX_COLUMNS = 200
MAX_CODES = 1_000

# Field names met in practice: words, and the initials of their pinyin as national data dictionaries form them. None of
# it was checked against the text of a standard, so it is proposed and never applied.
_UNCHECKED: dict[str, tuple[str, ...]] = {
    "code": (
        "红线编码", "生态保护红线编码", "HXBM", "HXDM", "行政区代码", "XZQDM", "区划代码", "PAC", "ADCODE",
        "保护地编码", "自然保护地编码", "BHDBM", "BHDDM", "项目编号", "XMBH", "许可编号", "XKBH", "图斑编号", "TBBH",
        "标识码", "BSM", "编码", "代码", "BM", "DM",
    ),
    "name": (
        "红线名称", "生态保护红线名称", "HXMC", "行政区名称", "XZQMC", "保护地名称", "自然保护地名称", "BHDMC",
        "ZRBHDMC", "水源地名称", "SYDMC", "湿地名称", "SDMC", "景区名称", "JQMC", "项目名称", "XMMC", "名称", "MC",
    ),
    "main_function": ("主导功能", "ZDGN", "主导生态功能", "ZDSTGN", "生态功能", "STGN", "生态功能类型", "STGNLX"),
    "level": ("级别", "JB", "等级", "DJ", "保护级别", "BHJB", "保护地级别", "BHDJB", "行政级别", "XZJB"),
    "zone": ("功能分区", "GNFQ", "管控分区", "GKFQ", "分区", "FQ", "功能区", "GNQ", "保护区级别", "BHQJB"),
    "parent": ("上级代码", "SJDM", "上级行政区代码", "SJXZQDM"),
    "permit_kind": ("活动类型", "HDLX", "人为活动类型", "RWHDLX", "许可类型", "XKLX"),
    "holder": ("建设单位", "JSDW", "申请单位", "SQDW", "权利人", "QLR", "单位名称", "DWMC"),
    "document": ("批准文号", "PZWH", "批复文号", "PFWH", "文号", "WH", "批准文件", "PZWJ"),
    "valid_from": ("有效期起", "YXQQ", "起始日期", "QSRQ", "开始日期", "KSRQ", "批准日期", "PZRQ"),
    "valid_to": ("有效期止", "YXQZ", "有效期至", "终止日期", "ZZRQ", "截止日期", "JZRQ", "结束日期", "JSRQ"),
    "established_on": ("设立日期", "SLRQ", "设立时间", "SLSJ", "批准设立日期", "PZSLRQ"),
}  # fmt: skip
_UNCHECKED_CODES: dict[tuple[Layer, str], dict[str, str]] = {
    (Layer.divisions, "level"): {"省级": "province", "地级": "prefecture", "市级": "prefecture", "县级": "county"},
}


@dataclass(frozen=True)
class Renaming:
    """A mapping as an import uses it.

    Attributes:
        columns: our column by the file's.
        codes: our value by the file's, by our column.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def match(self, layer: Layer, found: list[str], limit: int | None) -> dict[str, str]:
        """Our name of each column of a file that is known, by the file's: the mapping's before our own names.

        Raises:
            Invalid: the file lacks a column that the mapping names for a required one.
        """
        named: dict[str, str] = {}
        for theirs, ours in self.columns.items():
            there = next((name for name in found if _is_same(theirs, name, limit)), None)
            if there is not None:
                named[there] = ours
        missing = [
            theirs
            for theirs, ours in self.columns.items()
            if ours in COLUMNS[layer].required and ours not in named.values()
        ]
        own = {name: ours for name, ours in match_columns(layer, found, limit).items() if name not in named}
        missing = [theirs for theirs in missing if self.columns[theirs] not in own.values()]
        if missing:
            raise Invalid(
                f"The mapping names the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}, which the file "
                f"lacks; it has {', '.join(found[:40]) or 'none'}. Nothing was imported."
            )
        return {**{name: ours for name, ours in own.items() if ours not in named.values()}, **named}


def _is_same(theirs: str, found: str, limit: int | None) -> bool:
    """Whether a mapping's column is one of the file; a Shapefile cuts names to 10 bytes, in whichever encoding."""
    one, other = theirs.strip().casefold(), found.strip().casefold()
    if one == other:
        return True
    if limit is None or not other or not one.startswith(other):
        return False
    return any(one.encode(codec)[:limit].decode(codec, "ignore") == other for codec in ("utf-8", "gb18030"))


def suggest(layer: Layer, found: Iterable[str], limit: int | None = None) -> Renaming | None:
    """A mapping for a file's columns, from common field names that nobody checked; None where none is known.

    The first name of the table that a file has is taken, so the more telling names stand first in it. Columns that bear
    our names already need no mapping.
    """
    names = list(found)
    own = set(match_columns(layer, names, limit).values())
    columns: dict[str, str] = {}
    for ours in targets(layer):
        if ours in own:
            continue
        for theirs in _UNCHECKED.get(ours, ()):
            there = next((name for name in names if name not in columns and _is_same(theirs, name, limit)), None)
            if there is not None:
                columns[there] = ours
                break
    if not columns:
        return None
    codes = {ours: _UNCHECKED_CODES[layer, ours] for ours in columns.values() if (layer, ours) in _UNCHECKED_CODES}
    return Renaming(columns, codes)


def proposal(layer: Layer, found: Iterable[str], limit: int | None = None) -> dict[str, Any] | None:
    """What a refusal shows of `suggest`: the body to send to `/api/v1/column-mappings` once somebody has checked it."""
    suggested = suggest(layer, found, limit)
    if suggested is None:
        return None
    codes = {column: dict(told) for column, told in suggested.codes.items()}
    return {"layer": layer.value, "name": "proposed", "columns": dict(suggested.columns), "codes": codes}


def targets(layer: Layer) -> tuple[str, ...]:
    """The columns that a mapping of a layer may name as ours."""
    return tuple(dict.fromkeys((*COLUMNS[layer].required, *known_columns(layer))))


# What is stored


def check(layer: Layer, columns: Mapping[str, str], codes: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a mapping that no import could use.

    Raises:
        Invalid: `errors` names each place to mend.
    """
    errors: list[tuple[str, str]] = []
    if not columns and not codes:
        errors.append(("columns", "a mapping names a column or a value at least"))
    if len(columns) > MAX_COLUMNS or sum(len(told) for told in codes.values()) > MAX_CODES:
        errors.append(("columns", f"at most {MAX_COLUMNS} columns and {MAX_CODES:,} values are taken"))
    errors += _column_errors(layer, columns)
    errors += _code_errors(layer, codes)
    if errors:
        pointer, detail = errors[0]
        raise Invalid(
            f"The mapping cannot be used: {pointer}: {detail}.",
            errors=[{"pointer": at, "detail": said} for at, said in errors[:20]],
            error_count=len(errors),
        )


def _column_errors(layer: Layer, columns: Mapping[str, str]) -> list[tuple[str, str]]:
    ours, named = targets(layer), list(columns.values())
    unknown = f"is no column of {layer.value}: {', '.join(ours)}"
    errors = [(f"columns/{theirs}", f"{to!r} {unknown}") for theirs, to in columns.items() if to not in ours]
    return errors + [
        (f"columns/{theirs}", f"{to!r} is named more than once")
        for theirs, to in columns.items()
        if to in ours and named.count(to) > 1
    ]


def _code_errors(layer: Layer, codes: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    ours = targets(layer)
    errors = []
    for column, told in codes.items():
        if column not in ours:
            errors.append((f"codes/{column}", f"it is no column of {layer.value}: {', '.join(ours)}"))
        vocabulary = COLUMNS[layer].vocabularies.get(column)
        if vocabulary is not None:
            errors += [
                (f"codes/{column}/{value}", f"{code!r} is none of {', '.join(vocabulary)}")
                for value, code in told.items()
                if code not in vocabulary
            ]
    return errors


def find(session: Session, layer: Layer, name: str) -> ColumnMapping:
    """A stored mapping.

    Raises:
        NotFound: there is none of this name for this layer.
    """
    mapping = session.scalar(select(ColumnMapping).where(ColumnMapping.layer == layer, ColumnMapping.name == name))
    if mapping is None:
        raise NotFound()
    return mapping


def renaming(session: Session, layer: Layer, name: str) -> Renaming:
    """A stored mapping as an import uses it.

    Raises:
        Invalid: there is none of this name for this layer.
    """
    try:
        stored = find(session, layer, name)
    except NotFound:
        raise Invalid(f"There is no column mapping {name[:80]!r} for {layer.value}.") from None
    return Renaming(stored.columns, stored.codes)


def create(
    session: Session,
    layer: Layer,
    name: str,
    columns: Mapping[str, str],
    codes: Mapping[str, Mapping[str, str]],
    by: UUID | None,
) -> ColumnMapping:
    """Store a mapping under a new name.

    Raises:
        Invalid: no import could use it.
        Conflict: the name is taken.
    """
    check(layer, columns, codes)
    statement = insert(ColumnMapping).values(
        id=new_id(), layer=layer, name=name, columns=dict(columns), codes=_plain(codes), version=1, updated_by=by
    )
    added = session.scalar(statement.on_conflict_do_nothing().returning(ColumnMapping.id))
    if added is None:
        raise Conflict(f"There is a column mapping {name!r} for {layer.value} already; change it with PUT.")
    return find(session, layer, name)


def change(
    session: Session,
    layer: Layer,
    name: str,
    columns: Mapping[str, str],
    codes: Mapping[str, Mapping[str, str]],
    by: UUID | None,
    expected: int,
) -> ColumnMapping:
    """Replace a stored mapping.

    Raises:
        NotFound: there is none.
        StaleVersion: it was changed since `expected`.
        Invalid: no import could use it.
    """
    found = find(session, layer, name)
    session.refresh(found, with_for_update=True)
    if found.version != expected:
        raise StaleVersion("The mapping was changed meanwhile; read it again and decide on what it is now.")
    check(layer, columns, codes)
    found.columns, found.codes = dict(columns), _plain(codes)
    found.version += 1
    found.updated_at, found.updated_by = func.now(), by
    session.flush()
    session.refresh(found)
    return found


def _plain(codes: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {column: dict(told) for column, told in codes.items()}
