"""What the service says of its open data."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.statistics.open_data import TABLES, TITLES, VERSION, Kind, digest


class ColumnAnswer(BaseModel):
    """One column."""

    name: str
    type: Kind
    unit: str | None = Field(description="Of its values; 1: a share")
    label: str = Field(description="In Chinese")
    definition: str
    since: str = Field(description="Version of the open data in which it came")


class TableAnswer(BaseModel):
    """One table, in the order of its columns."""

    name: str = Field(examples=["ledger", "figures/closure"])
    title: str
    files: list[str]
    digest: str = Field(description="SHA-256 of the definitions")
    columns: list[ColumnAnswer]


class DataDictionary(BaseModel):
    """Every table of the open data. Columns are only ever added, at the end of their table."""

    version: str
    tables: list[TableAnswer]


def dictionary() -> DataDictionary:
    """The data dictionary, made from `open_data`."""
    tables = [
        TableAnswer(
            name=name,
            title=TITLES[name],
            files=[f"/api/v1/statistics/{name}.{form}" for form in ("csv", "parquet", "gpkg")],
            digest=digest(columns),
            columns=[ColumnAnswer.model_validate(column, from_attributes=True) for column in columns],
        )
        for name, columns in TABLES.items()
    ]
    return DataDictionary(version=VERSION, tables=tables)
