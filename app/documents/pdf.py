"""PDF of a Word document, by LibreOffice in a process of its own that reaches no network and leaves nothing behind."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.documents.layout import FALLBACKS, LATIN
from app.foundation.errors import Busy, Problem
from app.foundation.folders import passing_folder

log = logging.getLogger(__name__)

# Each takes a core and some hundred megabytes.
_AT_ONCE = 2
_WAIT_S = 30.0
_SECONDS = 120
_slots = threading.BoundedSemaphore(_AT_ONCE)
# Who waits holds a thread, and there are forty for all that the service answers.
_MOST = _AT_ONCE + 8
_room = threading.BoundedSemaphore(_MOST)
_MORE = {"宋体": ("SimSun", "Noto Serif CJK SC"), LATIN: ("Liberation Serif", "Noto Serif CJK SC")}
# No macro runs, and no picture or text is fetched from an address that a template names.
_SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="MacroSecurityLevel" oor:op="fuse">
<value>3</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="DisableMacrosExecution" oor:op="fuse">
<value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="BlockUntrustedRefererLinks"
oor:op="fuse"><value>true</value></prop></item>
</oor:items>
"""


class OfficeMissing(Problem):
    """PDF cannot be made here"""

    status, code = 503, "office-missing"


class OfficeFailed(Problem):
    """PDF could not be made of the document"""

    status, code = 503, "office-failed"


def find_office(program: str) -> str:
    """The program that makes PDF.

    Raises:
        OfficeMissing: there is none.
    """
    found = shutil.which(program)
    if found is None:
        raise OfficeMissing(
            "LibreOffice Writer is not installed on this service, so there is no PDF; take the DOCX. Operators: "
            "install libreoffice-writer-nogui and fonts-noto-cjk, or name the program in REDLINE_OFFICE_PROGRAM."
        )
    return found


def to_pdf(content: bytes, program: str) -> bytes:
    """The PDF of a DOCX.

    Raises:
        OfficeMissing: there is no LibreOffice.
        OfficeFailed: it took too long, or made none.
        Busy: others have theirs made.
    """
    office = find_office(program)
    with _held(_room, 0), _held(_slots, _WAIT_S), passing_folder("redline-pdf-") as folder:
        return _converted(content, office, folder)


@contextmanager
def _held(places: threading.BoundedSemaphore, seconds: float) -> Iterator[None]:
    if not places.acquire(timeout=seconds):
        raise Busy("Other PDFs are being made; try again in a moment.", headers={"Retry-After": "30"})
    try:
        yield
    finally:
        places.release()


def _converted(content: bytes, office: str, folder: Path) -> bytes:
    (folder / "profile" / "user").mkdir(parents=True)
    (folder / "profile" / "user" / "registrymodifications.xcu").write_text(_SETTINGS)
    (folder / "fonts.conf").write_text(_fonts(), encoding="utf-8")
    source = folder / "document.docx"
    source.write_bytes(content)
    command = [
        office, f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--headless", "--norestore", "--nologo",
        "--nodefault", "--convert-to", "pdf:writer_pdf_Export", "--outdir", str(folder / "out"), str(source),
    ]  # fmt: skip
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
    }
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise OfficeFailed(f"LibreOffice took longer than {_SECONDS} seconds; take the DOCX.") from None
    finally:
        # What it started itself, too; nothing is left to kill where it ended.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    made = folder / "out" / "document.pdf"
    if not made.is_file():
        log.error("LibreOffice made no PDF: status %s: %s", process.returncode, said.decode(errors="replace")[:500])
        raise OfficeFailed("LibreOffice made no PDF of the document; take the DOCX. The operators' log has the cause.")
    return made.read_bytes()


def _fonts() -> str:
    """Fontconfig's own rules, and what stands in for the fonts of official documents where they are missing."""
    aliases = "".join(
        f'<alias binding="same"><family>{name}</family><accept>'
        + "".join(f"<family>{other}</family>" for other in others)
        + "</accept></alias>"
        for name, others in (FALLBACKS | _MORE).items()
    )
    return (
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f'{aliases}<include ignore_missing="yes">/etc/fonts/fonts.conf</include></fontconfig>'
    )
