"""Faults of the kind that people make: exact replacements of text, each with the tests that must notice it."""

from __future__ import annotations

from typing import NamedTuple

TABLE = "tests/ops/test_table.py"
ENGINE = "tests/autograd/test_engine.py"
OPTIMIZERS = "tests/optim/test_optimizers.py"
SCHEDULES = "tests/optim/test_lr_scheduler.py"
LOSS = "tests/ops/test_loss.py"
ATTENTION = "tests/ops/test_attention.py"
EMBEDDING = "tests/ops/test_embedding.py"
NORMALIZATION = "tests/ops/test_normalization.py"
BATCHING = "tests/datasets/test_batching.py"
TRAINER = "tests/training/test_trainer.py"


class Fault(NamedTuple):
    """A replacement in one file.

    Attributes:
        what: is wrong then.
        file: from the root.
        old: what stands there exactly once.
        new: what stands there instead.
        tests: files with tests, one of which must fail; what stands behind "::" goes to ``pytest -k``.
    """

    what: str
    file: str
    old: str
    new: str
    tests: str


FAULTS = [
    # --- the engine and what the ops share
    Fault(
        "the second gradient of a leaf replaces the first",
        "minillm/autograd/engine.py",
        "        leaf._grad.array += dy\n",
        "        leaf._grad.array[...] = dy\n",
        ENGINE,
    ),
    Fault(
        "a leaf shares the memory of the gradient that came in",
        "minillm/autograd/engine.py",
        "place = dy if fresh else dy.copy()",
        "place = dy",
        ENGINE,
    ),
    Fault(
        "a graph keeps what it saved after the backward pass",
        "minillm/autograd/engine.py",
        "        if not retain_graph:\n            node.release()\n",
        "",
        ENGINE,
    ),
    Fault(
        "the pass adds into an array that belongs to somebody else",
        "minillm/autograd/engine.py",
        "        elif id(before) in owned:\n",
        "        elif True:\n",
        ENGINE,
    ),
    Fault(
        "gradients keep another type than their input",
        "minillm/autograd/engine.py",
        "        return dx.astype(dtype), True\n",
        "        return dx, True\n",
        f"{ENGINE} {TABLE}",
    ),
    Fault(
        "axes that were broadcast in front are not summed",
        "minillm/ops/common.py",
        "    axes = tuple(range(extra)) + tuple(",
        "    axes = () + tuple(",
        TABLE,
    ),
    Fault(
        "axes of length 1 are averaged instead of summed",
        "minillm/ops/common.py",
        "dy.sum(axis=axes, keepdims=True)",
        "dy.mean(axis=axes, keepdims=True)",
        TABLE,
    ),
    # --- ops
    Fault(
        "the product's gradients are exchanged",
        "minillm/ops/arithmetic.py",
        "unbroadcast(dz * y, ctx.shapes[0])",
        "unbroadcast(dz * x, ctx.shapes[0])",
        f"{TABLE}::mul",
    ),
    Fault(
        "a product is not unbroadcast",
        "minillm/ops/arithmetic.py",
        "unbroadcast(dz * x, ctx.shapes[1]) if needs_y",
        "(dz * x) if needs_y",
        f"{TABLE}::mul",
    ),
    Fault(
        "the sign of a difference's second gradient",
        "minillm/ops/arithmetic.py",
        "unbroadcast(-dz, ctx.shapes[1])",
        "unbroadcast(dz, ctx.shapes[1])",
        f"{TABLE}::sub",
    ),
    Fault(
        "a quotient's second gradient lacks a division",
        "minillm/ops/arithmetic.py",
        "unbroadcast(-dx * (x / y), ctx.shapes[1])",
        "unbroadcast(-dx * x, ctx.shapes[1])",
        f"{TABLE}::div",
    ),
    Fault(
        "the exponent of a power's gradient",
        "minillm/ops/arithmetic.py",
        "                y * x ** (y - 1)\n",
        "                y * x ** y\n",
        f"{TABLE}::pow",
    ),
    Fault(
        "ties of maximum give everything to one side",
        "minillm/ops/arithmetic.py",
        "ctx.xp.where(x == y, 0.5, (x > y)",
        "ctx.xp.where(x == y, 1.0, (x > y)",
        f"{TABLE} tests/ops/test_edges.py",
    ),
    Fault(
        "a matrix product's first gradient lacks the transpose",
        "minillm/ops/matmul.py",
        "ctx.backend.matmul(dz, y.swapaxes(-1, -2))",
        "ctx.backend.matmul(dz, y.reshape(*y.shape[:-2], y.shape[-1], y.shape[-2]))",
        f"{TABLE}::matmul",
    ),
    Fault(
        "a matrix product's second gradient is not summed over the batch",
        "minillm/ops/matmul.py",
        "            dy = unbroadcast(ctx.backend.matmul(x.swapaxes(-1, -2), dz), y_shape)",
        "            dy = ctx.backend.matmul(x.swapaxes(-1, -2), dz)[(0,) * (max(x.ndim, dz.ndim) - len(y_shape))]",
        f"{TABLE}::matmul",
    ),
    Fault(
        "two layers with GELU between them lose its slope on the way back",
        "minillm/ops/mlp.py",
        "slope.dtype == du.dtype else None)",
        "slope.dtype == du.dtype else None) / slope",
        f"{TABLE}::mlp tests/nn/test_containers.py",
    ),
    Fault(
        "a mean's gradient is not divided",
        "minillm/ops/reduction.py",
        "(dy / ctx.n if ctx.n else dy)",
        "dy",
        f"{TABLE}::mean",
    ),
    Fault(
        "a variance's gradient lacks the factor 2",
        "minillm/ops/reduction.py",
        "centred * (2 / ctx.n if",
        "centred * (1 / ctx.n if",
        f"{TABLE}::var",
    ),
    Fault(
        "ties of amax count several times",
        "minillm/ops/reduction.py",
        "        return tied * (dy.reshape(shape) / tied.sum(axis=ctx.dims, keepdims=True)).astype(dy.dtype)\n",
        "        return tied * dy.reshape(shape)\n",
        f"{TABLE} tests/ops/test_edges.py",
    ),
    Fault(
        "permuted axes go back in the wrong order",
        "minillm/ops/shape.py",
        "dy.transpose([ctx.dims.index(i) for i in range(len(ctx.dims))])",
        "dy.transpose(ctx.dims)",
        f"{TABLE}::permute",
    ),
    Fault(
        "entries that were read twice get one gradient",
        "minillm/ops/indexing.py",
        "            ctx.backend.scatter_add(dx, ctx.index, dy)\n",
        "            dx[ctx.index] = dy\n",
        TABLE,
    ),
    Fault(
        "relu has a slope at 0",
        "minillm/ops/activation.py",
        "dy * ~(y <= 0)",
        "dy * ~(y < 0)",
        f"{TABLE} tests/ops/test_edges.py",
    ),
    # --- softmax, normalisation, attention
    Fault(
        "softmax overflows",
        "minillm/ops/rows.py",
        "m[...] = row_max(backend, x)",
        "m[...] = 0",
        f"{TABLE} tests/ops/test_edges.py",
    ),
    Fault(
        "softmax' gradient forgets what the other entries lose",
        "minillm/ops/softmax.py",
        "            ctx.xp.subtract(dy_rows[part], row_dot(ctx.backend, dy_rows[part], y_rows[part]), out=d)\n",
        "            d[...] = dy_rows[part]\n",
        f"{TABLE}::softmax",
    ),
    Fault(
        "eps of layer_norm stands outside the root",
        "minillm/ops/normalization.py",
        "1 / xp.sqrt(row_dot(backend, h[part], h[part]) / width + eps)",
        "1 / (xp.sqrt(row_dot(backend, h[part], h[part]) / width) + eps)",
        f"{NORMALIZATION} {TABLE}::layer_norm",
    ),
    Fault(
        "layer_norm's gradient forgets the mean",
        "minillm/ops/normalization.py",
        "                product -= mean_g\n",
        "",
        f"{NORMALIZATION} {TABLE}::layer_norm",
    ),
    Fault(
        "layer_norm subtracts its bias",
        "minillm/ops/normalization.py",
        "y[part] += b.reshape(-1)",
        "y[part] -= b.reshape(-1)",
        f"{NORMALIZATION} {TABLE}::layer_norm",
    ),
    Fault(
        "rms_norm divides by one element less",
        "minillm/ops/normalization.py",
        "1 / xp.sqrt(row_dot(backend, rows[part], rows[part]) / width + eps)",
        "1 / xp.sqrt(row_dot(backend, rows[part], rows[part]) / (width - 1 or 1) + eps)",
        f"{NORMALIZATION} {TABLE}::rms_norm",
    ),
    Fault(
        "the causal mask lets a query see the next key",
        "minillm/ops/attention.py",
        "xp.triu(xp.full((n, n), -math.inf, dtype=dtype), 1)",
        "xp.triu(xp.full((n, n), -math.inf, dtype=dtype), 2)",
        ATTENTION,
    ),
    Fault(
        "the causal mask hides a query's own key",
        "minillm/ops/attention.py",
        "-math.inf, dtype=dtype), 1)",
        "-math.inf, dtype=dtype), 0)",
        ATTENTION,
    ),
    Fault(
        "scores are divided by D instead of its root",
        "minillm/ops/attention.py",
        "1 / math.sqrt(query.shape[-1] or 1)",
        "1 / (query.shape[-1] or 1)",
        ATTENTION,
    ),
    Fault(
        "a query that may see nothing makes NaN",
        "minillm/ops/attention.py",
        "blind = m == -math.inf  # a query",
        "blind = m == math.inf  # a query",
        ATTENTION,
    ),
    Fault(
        "the gradient of the queries lacks the scale",
        "minillm/ops/attention.py",
        "        dq *= ctx.scale\n",
        "",
        ATTENTION,
    ),
    # --- losses, embedding, dropout
    Fault(
        "ignored targets count",
        "minillm/ops/cross_entropy.py",
        "weighs = counted.astype(x.dtype) if weight is None else xp.where(counted, working(weight)[target], 0)",
        "weighs = xp.ones(len(x), dtype=x.dtype) if weight is None else working(weight)[target]",
        LOSS,
    ),
    Fault(
        "smoothing spreads over one class less",
        "minillm/ops/cross_entropy.py",
        "(smoothing / x.shape[1]) * even",
        "(smoothing / (x.shape[1] - 1)) * even",
        f"{LOSS} {TABLE}::cross_entropy",
    ),
    Fault(
        "the gradient of cross-entropy forgets the target",
        "minillm/ops/cross_entropy.py",
        "        dx[ctx.xp.arange(len(dx)), target] -= at_target\n",
        "",
        f"{LOSS} {TABLE}::cross_entropy",
    ),
    Fault(
        "a batch without a target makes the gradient NaN",
        "minillm/ops/cross_entropy.py",
        "xp.where(total == 0, 0, dy / total)",
        "dy / total",
        f"{LOSS} tests/ops/test_edges.py",
    ),
    Fault(
        "the row of padding_idx learns",
        "minillm/ops/embedding.py",
        "            dw[ctx.padding_idx] = 0\n",
        "            pass\n",
        f"{EMBEDDING} {TABLE}::embedding",
    ),
    Fault(
        "ids that occur twice count once",
        "minillm/backend/cpu.py",
        "np.add.reduceat(dy[order], starts, axis=0)",
        "dy[order][starts]",
        f"{EMBEDDING} {TABLE}::embedding",
    ),
    Fault(
        "dropout does not make up for what it drops",
        "minillm/ops/embedding.py",
        "    noise *= 1 / (1 - p)\n",
        "",
        f"{EMBEDDING} {TABLE}::dropout",
    ),
    Fault(
        "dropout keeps what it should drop",
        "minillm/ops/embedding.py",
        "ctx.xp.greater_equal(noise, p, out=noise",
        "ctx.xp.less(noise, p, out=noise",
        f"{EMBEDDING} {TABLE}::dropout",
    ),
    Fault(
        "dropout works in evaluation, too",
        "minillm/ops/embedding.py",
        "    if not training or p == 0:\n",
        "    if p == 0:\n",
        f"{EMBEDDING} tests/nn/test_layers.py",
    ),
    # --- optimizers, schedules, clipping
    Fault(
        "momentum forgets what was there",
        "minillm/optim/sgd.py",
        "                b *= mu\n",
        "",
        OPTIMIZERS,
    ),
    Fault(
        "nesterov looks at the buffer alone",
        "minillm/optim/sgd.py",
        "g = g + mu * buffer.array if group",
        "g = mu * buffer.array if group",
        OPTIMIZERS,
    ),
    Fault(
        "Adam's correction is one step late",
        "minillm/optim/adam.py",
        "lr * c / (1 - betas[0] ** step)",
        "lr * c / (1 - betas[0] ** (step + 1))",
        OPTIMIZERS,
    ),
    Fault(
        "Adam's eps stands inside the correction",
        "minillm/optim/adam.py",
        "** step), eps * c",
        "** step), eps",
        OPTIMIZERS,
    ),
    Fault(
        "AdamW decays without the step size",
        "minillm/optim/adam.py",
        "w *= 1 - lr * decay",
        "w *= 1 - decay",
        OPTIMIZERS,
    ),
    Fault(
        "AdamW's decay goes through the gradient",
        "minillm/optim/adam.py",
        "    _decoupled = True\n",
        "    _decoupled = False\n",
        OPTIMIZERS,
    ),
    Fault(
        "RMSprop's eps stands inside the root",
        "minillm/optim/adaptive.py",
        '            size = xp.sqrt(v)\n        direction = g / (size + group["eps"])\n',
        '            size = xp.sqrt(v + group["eps"])\n        direction = g / size\n',
        OPTIMIZERS,
    ),
    Fault(
        "the first step of Adagrad is decayed",
        "minillm/optim/adaptive.py",
        '(1 + (step - 1) * group["lr_decay"])',
        '(1 + step * group["lr_decay"])',
        OPTIMIZERS,
    ),
    Fault(
        "StepLR falls one step late",
        "minillm/optim/lr_scheduler.py",
        "        return self.gamma ** (t // self.step_size)\n",
        "        return self.gamma ** ((t - 1) // self.step_size if t else 0)\n",
        SCHEDULES,
    ),
    Fault(
        "a milestone counts one step late",
        "minillm/optim/lr_scheduler.py",
        "bisect.bisect_right(self.milestones, t)",
        "bisect.bisect_left(self.milestones, t)",
        SCHEDULES,
    ),
    Fault(
        "the cosine has another period",
        "minillm/optim/lr_scheduler.py",
        "math.cos(math.pi * self.last_epoch / self.T_max)",
        "math.cos(math.pi * self.last_epoch / (self.T_max + 1))",
        SCHEDULES,
    ),
    Fault(
        "clipping goes to twice the norm",
        "minillm/nn/utils/__init__.py",
        "factor = float(max_norm) / (norm + 1e-6)",
        "factor = 2 * float(max_norm) / (norm + 1e-6)",
        "tests/nn/test_nn_utils.py",
    ),
    Fault(
        "clipping lengthens short gradients",
        "minillm/nn/utils/__init__.py",
        "math.isfinite(norm) and factor < 1",
        "math.isfinite(norm)",
        "tests/nn/test_nn_utils.py",
    ),
    # --- the order of the data, the trainer
    Fault(
        "the last window is never drawn",
        "minillm/datasets/batching.py",
        ".integers(len(ids) - block_size, size=batch_size)",
        ".integers(max(1, len(ids) - block_size - 1), size=batch_size)",
        BATCHING,
    ),
    Fault(
        "targets are the inputs",
        "minillm/datasets/batching.py",
        "return windows[:, :-1], windows[:, 1:]",
        "return windows[:, :-1], windows[:, :-1]",
        BATCHING,
    ),
    Fault(
        "every step draws the same windows",
        "minillm/datasets/batching.py",
        'stream(seed, "windows", step)',
        'stream(seed, "windows", 0)',
        BATCHING,
    ),
    Fault(
        "the warm-up begins at 0",
        "minillm/training/trainer.py",
        "return (t + 1) / config.warmup_steps",
        "return t / config.warmup_steps",
        TRAINER,
    ),
    Fault(
        "the schedule ends one step late",
        "minillm/training/trainer.py",
        "max(1, self.total_steps - config.warmup_steps)",
        "max(1, self.total_steps + 1 - config.warmup_steps)",
        TRAINER,
    ),
    Fault(
        "looking at the validation set moves the random numbers",
        "minillm/training/trainer.py",
        "        set_rng_state(state)\n",
        "",
        "tests/training/test_resume.py tests/training/test_trainer.py",
    ),
    Fault(
        "every epoch has the same order",
        "minillm/datasets/batching.py",
        'stream(seed, "shuffle", epoch)',
        'stream(seed, "shuffle", 0)',
        BATCHING,
    ),
    Fault(
        "accumulated batches are a mean of means",
        "minillm/training/parallel.py",
        "task.loss(model, batch) * (n / step.total)",
        "task.loss(model, batch) * (1 / len(batches))",
        f"{TRAINER} tests/training/test_parallel.py",
    ),
    Fault(
        "numbers that another process has drawn are drawn again",
        "minillm/training/processes.py",
        "default_generator.stream(name).bit_generator.state = state\n        return",
        "default_generator.stream(name)\n        return",
        "tests/training/test_processes.py",
    ),
    Fault(
        "vectors are decayed, too",
        "minillm/training/trainer.py",
        "if p.ndim >= 2]",
        "if p.ndim >= 1]",
        TRAINER,
    ),
]
