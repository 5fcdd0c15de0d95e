"""The simulated sample on disk, for `redline demo` and `redline sample build`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from app.foundation.errors import Problem
from app.sample.build import SampleConflict, SampleInfo, build


def build_sample(
    folder: Path, seed: int, sample_dir: Path, advance: Callable[[int, int], None], recipe: str = "sample"
) -> SampleInfo:
    """Write the simulated sample into a folder, or finish or find the one that is there.

    Args:
        sample_dir: the repository's sample data, for the province's divisions.
        advance: told (scenes done, scenes in all).
        recipe: what is planted, see `app.sample.build`.

    Raises:
        Problem: the folder cannot take it, and why.
    """
    divisions = sample_dir / "jilin" / "divisions.geojson"
    try:
        workers = os.cpu_count() or 1
        return build(folder, seed=seed, divisions=divisions, progress=advance, workers=workers, recipe=recipe)
    except (SampleConflict, ValueError) as error:
        raise Problem(f"The sample cannot be built in {folder}: {error}.") from error
    except OSError as error:
        # Those of image files carry no errno, only words.
        reason = f"{error.strerror}: {error.filename or folder}" if error.strerror else str(error)
        raise Problem(f"The sample cannot be written to {folder}: {reason}.") from error
