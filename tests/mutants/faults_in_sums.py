"""Faults in sums of many numbers, and in the ways around what NumPy does slowly."""

from __future__ import annotations

from tests.mutants.fault import Fault

SUMS = "tests/ops/test_sums.py"
SHORT = "tests/ops/test_short_ways.py"
LARGE = "tests/ops/test_where_it_is_large.py"

FAULTS_IN_SUMS = [
    Fault(
        "sums of 16 bits are made in 16 bits",
        "minillm/ops/common.py",
        'return np.dtype("float32") if is_floating(dtype) and dtype.itemsize == 2 else dtype',
        "return dtype",
        SUMS,
    ),
    Fault(
        "rows beyond the last block are left out of a sum",
        "minillm/ops/rows.py",
        "return y + ones[:rest] @ x[len(x) - rest :] if rest else y",
        "return y",
        SUMS,
    ),
    Fault(
        "what is added by number is added up in 16 bits",
        "minillm/backend/base.py",
        "if target.dtype.itemsize == 2 and is_floating(target.dtype):",
        "if False:",
        SUMS,
    ),
    Fault(
        "the norm of all gradients is one float32 sum",
        "minillm/nn/utils/__init__.py",
        "PIECE = 1 << 16",
        "PIECE = 1 << 40",
        "tests/nn/test_nn_utils.py",
    ),
    Fault(
        "numbers from behind are other rows",
        "minillm/backend/cpu.py",
        "return np.where(places < 0, places + n, places)",
        "return places",
        SHORT,
    ),
    Fault(
        "ids that occur often are left out",
        "minillm/backend/cpu.py",
        "zip(starts[often], counts[often])",
        "zip(starts[:0], counts[:0])",
        SHORT,
    ),
    Fault(
        "ties at the edge of the k largest are not looked for",
        "minillm/ops/sorting.py",
        ".sum(axis=-1) != k).any()",
        ".sum(axis=-1) < 0).any()",
        SHORT,
    ),
    Fault(
        "a running product forgets what comes after the next factor",
        "minillm/ops/cumulative.py",
        "s[k] += x[k + 1] * s[k + 1]",
        "s[k] += x[k + 1] * dy[k + 1]",
        "tests/ops/test_table.py::cumprod",
    ),
    Fault(
        "gradients of windows that overlap replace each other",
        "minillm/ops/shape.py",
        "moved[..., i : i + (windows - 1) * step + 1 : step] += dy[..., i]",
        "moved[..., i : i + (windows - 1) * step + 1 : step] = dy[..., i]",
        SHORT,
    ),
    Fault(
        "gradients that lie in steps of one array are taken for neighbours",
        "minillm/backend/base.py",
        "            step > 0\n            and places ==",
        "            step > 0\n            or places ==",
        "tests/backend/test_both_devices.py::stacked tests/ops/test_attention.py",
    ),
    Fault(
        "a hook may return what it likes",
        "minillm/autograd/engine.py",
        "if found != _kind(dy):",
        "if False:",
        "tests/autograd/test_engine.py",
    ),
    Fault(
        "what is not chosen by its bits is lost",
        "minillm/backend/cpu.py",
        "bits &= x if not y.ndim and y == 0 else x ^ y\n            bits ^= y",
        "bits &= x",
        LARGE,
    ),
    Fault(
        "blocks of running sums do not follow each other",
        "minillm/ops/cumulative.py",
        "blocks[:, i] += blocks[:, i - 1, -1:]",
        "blocks[:, i] += blocks[:, i - 1, :1]",
        LARGE,
    ),
    Fault(
        "products are always divided",
        "minillm/ops/cumulative.py",
        "if is_floating(x.dtype) and ((abs(y) >= np.finfo(x.dtype).tiny) & ctx.xp.isfinite(y)).all():",
        "if True:",
        LARGE,
    ),
    Fault(
        "the slope of GELU is that of the other side",
        "minillm/ops/activation.py",
        "sign = xp.multiply(slope, -2, out=size)",
        "sign = xp.multiply(slope, 2, out=size)",
        LARGE,
    ),
    Fault(
        "an index of the caller is kept, not copied",
        "minillm/ops/indexing.py",
        "(index.array.reshape(-1).copy(),)",
        "(index.array.reshape(-1),)",
        LARGE,
    ),
    Fault(
        "the rows behind the last long one have nothing added",
        "minillm/ops/rows.py",
        "    x[whole:] += row\n",
        "    x[n:] += row\n",
        LARGE,
    ),
    Fault(
        "the median of rows with NaN is one of the numbers",
        "minillm/ops/reduction.py",
        "xp.where(unknown.any(axis=axis, keepdims=True), unknown, keys == middle)",
        "keys == middle",
        LARGE,
    ),
    Fault(
        "an LSTM's cell has no gradient from later steps",
        "minillm/ops/recurrent.py",
        "dc = dh * to_cell[t] + dc",
        "dc = dh * to_cell[t]",
        "tests/ops/test_table.py::lstm",
    ),
    Fault(
        "a sequence read backwards begins with the wrong states",
        "minillm/ops/recurrent.py",
        "[states[1:], first[None]] if reverse",
        "[first[None], states[:-1]] if reverse",
        "tests/ops/test_table.py::rnn",
    ),
    Fault(
        "the new part of a GRU has the reset gate's gradient twice",
        "minillm/ops/recurrent.py",
        "xp.multiply(to_n * updates, r * (1 - r), out=to_x[..., :width])",
        "xp.multiply(to_n * updates, r, out=to_x[..., :width])",
        "tests/ops/test_table.py::gru",
    ),
    Fault(
        "running sums are made in a copy that is thrown away",
        "minillm/ops/cumulative.py",
        '_sums_in_blocks(x.astype(dtype, order="C"), dim)',
        "_sums_in_blocks(x.astype(dtype), dim)",
        "tests/ops/test_table.py::cumsum",
    ),
    Fault(
        "clamp sends a gradient to NaN",
        "minillm/ops/arithmetic.py",
        "where(inside, dy, 0)",
        "where(below | above, 0, dy)",
        "tests/ops/test_edges.py",
    ),
]
