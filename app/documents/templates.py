"""Templates of documents: an office's own or the standard one, filled in with plain words and pictures.

A template is a Word document with Jinja in it (docxtpl). It reaches nothing but what it is given: it runs in a sandbox,
and pictures show no more of themselves than how they are drawn.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docx.opc.exceptions import OpcError
from docx.shared import Mm
from docxtpl import DocxTemplate, InlineImage
from jinja2 import StrictUndefined, TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.foundation.errors import Problem

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
# What XML 1.0 cannot hold, and the letters by which docxtpl begins paragraphs and pages.
_UNFIT = re.compile("[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_MOST_BYTES = 32 * 2**20
_DAMAGE = (
    # lxml's errors are of the last kind.
    *(TemplateError, OpcError, zipfile.BadZipFile, zlib.error, SyntaxError),
    *(ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError, OSError),
)
_PARAGRAPH = re.compile(r"\s+")


class TemplateBroken(Problem):
    """A template of documents cannot be filled in"""

    status, code = 500, "template-broken"


@dataclass(frozen=True)
class Template:
    """A kind of document: its name, by which an office's own is found, and how the standard one is made."""

    name: str
    build: Callable[[], bytes]

    @property
    def filename(self) -> str:
        return f"{self.name}.docx"


@dataclass(frozen=True)
class Picture:
    """A picture in a context (PNG or JPEG), as wide as it shall be shown."""

    content: bytes
    width_mm: float


class _Drawn:
    """A picture as a template sees it: to be put somewhere, nothing else."""

    def __init__(self, draw: Callable[[], str]) -> None:
        self._draw = draw

    def __html__(self) -> str:
        return self._draw()

    __str__ = __html__


def fill(template: Template, directory: Path | None, context: Mapping[str, Any]) -> bytes:
    """The document that a template makes of a context.

    Args:
        directory: where an office keeps its own; one of the template's file name there holds.
        context: dictionaries, lists, text, numbers, truth values, `Picture`, and None, which is no words.

    Raises:
        TemplateBroken: the office's own cannot be read, or asks for what there is not.
    """
    own = directory / template.filename if directory else None
    if own is None or not own.is_file():
        return _filled(template.build(), context)
    try:
        if own.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
        return _filled(own.read_bytes(), context)
    except _DAMAGE as error:
        raise TemplateBroken(
            f"The office's template {template.filename} cannot be filled in: {_told(error)} Mend it, or take it away: "
            "then the standard one holds.",
            template=template.filename,
        ) from error


def _filled(content: bytes, context: Mapping[str, Any]) -> bytes:
    document = DocxTemplate(io.BytesIO(content))
    document.init_docx()
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=True)
    document.render({name: _plain(value, document) for name, value in context.items()}, environment)
    sink = io.BytesIO()
    document.save(sink)
    return sink.getvalue()


def _plain(value: Any, document: DocxTemplate) -> Any:
    if isinstance(value, str):
        return _UNFIT.sub("", value.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " "))
    if isinstance(value, Mapping):
        return {name: _plain(one, document) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, document) for one in value]
    if isinstance(value, Picture):
        image = InlineImage(document, io.BytesIO(value.content), width=Mm(value.width_mm))
        return _Drawn(image.__html__)
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    raise AssertionError(f"a context holds plain values, not {type(value)}")


def _told(error: Exception) -> str:
    """What is wrong, for whoever made the template: no path, no XML."""
    if isinstance(error, SecurityError):
        said = "it tries to reach what templates may not."
    elif isinstance(error, TemplateError):
        said = f"{str(error.message or 'it is wrong').rstrip('.')}."
    elif isinstance(error, OpcError | zipfile.BadZipFile | zlib.error | KeyError | SyntaxError | OSError):
        said = "it is no Word document (DOCX)."
    else:
        said = f"{str(error).rstrip('.')}."
    lines = [_PARAGRAPH.sub(" ", line).strip() for line in getattr(error, "docx_context", ())]
    near = " / ".join(line for line in lines if line)[:300]
    return f"{said} It stands near: {near}." if near else said
