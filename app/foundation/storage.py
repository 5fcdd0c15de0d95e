"""Object storage on fsspec: evidence by its content, monitor state by name; `file://`, `s3://`, whatever fsspec knows.

Nothing half-written is ever seen under a key: a local file is written aside, synced and renamed; an object store
shows an object only when it is whole.
"""

from __future__ import annotations

import hashlib
import io
import logging
import mmap
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from app.foundation import object_store
from app.foundation.errors import Problem, TooLarge

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
# Uploads in the making; never a key, never listed.
_ASIDE = ".aside"


class StorageAway(Problem, OSError):
    """The storage of files cannot be used now"""

    status, code = 503, "storage-unavailable"

    def __init__(self, detail: str | None = None, **members: Any) -> None:
        detail = detail or (
            "The storage of files cannot be reached or refuses the service; the operators' log has the cause. "
            "Nothing was changed. If this was to change something, send it again under the same key."
        )
        super().__init__(detail, headers={"Retry-After": "10"}, **members)


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


def check_size(size: int, limit: int) -> None:
    """That a file has at most `limit` bytes.

    Raises:
        TooLarge: it has more.
    """
    if size > limit:
        raise TooLarge(f"The file is larger than {limit:,} bytes.", limit_bytes=limit)


class Draft:
    """A file on its way to a storage: hashed as it comes, to be read and looked into, and then kept or dropped."""

    def __init__(self, storage: Storage, stream: BinaryIO, limit: int, aside: Path | None = None) -> None:
        self.stream = stream
        self._storage, self._limit, self._aside = storage, limit, aside
        self._digest, self._size = hashlib.sha256(), 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add to the end; nothing was read from `stream` before.

        Raises:
            TooLarge: the file has become longer than the draft's limit.
        """
        check_size(self._size + len(data), self._limit)
        self._size += len(data)
        self._digest.update(data)
        with self._storage.write_trouble():
            self.stream.write(data)

    @property
    def blob(self) -> StoredBlob:
        """As what it is, or will be, kept."""
        return StoredBlob(self._digest.hexdigest(), self._size)

    def keep(self) -> StoredBlob:
        """Keep it by its content; the same content is kept once."""
        self._storage.keep_draft(self.blob, self.stream, self._aside)
        return self.blob


class Storage:
    """Keys are relative POSIX paths below one address. Threads may share it, and it lives on in a forked process.

    Every method raises `StorageAway` where the storage cannot be reached, is full or refuses. Whatever was to be
    written then stands there as a whole or not at all, and to write it again is safe.

    Args:
        url: `file:///folder`, `s3://bucket/prefix` or another address that fsspec opens.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_s3 = url.startswith(("s3://", "s3a://"))
        files, root = self._open_files()
        self._opened = os.getpid(), files
        self._root = root.rstrip("/")
        self._local = isinstance(files, LocalFileSystem)

    def _open_files(self) -> tuple[Any, str]:
        files, root = fsspec.core.url_to_fs(self._url, **(object_store.OPTIONS if self._is_s3 else {}))
        if self._is_s3:
            files.retries = object_store.TRIES
        return files, str(root)

    @property
    def _files(self) -> Any:
        """The driver. Its connections belong to the process that opened them, so a forked one opens its own."""
        if self._opened[0] != os.getpid():
            self._opened = os.getpid(), self._open_files()[0]
        return self._opened[1]

    def put_stream(self, stream: BinaryIO, limit: int) -> StoredBlob:
        """Keep a stream by its content, in bounded memory; the same content is kept once.

        An object store wants to know the key first: a stream that can be rewound is read twice; another one passes
        through a file among the system's temporary ones (TMPDIR).

        Raises:
            TooLarge: it is longer than `limit` bytes; nothing is kept.
        """
        if self._local or not stream.seekable():
            with self.draft(limit) as draft:
                while chunk := stream.read(CHUNK):
                    draft.write(chunk)
                return draft.keep()
        start, digest, size = stream.tell(), hashlib.sha256(), 0
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            check_size(size, limit)
            digest.update(chunk)
        blob = StoredBlob(digest.hexdigest(), size)
        if self._size(blob.key) != blob.size:
            stream.seek(start)
            self._put_parts(blob.key, object_store.parts_of_stream(stream))
        return blob

    @contextmanager
    def draft(self, limit: int) -> Iterator[Draft]:
        """A file that comes bit by bit; gone at the end of the context unless it was kept.

        Local storage has it beside the keys, so that it is written to the disk once; for an object store it lies among
        the system's temporary files (TMPDIR).
        """
        if self._local:
            with self._aside() as (aside, target):
                yield Draft(self, target, limit, aside)
            return
        with self._writing():
            passing = tempfile.TemporaryFile(prefix="redline-")  # noqa: SIM115  # closed below; others' errors pass
        with passing:
            yield Draft(self, cast(BinaryIO, passing), limit)

    def keep_draft(self, blob: StoredBlob, stream: BinaryIO, aside: Path | None) -> None:
        """What `Draft.keep` asks for."""
        if self._size(blob.key) == blob.size:
            return
        if aside is not None:
            self._settle(aside, stream, blob.key)
            return
        stream.seek(0)
        self._put_parts(blob.key, object_store.parts_of_stream(stream))

    @contextmanager
    def write_trouble(self) -> Iterator[None]:
        """Turn what goes wrong while a draft is written into `StorageAway`."""
        with self._writing():
            yield

    def put_named(self, key: str, *data: bytes | bytearray | memoryview) -> None:
        """Write or replace what stands under a key; readers see the old or the new content, whole.

        Args:
            data: the content, or its parts in order; they are taken without a copy of the whole.
        """
        self._path(key)
        if not self._local:
            self._put_parts(key, object_store.parts_of(data))
            return
        with self._aside() as (aside, target):
            with self._writing():
                target.writelines(data)
            self._settle(aside, target, key)

    def open(self, key: str) -> BinaryIO:
        """What stands under a key, to read; close it.

        Raises:
            FileNotFoundError: nothing does.
        """
        path = self._path(key)
        with self._reading():
            stream = self._files.open(path, "rb")
        return cast(BinaryIO, stream if self._local else _Reader(self, stream))

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
        with self._reading(), Path(self._path(key)).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def modified(self, key: str) -> datetime | None:
        """When a key was written, or None when nothing stands there (any more)."""
        path = self._path(key)
        with suppress(FileNotFoundError), self._reading():
            written: datetime = self._files.modified(path)
            return written if written.tzinfo else written.replace(tzinfo=UTC)
        return None

    def exists(self, key: str) -> bool:
        return self._size(key) is not None

    def _size(self, key: str) -> int | None:
        """Bytes under a key; None: nothing stands there. fsspec's own `isfile` takes a store that is away for that."""
        path = self._path(key)
        with suppress(FileNotFoundError), self._reading():
            info = self._files.info(path)
            return int(info["size"]) if info["type"] == "file" else None
        return None

    def delete(self, key: str) -> None:
        """Remove a key; harmless when nothing stands there."""
        path = self._path(key)
        with suppress(FileNotFoundError), self._reading():
            self._files.rm_file(path)

    def drop_unfinished(self, older_than: datetime) -> int:
        """Delete what writers that died left aside, and no key names; how many files or uploads that were.

        Args:
            older_than: spare what was written to (in an object store: begun) at or after this instant: a writer may
                still be at it.
        """
        if self._is_s3:
            try:
                with self._reading():
                    return object_store.end_unfinished(self._files, self._root, older_than)
            except StorageAway:
                # Some stores lack the call, and some rights do: what is left costs room, and is nobody's content.
                log.warning("unfinished uploads could not be listed or ended")
                return 0
        gone = 0
        for path in Path(self._root, _ASIDE).glob("*") if self._local else ():
            with suppress(FileNotFoundError), self._reading():
                if path.stat().st_mtime < older_than.timestamp():
                    path.unlink()
                    gone += 1
        return gone

    def list(self, prefix: str) -> Iterator[str]:
        """The keys below a folder, sorted."""
        folder = self._path(prefix)
        with self._reading():
            # A store's driver may remember an older listing, and others write here, too.
            self._files.invalidate_cache(folder)
            found = sorted(str(path) for path in self._files.find(folder))
        for path in found:
            # Of a folder that is none, the driver finds the file of that name.
            if path != folder:
                yield path[len(self._root) + 1 :]

    def check(self) -> None:
        """Whether the storage answers, in seconds. Raises: StorageAway."""
        with self._writing():
            if self._is_s3:
                object_store.ask(self._files, self._root)
            elif self._local:
                Path(self._root).mkdir(parents=True, exist_ok=True)
                if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
                    raise PermissionError("the folder of the storage cannot be written to")

    def _path(self, key: str) -> str:
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts or "\\" in key or "\0" in key or parts[0] == _ASIDE:
            raise ValueError(f"not a storage key: {key!r}")
        return f"{self._root}/{'/'.join(parts)}"

    def _put_parts(self, key: str, parts: Iterator[bytes]) -> None:
        with self._writing():
            if self._is_s3:
                object_store.put(self._files, self._path(key), parts)
            else:
                self._files.pipe_file(self._path(key), b"".join(parts))

    @contextmanager
    def _aside(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new local file beside the keys, so that a rename is enough; gone at the end unless it was settled."""
        folder = Path(self._root) / _ASIDE
        aside = folder / f"redline-{secrets.token_hex(16)}"
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            target = aside.open("x+b")
        try:
            with target:
                yield aside, target
        finally:
            aside.unlink(missing_ok=True)

    def _settle(self, aside: Path, written: BinaryIO, key: str) -> None:
        with self._writing():
            written.flush()
            os.fsync(written.fileno())
            target = Path(self._path(key))
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.replace(target)
            # The rename itself lasts only once the folder is synced.
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn the trouble of a driver into `StorageAway`. FileNotFoundError stays: nothing stands under the key."""
        try:
            yield
        except FileNotFoundError as error:
            if not self._is_s3 or not object_store.lacks_bucket(error):
                raise
            raise self._away(error) from error
        except Problem:
            raise
        except Exception as error:
            # Drivers of object stores raise errors of their own, of their HTTP client and of their account's provider.
            if self._local and not isinstance(error, OSError):
                raise
            raise self._away(error) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """As `_reading`; where nothing is looked for, nothing found is trouble, too."""
        try:
            with self._reading():
                yield
        except FileNotFoundError as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> StorageAway:
        log.error("the storage fails: %s: %s", type(error).__name__, error)
        away = StorageAway()
        if self._local and isinstance(error, OSError):
            # A full disk or a lack of rights, which a run tells without a path.
            away.errno, away.strerror = error.errno, error.strerror
        return away


class _Reader(io.RawIOBase):
    """A driver's reader whose trouble is `StorageAway`."""

    def __init__(self, storage: Storage, stream: Any) -> None:
        self._storage, self._stream = storage, stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def read(self, size: int | None = -1, /) -> bytes:
        # Deleted meanwhile is trouble, too: a reader was promised the whole.
        with self._storage._writing():
            return bytes(self._stream.read(-1 if size is None else size))

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
