# %% [markdown]
r"""
A GPT you can hold
==================

*What do the blocks add?*

A GPT reads token ids and says, at every position, how likely each token of the vocabulary is to come next. It is a
stack of equal blocks; each block lets a position look back (attention) and then think (a small network), and adds what
it found to what was there:

$$ x \leftarrow x + \mathrm{Attention}(\mathrm{LayerNorm}(x)), \qquad x \leftarrow x +
\mathrm{MLP}(\mathrm{LayerNorm}(x)) $$

Three things look like details: that each block *adds*, that it *normalises* what it reads, that positions have vectors.
This lesson builds the model, sets it beside all models so far on texts of a toy town, and takes its parts away one by
one. The town's grammar is known, and so is the least number of bits that any model can reach. Six numbers say what a
GPT looks like; ``GPT2`` are those of the smallest model that OpenAI published.

- You need: lessons 01 (n-grams), 05 (training), 07 (softmax), 09 (words as vectors) and 10 (attention)
- Time: 90 s and 150 MB on two cores
- Corpus: ``microworld``, 600,000 characters of the toy town, as in lesson 09
- Band: 0.25 to 0.36 bits per character (held-out text, the whole GPT, mean of three seeds)
"""

# %%
from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import minillm
import minillm.nn as nn
import minillm.nn.functional as F
from lessons.frame import Band, Question, ask, options
from lessons.l09_embeddings import as_characters, bits_per_word, read, train_network
from lessons.parts.l11_writer import Writer, can_write
from lessons.parts.l11_writer_cuda import CudaWriter
from minillm import datasets
from minillm.datasets.microworld import World
from minillm.generation import Sampling, generate
from minillm.text import END_OF_TEXT, WordTokenizer
from minillm.training import ConfigError, save_figure, settings_from
from minillm.training.baselines import WittenBell

QUESTION = "What do the blocks add?"
BAND = Band(
    "bits per character of the whole GPT on held-out text",
    0.25,
    0.36,
    "training stops while the model learns to copy names and things, which begins sooner or later by chance: single "
    "seeds gave 0.28 to 0.32",
)


# %%
@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT.

    Attributes:
        vocab_size: V, how many tokens there are.
        block_size: T, how many tokens the model can look back over.
        n_layer: L, how many blocks.
        n_head: H, attention heads in a block.
        n_embd: C, the width of the model; each head has C / H of it.
        dropout: share of the numbers inside that are set to 0 at random in training, so that none is relied on.
        bias: whether linear layers and norms have a bias.

    Raises:
        ConfigError: when it is made, naming everything that breaks a rule.
    """

    vocab_size: int
    block_size: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    dropout: float = 0.0
    bias: bool = True

    def __post_init__(self) -> None:
        wrong = []
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                wrong.append(f"{name}={value!r} (expected a whole number)")
            elif value < 1:
                wrong.append(f"{name}={value} (expected 1 or more)")
        divisible = not any(text.startswith(("n_head", "n_embd")) for text in wrong)
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            wrong.append(f"dropout={self.dropout!r} (expected from 0 to below 1)")
        if not isinstance(self.bias, bool):
            wrong.append(f"bias={self.bias!r} (expected True or False)")
        if divisible and self.n_embd % self.n_head:
            wrong.append(
                f"n_embd={self.n_embd} (expected a multiple of n_head={self.n_head}: every head gets an equal share)"
            )
        if wrong:
            raise ConfigError("model settings: " + "; ".join(wrong))

    @property
    def init_std(self) -> float:
        """Standard deviation of the first weights: 0.02 for GPT-2's width of 768, more for narrower models."""
        # why: a sum over C inputs has a variance of C times std^2, so std falls with sqrt(C). With 0.02 at a width of
        # 96 attention starts almost even and learns late: after 1,000 steps of the demo 2.09 and 1.96 bits per byte
        # (two seeds) against 1.85 and 1.84 with 0.06; 0.1 gives 1.89.
        return 0.02 * math.sqrt(768 / self.n_embd)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> GPTConfig:
        """Make settings from a dictionary; an unknown name is refused with the nearest known one."""
        return settings_from(cls, "model settings", settings)


