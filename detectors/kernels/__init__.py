"""Pure array functions, compiled by numba.

Their machine code is kept on disk under a digest of all their sources: numba looks at the time of the file that a
function stands in, not at the files whose functions were compiled into it, and would go on with old code after an
update.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numba

config: Any = numba.config  # its names come from the environment


def _cache_folder() -> Path:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    beside = Path(__file__).parent / "__pycache__"
    for base in (Path(config.CACHE_DIR) if config.CACHE_DIR else beside, Path.home() / ".cache" / "redline"):
        folder = base / f"kernels-{digest}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue  # installed by somebody else: numba would take its own cache, without the digest
        if os.access(folder, os.W_OK):
            return folder
    # Nowhere to keep it: a private folder for this process, since a shared one could hold somebody else's code.
    return Path(tempfile.mkdtemp(prefix="redline-kernels-"))


config.CACHE_DIR = str(_cache_folder())
