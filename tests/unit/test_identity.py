"""Identifiers made many at once are those of RFC 9562 version 7."""

from __future__ import annotations

from uuid import UUID

from app.foundation.identity import new_id, new_ids


def test_many_identifiers_are_of_version_7_in_order_and_each_once() -> None:
    before, made, after = new_id(), _uuids(new_ids(40_000)), new_id()
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {before.variant}
    assert made == sorted(set(made))
    assert before.int >> 80 <= made[0].int >> 80 <= after.int >> 80
    assert set(made).isdisjoint(_uuids(new_ids(40_000)))
    assert new_ids(0) == b""


def _uuids(made: bytes) -> list[UUID]:
    return [UUID(bytes=made[begin : begin + 16]) for begin in range(0, len(made), 16)]