GPT2 = GPTConfig(vocab_size=50257, block_size=1024, n_layer=12, n_head=12, n_embd=768)

# why: "small" is what learns most in the demo's three minutes of training on two cores. Bits per byte after as many
# steps as fit (byte-level BPE, 64 tokens a window, AdamW 3e-3 to 4e-3): 128 wide and 1,024 tokens 1.85, 128 and 2,048
# 1.79, 96 and 1,024 1.76, 96 and 4,096 1.67; windows of 128 tokens 2.03.
SIZES = {
    "tiny": {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 64},
    "small": {"n_layer": 4, "n_head": 4, "n_embd": 96, "block_size": 64},
    "base": {"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256},
}

# %% [markdown]
r"""
Attention, many heads at once
-----------------------------

One matrix product makes queries, keys and values for all heads. Each head then takes, for every position, the mean of
the values that it may see, weighted by how well its query fits their keys (the mask is 0, or -inf where it hides):

$$ \mathrm{softmax}\left(QK^T / \sqrt{D} + \mathrm{mask}\right) V $$

Lesson 10 built it. While text is generated, keys and values of the past do not change, since nothing looks ahead: the
cache keeps them, and only the new position is computed. For T tokens that is T positions instead of T (T + 1) / 2.

Attention only takes means of what is there; the MLP is where a position computes: two layers with a bend between them,
GELU, a smooth ReLU. LayerNorm brings the C numbers of a position to mean 0 and variance 1 before each part, so that it
sees the same range whatever was added before. And x + part(x), the *residual* connection (He et al. 2015): the slope of
the sum in x is 1 plus that of the part, so on the way back through many blocks it does not die out.
"""


# %%
class CausalSelfAttention(nn.Module):
    """Every position looks at itself and at what came before it: (B, T, C) to (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head, self.dropout = config.n_head, config.dropout
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.projection = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: minillm.Tensor, cache: nn.KVCache | None = None) -> minillm.Tensor:
        """Return what every position found; with a cache, ``x`` holds the new positions only."""
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        if cache is None:
            p = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)  # (B, H, T, D)
        else:
            past = len(cache)
            k, v = cache.append(k, v)  # (B, H, past + T, D)
            # Row i of the new positions may see past + i + 1 keys; a single new position sees all of them.
            mask = minillm.ones(T, past + T, dtype=minillm.bool, device=x.device).tril(past) if T > 1 else None
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.projection(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Sequential):
    """Two linear layers with GELU between them, four times as wide inside: (B, T, C) to (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        down = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        super().__init__(OrderedDict(up=up, gelu=nn.GELU(approximate="tanh"), down=down))


class Block(nn.Module):
    """One block: attention, then the MLP, each added to what was there; (B, T, C) to (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attention = CausalSelfAttention(config)
        self.norm2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: minillm.Tensor, cache: nn.KVCache | None = None) -> minillm.Tensor:
        """Return x with the findings of both parts added."""
        x = x + self.dropout(self.attention(self.norm1(x), cache))
        return x + self.dropout(self.mlp(self.norm2(x)))


# %% [markdown]
r"""
The whole model
---------------

Token and position each have a vector; their sum goes through the blocks. The last product compares the result with the
vector of every token: the same table is used at both ends (*tied* weights, Press and Wolf 2017).
"""


# %%
class GPT(nn.Module):
    """A GPT: token ids (B, T) in, with T at most ``block_size``; logits of the next token (B, T, V) out."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.positions = nn.Embedding(config.block_size, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.norm = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        self.apply(self._initialize)
        for name, p in self.named_parameters():
            if name.endswith(("projection.weight", "down.weight")):
                # why: 2 L parts add to the residual stream; this keeps its variance from growing with the depth
                # (Radford et al. 2019, section 2.3).
                nn.init.normal_(p, std=config.init_std / math.sqrt(2 * config.n_layer))

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.init_std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def features(self, ids: minillm.Tensor, cache: Cache | None = None) -> minillm.Tensor:
        """Return the last hidden state of every position (B, T, C): what a head of another kind builds on.

        Raises:
            ValueError: if the text is longer than ``block_size``.
        """
        T, past = ids.shape[1], 0 if cache is None else cache.length
        if past + T > self.config.block_size:
            raise ValueError(
                f"GPT: {past + T} tokens are more than block_size={self.config.block_size}; shorten the text"
            )
        positions = minillm.arange(past, past + T, device=ids.device)  # (T,)
        x = self.dropout(self.tokens(ids) + self.positions(positions))  # (B, T, C)
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache.layers[i])
        return self.norm(x)

    def forward(self, ids: minillm.Tensor, cache: Cache | None = None) -> minillm.Tensor:
        """Return the logits of the token after each position."""
        return self.head(self.features(ids, cache))

    def make_cache(self, batch_size: int) -> Cache:
        """Return an empty cache for generating ``batch_size`` texts side by side."""
        return Cache(self, batch_size)

    def num_parameters(self) -> int:
        """Return how many numbers are learned; the tied table counts once."""
        return sum(p.numel() for p in self.parameters())


class Cache:
    """The keys and values of all layers, while text is generated."""

    def __init__(self, model: GPT, batch_size: int) -> None:
        c, w = model.config, model.tokens.weight
        self.layers = [
            nn.KVCache(batch_size, c.n_head, c.block_size, c.n_embd // c.n_head, dtype=w.dtype, device=w.device)
            for _ in range(c.n_layer)
        ]
        if can_write(model, WHOLE, BLOCK):  # generate() takes it, if it is there: the same for few tokens, only faster
            self.step = (CudaWriter if w.device.type == "cuda" else Writer)(model, self.layers).step

    @property
    def length(self) -> int:
        """How many positions it holds."""
        return len(self.layers[0])

    def rewind(self, length: int) -> None:
        """Forget all positions but the first ``length``."""
        for layer in self.layers:
            layer.rewind(length)

    def reorder(self, rows: Any) -> None:
        """Let row i continue what row ``rows[i]`` was."""
        for layer in self.layers:
            layer.reorder(rows)


# The parts of a GPT as it is built above, and of each block: name and class.
WHOLE = [("", GPT), ("tokens", nn.Embedding), ("positions", nn.Embedding), ("dropout", nn.Dropout)]
WHOLE += [("blocks", nn.ModuleList), ("norm", nn.LayerNorm), ("head", nn.Linear)]
BLOCK = [("", Block), ("norm1", nn.LayerNorm), ("attention", CausalSelfAttention), ("attention.qkv", nn.Linear)]
BLOCK += [("attention.projection", nn.Linear), ("norm2", nn.LayerNorm), ("mlp", MLP), ("mlp.up", nn.Linear)]
BLOCK += [("mlp.gelu", nn.GELU), ("mlp.down", nn.Linear), ("dropout", nn.Dropout)]

# %% [markdown]
r"""
Check: known numbers, the past, and the cache
---------------------------------------------

Two tables, 12 C C + 13 C numbers in a block, and the last norm: for GPT-2's smallest that makes 124,439,808, the
known number. What comes later must not change the past. And three ways must agree: all positions at once (so one
writes naively, everything again for each token), piece by piece with the cache, and ``Cache.step`` in plain arrays.
"""

# %%
if __name__ == "__main__":
    setting = options()
    minillm.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=50, block_size=16, n_layer=2, n_head=2, n_embd=16)).eval()
    for c, known in ((GPT2, 124_439_808), (model.config, model.num_parameters())):
        in_blocks = c.n_layer * (12 * c.n_embd**2 + 13 * c.n_embd)
        assert (c.vocab_size + c.block_size) * c.n_embd + in_blocks + 2 * c.n_embd == known
    ids = datasets.stream(0, "check").integers(50, size=(3, 12))  # (3, 12)
    with minillm.no_grad():
        whole = model(minillm.tensor(ids)).numpy()  # (3, 12, 50)
        changed = model(minillm.tensor(np.where(np.arange(12) > 6, 7, ids))).numpy()
        cache = model.make_cache(batch_size=3)
        pieces = [model(minillm.tensor(piece), cache).numpy() for piece in np.split(ids, [1, 5], axis=1)]
        cache = model.make_cache(batch_size=3)
        steps_ = np.stack([cache.step(ids[:, t : t + 1]) for t in range(12)], axis=1)  # (3, 12, 50)
    assert np.allclose(whole[:, :7], changed[:, :7], atol=1e-5) and not np.allclose(whole, changed, atol=1e-2)
    assert np.allclose(whole, np.concatenate(pieces, axis=1), atol=1e-5) and np.allclose(whole, steps_, atol=1e-5)

