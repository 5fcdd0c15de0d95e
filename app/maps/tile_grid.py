"""The grid of vector tiles: WebMercatorQuad (OGC 17-083r4), rows counted from the north."""

from __future__ import annotations

import math
from dataclasses import dataclass

MIN_ZOOM, MAX_ZOOM = 0, 22
# A tile's side, what is drawn around it, and a pixel, in units: a tile is drawn as 512 pixels.
EXTENT, BUFFER, PIXEL = 4096, 64, 8
_EARTH_M = 2 * math.pi * 6_378_137.0


@dataclass(frozen=True)
class TileAddress:
    """One tile."""

    z: int
    x: int
    y: int

    @classmethod
    def parse(cls, z: str, x: str, y: str) -> TileAddress | None:
        """The tile that three words of a path name; None where there is no such tile."""
        if not all(word.isascii() and word.isdigit() and len(word) <= 8 for word in (z, x, y)):
            return None
        tile = cls(int(z), int(x), int(y))
        there = MIN_ZOOM <= tile.z <= MAX_ZOOM and tile.x < 2**tile.z and tile.y < 2**tile.z
        return tile if there else None

    @property
    def degrees(self) -> float:
        """Width in degrees of longitude."""
        return 360.0 / 2.0**self.z

    def latitude(self, row: float) -> float:
        """Of a row of tiles' northern edge, in degrees; rows beyond the poles' tiles end at them."""
        row = min(max(row, 0.0), 2.0**self.z)
        return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / 2.0**self.z))))

    def box(self, margin: float) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees, with a margin in units around."""
        wide = margin / EXTENT
        west, east = ((column * self.degrees) - 180 for column in (self.x - wide, self.x + 1 + wide))
        return max(west, -180.0), self.latitude(self.y + 1 + wide), min(east, 180.0), self.latitude(self.y - wide)

    @property
    def unit_m(self) -> float:
        """Length of a unit on the ground, in metres, at the tile's middle."""
        return _EARTH_M / 2.0**self.z / EXTENT * math.cos(math.radians(self.latitude(self.y + 0.5)))
