"""The simulated sample area: a seeded generator of images, boundaries and known truth.

Everything it writes is simulated and says so. It needs no database and imports nothing from the service.
"""

from app.sample.build import VERSION, SampleConflict, SampleInfo, build

__all__ = ["VERSION", "SampleConflict", "SampleInfo", "build"]
