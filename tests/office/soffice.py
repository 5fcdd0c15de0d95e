"""LibreOffice without a screen: a file goes in, a file of another format comes out."""

from __future__ import annotations

import subprocess
from pathlib import Path

# A cold start, of several beside each other on a machine that is busy.
_SECONDS = 170


def converted(content: bytes, folder: Path, to: str, *, of: str = "xlsx") -> bytes:
    """A workbook as LibreOffice opens it and saves it again.

    Args:
        folder: for its profile and the files; one a test, since two of one profile wait for each other.
        to, of: suffixes: xlsx, ods, pdf.
    """
    source = folder / f"in.{of}"
    source.write_bytes(content)
    out = folder / "out"
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = ["soffice", profile, "--headless", "--norestore", "--convert-to", to, "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    made = out / f"in.{to}"
    assert made.is_file(), f"soffice: {done.returncode} {done.stdout} {done.stderr}"
    return made.read_bytes()
