"""What a scene's mask says of each pixel, as the codes of `detectors.types`: one table per kind of mask.

A mask holds at most 16 bits, so that every rule below, classes and bits alike, is one look into a table.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from app.imagery.models import MaskKind

Codes = NDArray[np.uint8]

# The same numbers as detectors.types, which this room does not import (a test holds them together).
NOTHING = 0
CLEAR = 1
HIDDEN = 2
SNOW = 3

# Sentinel-2 scene classification (Sentinel-2 Products Specification Document S2-PDGS-TAS-DI-PSD, SCL): 0 no data,
# 1 saturated or defective, 2 dark area (from baseline 04.00: topographic cast shadow), 3 cloud shadow, 4 vegetation,
# 5 bare, 6 water, 7 unclassified, 8 and 9 cloud of medium and high probability, 10 thin cirrus, 11 snow.
# Class 2 is hidden: in a Jilin winter a north slope lies in it for months, its numbers say how low the sun stands
# and not what grows there, and in older baselines it holds missed cloud shadow. What it costs is shown as a place
# without a clear look, never as "no change".
SCL_CLEAR = (4, 5, 6, 7)
_SCL_HIDDEN = (2, 3, 8, 9, 10)
_SCL_SNOW = 11

# Landsat Collection 2 QA_PIXEL (LSDS-1619 Landsat 8-9 Collection 2 Level 2 Science Product Guide, table 6-3): bits
# 0 fill, 1 dilated cloud, 2 cirrus (always 0 before Landsat 8), 3 cloud, 4 cloud shadow, 5 snow.
_QA_FILL, _QA_HIDDEN, _QA_SNOW = 0b1, 0b11110, 0b100000

# HLS v2.0 Fmask (HLS Product User Guide v2, table 9): bits 0 cirrus (reserved), 1 cloud, 2 adjacent to cloud or
# shadow, 3 cloud shadow, 4 snow or ice, 5 water, 6 and 7 aerosol; 255 fill. High aerosol is left in: over bright
# ground and smoke alike it is set too often to be dropped, and the monitor knows haze.
_FMASK_FILL, _FMASK_HIDDEN, _FMASK_SNOW = 255, 0b1111, 0b10000


@cache
def quality_table(kind: MaskKind) -> Codes:
    """uint8 (65536,): the quality code of each number that a mask of this kind may hold.

    Numbers that the kind does not know are `NOTHING`. Where a pixel is both cloud and snow it is `HIDDEN`.
    """
    numbers = np.arange(1 << 16, dtype=np.uint16)
    table = np.full(numbers.shape, CLEAR, np.uint8)
    match kind:
        case MaskKind.scl:
            table[:] = NOTHING
            table[list(SCL_CLEAR)] = CLEAR
            table[list(_SCL_HIDDEN)] = HIDDEN
            table[_SCL_SNOW] = SNOW
        case MaskKind.qa_pixel:
            table[numbers & _QA_SNOW != 0] = SNOW
            table[numbers & _QA_HIDDEN != 0] = HIDDEN
            table[numbers & _QA_FILL != 0] = NOTHING
        case MaskKind.fmask:
            table[numbers & _FMASK_SNOW != 0] = SNOW
            table[numbers & _FMASK_HIDDEN != 0] = HIDDEN
            table[_FMASK_FILL:] = NOTHING
        case MaskKind.none:
            pass
    table.setflags(write=False)
    return table
