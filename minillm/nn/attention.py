"""Attention with several heads, and the cache of keys and values that generation uses."""

from __future__ import annotations

import math
from typing import Any

from minillm import ops
from minillm.backend import Array, backend_of, get_backend
from minillm.backend.device import get_default_dtype, is_floating
from minillm.nn import init
from minillm.nn.layers import Linear
from minillm.nn.module import Module
from minillm.nn.parameter import Parameter
from minillm.tensor import Tensor


class KVCache:
    """Keys and values of the positions seen so far, for one attention layer.

    It is for generation: what it returns has no graph, so no gradient reaches the keys and values.

    Args:
        batch_size: B.
        num_heads: H, key and value heads.
        capacity: how many positions fit.
        head_dim: D.

    Raises:
        ValueError: from ``append``, if more positions come than fit, or of another shape.
    """

    def __init__(
        self, batch_size: int, num_heads: int, capacity: int, head_dim: int, *, dtype: Any = None, device: Any = None
    ) -> None:
        xp = get_backend(device).xp
        shape = (batch_size, num_heads, capacity, head_dim)
        self._keys = xp.zeros(shape, dtype=dtype or get_default_dtype())
        self._values = xp.zeros(shape, dtype=dtype or get_default_dtype())
        self._length = 0
        self.capacity = capacity

    def __len__(self) -> int:
        return self._length

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values (B, H, T, D) of new positions; return those of all so far, (B, H, length, D)."""
        keys, values = self.append_arrays(key.array, value.array)
        return Tensor._wrap(keys), Tensor._wrap(values)

    def append_arrays(self, key: Array, value: Array) -> tuple[Array, Array]:
        """Do the same with plain arrays."""
        B, H, _, D = self._keys.shape
        expected = (B, H, *key.shape[-2:-1], D)
        if key.shape != expected or value.shape != expected:
            raise ValueError(f"KVCache: expected keys and values ({B}, {H}, T, {D}), got {key.shape} and {value.shape}")
        start, end = self._length, self._length + key.shape[-2]
        if end > self.capacity:
            raise ValueError(
                f"KVCache: {end} positions do not fit into {self.capacity}; rewind it or make a larger one"
            )
        self._keys[:, :, start:end] = key
        self._values[:, :, start:end] = value
        self._length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    @property
    def arrays(self) -> tuple[Array, Array]:
        """Keys and values as they are kept, (B, H, capacity, D): what lies beyond the length has no meaning.

        They stay where they are in memory unless ``reorder`` changes the number of rows.
        """
        return self._keys, self._values

    def grow(self) -> None:
        """Count a position whose key and value somebody has put into ``arrays`` by himself."""
        if self._length == self.capacity:
            raise ValueError(f"KVCache: it holds {self.capacity} positions already")
        self._length += 1

    def rewind(self, length: int) -> None:
        """Forget all positions but the first ``length``."""
        if not 0 <= length <= self._length:
            raise ValueError(f"KVCache: cannot rewind to {length} of {self._length} positions")
        self._length = length

    def reorder(self, rows: Any) -> None:
        """Let row i of the batch continue what row ``rows[i]`` was."""
        index = rows.array if isinstance(rows, Tensor) else backend_of(self._keys).asarray(rows)
        if index.shape != self._keys.shape[:1]:
            self._keys, self._values = self._keys[index], self._values[index]
            return
        for kept in self.arrays:  # only what has a meaning is moved; the right side is a copy
            kept[:, :, : self._length] = kept[:, :, : self._length][index]


class MultiheadAttention(Module):
    r"""Attention with several heads: $\mathrm{concat}(\mathrm{head}_1, ..., \mathrm{head}_h) W^O$.

    Each head is ``scaled_dot_product_attention`` of its own projections of query, key and value.

    Args:
        embed_dim: C, width of the queries and of the result; each head has C / num_heads of it.
        num_heads: H.
        dropout: share of the attention weights set to 0 in training.
        bias: whether the projections have one.
        kdim, vdim: widths of keys and values, C if not given.
        batch_first: axes are (B, T, C) instead of (T, B, C).

    Raises:
        ValueError: if C is no multiple of the number of heads, or ``dropout`` no probability.
        NotImplementedError: for add_bias_kv and add_zero_attn.

    Source: Vaswani et al., 2017, section 3.2.2.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if add_bias_kv or add_zero_attn:
            raise NotImplementedError("MultiheadAttention: add_bias_kv and add_zero_attn are not offered by minillm")
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: embed_dim {embed_dim} is no multiple of num_heads {num_heads}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"MultiheadAttention: expected a dropout from 0 to 1, got {dropout}")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.head_dim = embed_dim // num_heads
        made = {"device": device, "dtype": dtype}
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = Parameter(ops.empty(3 * embed_dim, embed_dim, **made))
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = Parameter(ops.empty(embed_dim, embed_dim, **made))
            self.k_proj_weight = Parameter(ops.empty(embed_dim, self.kdim, **made))
            self.v_proj_weight = Parameter(ops.empty(embed_dim, self.vdim, **made))
            self.register_parameter("in_proj_weight", None)
        self.register_parameter("in_proj_bias", Parameter(ops.zeros(3 * embed_dim, **made)) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections anew (Xavier); biases start at 0."""
        for w in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if w is not None:
                init.xavier_uniform_(w)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        cache: KVCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the mixed values and, if asked for, the attention weights.

        Args:
            query: (B, T, C) if batch first, (T, B, C) otherwise; or (T, C) without a batch.
            key, value: likewise, with S in place of T.
            key_padding_mask: (B, S), true where a key is filling and is *not* looked at (or floats to add).
            need_weights: return the weights too.
            attn_mask: (T, S) or (B H, T, S), true where a key is *not* looked at (or floats to add).
            average_attn_weights: return the mean over heads, (B, T, S), instead of (B, H, T, S).
            is_causal: a promise that ``attn_mask`` is the causal mask, as in PyTorch; it needs the mask to be given,
                except with a cache, where the causal mask is made here.
            cache: keys and values of earlier positions; the new ones are added.

        A query that may see no key gets weights of 0, and the output is the bias of the last projection.

        Raises:
            RuntimeError: if shapes or types of the arguments do not fit.
        """
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            raise RuntimeError(
                "MultiheadAttention: expected query, key and value of 3 axes, or 2 without a batch, "
                f"got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
            )
        batched = query.ndim == 3
        if is_causal and attn_mask is None and cache is None:
            raise RuntimeError(
                "MultiheadAttention: is_causal=True needs attn_mask, as in PyTorch; give the causal mask"
            )
        if not batched:
            query, key, value = (t.unsqueeze(0) for t in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        B, T, _ = query.shape
        q, k, v = (self._heads(t) for t in self._project(query, key, value))  # (B, H, T or S, D)
        past = 0
        if cache is not None:
            past = len(cache)
            k, v = cache.append(k, v)
        S = k.shape[-2]
        mask = self._mask(attn_mask, key_padding_mask, B, T, S, q)
        if cache is not None and is_causal:
            seen = ops.ones(T, S, dtype=bool, device=q.device).tril(past)
            mask = _both(mask, seen, q)
        dropout_p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = ops.matmul(q, k.transpose(-2, -1)) * (1 / math.sqrt(self.head_dim))
            if mask is None:
                weights = ops.softmax(scores, -1)
            else:
                scores = scores.masked_fill(~mask, -math.inf) if mask.dtype.kind == "b" else scores + mask
                blind = (scores == -math.inf).all(-1, keepdim=True)  # softmax would make NaN of these
                weights = ops.softmax(scores.masked_fill(blind, 0.0), -1).masked_fill(blind, 0.0)
            weights = ops.dropout(weights, dropout_p)
            y = ops.matmul(weights, v)
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            y = ops.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p)
        y = self.out_proj(y.transpose(1, 2).reshape((B, T, self.embed_dim)))
        if not batched:
            y = y.squeeze(0)
        elif not self.batch_first:
            y = y.transpose(0, 1)
        return y, weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if self.in_proj_weight is not None and query is key and key is value:
            return ops.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)  # one product for all three
        if self.in_proj_weight is not None:
            matrices = self.in_proj_weight.chunk(3)
        else:
            matrices = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return tuple(ops.linear(t, w, b) for t, w, b in zip((query, key, value), matrices, biases, strict=True))

    def _heads(self, t: Tensor) -> Tensor:
        B, T, _ = t.shape
        return t.reshape((B, T, self.num_heads, self.head_dim)).transpose(1, 2)

    def _mask(
        self, attn_mask: Tensor | None, padding: Tensor | None, B: int, T: int, S: int, like: Tensor
    ) -> Tensor | None:
        """Return one mask as ``scaled_dot_product_attention`` wants it: true where a key takes part."""
        mask = None
        if attn_mask is not None:
            _check_mask("attn_mask", attn_mask, [(T, S), (B * self.num_heads, T, S)])
            m = attn_mask.reshape((B, self.num_heads, T, S)) if attn_mask.ndim == 3 else attn_mask
            mask = ~m if m.dtype.kind == "b" else m
        if padding is not None:
            _check_mask("key_padding_mask", padding, [(B, S)])
            p = padding.reshape((B, 1, 1, S))
            mask = _both(mask, ~p if p.dtype.kind == "b" else p, like)
        return mask


def _check_mask(name: str, mask: Tensor, shapes: list[tuple[int, ...]]) -> None:
    if tuple(mask.shape) not in shapes or not (mask.dtype.kind == "b" or is_floating(mask.dtype)):
        raise RuntimeError(
            f"MultiheadAttention: expected {name} of bools or floats and shape {' or '.join(map(str, shapes))}, "
            f"got {mask.dtype} and {tuple(mask.shape)}"
        )


def _both(a: Tensor | None, b: Tensor, like: Tensor) -> Tensor:
    """Combine two masks: bool ones by *and*; with floats, by adding 0 and -inf."""
    if a is None:
        return b
    if a.dtype.kind == "b" and b.dtype.kind == "b":
        return a & b

    def as_float(m: Tensor) -> Tensor:
        return ops.where(m, 0.0, -math.inf).to(like.dtype) if m.dtype.kind == "b" else m

    return as_float(a) + as_float(b)
