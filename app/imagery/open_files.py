"""Files kept open between reads: opening one takes as long as decoding what a picture needs of it.

A dataset of GDAL's is used by one thread at a time (GDAL's multithreading guide), so one is taken out while it is read
and put back after; two threads that read one file have one each. Only files here are kept, and known by path, inode,
size and time of writing: one that is replaced is opened anew.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Final

from rasterio.io import DatasetReader

from app.imagery.found import is_remote

# Idle ones: each holds a file descriptor, and its header in memory.
MOST: Final = 64


class OpenFiles:
    """Datasets that nobody is using, the one put back longest ago first to go."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._idle: OrderedDict[int, tuple[str, DatasetReader]] = OrderedDict()
        self._lock = threading.Lock()
        # A child process shares its parent's file positions: it must not read through them.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock, self._idle = threading.Lock(), OrderedDict()

    def take(self, key: str | None) -> DatasetReader | None:
        """A dataset of that key, which is the caller's until it is put back or closed."""
        with self._lock:
            number = next((number for number, (known, _) in self._idle.items() if known == key), None)
            return None if number is None else self._idle.pop(number)[1]

    def put(self, key: str, dataset: DatasetReader) -> None:
        """Keep a dataset that is open and in order; the oldest beyond the limit are closed."""
        with self._lock:
            self._idle[id(dataset)] = key, dataset
            gone = [self._idle.popitem(last=False)[1][1] for _ in range(len(self._idle) - self._most)]
        for old in gone:
            old.close()

    def clear(self) -> None:
        """Close all that are idle."""
        with self._lock:
            gone = [dataset for _, dataset in self._idle.values()]
            self._idle.clear()
        for dataset in gone:
            dataset.close()

    def __len__(self) -> int:
        return len(self._idle)


def key_of_file(href: str) -> str | None:
    """What a file here is known by while it is as it is; None: it is not here, or not there."""
    if is_remote(href):
        return None
    with suppress(OSError, ValueError):
        found = Path(href).stat()
        return f"{href} {found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    return None
