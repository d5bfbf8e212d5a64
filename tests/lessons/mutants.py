"""Mistakes that a learner makes, put into the solutions: each of them must fail the checks of its lesson.

One entry is (text in the solution, what stands there instead). The text stands in the solution once.
"""

from __future__ import annotations

MUTANTS: dict[str, list[tuple[str, str]]] = {
    "l01_counting": [
        ("+ k * len(alphabet)", "+ k * len(counts)"),  # V is the whole alphabet
        ("(counts.get(c, 0) + k) / total", "max(counts.get(c, 0), k) / total"),
        ("range(len(text) - n) if", "range(0, len(text) - n, max(1, n)) if"),  # overlapping occurrences are lost
        ("context[1:]", "context[:-1]"),  # the far end is forgotten first
        ("        return lower\n", "        return dict.fromkeys(alphabet, 1 / len(alphabet))\n"),
        ("(counts[c] + kinds * lower[c])", "(counts[c] + lower[c])"),
        ("/ (total + kinds) for", "/ (total + len(alphabet)) for"),
        ("dict.fromkeys(alphabet, 1 / len(alphabet))\n    counts", "dict.fromkeys(alphabet, 0.0)\n    counts"),
        ("math.log2(p) for", "math.log(p) for"),  # nats
        ("return -sum(math.log2(p) for p in probabilities)", "return -math.log2(sum(probabilities))"),
        ("return math.inf", "return 0.0"),
    ],
    "l02_tokens": [
        ("counts[pair] += n", "counts[pair] += 1"),  # kinds of words instead of words
        ("(-counts[pair], pair)", "(-counts[pair], (-pair[0], pair[1]))"),  # the larger one of equals
        ("(-counts[pair], pair)", "(-counts[pair], (pair[1], pair[0]))"),
        ("zip(word, word[1:])", "zip(word[::2], word[1::2])"),  # every second pair
        (", default=None)", ")"),
        ("            i += 2\n", "            i += 1\n"),
        ("while i < len(ids):", "while i < len(ids) - 1:"),  # the last id gets lost
        ("if tuple(ids[i : i + 2]) == pair", "if tuple(ids[i : i + 2]) == pair and new not in merged"),  # once only
        ("enumerate(merges):\n        ids", "reversed(list(enumerate(merges))):\n        ids"),
        ("256 + i)", "257 + i)"),
        ("table[left] + table[right]", "table[right] + table[left]"),
        ("if not 0 <= id < len(table)", "if id >= len(table)"),
    ],
    "l03_gradients": [
        ("dy.sum(axis=tuple(range(dy.ndim - len(shape))))", "dy.mean(axis=tuple(range(dy.ndim - len(shape))))"),
        ("return dy.sum(axis=repeated, keepdims=True)", "return dy.mean(axis=repeated, keepdims=True)"),
        ("return dy.sum(axis=repeated, keepdims=True)", "return dy.sum(axis=repeated)"),
        ("return dy.sum(axis=repeated, keepdims=True)", "return dy"),  # only the axes in front
        ("return unbroadcast(dz * y, x.shape)", "return unbroadcast(dz, x.shape)"),
        ("unbroadcast(dz * x, y.shape)", "dz * x"),
        ("np.swapaxes(b, -1, -2)", "b.T"),  # turns all axes of a stack around
        ("np.swapaxes(b, -1, -2)", "np.swapaxes(b, 0, 1)"),
        ("unbroadcast(da, a.shape), unbroadcast(db, b.shape)", "da, db"),
        ("np.exp(x - x.max(axis=axis, keepdims=True))", "np.exp(x)"),  # overflows
        ("shares.sum(axis=axis, keepdims=True)", "shares.sum()"),
        ("np.expand_dims(dy, axis) * shares", "shares"),
        ("np.expand_dims(dy, axis) * shares", "np.expand_dims(dy, -1) * shares"),
        ("x.max(axis=axis, keepdims=True)", "x.max()"),  # a row far below the largest number loses everything
    ],
    "l04_devices": [
        ("xp.sqrt(variance + eps)", "(xp.sqrt(variance) + eps)"),
        ("xp.sqrt(variance + eps)", "__import__('numpy').sqrt(variance.__array__() + eps)"),  # NumPy's
        ("(away * away).mean(axis=-1, keepdims=True)", "(away * away).sum(axis=-1, keepdims=True)"),
        ("x - x.mean(axis=-1, keepdims=True)", "x - float(x.mean())"),  # a way home
        ("xp.arange(classes)", "__import__('numpy').arange(classes)"),  # made in the wrong memory
        (".astype(dtype)", ".astype('float64')"),
        ("xp.arange(classes)", "xp.arange(1, classes + 1)"),
        ("longest / xp.maximum(length, longest)", "min(1.0, longest / float(length))"),
        ("longest / xp.maximum(length, longest)", "longest / length"),
        ("xp.sqrt((g * g).sum())", "(g * g).sum()"),
        ("    fine = xp.isfinite(arrays[0]).all()\n", "    fine = not xp.isnan(arrays[0]).any()\n"),
        ("fine = fine & xp.isfinite(array).all()", "fine = bool(fine) and xp.isfinite(array).all()"),
        ("return bool(fine)", "return fine"),
        ("arrays[1:]", "arrays[2:]"),
    ],
    "l05_optimizers": [
        ("m = beta1 * m + (1 - beta1) * g\n", "m = beta1 * m + g\n"),
        ("(1 - beta2) * g * g", "(1 - beta2) * g"),
        ("m / (1 - beta1**t)", "m"),  # without the correction
        ("np.sqrt(v / (1 - beta2**t))", "np.sqrt(v)"),
        ("np.sqrt(v / (1 - beta2**t))", "v / (1 - beta2**t)"),
        ("np.sqrt(v / (1 - beta2**t))", "np.sqrt(v / (1 - beta2 ** (t + 1)))"),
        ("lr * direction / (size + eps), m, v", "lr * direction / np.sqrt(size * size + eps), m, v"),
        ("eps), m, v\n", "eps), direction, v\n"),  # the corrected mean is kept
        ("    m = beta1 * m + (1 - beta1) * g\n", "    m *= beta1\n    m += (1 - beta1) * g\n"),  # the caller's array
        ("adam_step((1 - lr * decay) * w, g,", "adam_step(w, g + decay * w,"),  # L2, not decoupled
        ("(1 - lr * decay) * w", "(1 - decay) * w"),
        ("math.sqrt(sum(float((g * g).sum()) for g in gradients))", "max(float(abs(g).max()) for g in gradients)"),
        ("longest / length if length > longest else 1.0", "longest / length"),
        ("return [factor * g for g in gradients]", "return [np.clip(g, -longest, longest) for g in gradients]"),
        ("lr * (t + 1) / warmup", "lr * t / warmup"),
        ("(t - warmup) / (total - warmup)", "t / total"),
        ("(1 + math.cos(math.pi * share)) / 2", "(1 - share)"),  # a straight line
    ],
    "l06_unsupervised": [
        ("        v = product / length\n", "        v = product\n"),  # overflows
        ("v = start / np.linalg.norm(start)", "v = start"),
        ("return float(v @ matrix @ v), v", "return float(np.trace(matrix)), v"),
        ("        if length == 0:\n            break\n", ""),
        ("centred = x - x.mean(axis=0)", "centred = x"),
        ("centred.T @ centred / len(x)", "centred.T @ centred / (len(x) - 1)"),
        ("s = s - value * np.outer(v, v)", "s = s - np.outer(v, v)"),
        ("        s = s - value * np.outer(v, v)\n", ""),  # the same direction again and again
        ("(x[:, None, :] - centres[None, :, :]) ** 2", "(x[:, None, :] - centres[None, :, :])"),
        ("moved = centres.copy()", "moved = centres"),
        ("        if (numbers == j).any():\n            moved", "        if True:\n            moved"),
        ("moved = centres.copy()", "moved = np.zeros_like(centres)"),
    ],
    "l07_supervised": [
        ("np.where(margins < 1, -y, 0)", "np.where(margins < 0, -y, 0)"),  # the perceptron: no margin
        ("np.where(margins < 1, -y, 0)", "np.where(margins <= 1, -y, 0)"),
        ("np.where(margins < 1, -y, 0)", "np.where(margins < 1, y, 0)"),
        ("-y, 0) / len(x)", "-y, 0) / max(1, (margins < 1).sum())"),
        ("np.maximum(0, 1 - margins)", "(1 - margins)"),
        ("decay / 2 * (w @ w)", "decay * (w @ w)"),
        ("pull @ x + decay * w, float(pull.sum())", "pull @ x + decay * w, float(pull.sum() + decay * b)"),
        ("pull @ x + decay * w,", "pull @ x,"),
        ("x.T @ x / len(x) + decay", "x.T @ x + decay"),
        ("decay * np.eye(x.shape[1])", "decay"),
        ("axis=0) for c in range(n_labels)]) + k", "axis=0) for c in range(n_labels)])"),
        ("counts[labels == c].sum", "(counts[labels == c] > 0).sum"),  # texts instead of words
        ("found.sum(axis=1, keepdims=True)", "found.sum(axis=0, keepdims=True)"),
        ("np.log(np.bincount(labels, minlength=n_labels) / len(labels))", "np.full(n_labels, -np.log(n_labels))"),
    ],
    "l09_embeddings": [
        ("== np.arange(v))", "== np.arange(1, v + 1))"),
        ("np.asarray(ids)[..., None]", "np.asarray(ids)[None, ...]"),
        ("np.add.at(table, ids, dx)", "table[ids] += dx"),  # equal ids get lost
        ("np.add.at(table, ids, dx)", "table[ids] = dx"),
        ("np.zeros((v, dx.shape[-1]))", "np.zeros((np.max(ids, initial=0) + 1, dx.shape[-1]))"),
        (" / np.linalg.norm(table, axis=1, keepdims=True)", ""),  # long rows win
        ("axis=1, keepdims=True", "axis=0, keepdims=True"),
        ("np.argsort(-(unit", "np.argsort((unit"),  # the farthest
        ("[other for other in order if other != id][:n]", "order[:n]"),
        ("[other for other in order if other != id][:n]", "order[1 : n + 1]"),  # another row may be as near
    ],
    "l08_seed_models": [
        ("import AutoRegressiveModel\n", "import WithReLU as AutoRegressiveModel\n"),
        ("    def fit(self", "    def train(self, mode=True):\n        return None\n\n    def fit(self"),
        ("                optimizer.zero_grad()\n", ""),
        ("for _ in range(num_epochs):", "for _ in range(1):"),
        (".transpose(1, 2), y)", ".transpose(1, 2), x)"),  # learns to repeat
        ("losses.append(loss.item())", "losses.append(loss.item() * x.shape[0])"),  # a sum over texts
        ("minillm.arange(vocab_size).reshape(-1, 1))[:, 0]", "minillm.arange(vocab_size).reshape(-1, 1))[:, 0].T"),
        ("[:, 0].numpy()", "[:, 0].log_softmax(-1).numpy()"),
        ("r = min(d, h, len(table))", "r = min(d, len(table))"),
        ("u[:, :r] * s[:r]", "u[:, :r]"),
        ("vt[:r].T", "vt[:, :r]"),
        ("u[:, :r] * s[:r]", "u[:, :r] * np.sqrt(s[:r])"),
    ],
    "l10_attention": [
        ("np.arange(s - t, s)", "np.arange(t)"),  # the queries are taken for the first positions
        ("<= np.arange", "< np.arange"),  # nobody sees itself
        ("<= np.arange", ">= np.arange"),  # the future
        ("math.sqrt(q.shape[-1])", "q.shape[-1]"),
        (" / math.sqrt(q.shape[-1])", ""),
        ("np.where(mask, scores, -np.inf)", "np.where(mask, scores, 0.0)"),  # a score of 0 is not a weight of 0
        ("np.where(mask, scores, -np.inf)", "np.where(mask, scores, -1e9)"),  # hidden rows become means
        ("e = np.exp(scores - np.where(np.isfinite(top), top, 0))", "e = np.exp(scores)"),
        ("total = e.sum(axis=-1, keepdims=True)", "total = e.sum(axis=-2, keepdims=True)"),
        ("np.where(total == 0, 1, total)", "total"),
        ("x.reshape(b, t, n_head, c // n_head).transpose(0, 2, 1, 3)", "x.reshape(b, n_head, t, c // n_head)"),
        ("n_head, c // n_head).transpose(0, 2, 1, 3)", "c // n_head, n_head).transpose(0, 3, 1, 2)"),
        ("x.transpose(0, 2, 1, 3).reshape(b, t, h * d)", "x.reshape(b, t, h * d)"),
    ],
    "l12_pretraining": [
        ("peak * (step + 1) / warmup", "peak * step / warmup"),  # the first step stands still
        ("max(0.0, 1 - (step - warmup) / (total - warmup))", "max(0.0, 1 - step / total)"),  # a jump after the rise
        ("max(0.0, 1 - (step - warmup) / (total - warmup))", "(1 - (step - warmup) / (total - warmup))"),
        ("w.copy() for name, w in trainer", "w for name, w in trainer"),  # what was saved goes on learning
        ("v.copy() for name, v in trainer", "v for name, v in trainer"),
        ("w.copy() for name, w in saved", "w for name, w in saved"),
        ("v.copy() for name, v in saved", "v for name, v in saved"),
        ("v.copy() for name, v in saved", "0 * v for name, v in saved"),  # the optimizer forgets
        ('trainer.step = saved["step"]', "trainer.step = 0"),
        ("    trainer.rng.bit_generator.state", "    ignored"),  # other dropout
    ],
    "l15_classification": [
        ("ids[i, : len(row)] = row", "ids[i, -len(row) :] = row"),  # filled up on the left
        ("mask[i, : len(row)] = True", "mask[i, : len(row)] = ids[i, : len(row)] != fill"),
        ("max(map(len, rows))", "max(map(len, rows)) + 1"),
        ("(h * weight).sum(axis=1)", "h.sum(axis=1)"),  # the filling is in the sum
        ("/ weight.sum(axis=1)", "/ mask.shape[1]"),  # or in the divisor
        ("/ weight.sum(axis=1)", "/ weight.sum()"),
        ("mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)", "mask.sum(axis=1) - 1"),  # only for filling on the right
        ("mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)", "mask.argmax(axis=1)"),  # the first
        ("return h[np.arange(len(h)), places]", "return h[:, -1]"),
    ],
    "l16_label_to_words": [
        ("logits - logits.max(axis=-1, keepdims=True)", "logits"),  # overflows
        ("logits.max(axis=-1, keepdims=True)", "logits.max()"),  # what is far below the largest of all becomes 0
        ("np.exp(shifted).sum(axis=-1, keepdims=True)", "np.exp(shifted).sum(axis=1, keepdims=True)"),
        ("return np.where(counted, picked, 0).sum(axis=1)", "return picked.sum(axis=1)"),  # filling counts as word 0
        ("return np.where(counted, picked, 0).sum(axis=1)", "return np.where(counted, picked, 0).mean(axis=1)"),
        ("np.where(counted, targets, 0)", "np.zeros_like(targets)"),
        ("joint = log_p + np.log(prior)", "joint = log_p + prior"),
        ("joint = log_p + np.log(prior)", "joint = log_p - np.log(len(prior))"),  # all labels equally common
        ("top[:, 0] + np.log(np.exp(joint - top).sum(axis=1))", "np.log(np.exp(joint).sum(axis=1))"),  # log 0
        ("top = joint.max(axis=1, keepdims=True)", "top = np.full((len(joint), 1), joint.max())"),
        ("np.log(np.exp(joint - top).sum(axis=1))", "np.log(np.exp(joint - top).mean(axis=1))"),
        ("prior * np.exp(", "np.exp("),
        ("- log_evidence(log_p, prior)[:, None]", "- log_p.max(axis=1, keepdims=True)"),
    ],
    "l11_gpt": [
        (".tril(s - t)", ".tril()"),  # new positions are taken for the first ones
        (".tril(s - t)", ".tril(s)"),  # the future
        ("attn_mask=minillm.ones(t, s, dtype=minillm.bool).tril(s - t)", "is_causal=True"),
        ("past[0][0].shape[2] if past else 0", "0"),  # every piece begins at position 0
        ("past[0][0].shape[2] if past else 0", "len(past)"),
        ("minillm.cat([past[i][0], k], 2)", "minillm.cat([k, past[i][0]], 2)"),
        ("minillm.cat([past[i][0], k], 2), minillm.cat([past[i][1], v], 2)", "minillm.cat([past[i][0], k], 2), v"),
        ("past[i][1], v], 2)", "past[0][1], v], 2)"),  # one past for all blocks
        ("part.qkv(block.norm1(x))", "part.qkv(x)"),
        ("x = x + block.mlp", "x = block.mlp"),
        ("model.head(model.norm(x))", "model.head(x)"),
        ("forward_cached(model, new, past)", "forward_cached(model, ids, [])"),  # right, and everything again
        ("[:, -1].argmax(axis=-1)", "[:, 0].argmax(axis=-1)"),
        (".argmax(axis=-1)", ".argmin(axis=-1)"),
    ],
}  # fmt: skip
