"""What the recipe "many" plants: kinds, their ground, sizes, seasons and materials."""

from __future__ import annotations

from dataclasses import dataclass

from app.sample.outlines import (
    HOUSES,
    PANELS,
    PONDS,
    ROOFS,
    Outline,
    angular,
    celled,
    compact,
    either,
    overbank,
    scar,
    track,
    valley_pond,
)
from app.sample.planting import OPEN_MONTHS, Kind
from app.sample.spectra import FOREST, LandCover

Roles = dict[str, tuple[str, ...]]

GRASS = (LandCover.MEADOW, LandCover.SHRUB)
UPLAND = (LandCover.MAIZE, LandCover.SOY)
LITTER = {
    "forest": ("slash", "stumps", "chips"),
    "open": ("hay", "trampled", "meadow_dormant"),
    "field": ("stubble", "ploughed"),
}
SOIL = ("forest_soil", "subsoil", "dirt")


@dataclass(frozen=True)
class Sort:
    """How one kind is planted.

    outline: draws its ground; cover: land it is planted on, of which it takes at least the part `pure`; area: least
    and most, m2, drawn log-uniformly; roles: its materials; severity: see `painting.VariedChange`; count: how many on
    600 x 600 pixels; near: "river", "water", "slope" or "hollow" where it needs one; heals: after how many days the
    ground is as it was, from least to most, None where it stays changed.
    """

    kind: Kind
    outline: Outline
    cover: tuple[LandCover, ...]
    area: tuple[float, float]
    roles: Roles
    count: int = 7
    pure: float = 0.93
    severity: tuple[float, float] = (0.4, 1.0)
    near: str | None = None
    heals: tuple[int, int] | None = None


def _human(
    activity: str, profile: str, to: str, days: tuple[int, int], mode: str = "outward", first: float = 0.0,
    months: tuple[int, ...] | None = None, when: tuple[float, float] = (0.03, 0.75),
) -> Kind:  # fmt: skip
    return Kind(activity, activity, None, profile, to, when, days, months, mode, first)


def _natural(
    decoy: str, to: str, days: tuple[int, int], months: tuple[int, ...], when: tuple[float, float] = (0.03, 0.85)
) -> Kind:
    return Kind(decoy, None, decoy, decoy, to, when, days, months)


