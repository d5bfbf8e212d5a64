"""Sampling keeps its promises, and the cache changes nothing but the time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.generation import Sampling, _likeliest, beam_search, generate, generate_tokens, next_distribution

V = 11


def make_model(seed=0, block_size=12, vocab_size=V):
    minillm.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size, block_size=block_size, n_layer=2, n_head=2, n_embd=8)).double()
    for p in model.parameters():
        p.data.mul_(8.0)  # far from uniform, so that a mistake changes a token
    return model.eval()


@given(
    st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=6), min_size=1, max_size=3),
    st.integers(0, 20),
    st.integers(0, 3),
)
def test_cached_equals_uncached_also_past_the_context(prompts, new, seed):
    model = make_model(seed)
    how = Sampling(temperature=0.8, top_k=5, top_p=0.9, repetition_penalty=1.2)
    texts = [
        generate(model, prompts, new, how, generator=minillm.Generator().manual_seed(seed), use_cache=use_cache)
        for use_cache in (True, False)
    ]
    assert texts[0] == texts[1]
    assert [len(t) for t in texts[0]] == [len(p) + new for p in prompts]
    assert all(t[: len(p)] == p for t, p in zip(texts[0], prompts, strict=True))


def test_cached_logits_equal_uncached_logits():
    model, ids = make_model(), minillm.tensor([[1, 2, 3, 4, 5, 6, 7]])
    with minillm.no_grad():
        whole = model(ids)
        cache = model.make_cache(1)
        parts = [model(ids[:, a:b], cache=cache) for a, b in [(0, 3), (3, 4), (4, 7)]]
    np.testing.assert_allclose(minillm.cat(parts, 1).numpy(), whole.numpy(), atol=1e-12)


def test_cached_logits_are_close_in_float32_too():
    minillm.manual_seed(1)
    model = GPT(GPTConfig(50, block_size=32, n_layer=3, n_head=4, n_embd=32)).eval()
    ids = minillm.randint(0, 50, (2, 32))
    with minillm.no_grad():
        whole, cache = model(ids), model.make_cache(2)
        steps = minillm.cat([model(ids[:, t : t + 1], cache=cache) for t in range(32)], 1)
    assert whole.dtype == minillm.float32
    assert (steps - whole).abs().max().item() <= 1e-5


def test_the_cache_never_holds_more_than_the_context(monkeypatch):
    model, made, make = make_model(block_size=8), [], GPT.make_cache

    def watched(self, batch_size):
        made.append(make(self, batch_size))
        return made[-1]

    monkeypatch.setattr(GPT, "make_cache", watched)
    with pytest.warns(UserWarning, match="the model reads 8"):
        steps = generate_tokens(model, [[1] * 11], 30, Sampling(temperature=0))
    lengths = [made[-1].length for _ in steps]
    assert max(lengths) == 8 and len(lengths) == 30


def test_rows_of_a_batch_are_those_that_a_prompt_gets_alone():
    model, prompts = make_model(), [[1, 2, 3], [4], [5, 6]]
    greedy = Sampling(temperature=0)
    together = generate(model, prompts, 6, greedy)
    assert together == [generate(model, p, 6, greedy) for p in prompts]


@given(st.lists(st.one_of(st.floats(-5, 5), st.sampled_from([math.inf, -math.inf, math.nan])), min_size=1, max_size=6))
def test_greedy_without_a_penalty_needs_no_distribution(logits):
    x, none, greedy = np.array(logits), np.array([], dtype=int), Sampling(temperature=0)
    if np.isnan(x).any():
        for likeliest in (_likeliest, lambda x: next_distribution(x, none, greedy)):
            with pytest.raises(ValueError, match="NaN"):
                likeliest(x)
    else:
        assert _likeliest(x) == next_distribution(x, none, greedy).argmax()


def test_greedy_is_the_argmax_and_does_not_draw():
    model = make_model()
    before = minillm.get_rng_state()
    ids = generate(model, [1, 2], 4, Sampling(temperature=0))
    assert minillm.get_rng_state() == before
    for t in range(2, 6):
        with minillm.no_grad():
            assert ids[t] == int(model(minillm.tensor([ids[:t]]))[0, -1].argmax())


logits = st.lists(st.floats(-50, 50), min_size=1, max_size=20).map(lambda v: np.round(v, 6))


@given(logits, st.floats(0.05, 5), st.integers(1, 25), st.floats(0.05, 1))
def test_distribution_is_one_and_keeps_only_the_likeliest(x, temperature, top_k, top_p):
    p = next_distribution(x, np.array([], dtype=int), Sampling(temperature, top_k, top_p))
    assert p.sum() == pytest.approx(1) and (p >= 0).all()
    kept = np.flatnonzero(p)
    assert x[kept].min() >= np.sort(x)[::-1][: len(kept)].min() - 1e-6
    full = next_distribution(x, np.array([], dtype=int), Sampling(temperature))
    assert p[full == full.max()].max() > 0  # logits that differ by less than rounding are equally likely
    if top_k <= len(x):
        assert len(kept) <= np.sum(x >= np.sort(x)[-top_k])  # ties at the border stay together
    if top_k >= len(x):
        assert full[kept].sum() >= top_p - 1e-9  # the nucleus holds at least top_p


@given(logits, st.floats(1.1, 3))
def test_repetition_penalty_makes_seen_tokens_less_likely(x, penalty):
    seen = np.array([0])
    p = next_distribution(x, seen, Sampling(repetition_penalty=penalty))
    q = next_distribution(x, seen, Sampling())
    assert p[0] <= q[0] + 1e-12


def test_settings_at_their_limits_change_nothing():
    x, none = np.array([1.0, 3.0, 2.0, -math.inf]), np.array([], dtype=int)
    plain = next_distribution(x, none, Sampling())
    for how in (Sampling(top_k=4), Sampling(top_k=10**9), Sampling(top_p=1.0), Sampling(repetition_penalty=1.0)):
        assert next_distribution(x, none, how).tolist() == plain.tolist()
    assert next_distribution(x, none, Sampling(top_k=1)).tolist() == [0, 1, 0, 0]
    assert next_distribution(x, none, Sampling(top_p=1e-9)).tolist() == [0, 1, 0, 0]
    assert next_distribution(x, none, Sampling(temperature=0)).tolist() == [0, 1, 0, 0]
    assert next_distribution(x, none, Sampling(temperature=1e-300)).tolist() == [0, 1, 0, 0]


EXTREME = st.sampled_from([-math.inf, math.inf, 0.0, 1.0, -1e308, 1e308])
SETTINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1e-300, 0.5, 1.0, 1e300]),
    top_k=st.none() | st.integers(1, 5),
    top_p=st.sampled_from([1e-300, 0.5, 1.0]),
    repetition_penalty=st.sampled_from([1e-300, 0.5, 1.0, 1.5, 1e300]),
)


@given(st.lists(EXTREME | st.floats(-50, 50), min_size=1, max_size=6), SETTINGS)
def test_no_nan_from_any_logits(x, how):
    p = next_distribution(np.array(x), np.array([0]), how)
    assert np.isfinite(p).all() and (p >= 0).all() and p.sum() == pytest.approx(1)


def test_infinite_logits_have_their_limits():
    none = np.array([], dtype=int)
    for x, wanted in (
        ([-math.inf, -math.inf], [0.5, 0.5]),  # all masked
        ([-math.inf, 3.0], [0, 1]),
        ([math.inf, 1e308, math.inf, -math.inf], [0.5, 0, 0.5, 0]),
    ):
        assert next_distribution(np.array(x), none, Sampling()).tolist() == wanted


class Fixed:
    """A model that always says the same."""

    training = False
    config = GPTConfig(3, block_size=4, n_embd=4, n_head=1)

    def __init__(self, logits):
        self.logits = logits

    def parameters(self):
        return iter([minillm.zeros(1)])

    def eval(self):
        return self

    def __call__(self, ids):
        return minillm.tensor(np.tile(self.logits, (*ids.shape, 1)))


@pytest.mark.parametrize("how", [{"how": Sampling(temperature=0)}, {}, {"num_beams": 2}], ids=str)
@pytest.mark.parametrize("place", range(3))
def test_nan_is_an_error_and_no_token(how, place):
    x = np.array([0.0, 1.0, math.inf])
    x[place] = math.nan
    with pytest.raises(ValueError, match=r"logits of the model are NaN.*earlier checkpoint"):
        generate(Fixed(x), [0], 3, **how)
    with pytest.raises(ValueError, match="NaN"):
        next_distribution(x, np.array([place]), Sampling(repetition_penalty=1.2))


def test_beams_of_infinite_logits():
    assert beam_search(Fixed(np.array([0.0, math.inf, 5.0])), [0], 3, 2) == ([0, 1, 1, 1], 0.0)
    found, score = beam_search(Fixed(np.full(3, -math.inf)), [0], 2, 2)
    assert len(found) == 3 and score == pytest.approx(-2 * math.log(3))


def test_draws_follow_the_distribution():
    p = np.array([0.2, 0.5, 0.3])
    ids = generate(Fixed(np.log(p)), [0], 4000, generator=minillm.Generator().manual_seed(1))[1:]
    share = np.bincount(ids, minlength=3) / len(ids)
    assert np.abs(share - p).max() < 0.03  # 4 standard deviations of the largest


def test_stop_tokens_end_a_row():
    model = make_model()
    free = generate(model, [1], 8, Sampling(temperature=0))
    stop = free[3]
    ended = generate(model, [1], 8, Sampling(temperature=0), stop_tokens=[stop])
    assert ended == free[: free.index(stop, 1) + 1]


def test_streaming_yields_what_generate_returns():
    model, prompts = make_model(), [[1, 2, 3], [4]]
    rows = [list(p) for p in prompts]
    for step in generate_tokens(model, prompts, 5, Sampling(temperature=0)):
        for row, token in zip(rows, step, strict=True):
            if token is not None:
                row.append(token)
    assert rows == generate(model, prompts, 5, Sampling(temperature=0))


def log_probability(model, prompt, text):
    with minillm.no_grad():
        table = model(minillm.tensor([text[:-1]]))[0].log_softmax(-1).numpy()
    return sum(table[t - 1, text[t]] for t in range(len(prompt), len(text)))


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_wide_beam_finds_the_likeliest_text(use_cache):
    model, prompt, n = make_model(vocab_size=4), [1, 2], 3
    found, score = beam_search(model, prompt, n, num_beams=4**n, use_cache=use_cache)
    best = max(itertools.product(range(4), repeat=n), key=lambda t: log_probability(model, prompt, prompt + list(t)))
    assert found == prompt + list(best)
    assert score == pytest.approx(log_probability(model, prompt, found))


def test_one_beam_is_greedy_and_more_are_not_worse():
    model, prompt = make_model(), [1, 2]
    greedy = generate(model, prompt, 6, Sampling(temperature=0))
    assert beam_search(model, prompt, 6, num_beams=1)[0] == greedy
    assert beam_search(model, prompt, 6, num_beams=8)[1] >= log_probability(model, prompt, greedy) - 1e-9


def test_training_mode_is_put_back_also_after_an_error():
    model = make_model().train()
    generate(model, [1], 2)
    assert model.training
    steps = generate_tokens(model, [[1]], 5)
    next(steps)
    steps.close()
    assert model.training


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: generate(m, [], 3), ValueError, "no prompts"),
        (lambda m: generate(m, [[1], []], 3), ValueError, "prompt 1 is empty"),
        (lambda m: generate(m, [1], -1), ValueError, "max_new_tokens"),
        (lambda m: generate(m, [V], 1), IndexError, f"id {V}"),
        (lambda m: generate(m, [-1], 1), IndexError, "id -1"),
        (lambda m: beam_search(m, [1], 3, num_beams=0), ValueError, "num_beams"),
        (lambda m: Sampling(temperature=-1), ValueError, "temperature=-1"),
        (lambda m: Sampling(temperature=math.nan), ValueError, "temperature=nan"),
        (lambda m: Sampling(top_k=0, top_p=0.0), ValueError, r"top_k=0.*top_p=0\.0"),
        (lambda m: Sampling(repetition_penalty=0.0), ValueError, "repetition_penalty"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call(make_model())


def test_a_prompt_longer_than_the_context_warns_and_works():
    model = make_model()
    with pytest.warns(UserWarning, match="the model reads 12"):
        assert len(generate(model, [1] * 20, 3)) == 23
    assert generate(model, [1, 2], 0) == [1, 2]


def test_streaming_leaves_the_modes_of_its_caller_alone():
    model = make_model()
    model.train()
    for _ in generate_tokens(model, [[1, 2]], 3):
        assert minillm.is_grad_enabled() and model.training
    with pytest.raises(ValueError, match="max_new_tokens"):
        generate_tokens(model, [[1]], -1)  # at the call, before a token is asked for
    with pytest.raises(ValueError, match="num_beams"):
        generate(model, [1], 3, num_beams=0)


def test_ids_may_come_as_arrays_and_tensors() -> None:
    model = make_model()
    greedy = Sampling(temperature=0)
    one, two = generate(model, [1, 2], 3, greedy), generate(model, [[1, 2], [3, 4]], 3, greedy)
    for kind in (np.array, minillm.tensor, tuple):
        assert generate(model, kind([1, 2]), 3, greedy) == one
        assert generate(model, kind([[1, 2], [3, 4]]), 3, greedy) == two
        assert beam_search(model, kind([1, 2]), 3)[0] == beam_search(model, [1, 2], 3)[0]


@pytest.mark.parametrize("prompts", ["abc", ["abc"], [1.5], [[1, "2"]], None, 3, [[[1]]], [math.nan], [None]])
def test_what_is_no_token_id_is_refused(prompts) -> None:
    with pytest.raises(TypeError, match=r"generate: expected (lists of )?token ids, "):
        generate(make_model(), prompts, 3)


@pytest.mark.parametrize("wrong", [2.5, "3", None])
def test_the_number_of_tokens_is_whole(wrong) -> None:
    with pytest.raises(TypeError, match="expected max_new_tokens as a whole number"):
        generate(make_model(), [1], wrong)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": "1"},
        {"temperature": None},
        {"top_k": 2.5},
        {"top_k": True},
        {"top_p": "x"},
        {"repetition_penalty": []},
    ],
)
def test_settings_of_a_wrong_type_are_named(settings) -> None:
    with pytest.raises(ValueError, match=rf"sampling: {next(iter(settings))}=.* \(expected a"):
        Sampling(**settings)
    assert Sampling(temperature=np.float32(0.5), top_k=np.int64(3)).top_k == 3


def test_a_length_penalty_is_finite() -> None:
    with pytest.raises(ValueError, match="finite length_penalty, got nan"):
        beam_search(make_model(), [1], 3, length_penalty=math.nan)
