"""The draw itself: the same from the same, whoever orders the population; quotas in proportion, at least one each."""

from __future__ import annotations

import hashlib
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.casework.samples import digest, draw, quotas, ticket
from app.foundation.errors import Invalid

uuids = st.uuids(version=4)
populations = st.dictionaries(uuids, st.sampled_from([UUID(int=number) for number in range(1, 6)]), min_size=5)
UNIT = UUID(int=1)


def test_tickets_and_digest_by_hand() -> None:
    """As a third party computes them, with nothing but SHA-256."""
    case_id = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert ticket("s", case_id) == hashlib.sha256(b"s:01890a5d-ac96-774b-bcce-b302099a8057").hexdigest()
    assert digest([UNIT, case_id]) == hashlib.sha256(f"{UNIT}\n{case_id}\n".encode()).hexdigest()
    assert digest([case_id, UNIT]) == digest([UNIT, case_id])


@given(populations, st.text(max_size=20), st.data())
def test_a_draw_is_repeatable_and_a_smaller_one_begins_it(
    population: dict[UUID, UUID], seed: str, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(population)))
    first = draw(population, seed, size, stratify=False)
    shuffled = dict(data.draw(st.permutations(list(population.items()))))
    assert draw(shuffled, seed, size, stratify=False) == first
    assert len(set(first)) == size
    assert set(first) <= set(population)
    assert draw(population, seed, 1, stratify=False) == first[:1]
    # Cases that were not drawn may leave the population without a change.
    rest = {case_id: unit for case_id, unit in population.items() if case_id in first}
    assert draw(rest, seed, size, stratify=False) == first


@given(populations, st.text(max_size=20), st.data())
def test_a_stratified_draw_fills_its_quotas(population: dict[UUID, UUID], seed: str, data: st.DataObject) -> None:
    strata = Counter(population.values())
    size = data.draw(st.integers(len(strata), len(population)))
    drawn = draw(population, seed, size, stratify=True)
    wanted = quotas(strata, size)
    assert Counter(population[case_id] for case_id in drawn) == Counter(wanted)
    assert sum(wanted.values()) == len(set(drawn)) == size
    for unit, count in strata.items():
        assert 1 <= wanted[unit] <= count
        inside = {case_id: unit for case_id in population if population[case_id] == unit}
        own = [case_id for case_id in drawn if population[case_id] == unit]
        assert own == draw(inside, seed, wanted[unit], stratify=False)


def test_quotas_follow_the_size_of_the_strata() -> None:
    small, middle, large = (UUID(int=number) for number in (1, 2, 3))
    assert quotas({small: 1, middle: 30, large: 69}, 10) == {small: 1, middle: 3, large: 6}
    assert quotas({small: 10, middle: 10}, 3) == {small: 2, middle: 1}


def test_every_case_is_drawn_equally_often() -> None:
    """2000 seeds, 20 cases, 5 drawn: each 500 times; chi-squared with 19 degrees of freedom below its 99.9 % point."""
    population = dict.fromkeys((UUID(int=number) for number in range(20)), UNIT)
    counts = Counter(case_id for seed in range(2000) for case_id in draw(population, str(seed), 5, stratify=False))
    # Without replacement each count varies by 2000 · ¼ · ¾, and the counts are bound by their sum.
    statistic = sum((counts[case_id] - 500) ** 2 for case_id in population) / (2000 * 0.25 * 0.75) * 19 / 20
    assert statistic < 43.8


@pytest.mark.parametrize(("size", "stratify"), [(3, False), (1, True)])
def test_too_many_or_too_few(size: int, stratify: bool) -> None:
    population = {UUID(int=8): UNIT, UUID(int=9): UUID(int=2)}
    with pytest.raises(Invalid):
        draw(population, "s", size, stratify=stratify)
