"""Storage: content-addressed, atomic, bounded; local files and an object store alike."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from pathlib import Path

import pytest

from app.foundation.errors import TooLarge
from app.foundation.storage import Storage, StoredBlob, blob_key
from app.foundation.time import utc_now
from tests.s3_server import S3Server


@pytest.fixture(params=["file", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "file":
        return Storage((tmp_path / "a folder").as_uri().replace("%20", " "))
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return Storage(server.new_url())
    return Storage(f"memory://{tmp_path.name}")


def test_a_stream_is_kept_by_its_content_once(storage: Storage) -> None:
    data = bytes(range(256)) * 9000
    blob = storage.put_stream(io.BytesIO(data), len(data))
    assert blob == StoredBlob(hashlib.sha256(data).hexdigest(), len(data))
    assert storage.put_stream(io.BytesIO(data), len(data)) == blob
    assert storage.read(blob.key) == data
    assert list(storage.list("blobs")) == [blob.key] == [f"blobs/{blob.sha256[:2]}/{blob.sha256[2:]}"]


def test_a_stream_over_the_limit_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(TooLarge):
        storage.put_stream(io.BytesIO(b"x" * 11), 10)
    assert list(storage.list("blobs")) == []


def test_a_failing_stream_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the line went dead")

    storage = Storage(tmp_path.as_uri())
    with pytest.raises(OSError, match="dead"):
        storage.put_stream(Broken(), 10)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_named_content_is_replaced_listed_and_deleted(storage: Storage) -> None:
    storage.put_named("states/b/2", b"old")
    storage.put_named("states/a/1", b"one")
    storage.put_named("states/b/2", b"new")
    assert storage.read("states/b/2") == b"new"
    assert list(storage.list("states")) == ["states/a/1", "states/b/2"]
    storage.delete("states/a/1")
    storage.delete("states/a/1")
    assert list(storage.list("states")) == ["states/b/2"]
    with pytest.raises(FileNotFoundError):
        storage.read("states/a/1")


def test_a_reader_of_replaced_content_keeps_what_it_opened(tmp_path: Path) -> None:
    storage = Storage(tmp_path.as_uri())
    storage.put_named("state", b"old" * 100_000)
    with storage.open("state") as reader:
        first = reader.read(3)
        storage.put_named("state", b"new" * 100_000)
        assert first + reader.read() == b"old" * 100_000


def test_content_may_come_in_parts(storage: Storage) -> None:
    storage.put_named("state", b"one", bytearray(b"two"), memoryview(b"three"))
    assert storage.read("state") == storage.view("state") == b"onetwothree"
    storage.put_named("state", b"")
    assert storage.view("state") == b""
    with pytest.raises(FileNotFoundError):
        storage.view("nothing")


def test_a_reader_may_go_back(storage: Storage) -> None:
    storage.put_named("state", b"0123456789")
    with storage.open("state") as stream:
        assert (stream.read(4), stream.tell(), stream.seek(2), stream.read()) == (b"0123", 4, 2, b"23456789")
        stream.seek(-1, 2)
        assert (stream.read(5), stream.read(5)) == (b"9", b"")


def test_what_stands_there_is_asked_of_the_storage(storage: Storage) -> None:
    storage.put_named("a/b", b"x")
    assert storage.exists("a/b")
    assert [storage.exists(key) for key in ("a", "a/c", "b")] == [False, False, False]
    assert list(storage.list("a/b")) == list(storage.list("nothing")) == []
    storage.check()


def test_when_a_key_was_written(storage: Storage) -> None:
    before = utc_now() - timedelta(seconds=1)
    storage.put_named("state", b"x")
    written = storage.modified("state")
    assert written is not None
    assert before < written < utc_now() + timedelta(seconds=1)
    assert storage.modified("nothing") is None


def test_what_a_dead_writer_left_is_dropped_when_it_is_old(tmp_path: Path) -> None:
    storage = Storage(tmp_path.as_uri())
    storage.put_named("state", b"x")
    left = tmp_path / ".aside" / "redline-left"
    left.write_bytes(b"half")
    assert storage.drop_unfinished(utc_now() - timedelta(hours=1)) == 0
    assert storage.drop_unfinished(utc_now() + timedelta(hours=1)) == 1
    assert not left.exists()
    assert storage.read("state") == b"x"
    assert Storage(f"memory://{tmp_path.name}").drop_unfinished(utc_now()) == 0


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a\0b", ".aside/x", "a\\b"])
def test_keys_stay_below_the_address(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="not a storage key"):
        storage.put_named(key, b"x")


def test_blob_key() -> None:
    assert blob_key("abcdef") == "blobs/ab/cdef"
