"""Recurrent networks: RNN, LSTM, GRU. The loops over time are ops: ``minillm/ops/recurrent.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minillm import ops
from minillm.nn import init
from minillm.nn.module import Module
from minillm.nn.parameter import Parameter
from minillm.ops.recurrent import gru, lstm, rnn
from minillm.tensor import Tensor


def _check_nonlinearity(module: Module, name: str) -> None:
    if name not in ("tanh", "relu"):
        raise ValueError(f"{type(module).__name__}: expected nonlinearity 'tanh' or 'relu', got {name!r}")


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else a + b


# Each takes an input (T, B, C), the first states and [weight_ih, weight_hh, bias_ih, bias_hh], and returns the state at
# every time and the last ones. The inputs' part of all times is one product.
def _rnn_layer(x: Tensor, state: tuple[Tensor, ...], w: Any, nonlinearity: str, reverse: bool) -> Any:
    projected = ops.linear(x, w[0], _sum(w[2], w[3]))
    y = rnn(projected, state[0], w[1], relu=nonlinearity == "relu", reverse=reverse)
    return y, (y[0 if reverse else -1],)


def _lstm_layer(x: Tensor, state: tuple[Tensor, ...], w: Any, _: str, reverse: bool) -> Any:
    h, c = state
    y, c = lstm(ops.linear(x, w[0], _sum(w[2], w[3])), h, c, w[1], reverse=reverse)
    return y, (y[0 if reverse else -1], c)


def _gru_layer(x: Tensor, state: tuple[Tensor, ...], w: Any, _: str, reverse: bool) -> Any:
    y = gru(ops.linear(x, w[0], w[2]), state[0], w[1], w[3], reverse=reverse)
    return y, (y[0 if reverse else -1],)


def _check_states(module: Module, states: Sequence[Tensor], shape: tuple[int, ...]) -> None:
    """Refuse states that would broadcast to a wrong result."""
    for s in states:
        if s.shape != shape:
            raise RuntimeError(f"{type(module).__name__}: expected a state of shape {shape}, got {tuple(s.shape)}")


class _Recurrent(Module):
    """What RNN, LSTM and GRU share: layers, directions, the loop over time."""

    gates = 1
    layer: Any
    states = 1
    nonlinearity = "tanh"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if hidden_size < 1 or num_layers < 1 or not 0 <= dropout <= 1:
            raise ValueError(
                f"{type(self).__name__}: expected hidden_size and num_layers of 1 or more and a dropout from 0 to 1, "
                f"got {hidden_size}, {num_layers} and {dropout}"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        wide = self.gates * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * (2 if bidirectional else 1)
            for suffix in self._suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (wide, width), "weight_hh": (wide, hidden_size)}
                shapes |= {"bias_ih": (wide,), "bias_hh": (wide,)} if bias else {}
                for name, shape in shapes.items():
                    self.register_parameter(name + suffix, Parameter(ops.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    def reset_parameters(self) -> None:
        r"""Draw all parameters evenly from $\pm 1/\sqrt{\mathrm{hidden\_size}}$."""
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Return the last layer's state at every time, and every layer's last state.

        Args:
            input: (T, B, input_size), or (B, T, input_size) if batch first, or (T, input_size) without a batch.
            hx: first states (layers x directions, B, hidden_size), a pair of them for an LSTM; zeros if not given.

        Raises:
            RuntimeError: if there is no time step, or a state has another shape.
        """
        if not isinstance(input, Tensor):
            raise NotImplementedError(
                f"{type(self).__name__}: packed sequences are not offered by minillm; pad instead"
            )
        if input.ndim not in (2, 3):
            raise ValueError(f"{type(self).__name__}: expected an input of 2 or 3 axes, got {tuple(input.shape)}")
        batched = input.ndim == 3
        x = input.unsqueeze(1) if not batched else input.transpose(0, 1) if self.batch_first else input  # (T, B, C)
        directions = 2 if self.bidirectional else 1
        shape = (self.num_layers * directions, x.shape[1], self.hidden_size)
        if not len(x):
            raise RuntimeError(f"{type(self).__name__}: expected at least one time step, got {tuple(input.shape)}")
        start = [x.new_zeros(shape)] * self.states if hx is None else list(hx) if self.states > 1 else [hx]
        start = start if batched or hx is None else [s.unsqueeze(1) for s in start]
        _check_states(self, start, shape)
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = ops.dropout(x, self.dropout, self.training)
            outs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                w: Any = [
                    self._parameters.get(name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                ]
                state = tuple(s[layer * directions + direction] for s in start)
                out, state = type(self).layer(x, state, w, self.nonlinearity, direction == 1)
                outs.append(out)
                last.append(state)
            x = ops.cat(outs, -1) if directions == 2 else outs[0]
        ends = [ops.stack([s[i] for s in last]) for i in range(self.states)]
        if not batched:
            x, ends = x.squeeze(1), [e.squeeze(1) for e in ends]
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, tuple(ends) if self.states > 1 else ends[0]

    def extra_repr(self) -> str:
        """Return the settings that are not the usual ones."""
        text = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
        ):
            value = getattr(self, name)
            text += "" if value == usual else f", {name}={value}"
        return text


