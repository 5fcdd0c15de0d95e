"""Pure array functions, compiled by numba.

Their machine code is kept on disk under a digest of all their sources: numba looks at the time of the file that a
function stands in, not at the files whose functions were compiled into it, and would go on with old code after an
update.
"""

import hashlib
from pathlib import Path
from typing import Any

import numba

config: Any = numba.config  # its names come from the environment


def _cache_folder() -> Path:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    given = config.CACHE_DIR
    return (Path(given) if given else Path(__file__).parent / "__pycache__") / f"kernels-{digest}"


config.CACHE_DIR = str(_cache_folder())
