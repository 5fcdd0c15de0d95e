"""A seal as a file, for somebody else to hold: gzip, JSON lines, without a database.

Line 1: `{"format", "document", "jws"}`. Then, for each ledger, its leaves in the order of ids, each as it was hashed
(`{"case_id", "events", "head"}`, for reviews `{"detection_id", …}`), and the hashes of the events that came since the
seal before, `{"book", "first", "hashes"}`: base64 of 32 bytes an event from sequence `first` on.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from app.casework.hash_chain import BOOKS, Book, canonical
from app.casework.merkle import leaf_hash, root
from app.casework.signing import BadSignature, key_of, verify_jws

FORMAT = "redline-ledger-seal/1"
HASHES_A_LINE = 1000
# Longest first line, in bytes.
MOST_STATED = 2**20
# An id, how many events it has, and the hash of the last.
Leaf = tuple[UUID, int, bytes]


class BadSeal(ValueError):
    """A seal's file does not hold by itself."""


@dataclass
class KeptBook:
    """What a seal's file says of one ledger."""

    heads: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    # Hashes of the events from sequence `first` on.
    first: int = 1
    hashes: bytes = b""


@dataclass(frozen=True)
class KeptSeal:
    """A seal that was kept, checked by itself: signature, roots and digests."""

    document: dict[str, Any]
    jws: str
    books: dict[str, KeptBook]

    @property
    def number(self) -> int:
        return int(self.document["number"])


def leaf(book: Book, subject: UUID, events: int, head: bytes) -> bytes:
    """A leaf in canonical form; the name of its subject sorts before the others."""
    return f'{{"{book.subject}":"{subject}","events":{events},"head":"{head.hex()}"}}'.encode()


def digest(document: dict[str, Any]) -> str:
    """SHA-256 of a seal's canonical document: how the next seal names it."""
    return hashlib.sha256(canonical(document)).hexdigest()


def lines(document: dict[str, Any], jws: str, books: Iterable[tuple[Book, Iterable[Leaf], bytes]]) -> Iterator[bytes]:
    """The lines of a seal's file."""
    yield canonical({"format": FORMAT, "document": document, "jws": jws}) + b"\n"
    for book, leaves, hashes in books:
        for subject, events, head in leaves:
            yield leaf(book, subject, events, head) + b"\n"
        for k in range(0, len(hashes), 32 * HASHES_A_LINE):
            first = document[book.name]["sequence"] - (len(hashes) - k) // 32 + 1
            text = base64.b64encode(hashes[k : k + 32 * HASHES_A_LINE]).decode()
            yield canonical({"book": book.name, "first": first, "hashes": text}) + b"\n"


def write(path: Path, content: Iterable[bytes]) -> None:
    """Write a seal's file whole or not at all, and have it on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.draft")
    try:
        with draft.open("wb") as raw:
            # Without a time in its header: the same seal gives the same file.
            with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as target:
                for line in content:
                    target.write(line)
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path) -> KeptSeal:
    """Read a seal's file and check it by itself.

    Raises:
        BadSeal: it is not one, or its lists, its document and its signature do not fit together.
    """
    try:
        with gzip.open(path, "rb") as source:
            first = json.loads(source.readline())
            document, jws = first["document"], first["jws"]
            if first["format"] != FORMAT or document["format"] != FORMAT:
                raise BadSeal(f"its format is not {FORMAT}")
            books = _read_books(source)
            verify_jws(jws, document, document["key"])
            key_of(document["key"])
            for book in BOOKS:
                _check(book, books[book.name], document[book.name])
    except BadSignature as error:
        raise BadSeal(f"{path.name}: {error}") from None
    except BadSeal as error:
        raise BadSeal(f"{path.name}: {error}") from None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise BadSeal(f"{path.name} cannot be read as a seal") from None
    return KeptSeal(document, jws, books)


def head_of(path: Path) -> dict[str, Any]:
    """What a seal's file states, whose signature is its own; its lists are left alone.

    Raises:
        BadSeal: it is no such file.
    """
    try:
        with gzip.open(path, "rb") as source:
            first = json.loads(source.readline(MOST_STATED))
        document: dict[str, Any] = first["document"]
        verify_jws(first["jws"], document, document["key"])
        if document["format"] != FORMAT or not isinstance(document["number"], int):
            raise BadSeal(f"{path.name}: its format is not {FORMAT}")
    except BadSignature as error:
        raise BadSeal(f"{path.name}: {error}") from None
    except BadSeal:
        raise
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise BadSeal(f"{path.name} cannot be read as a seal") from None
    return document


def _read_books(source: Iterable[bytes]) -> dict[str, KeptBook]:
    books = {book.name: KeptBook() for book in BOOKS}
    by_subject = {book.subject: books[book.name] for book in BOOKS}
    for line in source:
        row = json.loads(line)
        if "book" in row:
            kept = books[row["book"]]
            kept.first = row["first"] if not kept.hashes else kept.first
            kept.hashes += base64.b64decode(row["hashes"])
        else:
            subject = "case_id" if "case_id" in row else "detection_id"
            by_subject[subject].heads[UUID(row[subject]).bytes] = (row["events"], bytes.fromhex(row["head"]))
    return books


def _check(book: Book, kept: KeptBook, stated: dict[str, Any]) -> None:
    leaves = [leaf_hash(leaf(book, UUID(bytes=key), *kept.heads[key])) for key in sorted(kept.heads)]
    if root(leaves).hex() != stated["root"] or len(leaves) != stated["subjects"]:
        raise BadSeal(f"the heads of the {book.name} are not those that were signed")
    placed = not kept.hashes or kept.first == stated["since"] + 1
    if not placed or hashlib.sha256(kept.hashes).hexdigest() != stated["new_digest"]:
        raise BadSeal(f"the events of the {book.name} are not those that were signed")