class RNN(_Recurrent):
    """The plain recurrent network: ``h' = tanh(W x + b + U h + c)``. Source: Elman, 1990."""

    layer = staticmethod(_rnn_layer)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _check_nonlinearity(self, nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)
        self.nonlinearity = nonlinearity


class LSTM(_Recurrent):
    """Long short-term memory. Source: Hochreiter and Schmidhuber, 1997; with forget gates, Gers et al., 2000."""

    gates, states = 4, 2
    layer = staticmethod(_lstm_layer)


class GRU(_Recurrent):
    """Gated recurrent unit. Source: Cho et al., 2014."""

    gates = 3
    layer = staticmethod(_gru_layer)


class _Cell(Module):
    """One step of a recurrent network."""

    gates = 1
    states = 1
    layer: Any
    nonlinearity = "tanh"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        wide, made = self.gates * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(ops.empty(wide, input_size, **made))
        self.weight_hh = Parameter(ops.empty(wide, hidden_size, **made))
        self.register_parameter("bias_ih", Parameter(ops.empty(wide, **made)) if bias else None)
        self.register_parameter("bias_hh", Parameter(ops.empty(wide, **made)) if bias else None)
        bound = 1 / math.sqrt(hidden_size) if hidden_size else 0.0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Return the next state (a pair for an LSTM) from an input (B, input_size) and the last state."""
        if hx is None:
            zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
            state: tuple[Tensor, ...] = (zeros,) * self.states
        else:
            state = tuple(hx) if self.states > 1 else (hx,)
        _check_states(self, state, (*input.shape[:-1], self.hidden_size))
        w = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        n, batch = math.prod(input.shape[:-1]), (*input.shape[:-1], self.hidden_size)
        x, rows = input.reshape((1, n, input.shape[-1])), tuple(s.reshape((n, self.hidden_size)) for s in state)
        state = tuple(s.reshape(batch) for s in type(self).layer(x, rows, w, self.nonlinearity, False)[1])
        return state if self.states > 1 else state[0]

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of an ``RNN``."""

    layer = staticmethod(_rnn_layer)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _check_nonlinearity(self, nonlinearity)
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        """Return the settings that are not the usual ones."""
        return super().extra_repr() + (f", nonlinearity={self.nonlinearity}" if self.nonlinearity != "tanh" else "")


class LSTMCell(_Cell):
    """One step of an ``LSTM``."""

    gates, states = 4, 2
    layer = staticmethod(_lstm_layer)


class GRUCell(_Cell):
    """One step of a ``GRU``."""

    gates = 3
    layer = staticmethod(_gru_layer)
