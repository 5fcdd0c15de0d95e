"""By what a party is found again: its name in a plain form, and its unified social credit code."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# GB 32100-2015, 4.2 and appendix: 18 characters without I, O, S, V and Z; the last is a check character, of the
# weights 3^(i-1) mod 31 (ISO 7064, MOD 31).
_CODE_CHARACTERS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CODE = re.compile(f"[{_CODE_CHARACTERS}]{{18}}")
_WEIGHTS: Final = tuple(pow(3, place, 31) for place in range(17))
# What a company is by law, longest first; not part of what it is called by.
_LEGAL_FORMS: Final = (
    "有限责任公司", "股份有限公司", "股份合作公司", "集团有限公司", "责任有限公司", "有限公司", "股份公司", "集团公司",
    "公司",
)  # fmt: skip
_NOISE = re.compile(r"[\s\W_]+")


def check_party_code(value: str) -> str:
    """A unified social credit code in capitals, without spaces.

    Raises:
        ValueError: it is none, or its check character says that a digit is wrong.
    """
    code = re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", value)).upper()
    if not _CODE.fullmatch(code):
        raise ValueError("is no unified social credit code: 18 digits and capitals without I, O, S, V, Z")
    total = sum(_CODE_CHARACTERS.index(one) * weight for one, weight in zip(code, _WEIGHTS, strict=False))
    if _CODE_CHARACTERS[(31 - total % 31) % 31] != code[17]:
        raise ValueError("is no unified social credit code: the check character does not fit, a digit is wrong")
    return code


def party_key(name: str | None) -> str | None:
    """By what a company or a person is found again by name; None: nobody is named."""
    if name is None:
        return None
    plain = _NOISE.sub("", unicodedata.normalize("NFKC", name).casefold())
    bare = next((plain.removesuffix(form) for form in _LEGAL_FORMS if plain.endswith(form)), plain)
    # A name that is nothing but a legal form names nobody.
    return bare or None
