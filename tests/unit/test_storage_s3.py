"""Storage on a real S3-compatible server: its troubles, its unfinished uploads, memory, threads and forks."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
import pytest

from app.foundation.object_store import PART
from app.foundation.storage import Storage, StorageAway, blob_key
from app.foundation.time import utc_now
from app.settings import Settings
from tests.s3_server import BUCKET, S3Server

MIB = 2**20
USES: dict[str, Callable[[Storage], object]] = {
    "check": lambda storage: storage.check(),
    "put_stream": lambda storage: storage.put_stream(io.BytesIO(b"x"), 10),
    "put_named": lambda storage: storage.put_named("state", b"x"),
    "open": lambda storage: storage.open("state"),
    "read": lambda storage: storage.read("state"),
    "view": lambda storage: storage.view("state"),
    "modified": lambda storage: storage.modified("state"),
    "exists": lambda storage: storage.exists("state"),
    "delete": lambda storage: storage.delete("state"),
    "list": lambda storage: list(storage.list("states")),
}


@pytest.fixture
def storage(s3: S3Server) -> Storage:
    return Storage(s3.new_url())


@pytest.fixture
def big(tmp_path: Path) -> Iterator[BinaryIO]:
    """50 MiB and a little, no part like another."""
    path = tmp_path / "big"
    with path.open("wb") as target:
        for number in range(50):
            target.write(number.to_bytes(4) * (MIB // 4))
        target.write(b"end")
    with path.open("rb") as stream:
        yield stream


def unfinished(s3: S3Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = s3.files().call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads", [])
    return found


def refused(use: Callable[[Storage], object], storage: Storage) -> bool:
    """Whether a use is refused as it should be: told to people without an address, and to be tried again."""
    try:
        use(storage)
    except StorageAway as away:
        assert (away.status, away.headers["Retry-After"]) == (503, "10")
        assert not any(word in away.detail for word in (BUCKET, "127.0.0.1", "s3"))
        return True
    return False


def test_a_large_stream_comes_and_goes_in_bounded_memory(s3: S3Server, storage: Storage, big: BinaryIO) -> None:
    digest = hashlib.file_digest(big, "sha256").hexdigest()
    big.seek(0)
    storage.exists("connected")
    tracemalloc.start()
    try:
        blob = storage.put_stream(big, 64 * MIB)
        sent = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        came = hashlib.sha256()
        with storage.open(blob.key) as stream:
            while chunk := stream.read(MIB):
                came.update(chunk)
        received = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (blob.sha256, blob.size) == (digest, 50 * MIB + 3)
    assert came.hexdigest() == digest
    assert sent < 4 * PART
    assert received < 24 * MIB
    info = s3.files().info(f"{storage._root}/{blob.key}")
    # The mark of an upload in parts.
    assert info["ETag"].strip('"').endswith("-7")
    assert unfinished(s3) == []


def test_the_same_content_is_sent_once(s3: S3Server, storage: Storage) -> None:
    blob = storage.put_stream(io.BytesIO(b"evidence"), 100)
    s3.files().call_s3("put_object", Bucket=BUCKET, Key=storage._path(blob.key).split("/", 1)[1], Body=b"marked!!")
    assert storage.put_stream(io.BytesIO(b"evidence"), 100) == blob
    assert storage.read(blob.key) == b"marked!!"
    # What lies there and is not whole is written anew.
    s3.files().call_s3("put_object", Bucket=BUCKET, Key=storage._path(blob.key).split("/", 1)[1], Body=b"evi")
    storage.put_stream(io.BytesIO(b"evidence"), 100)
    assert storage.read(blob.key) == b"evidence"


def test_a_stream_that_cannot_be_rewound(storage: Storage) -> None:
    read, write = os.pipe()
    os.write(write, b"from a pipe")
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as pipe:
        blob = storage.put_stream(pipe, 100)  # type: ignore[arg-type]  # a raw file, which reads as others do
    assert storage.read(blob.key) == b"from a pipe"


def test_a_state_in_many_buffers_goes_in_parts(storage: Storage) -> None:
    buffers = [bytes([number]) * (5 * MIB + number) for number in range(4)]
    storage.put_named("state", *buffers)
    assert storage.view("state") == b"".join(buffers)
    assert storage.view("state").readonly


def test_a_sender_that_breaks_off_leaves_nothing(s3: S3Server, storage: Storage, big: BinaryIO) -> None:
    class Breaking(io.RawIOBase):
        """Whole when it is measured, broken in its third part when it is sent."""

        passes = 0

        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return big.tell()

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.passes += 1
            return big.seek(offset, whence)

        def read(self, size: int | None = -1, /) -> bytes:
            if self.passes and big.tell() >= 2 * PART:
                raise ValueError("the line went dead")
            return big.read(-1 if size is None else size)

    with pytest.raises(StorageAway):
        storage.put_stream(Breaking(), 64 * MIB)  # type: ignore[arg-type]  # as above
    assert list(storage.list("blobs")) == []
    assert unfinished(s3) == []


def test_a_server_that_is_killed_in_the_middle_of_an_upload(s3: S3Server, storage: Storage, big: BinaryIO) -> None:
    class Killing(io.RawIOBase):
        passes = 0

        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return big.tell()

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.passes += 1
            return big.seek(offset, whence)

        def read(self, size: int | None = -1, /) -> bytes:
            if self.passes and big.tell() >= 3 * PART:
                s3.kill()
            return big.read(-1 if size is None else size)

    began = time.monotonic()
    assert refused(lambda storage: storage.put_stream(Killing(), 64 * MIB), storage)  # type: ignore[arg-type]
    assert [refused(USES[name], storage) for name in ("check", "exists", "delete", "list")] == [True] * 4
    # A request of a person waits for it.
    assert time.monotonic() - began < 15
    s3.start()
    assert list(storage.list("blobs")) == []
    big.seek(0)
    blob = storage.put_stream(big, 64 * MIB)
    assert list(storage.list("blobs")) == [blob.key]
    assert storage._size(blob.key) == blob.size == 50 * MIB + 3


def test_a_bucket_that_is_not_there_is_not_an_empty_one(s3: S3Server) -> None:
    storage = Storage("s3://redline-nobodys-bucket/x")
    assert {name: refused(use, storage) for name, use in USES.items()} == dict.fromkeys(USES, True)


def test_a_login_without_rights(s3: S3Server, storage: Storage) -> None:
    storage.put_named("state", b"x")
    httpx2.post(f"{s3.endpoint}/moto-api/reset-auth", content=b"0")
    try:
        assert {name: refused(use, storage) for name, use in USES.items()} == dict.fromkeys(USES, True)
        assert storage.drop_unfinished(utc_now()) == 0
    finally:
        httpx2.post(f"{s3.endpoint}/moto-api/reset-auth", content=b"inf")
    assert storage.read("state") == b"x"


def test_uploads_of_dead_writers_are_ended_when_they_are_old(s3: S3Server, storage: Storage) -> None:
    mine, other = storage._path("blobs/ab/cd"), f"{BUCKET}/other/blobs/ab/cd"
    for path in (mine, other):
        upload = s3.files().call_s3("create_multipart_upload", Bucket=BUCKET, Key=path.split("/", 1)[1])
        assert upload["UploadId"]
    assert list(storage.list("blobs")) == []
    # The server says of each that it was begun in November 2010.
    assert storage.drop_unfinished(datetime(2010, 1, 1, tzinfo=UTC)) == 0
    assert storage.drop_unfinished(utc_now()) == 1
    assert [upload["Key"] for upload in unfinished(s3)] == ["other/blobs/ab/cd"]
    s3.files().call_s3(
        "abort_multipart_upload", Bucket=BUCKET, Key="other/blobs/ab/cd", UploadId=unfinished(s3)[0]["UploadId"]
    )


def test_what_others_write_is_listed_at_once(s3: S3Server, storage: Storage) -> None:
    other = Storage(f"s3://{storage._root}")
    assert list(storage.list("states")) == []
    for number in range(3):
        other.put_named(f"states/plan/{number}", b"x")
    assert list(storage.list("states")) == [f"states/plan/{number}" for number in range(3)]
    other.delete("states/plan/1")
    assert list(storage.list("states/plan")) == ["states/plan/0", "states/plan/2"]
    assert storage.modified("states/plan/1") is None


def test_threads_share_it(storage: Storage) -> None:
    def use(number: int) -> bytes:
        storage.put_named(f"states/{number}", str(number).encode())
        return storage.read(f"states/{number}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(64))) == [str(number).encode() for number in range(64)]


def _in_child(storage: Storage, answers: Any) -> None:
    storage.put_named("states/child", storage.read("states/parent") + b" and child")
    answers.put(storage.read("states/child"))


def test_a_forked_process_goes_on_with_it(storage: Storage) -> None:
    storage.put_named("states/parent", b"parent")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_in_child, args=(storage, answers))
    child.start()
    assert answers.get(timeout=20) == b"parent and child"
    child.join(20)
    assert child.exitcode == 0
    assert storage.read("states/child") == b"parent and child"


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "s3://key@bucket", "s3://", "s3:///x", "s3://bucket/x?versionId=1"]
)
def test_addresses_with_secrets_or_without_a_bucket_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="AWS_ACCESS_KEY_ID"):
        Settings(storage_url=url, _env_file=None)


def test_keys_of_blobs_lie_below_the_prefix(s3: S3Server, storage: Storage) -> None:
    blob = storage.put_stream(io.BytesIO(b"x"), 1)
    assert s3.files().find(storage._root) == [f"{storage._root}/{blob_key(blob.sha256)}"]
