"""What a sender says of a file, the same fields whichever way the file comes."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field, ValidationError

from app.casework.evidence import Sent
from app.casework.models import EvidenceKind
from app.casework.vocabulary import Words, pointers
from app.foundation.errors import Invalid


class Said(BaseModel):
    """The fields."""

    filename: str = Field("", max_length=1000)
    kind: EvidenceKind
    description: Words | None = None
    longitude: float | None = Field(None, ge=-180, le=180, allow_inf_nan=False)
    latitude: float | None = Field(None, ge=-90, le=90, allow_inf_nan=False)


def read_said(values: Mapping[str, str], where: str) -> Sent:
    """Read the fields; others are left out of account.

    Args:
        where: what they stand in, for errors.

    Raises:
        Invalid: a value does not fit.
    """
    try:
        read = Said.model_validate({key: value for key, value in values.items() if key in Said.model_fields})
    except ValidationError as error:
        errors = pointers(list(error.errors()), where)
        raise Invalid(f"Mend these fields: {', '.join(each['pointer'] for each in errors)}.", errors=errors) from None
    if (read.longitude is None) != (read.latitude is None):
        raise Invalid("Mend these fields: longitude, latitude. Give both or neither.")
    if "\0" in read.filename:
        raise Invalid(f"Mend these fields: {where}/filename.")
    return Sent(read.filename, read.kind, read.description, read.longitude, read.latitude)
