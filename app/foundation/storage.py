"""Object storage on fsspec: evidence by its content, monitor state by name; `file://`, `s3://`, whatever fsspec knows.

Nothing half-written is ever seen under a key: a local file is written aside, synced and renamed; an object store
shows an object only when it is whole.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from app.foundation.errors import TooLarge

CHUNK = 1024 * 1024
# Uploads in the making; never a key, never listed.
_ASIDE = ".aside"


@dataclass(frozen=True)
class StoredBlob:
    """A blob kept by its content: SHA-256 in hexadecimal, size in bytes."""

    sha256: str
    size: int

    @property
    def key(self) -> str:
        return blob_key(self.sha256)


def blob_key(sha256: str) -> str:
    """The key of a blob: `blobs/ab/cdef…`."""
    return f"blobs/{sha256[:2]}/{sha256[2:]}"


class Storage:
    """Keys are relative POSIX paths below one address.

    Args:
        url: `file:///folder`, `s3://bucket/prefix` or another address that fsspec opens.
    """

    def __init__(self, url: str) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = str(root).rstrip("/")
        self._local = isinstance(self._files, LocalFileSystem)

    def put_stream(self, stream: BinaryIO, limit: int) -> StoredBlob:
        """Keep a stream by its content, in bounded memory; the same content is kept once.

        Raises:
            TooLarge: it is longer than `limit` bytes; nothing is kept.
        """
        aside = self._make_aside()
        try:
            digest, size = hashlib.sha256(), 0
            with aside.open("xb") as target:
                while chunk := stream.read(CHUNK):
                    size += len(chunk)
                    if size > limit:
                        raise TooLarge(f"The file is larger than {limit:,} bytes.", limit_bytes=limit)
                    digest.update(chunk)
                    target.write(chunk)
                _sync(target)
            blob = StoredBlob(digest.hexdigest(), size)
            if not self.exists(blob.key):
                self._settle(aside, blob.key)
            return blob
        finally:
            aside.unlink(missing_ok=True)

    def put_named(self, key: str, *data: bytes | bytearray | memoryview) -> None:
        """Write or replace what stands under a key; readers see the old or the new content, whole.

        Args:
            data: the content, or its parts in order; a local file takes them without a copy.
        """
        if not self._local:
            # An object store shows an object once it is whole; there is no need for a copy aside.
            self._files.pipe_file(self._path(key), data[0] if len(data) == 1 else b"".join(data))
            return
        aside = self._make_aside()
        try:
            with aside.open("xb") as target:
                target.writelines(data)
                _sync(target)
            self._settle(aside, key)
        finally:
            aside.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        """What stands under a key, to read; close it.

        Raises:
            FileNotFoundError: nothing does.
        """
        return cast(BinaryIO, self._files.open(self._path(key), "rb"))

    def read(self, key: str) -> bytes:
        """All bytes under a key.

        Raises:
            FileNotFoundError: nothing stands there.
        """
        with self.open(key) as stream:
            return stream.read()

    def view(self, key: str) -> memoryview:
        """All bytes under a key, not to be written to: mapped from a local file without a copy, else in memory.

        A mapping stays whole when the key is replaced or deleted, because files are only ever renamed into place.

        Raises:
            FileNotFoundError: nothing stands there.
        """
        if not self._local:
            return memoryview(self.read(key)).toreadonly()
        with Path(self._path(key)).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def modified(self, key: str) -> datetime | None:
        """When a key was written, or None when nothing stands there (any more)."""
        with suppress(FileNotFoundError):
            written: datetime = self._files.modified(self._path(key))
            return written if written.tzinfo else written.replace(tzinfo=UTC)
        return None

    def exists(self, key: str) -> bool:
        return bool(self._files.isfile(self._path(key)))

    def delete(self, key: str) -> None:
        """Remove a key; harmless when nothing stands there."""
        if self.exists(key):
            self._files.rm_file(self._path(key))

    def drop_unfinished(self, older_than: datetime) -> int:
        """Delete what writers that died left aside, and no key names; how many files that were.

        Args:
            older_than: spare what was written to at or after this instant: a writer may still be at it.
        """
        gone = 0
        for path in Path(self._root, _ASIDE).glob("*") if self._local else ():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < older_than.timestamp():
                    path.unlink()
                    gone += 1
        return gone

    def list(self, prefix: str) -> Iterator[str]:
        """The keys below a folder, sorted."""
        folder = self._path(prefix)
        # A store's driver may remember an older listing, and others write here, too.
        self._files.invalidate_cache(folder)
        if not self._files.isdir(folder):
            return
        below = len(self._root) + 1
        for path in sorted(self._files.find(folder)):
            yield str(path)[below:]

    def _path(self, key: str) -> str:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\\" in key or "\0" in key or parts[0] == _ASIDE:
            raise ValueError(f"not a storage key: {key!r}")
        return f"{self._root}/{'/'.join(parts)}"

    def _make_aside(self) -> Path:
        """A new file name: beside the keys when they are local, so that a rename is enough."""
        folder = Path(self._root) / _ASIDE if self._local else Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"redline-{secrets.token_hex(16)}"

    def _settle(self, aside: Path, key: str) -> None:
        path = self._path(key)
        if not self._local:
            self._files.put_file(str(aside), path)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(target)
        # The rename itself lasts only once the folder is synced.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
