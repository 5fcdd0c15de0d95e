"""A reader of Mapbox Vector Tiles (specification 2.1), enough to check ours."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shapely import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class TileFeature:
    """Properties, and the geometry in units of the tile, y to the south."""

    properties: dict[str, Any]
    geometry: BaseGeometry


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a protobuf message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size, at = (8, at) if key & 7 == 1 else (4, at) if key & 7 == 5 else _varint(data, at)
        yield key >> 3, data[at : at + size]
        at += size


def _packed(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _value(data: bytes) -> Any:
    number, value = next(_fields(data))
    kinds = {2: "<f", 3: "<d"}
    if number == 1:
        return value.decode()
    if number in kinds:
        return struct.unpack(kinds[number], value)[0]
    return {6: _zigzag, 7: bool}.get(number, int)(value)


def _paths(commands: list[int]) -> list[list[tuple[int, int]]]:
    paths: list[list[tuple[int, int]]] = []
    x = y = at = 0
    while at < len(commands):
        command, count = commands[at] & 7, commands[at] >> 3
        at += 1
        if command == 7:
            continue
        for _ in range(count):
            x, y = x + _zigzag(commands[at]), y + _zigzag(commands[at + 1])
            at += 2
            if command == 1:
                paths.append([])
            paths[-1].append((x, y))
    return paths


def _geometry(kind: int, commands: list[int]) -> BaseGeometry:
    paths = _paths(commands)
    if kind == 1:
        return Point(paths[0][0])
    rings: list[tuple[list[tuple[int, int]], list[list[tuple[int, int]]]]] = []
    for path in paths:
        # Outer rings have a positive area by the surveyor's formula, y to the south.
        turns = zip(path, [*path[1:], path[0]], strict=True)
        if sum(a[0] * b[1] - b[0] * a[1] for a, b in turns) > 0:
            rings.append((path, []))
        else:
            rings[-1][1].append(path)
    return MultiPolygon([Polygon(outer, holes) for outer, holes in rings])


def read_tile(data: bytes) -> dict[str, list[TileFeature]]:
    """The features of a tile by layer."""
    layers: dict[str, list[TileFeature]] = {}
    for _, layer in _fields(data):
        parts: dict[int, list[Any]] = {}
        for number, value in _fields(layer):
            parts.setdefault(number, []).append(value)
        keys, values = [key.decode() for key in parts.get(3, [])], [_value(value) for value in parts.get(4, [])]
        assert parts[15] == [2] and parts[5] == [4096]
        features = layers.setdefault(parts[1][0].decode(), [])
        for feature in parts.get(2, []):
            found = dict(_fields(feature))
            tags = _packed(found.get(2, b""))
            properties = {keys[k]: values[v] for k, v in zip(tags[::2], tags[1::2], strict=True)}
            features.append(TileFeature(properties, _geometry(found[3], _packed(found[4]))))
    return layers
