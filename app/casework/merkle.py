"""Merkle trees as RFC 9162, section 2.1, has them: SHA-256, 0x00 before a leaf, 0x01 before two nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Level by level, from the leaves' hashes up; a node without a neighbour goes up as it is, which gives the same
    tree as the RFC's division at the largest power of two."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        level = [_node(below[k], below[k + 1]) for k in range(0, len(below) - 1, 2)]
        levels.append(level + below[len(below) - len(below) % 2 :])
    return levels


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over the leaves' hashes."""
    return _levels(leaves)[-1][0] if leaves else hashlib.sha256(b"").digest()


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from a leaf to the root, the lowest first (RFC 9162, 2.1.3.1)."""
    path = []
    for level in _levels(leaves)[:-1]:
        neighbour = index ^ 1
        if neighbour < len(level):
            path.append(level[neighbour])
        index //= 2
    return path


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root to which a leaf's hash and its path lead in a tree of `size` leaves (RFC 9162, 2.1.3.2).

    Raises:
        ValueError: the path is not of that length, or there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError("there is no such leaf")
    value, last, left = leaf, size - 1, list(path)
    while last:
        if index % 2 or index < last:
            if not left:
                raise ValueError("the path is too short")
            value = _node(left.pop(0), value) if index % 2 else _node(value, left.pop(0))
        index, last = index // 2, last // 2
    if left:
        raise ValueError("the path is too long")
    return value