SORTS: tuple[Sort, ...] = (
    Sort(
        _human("road", "road", "road", (10, 55), "along", months=OPEN_MONTHS),
        track,
        (*FOREST, *GRASS, *UPLAND),
        (2_500, 28_000),
        {"surface": ("road_gravel", "asphalt", "fresh_asphalt", "dirt", "concrete")},
    ),
    Sort(
        _human("mining", "pit", "mine", (60, 270), "outward", 0.2),
        compact,
        (*FOREST, *GRASS),
        (1_000, 60_000),
        {"rock": ("spoil", "iron_tailings", "grey_tailings", "coal"), "waste": ("ore", "coal", "spoil", "subsoil")},
    ),
    Sort(
        _human("quarry", "pit", "rock", (40, 150), "outward", 0.3),
        compact,
        (*FOREST, *GRASS),
        (1_000, 45_000),
        {"rock": ("limestone", "granite", "quarry_face", "sand", "andesite"), "waste": ("quarry_face", "granite")},
        near="slope",
    ),
    Sort(
        _human("construction", "built", "buildings", (5, 40), months=OPEN_MONTHS),
        celled(HOUSES, (3, 8)),
        (*FOREST, *GRASS, *UPLAND),
        (1_000, 40_000),
        {
            "yard": ("road_gravel", "concrete", "dirt"),
            "roof": ("tile_roof", "grey_roof", "concrete", "red_roof"),
            "roof2": ("blue_roof", "concrete", "tile_roof"),
        },
    ),
    Sort(
        _human("industry", "built", "industry", (5, 40), months=OPEN_MONTHS),
        celled(ROOFS, (5, 14)),
        (*FOREST, *GRASS, *UPLAND),
        (2_000, 60_000),
        {
            "yard": ("asphalt", "fresh_asphalt", "concrete"),
            "roof": ("blue_roof", "white_roof", "grey_roof", "blue_roof"),
            "roof2": ("blue_roof", "white_roof", "grey_roof"),
        },
    ),
    Sort(
        _human("energy", "solar", "solar_field", (15, 60), months=(3, *OPEN_MONTHS)),
        celled(PANELS, (3, 8)),
        (*GRASS, *UPLAND),
        (1_500, 60_000),
        {"lane": ("road_gravel", "short_grass", "trampled", "dirt"), "module": ("pv_module", "pv_module_thin")},
        severity=(0.45, 0.68),
    ),
    Sort(
        _human("cultivation", "cultivation", "field", (3, 25), months=(3, 4, 5, 6, 8, 9, 10, 11)),
        angular,
        (*FOREST, *GRASS),
        (1_000, 60_000),
        {"crop": ("maize_peak", "soy_peak", "vegetables"), "ripe": ("maize_ripe", "soy_ripe"), "stubble": ("stubble",)},
    ),
    Sort(
        _human("aquaculture", "ponds", "ponds", (10, 50), months=OPEN_MONTHS),
        celled(PONDS, (3, 7)),
        (LandCover.RICE, LandCover.MEADOW, *UPLAND),
        (1_500, 60_000),
        {"pond": ("pond_green", "pond_brown", "pond_dark", "water_turbid")},
        near="water",
    ),
    Sort(
        _human("grazing", "grazing", "grazed", (0, 1)),
        compact,
        (LandCover.MEADOW,),
        (8_000, 110_000),
        {"trampled": ("trampled", "meadow_dormant", "dirt"), "short_grass": ("short_grass",)},
        severity=(0.6, 1.0),
        pure=0.88,
    ),
    Sort(
        _human("impoundment", "reservoir", "water", (20, 80), months=OPEN_MONTHS),
        valley_pond,
        (*FOREST, *GRASS),
        (1_000, 45_000),
        {
            "barrier": ("concrete", "dirt", "granite"),
            "pond": ("water_clear", "water_turbid", "pond_dark", "pond_brown"),
        },
        near="hollow",
    ),
    Sort(
        _human("clearing", "clearing", "cleared_ground", (2, 25), when=(0.03, 0.85)),
        either(compact, angular),
        FOREST,
        (1_000, 60_000),
        {"regrowth": ("regrowth", "short_grass", "shrub_summer")},
        severity=(0.0, 1.0),
    ),
    Sort(
        _natural("fire", "burnt", (1, 4), (3, 4, 5, 9, 10, 11)),
        compact,
        (*FOREST, *GRASS),
        (1_500, 90_000),
        {"char": ("burnt",), "ash": ("burnt_ash",)},
        severity=(0.55, 1.15),
    ),
    Sort(
        _natural("flood", "mud", (0, 1), (6, 7, 8), (0.03, 0.95)),
        overbank,
        (*FOREST, *GRASS, *UPLAND, LandCover.RICE, LandCover.SHORE),
        (2_000, 60_000),
        {"water": ("flood_water", "water_turbid"), "mud": ("mud",)},
        count=3,
        pure=0.9,
        near="river",
        heals=(14, 36),
    ),
    Sort(
        _natural("landslide", "scar", (0, 1), (4, 6, 7, 8, 9)),
        scar,
        (*FOREST, *GRASS),
        (1_000, 30_000),
        {"scar": ("subsoil", "forest_soil", "dirt"), "debris": ("spoil", "andesite", "subsoil")},
        count=4,
        near="slope",
    ),
    Sort(
        _natural("mowing", "meadow", (0, 2), (6, 7, 8), (0.03, 0.95)),
        angular,
        (LandCover.MEADOW,),
        (2_000, 40_000),
        {},
        count=3,
        heals=(40, 45),
    ),
    Sort(
        _natural("mulch", "plastic_film", (0, 3), (4, 5), (0.03, 0.98)),
        angular,
        UPLAND,
        (2_000, 20_000),
        {"film": ("plastic_film", "black_film")},
        count=3,
        heals=(70, 90),
    ),
    Sort(
        _natural("fallow", "bare_soil", (0, 3), (4, 5), (0.03, 0.9)),
        angular,
        UPLAND,
        (2_000, 20_000),
        {"soil": ("ploughed",)},
        count=3,
        heals=(150, 180),
    ),
)
