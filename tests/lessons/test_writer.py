"""Lesson 11's writer gives the logits of the model, and leaves alone a model that is not what the lesson builds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from lessons.l11_gpt import BLOCK, GPT, WHOLE, Cache, GPTConfig
from lessons.parts.l11_writer import can_write
from minillm import nn
from minillm.generation import Sampling, generate


def make(dtype: object = minillm.float64, **shape: object) -> GPT:
    """Return a GPT whose every number is drawn at random, biases and norms too."""
    minillm.manual_seed(0)
    settings = {"vocab_size": 11, "block_size": 12, "n_layer": 2, "n_head": 2, "n_embd": 8} | shape
    model = GPT(GPTConfig(**settings)).to(dtype).eval()  # type: ignore[arg-type]
    for p in model.parameters():
        p.data.copy_(minillm.randn(*p.shape, dtype=dtype))
    return model


def both(model: GPT, pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits after each piece, (pieces, B, V): of the writer, and of the model itself."""
    cache, other = model.make_cache(len(pieces[0])), model.make_cache(len(pieces[0]))
    steps = np.stack([cache.step(ids) for ids in pieces])
    with minillm.no_grad():
        whole = np.stack([model(minillm.tensor(ids), other).numpy()[:, -1] for ids in pieces])
    for ours, theirs in zip(cache.layers, other.layers, strict=True):
        assert len(ours) == len(theirs) == sum(ids.shape[1] for ids in pieces)
    return steps, whole


@given(
    st.integers(1, 3), st.lists(st.integers(1, 6), min_size=1, max_size=5), st.booleans(), st.integers(1, 3), st.data()
)
def test_the_writer_gives_the_logits_of_the_model(
    rows: int, lengths: list[int], bias: bool, n_layer: int, data: st.DataObject
) -> None:
    model = make(bias=bias, n_layer=n_layer, n_head=data.draw(st.sampled_from([1, 2, 4])), block_size=sum(lengths))
    ids = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 11, (rows, sum(lengths)))
    steps, whole = both(model, np.split(ids, np.cumsum(lengths)[:-1], axis=1))
    np.testing.assert_allclose(steps, whole, rtol=1e-9, atol=1e-9)


def test_in_float32_it_is_as_near_as_the_model_itself() -> None:
    ids = np.random.default_rng(1).integers(0, 50, (3, 32))
    exact = make(vocab_size=50, block_size=32, n_embd=64, n_layer=4)
    for table in (exact.tokens, exact.positions):
        table.weight.data.add_(30.0)  # a large mean, which the norms take away
    model = GPT(exact.config).eval()
    model.load_state_dict(exact.state_dict())
    wanted = both(exact, [ids])[1]
    steps, whole = both(model, [ids])
    assert np.abs(steps - wanted).max() <= 2 * np.abs(whole - wanted).max()


def test_heads_of_their_own_and_other_norms_are_taken_as_they_are() -> None:
    model = make()
    model.head = nn.Linear(8, 11).double()
    model.norm.eps = 0.5
    model.blocks[0].norm1 = nn.LayerNorm(8, elementwise_affine=False)
    model.blocks[1].norm2 = nn.LayerNorm(8, eps=0.1).double()
    assert can_write(model, WHOLE, BLOCK)
    steps, whole = both(model, [np.array([[1, 2, 3]]), np.array([[4]])])
    np.testing.assert_allclose(steps, whole, rtol=1e-9, atol=1e-9)


def test_weights_that_change_between_two_tokens_are_seen() -> None:
    """By an optimizer, in place, from a file; the keys and values of the past stay what they were."""
    model, other = make(), make()
    cache, theirs = model.make_cache(1), model.make_cache(1)
    optimizer = minillm.optim.AdamW(model.parameters(), lr=0.1)
    for i in range(4):
        ids = np.array([[i, i + 1]])
        found = cache.step(ids)
        with minillm.no_grad():
            wanted = model(minillm.tensor(ids), theirs).numpy()[:, -1]
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
        if i == 0:
            model(minillm.tensor(ids)).sum().backward()
            optimizer.step()
        elif i == 1:
            model.load_state_dict(other.state_dict())
        else:
            with minillm.no_grad():
                model.blocks[0].mlp.up.weight.mul_(2.0)


class LoRA(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.added = base, nn.Linear(base.in_features, base.out_features).double()

    def forward(self, x: minillm.Tensor) -> minillm.Tensor:
        return self.base(x) + self.added(x)


class Negative(nn.Linear):
    def forward(self, input: minillm.Tensor) -> minillm.Tensor:
        return -super().forward(input)


def with_lora(model: GPT) -> None:
    model.blocks[1].mlp.up = LoRA(model.blocks[1].mlp.up)


def with_a_subclass(model: GPT) -> None:
    model.blocks[0].attention.projection.__class__ = Negative


def with_a_hook(model: GPT) -> None:
    model.blocks[1].register_forward_hook(lambda module, args, result: -result)


def with_a_pre_hook(model: GPT) -> None:
    model.norm.register_forward_pre_hook(lambda module, args: (args[0].flip(-1),))


def with_a_forward_of_its_own(model: GPT) -> None:
    model.head.forward = lambda x: -nn.Linear.forward(model.head, x)  # type: ignore[method-assign]


def with_another_gelu(model: GPT) -> None:
    model.blocks[0].mlp.gelu = nn.GELU()


def with_features_of_its_own(model: GPT) -> None:
    usual = model.features
    model.features = lambda ids, cache=None: -usual(ids, cache)  # type: ignore[method-assign]


def with_a_part_more(model: GPT) -> None:
    model.blocks[0].mlp.append(nn.LayerNorm(8).double())


def with_a_part_before(model: GPT) -> None:
    model.blocks[0].mlp.insert(0, nn.LayerNorm(8).double())


def with_norms_for_dropout(model: GPT) -> None:
    model.dropout = model.blocks[1].dropout = nn.LayerNorm(8).double()


def with_one_layer_for_an_mlp(model: GPT) -> None:
    model.blocks[1].mlp = nn.Linear(8, 8).double()


def with_a_layer_for_a_norm(model: GPT) -> None:
    model.blocks[0].norm1 = nn.Dropout(0.0)
    model.norm = nn.Linear(8, 8).double()


def with_one_block_twice(model: GPT) -> None:
    model.blocks[1] = model.blocks[0]


CHANGES = [change for name, change in list(globals().items()) if name.startswith("with_")]


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_was_changed_writes_what_it_computes(change: object) -> None:
    model = make()
    assert hasattr(model.make_cache(1), "step")
    change(model)  # type: ignore[operator]
    assert not hasattr(model.make_cache(1), "step")
    texts = [
        generate(model, [[1, 2, 3]], 9, Sampling(), generator=minillm.Generator().manual_seed(0), use_cache=use)
        for use in (True, False)
    ]
    assert texts[0] == texts[1]


def test_a_model_in_16_bits_or_in_two_types_is_left_to_its_modules() -> None:
    assert not hasattr(make(minillm.float16).make_cache(1), "step")
    model = make()
    model.norm.float()
    assert not can_write(model, WHOLE, BLOCK)


@pytest.mark.parametrize("more", [2, 3, 7])
def test_what_a_step_refuses(more: int) -> None:
    cache = make(block_size=4).make_cache(2)
    cache.step(np.array([[1, 2, 1], [3, 4, 3]]))
    with pytest.raises(ValueError, match=f"{3 + more} tokens are more than block_size=4"):
        cache.step(np.ones((2, more), dtype=int))
    assert isinstance(cache, Cache) and cache.length == 3
