"""Lesson 11's writer on a card gives the logits of the model, from launches that are the same for every token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minillm
from lessons.l11_gpt import BLOCK, GPT, WHOLE, GPTConfig
from lessons.parts.l11_writer import can_write
from lessons.parts.l11_writer_cuda import CudaWriter
from minillm import nn
from minillm.backend import get_backend
from minillm.backend.cuda.cublaslt import Gemm
from minillm.generation import Sampling, generate
from tests import cuda_on_cpu
from tests.backend.kernel_cases import TOLERANCE, dtype_of
from tests.lessons.test_writer import CHANGES, make
from tests.standin import standin, to_host

SHAPE = {"n_embd": 16, "block_size": 12}
IDS = np.random.default_rng(0).integers(0, 11, (3, 12))


class Repeated:
    """What a card records: calls with the arrays and numbers that they were given, whatever Python knows by then."""

    made = 0

    def __init__(self, backend: Any, function: Callable[[], None], transfers: dict[str, int]) -> None:
        self.calls: list[tuple[Any, tuple, dict]] = []
        launch, gemm, waits = backend.launch, backend.gemm, transfers["count"]
        Repeated.made += 1

        class Noted:
            def __init__(noted, call: Any) -> None:
                noted.call, noted.takes = call, getattr(call, "takes", None)

            def __call__(noted, *arguments: Any, **more: Any) -> None:
                noted.call(*arguments, **more)  # it may be refused
                self.calls.append((noted.call, arguments, more))

        backend.launch, backend.gemm = Noted(launch), Noted(gemm)
        backend.from_host = None
        try:
            function()
        finally:
            backend.launch, backend.gemm = launch, gemm
            del backend.from_host
        assert transfers["count"] == waits

    def replay(self) -> None:
        for call, arguments, more in self.calls:
            call(*arguments, **more)


@pytest.fixture(params=["standin", pytest.param("card", marks=pytest.mark.gpu)], autouse=True)
def cuda(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Let "cuda" be a card, or the stand-in with kernels, products and recordings; give the stand-in's library."""
    if request.param == "card":
        yield None
        return
    if cuda_on_cpu.why_not():
        pytest.skip(cuda_on_cpu.why_not())
    library = pytest.importorskip("tests.backend.cublaslt_on_host").HostCublasLt()
    with standin(kernels=True) as transfers:
        backend: Any = get_backend("cuda")
        backend.gemm = Gemm(library, backend.xp)

        def repeatable(function: Any) -> Callable[[], None]:
            by_cupy = function.__self__._x.dtype == np.float64  # in part: the stand-in cannot note that
            return function if by_cupy else Repeated(backend, function, transfers).replay

        backend.repeatable, Repeated.made = repeatable, 0
        yield library


def pair(dtype: Any = minillm.float32, **shape: Any) -> tuple[GPT, GPT]:
    """Return a model on the card, and on the host with the same numbers in float64."""
    here = make(**SHAPE | shape)
    for p in here.parameters():
        p.data.mul_(0.3)
    here = here.to(dtype)
    there = make(dtype, **SHAPE | shape)
    there.load_state_dict(here.state_dict())
    return there.to("cuda"), here.double()


def exact(model: GPT, ids: np.ndarray) -> np.ndarray:
    """Return the logits after the last token, from the whole text."""
    with minillm.no_grad():
        return model(minillm.tensor(ids)).numpy()[:, -1]


def near(found: np.ndarray, wanted: np.ndarray, dtype: str = "float32") -> None:
    assert found.shape == wanted.shape
    tolerance = 5 * TOLERANCE[dtype] * max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=0, atol=tolerance)


def write(cache: Any, model: GPT, ids: np.ndarray, first: int, dtype: str = "float32") -> None:
    """Add the tokens from the first on, one by one; each time the logits must be right."""
    for t in range(first, ids.shape[1]):
        assert cache.length == t
        near(cache.step(ids[:, t : t + 1]), exact(model, ids[:, : t + 1]), dtype)
    assert {len(layer) for layer in cache.layers} == {ids.shape[1]}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_writer_gives_the_logits_of_the_model(dtype: str, bias: bool) -> None:
    there, here = pair(dtype_of(dtype), bias=bias)
    cache = there.make_cache(3)
    near(cache.step(IDS[:, :4]), exact(here, IDS[:, :4]), dtype)
    write(cache, here, IDS, 4, dtype)
    for text in (IDS, IDS[:1]):
        write(there.make_cache(len(text)), here, text[:, :5], 0, dtype)


