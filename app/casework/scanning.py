"""A malware scanner of the operators' choice, asked before a file is kept."""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO

from app.foundation.errors import Busy, Invalid
from app.foundation.storage import CHUNK
from app.settings import Settings

log = logging.getLogger(__name__)

CLEAN, INFECTED = 0, 1


class Infected(Invalid):
    """The malware scanner found something"""

    code = "infected"


def scan(settings: Settings, stream: BinaryIO) -> str | None:
    """Have a file looked at by `scan_command`; the scanner's name, or None where none is set.

    The scanner is given a copy, readable by this account alone, as its last argument; exit status 0 says clean, 1
    infected, as clamscan and clamdscan have it.

    Raises:
        Infected: it found something.
        Busy: it failed, is missing, or took longer than `scan_timeout_s`; the file was not looked at.
    """
    if settings.scan_command is None:
        return None
    arguments = shlex.split(settings.scan_command)
    name = Path(arguments[0]).name
    with tempfile.NamedTemporaryFile(prefix="redline-scan-") as copy:
        stream.seek(0)
        shutil.copyfileobj(stream, copy, CHUNK)
        copy.flush()
        status = _run([*arguments, copy.name], settings.scan_timeout_s)
    stream.seek(0)
    if status == INFECTED:
        log.warning("%s found malware in an uploaded file; it is not kept", name)
        raise Infected("The malware scanner found something in the file; it is not kept.", scanned_with=name)
    if status != CLEAN:
        raise Busy(
            "The malware scanner does not answer, so that no file can be taken now; try again later, and tell the "
            "operators.",
            headers={"Retry-After": "60"},
        )
    return name


def _run(command: list[str], timeout_s: float) -> int | None:
    """The exit status, or None where there is none."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False, shell=False
        )
    except subprocess.TimeoutExpired:
        log.error("the malware scanner took longer than %s s", timeout_s)
        return None
    except OSError as error:
        log.error("the malware scanner cannot be started: %s", error.strerror)
        return None
    if done.returncode not in (CLEAN, INFECTED):
        log.error("the malware scanner ended with %d: %s", done.returncode, done.stderr[-500:].decode(errors="replace"))
    return done.returncode
