"""Folders for unfinished and passing files, which nobody has to tidy up after a process that was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def held_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder that is held as long as this process lives; those that dead processes left are swept first.

    Raises:
        OSError: the parent cannot be written to.
    """
    for left in parent.glob(f"{prefix}*"):
        # What is not a folder, not ours or still held stays.
        with suppress(OSError), _held(left):
            shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=parent))
    try:
        with _held(folder):
            # Named only once it is held: or another process would sweep it in between.
            folder = folder.rename(folder.with_name(folder.name.replace(".making-", prefix, 1)))
            yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except KeyboardInterrupt:
            # Ctrl-C in the middle of tidying up: what is left goes, too.
            shutil.rmtree(folder, ignore_errors=True)
            raise


@contextmanager
def passing_folder(prefix: str) -> Iterator[Path]:
    """A `held_folder` among the system's temporary files."""
    with held_folder(Path(tempfile.gettempdir()), prefix) as folder:
        yield folder


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """A folder locked against others. Raises: OSError: another process holds it, or it is no folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
