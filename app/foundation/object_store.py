"""What an S3-compatible object store needs beyond fsspec: bounded uploads, and its troubles told apart.

Credentials, endpoint and region are those of the AWS_* environment (or profile, or the machine's role), which s3fs
reads; none of them is in an address or travels with a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

# One part of an upload; S3 takes 5 MiB at least and 10,000 parts, so 80 GiB at most.
PART = 8 * 1024 * 1024
# A request of a person waits for these; a tile that fails for them is computed again.
_CONNECT_S, _READ_S, _ANSWER_S = 4, 15, 4
OPTIONS: dict[str, Any] = {
    # Others write here, too.
    "use_listings_cache": False,
    # s3fs would fetch 50 MiB ahead for each reader.
    "default_block_size": 4 * 1024 * 1024,
    "config_kwargs": {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        # s3fs tries again on top of these.
        "retries": {"total_max_attempts": 2, "mode": "standard"},
    },
}
TRIES = 2


def parts_of_stream(stream: BinaryIO) -> Iterator[bytes]:
    """A stream in parts of one size, the last one shorter; nothing of an empty one."""
    while part := _read_fully(stream, PART):
        yield part


def parts_of(data: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """Buffers one after another in parts of one size, without a copy of the whole."""
    part = bytearray()
    for buffer in data:
        if not memoryview(buffer).nbytes:
            # An array of no length cannot be looked at as bytes.
            continue
        with memoryview(buffer).cast("B") as view:
            for start in range(0, len(view), PART):
                part += view[start : start + PART]
                if len(part) >= PART:
                    yield bytes(part[:PART])
                    del part[:PART]
    if part:
        yield bytes(part)


def put(files: Any, path: str, parts: Iterator[bytes]) -> None:
    """Write an object part by part; it is seen once it is whole, and of an upload that fails nothing is.

    Args:
        files: an `s3fs.S3FileSystem`.
        path: bucket and key.
    """
    bucket, key, _ = files.split_path(path)
    first, second = next(parts, b""), next(parts, None)
    if second is None:
        files.call_s3("put_object", Bucket=bucket, Key=key, Body=first)
        return
    upload = files.call_s3("create_multipart_upload", Bucket=bucket, Key=key)["UploadId"]
    where = {"Bucket": bucket, "Key": key, "UploadId": upload}
    try:
        done = [_put_part(files, where, 1, first), _put_part(files, where, 2, second)]
        # Else the first two parts lie in memory until the end.
        del first, second
        done += [_put_part(files, where, number, part) for number, part in enumerate(parts, 3)]
        files.call_s3("complete_multipart_upload", **where, MultipartUpload={"Parts": done})
    except BaseException:
        # Where that fails too, the nightly sweep ends it.
        with suppress(Exception):
            files.call_s3("abort_multipart_upload", **where)
        raise


def _put_part(files: Any, where: dict[str, str], number: int, part: bytes) -> dict[str, Any]:
    answer = files.call_s3("upload_part", **where, PartNumber=number, Body=part)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def end_unfinished(files: Any, root: str, older_than: datetime) -> int:
    """End the uploads below an address that were begun before an instant; how many those were."""
    bucket, prefix, _ = files.split_path(root)
    marks: dict[str, str] = {}
    ended = 0
    while True:
        page = files.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", **marks)
        for upload in page.get("Uploads", ()):
            if upload["Initiated"] < older_than:
                files.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                ended += 1
        if not page.get("IsTruncated"):
            return ended
        marks = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def ask(files: Any, root: str) -> None:
    """List one key, soon or not at all. Raises: what the store or the wait for it raises."""
    from fsspec.asyn import sync

    bucket, prefix, _ = files.split_path(root)
    sync(files.loop, files._call_s3, "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1, timeout=_ANSWER_S)


def lacks_bucket(error: BaseException) -> bool:
    """Whether "not found" is said of the bucket and not of the key."""
    response = getattr(error.__cause__, "response", None)
    return isinstance(response, dict) and response.get("Error", {}).get("Code") == "NoSuchBucket"


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, fewer only at the end of the stream."""
    part = stream.read(size)
    if not part or len(part) == size:
        return part
    pieces = [part]
    left = size - len(part)
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