# %% [markdown]
r"""
Measure
-------

First the ladder of models, from counting to the GPT. All read words, as in lesson 09, and the same texts:

- *unigram, bigram, 5-gram*: smoothed counts (lesson 01) that look at no word before, at one, at four;
- *MLP over word vectors*: the network of lesson 09, which looks at six words and learns which words are alike;
- *attention alone*: lesson 10's attention looks back over the whole text and adds what it found; no MLP;
- *the whole GPT*: one block, attention and MLP.

The town's texts are drawn from a grammar. ``World.floor`` adds up what all its choices cost: the entropy in bits per
character. Nobody who reads fresh texts can do better on average.

Then the parts, from the same seeds and batches: the GPT without its MLP (that is attention alone), without positions
(their table is 0 and stays so), without norms, and without residual connections.
"""

# %%
if __name__ == "__main__":
    from lessons.parts.l11_measure import draw, measure_parts, texts_in_rows

    corpus = datasets.load("microworld", size=60_000 if setting.fast else 600_000)
    tokenizer = WordTokenizer.train(corpus.train, special_tokens=(END_OF_TEXT,))
    end, V = tokenizer.special_tokens[END_OF_TEXT], tokenizer.vocab_size
    ids, held_out = read(corpus.train, tokenizer), read(corpus.validation, tokenizer)
    per_character = len(held_out) / len(corpus.validation)  # words and marks
    floor = World().floor.bits_per_character
    grams = WittenBell(5).fit(as_characters(ids)).bits(as_characters(held_out)) * per_character  # (6,)
    ladder = {name: [float(grams[n])] for name, n in (("unigram", 1), ("bigram", 2), ("5-gram", 5))}
    # why 700: by then the GPT copies what a text has said before; at 400 steps it hardly does
    seeds, steps = (0, 1, 2), 15 if setting.fast else 700
    networks = [train_network(ids, V, 64, seed, steps) for seed in seeds]
    ladder["MLP over word vectors"] = [bits_per_word(network, held_out) * per_character for network in networks]
    # why 50: the longest text; so every word has its whole past. why one block: with two the first seed ends at 0.35
    config = GPTConfig(V, block_size=50, n_layer=1, n_head=4, n_embd=32 if setting.fast else 64)
    rows, held_rows = (texts_in_rows(each, end, config.block_size) for each in (ids, held_out))  # (N, 51), (M, 51)
    gpt, bits = measure_parts(config, rows, held_rows[: 64 if setting.fast else None], end, seeds, steps)
    parts = {name: [per_character * one for one in each] for name, each in bits.items()}
    ladder |= {"attention alone": parts["without the MLP"], "the whole GPT": parts["the whole GPT"]}
    print(f"{gpt.num_parameters():,} parameters, {steps} steps; the floor is {floor:.3f} bits per character")
    for name, values in {**ladder, **parts}.items():
        print(f"{name:<21} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    judged = BAND.judge(float(np.mean(parts["the whole GPT"])), setting.fast)

# %% [markdown]
r"""
Writing
-------

The scores of the next token become probabilities, one token is drawn, and so on (lesson 01). *Greedy* writing always
takes the likeliest instead. Between the two lies the *temperature*, by which the scores are divided before the
softmax: below 1 the likely becomes likelier still, at 0 it is greedy. *Top-k* draws from the k likeliest only, *top-p*
from the likeliest that together have probability p. Does a thing stay the same thing to the end of what is written?
"""

# %%
if __name__ == "__main__":
    for temperature in (0.0, 0.5, 1.0):
        random = minillm.Generator().manual_seed(1)
        written = generate(gpt, [end], 49, Sampling(temperature), stop_tokens=[end], generator=random)
        print(f"temperature {temperature}: {tokenizer.decode(written[1:])}")

# %% [markdown]
r"""
The figure
----------

Left, each rung reaches further. The unigram knows how common words are. Counts get most of what lies near by, until
they run out. Word vectors let contexts that are alike help each other; but six words do not reach back to where a name
was said or a thing was lost. Attention does: what comes back at the end of a text is what was lost at its beginning.
With the MLP behind it that is learned sooner. What is left to the entropy is training.

Right, each part is worth something in the same training. Norms and residuals help a single block to learn faster; He et
al. (2015) found that deep networks without residuals learn worse the deeper they are. Without positions it learns too,
a little less: a causal model can count how much it sees, as Haviv et al. (2022) found in large ones. The
thin lines go from the smallest to the largest of three seeds.
"""

# %%
if __name__ == "__main__":
    fig, alt = draw(ladder, parts, floor)
    numbers = {"ladder": ladder, "parts": parts, "floor": floor, "band": judged}
    print(*save_figure(fig, setting.out / "l11_gpt", numbers, alt), sep="\n")

# %% [markdown]
r"""
Exercises
---------

In ``lessons/exercises/l11_gpt.py``; ``minillm check 11`` says how far you are, and gives hints.

- ``attend``: attention of new positions, which come last, to all there are.
- ``forward_cached``: the whole model on new tokens, with keys and values of the past; the logits must be the same.
- ``write``: generation that computes each position once.
"""

# %%
QUIZ = (
    Question(
        "A prompt of 10 tokens is continued by 90. How many positions go through the blocks, with a cache?",
        ("99", "4,905", "9,900"),
        0,
        "10 for the prompt, then one for each new token but the last. Without the cache each new token takes the whole "
        "text again: 10 + 11 + ... + 99 = 4,905.",
    ),
    Question(
        "A model reaches 0.20 bits per character on fresh text whose exact entropy is 0.231. What has happened?",
        ("It is better than the grammar.", "A mistake, or a very short text.", "It has learned the text by heart."),
        1,
        "On average nobody needs fewer bits than the entropy. A short piece may be easy by chance; on a long one look "
        "for a leak: fresh text cannot have been learned by heart.",
    ),
    Question(
        "Why may keys and values of the past be kept while text is written?",
        ("They hardly change.", "The optimizer has stopped.", "A position sees only what came before it."),
        2,
        "New tokens come later, and nothing that was computed for an earlier position depends on them. In a model that "
        "reads both ways each would change everything.",
    ),
)

# %%
if __name__ == "__main__":
    ask(11, QUIZ)

# %% [markdown]
r"""
Sources
-------

- A. Vaswani et al., Attention Is All You Need, NeurIPS 2017 (the block, with the norm behind each sum).
- A. Radford et al., Language Models are Unsupervised Multitask Learners, 2019 (GPT-2: the norm in front; the numbers).
- K. He et al., Deep Residual Learning for Image Recognition, 2015. J. Ba et al., Layer Normalization, 2016.
- A. Haviv et al., Transformer Language Models without Positional Encodings Still Learn Positional Information, 2022.
- O. Press and L. Wolf, Using the Output Embedding to Improve Language Models, 2017 (tied weights).
"""
