"""The verdict about growth is as strict as it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lessons.l11_gpt import GPT, GPT2
from tests.bench import scaling
from tests.bench.workloads import workload


def points(shares: list[float]) -> list[dict[str, Any]]:
    laws = [2.0 * 3**i for i in range(len(shares))]
    return [{"us_per_token": s * law, "mflop_per_token": law, "mb": law, "law_mb": law} for s, law in zip(shares, laws)]


def excess(shares: list[float]) -> float:
    return scaling.excess(points(shares), "us_per_token", "mflop_per_token")


def test_growth_is_judged_between_any_two_points() -> None:
    assert excess([5, 4, 3, 2]) == 1
    assert excess([1, 1, 1.5]) == 1.5
    assert excess([5, 1, 3, 4]) == 4  # slow beginnings do not hide it


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=8), st.floats(0.1, 10))
def test_the_unit_does_not_matter_and_more_points_are_never_milder(shares: list[float], unit: float) -> None:
    assert excess([unit * s for s in shares]) == pytest.approx(excess(shares))
    assert excess(shares[:-1] or shares) <= excess(shares)
    assert excess(shares) == pytest.approx(max(b / a for i, a in enumerate(shares) for b in shares[i:]))


def recorded(share: float, recomputed_mb: float) -> dict[str, Any]:
    long = {"squares_mb": 500.0, "plain": {"mb": 900.0}, "recomputed": {"mb": recomputed_mb}}
    return {**{axis: points([1.0, share]) for axis in scaling.sweeps()}, "long context": long}


def test_the_verdict_can_be_yes_and_no() -> None:
    assert [holds for _, holds in scaling.verdicts(recorded(1.1, 200.0))] == [True] * 7
    assert [holds for _, holds in scaling.verdicts(recorded(1.3, 300.0))] == [False, True] * 3 + [False]


def test_what_was_not_measured_gets_no_verdict() -> None:
    found = recorded(1.0, 100.0)
    for axis in scaling.sweeps():
        for p in found[axis]:
            p["mb"] = None  # Windows does not say
    found["long context"]["plain"]["mb"] = None
    assert len(list(scaling.verdicts(found))) == 3
    assert list(scaling.verdicts({})) == []


def test_the_sweeps_go_as_far_as_they_say_and_change_one_thing() -> None:
    sweeps = scaling.sweeps()
    sizes = [scaling.parameters(w) for w in sweeps["parameters"]]
    assert sizes == sorted(sizes) and sizes[0] < 400_000 and sizes[-1] > 30_000_000
    contexts = [w.context for w in sweeps["context"]]
    assert contexts == sorted(contexts) and (contexts[0], contexts[-1]) == (64, 2048)
    vocabularies = [w.config.vocab_size for w in sweeps["vocabulary"]]
    assert vocabularies == sorted(vocabularies) and (vocabularies[0], vocabularies[-1]) == (65, 50257)
    assert all(len({w.tokens for w in ws}) == 1 for ws in sweeps.values())


def test_parameters_are_counted_as_the_model_counts_them() -> None:
    assert scaling.parameters(workload("XS17")) == GPT(workload("XS17").config).num_parameters()
    assert scaling.parameters(scaling.Workload("", GPT2, 1, 256)) == 124_439_808


@pytest.mark.parametrize("recompute", [False, True])
def test_a_point_is_measured(recompute: bool) -> None:
    config = workload("XS17").config.to_dict()
    found = scaling.step(config, batch_size=2, window=0, seconds=0.0, recompute=recompute)
    assert found["ms"] > 0