def test_seven_launches_a_layer_recorded_once(cuda: Any) -> None:
    if cuda is None:
        pytest.skip("the stand-in counts launches")
    backend: Any = get_backend("cuda")
    seen: list[Any] = []
    usual = backend.repeatable
    backend.repeatable = lambda function: seen.append(usual(function)) or seen[-1]
    there, here = pair()
    write(there.make_cache(3), here, IDS, 0)
    assert Repeated.made == 1 and len(seen[0].__self__.calls) == 1 + 2 * 7 + 2
    assert all(entry["finish"] != 1 for entry in cuda.log if entry["m"] != 11)  # a bias, and GELU, in the product


def test_a_token_waits_for_the_card_once(cuda: Any) -> None:
    if cuda is None:
        pytest.skip("the stand-in counts")
    cache = pair()[0].make_cache(3)
    for t in range(4):
        before = to_host["count"]
        cache.step(IDS[:, t : t + 1])
        assert to_host["count"] == before + 1


@pytest.mark.parametrize("refused", ["GELU", "products", "library"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_cublaslt_does_not_offer_is_computed_otherwise(dtype: str, refused: str, cuda: Any) -> None:
    if cuda is None:
        pytest.skip("a card offers what it offers")
    backend: Any = get_backend("cuda")
    if refused == "GELU":
        cuda.epilogues -= {32, 36}
    else:
        cuda.refuse = lambda *_: refused == "products"
        backend.gemm = None if refused == "library" else backend.gemm
        del backend.repeatable  # CuPy's own products are not noted
    there, here = pair(dtype_of(dtype))
    write(there.make_cache(2), here, IDS[:2, :6], 0, dtype)


def test_rewinding_reordering_and_another_number_of_rows(cuda: Any) -> None:
    there, here = pair()
    cache, ids = there.make_cache(3), IDS.copy()
    write(cache, here, ids[:, :6], 0)
    cache.rewind(2)
    ids[:, 2:] = ids[:, 2:][:, ::-1]
    write(cache, here, ids[:, :5], 2)
    cache.reorder([2, 0, 0])
    ids = ids[[2, 0, 0]]
    ids[2, 5:] = 3
    write(cache, here, ids[:, :8], 5)
    assert cuda is None or Repeated.made == 1  # the arrays are where they were
    cache.reorder([1, 1, 0, 2])
    write(cache, here, ids[[1, 1, 0, 2]], 8)
    with pytest.raises(ValueError, match="13 tokens are more than block_size=12"):
        cache.step(IDS[[0, 0, 0, 0], :1])
    assert cache.length == 12


def test_weights_that_change_in_place_are_seen_and_those_that_are_replaced(cuda: Any) -> None:
    there, here = pair()
    cache = there.make_cache(1)
    for t in range(12):
        # The past keeps its keys and values: so the host goes the same way, with the same changes at the same time.
        if t == 0:
            theirs = here.make_cache(1)
        with minillm.no_grad():
            wanted = here(minillm.tensor(IDS[:1, t : t + 1]), theirs).numpy()[:, -1]
        near(cache.step(IDS[:1, t : t + 1]), wanted)
        with minillm.no_grad():
            for model in (there, here):
                if t == 3:
                    model.blocks[1].mlp.up.weight.mul_(0.5)
                    model.tokens.weight.add_(0.1)
                if t == 6:
                    model.blocks[0].attention.qkv.weight.data = model.blocks[0].attention.qkv.weight.data * 0.5
    assert cuda is None or Repeated.made == 2


def test_another_type_of_weights_is_left_to_the_model() -> None:
    there, here = pair()
    cache = there.make_cache(1)
    cache.step(IDS[:1, :1])
    there.double()
    with pytest.raises(Exception, match="float"):  # the keys of the past are of another type
        cache.step(IDS[:1, 1:2])
    there.float()
    cache.rewind(0)
    write(cache, here, IDS[:1, :4], 0)


def test_tokens_that_the_model_does_not_know_are_refused() -> None:
    cache = pair()[0].make_cache(1)
    for token in (11, -1):
        with pytest.raises(IndexError, match=f"id {token} is not in 0 .. 10"):
            cache.step(np.array([[token]]))
    assert cache.length == 0


def test_autocast_and_training_mode_are_left_to_the_model(cuda: Any) -> None:
    there, here = pair()
    cache = there.make_cache(3)
    for t in range(3):
        with minillm.autocast("cuda", dtype=minillm.float16):
            near(cache.step(IDS[:, t : t + 1]), exact(here, IDS[:, : t + 1]), "float16")
    there.train()
    for t in range(3, 6):
        near(cache.step(IDS[:, t : t + 1]), exact(here, IDS[:, : t + 1]), "float16")
    assert Repeated.made == 0
    there.eval()
    write(cache, here, IDS[:, :9], 6, "float16")


def test_heads_of_their_own_other_norms_and_another_gelu_are_taken_as_they_are() -> None:
    there, here = pair(minillm.float64)
    for model in (there, here):
        minillm.manual_seed(1)
        device = model.tokens.weight.device
        model.head = nn.Linear(16, 11).double().to(device)
        model.norm.eps = 0.5
        model.blocks[0].norm1 = nn.LayerNorm(16, elementwise_affine=False)
        model.blocks[1].mlp.gelu = nn.GELU()
    cache = there.make_cache(3)
    assert isinstance(cache.step.__self__, CudaWriter)
    write(cache, here, IDS[:, :5], 0, "float64")


def test_blocks_of_different_widths_are_left_to_the_model() -> None:
    there, here = pair(minillm.float64)
    for model in (there, here):
        minillm.manual_seed(1)
        device = model.tokens.weight.device
        model.blocks[1].mlp.up, model.blocks[1].mlp.down = (
            nn.Linear(*sides).double().to(device) for sides in [(16, 40), (40, 16)]
        )
    write(there.make_cache(3), here, IDS[:, :4], 0, "float64")


@pytest.mark.parametrize("change", [c for c in CHANGES if c.__name__ != "with_another_gelu"])
def test_a_model_that_was_changed_has_no_writer(change: Callable[[GPT], None]) -> None:
    model = make(block_size=12)
    change(model)
    assert not hasattr(model.to("cuda").make_cache(1), "step")


def test_types_and_heads_without_a_kernel_have_no_writer() -> None:
    assert not hasattr(make(n_embd=6, n_head=2).to(minillm.float32).to("cuda").make_cache(1), "step")  # 3 a head
    model = make().to("cuda")
    assert can_write(model, WHOLE, BLOCK)
    model.norm.float()
    assert not can_write(model, WHOLE, BLOCK)
    model.double()
    kernels, backend = get_backend("cuda").kernels, get_backend("cuda")
    backend.kernels = {}
    try:
        assert not can_write(model, WHOLE, BLOCK)
    finally:
        backend.kernels = kernels


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_tokens_are_generated(dtype: str) -> None:
    there, here = pair(dtype_of(dtype))
    here = here.to(minillm.float32)
    prompts = [[1, 2, 3], [4], [5, 6]]
    for how in (Sampling(0.0), Sampling(0.8, top_k=5)):
        if dtype == "bfloat16" and how.temperature:
            continue
        texts = [
            generate(model, prompts, 20, how, generator=minillm.Generator().manual_seed(3)) for model in (there, here)
        ]
        if dtype == "float32":
            assert texts[0] == texts[1]
        else:
            assert texts[0] == generate(there, prompts, 20, how) and len(texts[0][0]) == 23
    if dtype == "float32":
        assert generate(there, [1, 2], 9, num_beams=3) == generate(here, [1, 2], 9, num_beams=3)


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_as_wide_as_gpt2(dtype: str, rows: int, cuda: Any) -> None:
    """Against the model itself on the card: every token from position 900 on, and the first ones."""
    if cuda is not None:
        pytest.skip("only a card does that in reasonable time")
    minillm.manual_seed(0)
    config = GPTConfig(vocab_size=50304, block_size=1024, n_layer=3, n_head=12, n_embd=768)
    model = GPT(config).to(dtype_of(dtype)).to("cuda").eval()
    ids = np.random.default_rng(0).integers(0, 50304, (rows, 1024))
    with minillm.no_grad():
        whole = model(minillm.tensor(ids, device="cuda"))
        wanted = {t: whole[:, t].float().cpu().numpy() for t in [0, 1, 2, 3, *range(900, 1024)]}
    cache, tolerance = model.make_cache(rows), {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}[dtype]
    for pieces in ([ids[:, :1], *np.split(ids[:, 1:4], 3, 1)], [ids[:, :900], *np.split(ids[:, 900:], 124, 1)]):
        cache.rewind(0)
        for piece in pieces:
            found = cache.step(piece)
            if cache.length - 1 in wanted:
                near = wanted[cache.length - 1]
                np.testing.assert_allclose(found, near, rtol=0, atol=tolerance * np.abs(near).max())
    assert cache.length == 1024
