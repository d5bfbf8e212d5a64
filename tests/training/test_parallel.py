"""Threads that train together: the gradient of a batch does not depend on how it is shared out."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.autograd import AnomalyError, detect_anomaly
from minillm.datasets import IGNORE_INDEX
from minillm.nn.utils import clip_grad_norm_
from minillm.training import LanguageTask, Trainer, TrainingConfig
from minillm.training.parallel import Workers, split_rows

IDS = np.arange(500) * 7 % 11


def make_model(dropout: float = 0.0) -> GPT:
    minillm.manual_seed(1)
    config = GPTConfig(vocab_size=11, block_size=6, n_layer=1, n_head=2, n_embd=8, dropout=dropout)
    return GPT(config).to(minillm.float64)


def make_task(batch_size: int = 8, ignored: float = 0.0) -> LanguageTask:
    class Holes(LanguageTask):
        """Some targets do not count, in every row another number."""

        def batch(self, number):
            x, y = super().batch(number)
            return x, np.where(np.random.default_rng(number).random(y.shape) < ignored, IGNORE_INDEX, y)

    return Holes(IDS, IDS[:60], 60, block_size=6, batch_size=batch_size, seed=3)


def train(workers: int, *, steps: int = 6, accumulate: int = 1, dropout: float = 0.0, **task) -> Trainer:
    minillm.manual_seed(0)
    config = TrainingConfig(steps=steps, accumulate=accumulate, workers=workers, warmup_steps=2, eval_every=3)
    trainer = Trainer(make_model(dropout), make_task(**task), config)
    trainer.fit()
    return trainer


def weights(trainer: Trainer) -> np.ndarray:
    return np.concatenate([p.detach().numpy().reshape(-1) for p in trainer.model.parameters()])


@given(st.integers(2, 5), st.integers(1, 3), st.sampled_from([0.0, 0.4]))
def test_the_gradient_is_that_of_one_thread(workers, accumulate, ignored):
    task, found = make_task(ignored=ignored), []
    batches = [task.batch(i) for i in range(accumulate)]
    for n in (1, workers):
        several = Workers(make_model(), task, n)
        with several.running():
            loss = several.gradients(batches, [task.count(b) for b in batches])
        found.append([loss, *(p.grad.numpy() for p in several.models[0].parameters())])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


@given(st.integers(2, 5), st.integers(1, 3), st.sampled_from([0.0, 0.4]))
def test_the_number_of_threads_changes_rounding_only(workers, accumulate, ignored):
    alone = train(1, accumulate=accumulate, ignored=ignored)
    shared = train(workers, accumulate=accumulate, ignored=ignored)
    # The gradient of a key's bias is 0 but for rounding, and AdamW divides that rounding by eps = 1e-8.
    np.testing.assert_allclose(weights(shared), weights(alone), rtol=0, atol=1e-10)
    for ours, theirs in zip(shared.history, alone.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_more_threads_than_rows():
    np.testing.assert_allclose(weights(train(4, batch_size=2)), weights(train(1, batch_size=2)), rtol=0, atol=1e-10)


def test_two_runs_with_threads_and_dropout_are_equal_bit_for_bit():
    first, second = train(3, dropout=0.3), train(3, dropout=0.3)
    np.testing.assert_array_equal(weights(first), weights(second))
    assert not np.array_equal(weights(first), weights(train(3)))  # dropout was there


def test_threads_draw_different_masks():
    seen = {}

    class Watched(LanguageTask):
        def loss(self, model, batch):
            x = model.dropout(minillm.ones(50))
            seen[threading.current_thread().name] = x.tolist()
            return super().loss(model, batch)

    task = Watched(IDS, IDS[:60], 60, block_size=6, batch_size=4)
    trainer = Trainer(make_model(0.5), task, TrainingConfig(workers=2, steps=1))
    with trainer.workers.running():
        trainer.train_step()
    assert len(seen) == 2
    a, b = seen.values()
    assert a != b


def test_copies_follow_the_model():
    model, task = make_model(), make_task()
    workers = Workers(model, task, 2)
    batch = task.batch(0)
    counts = [task.count(batch)]
    with workers.running():
        workers.gradients([batch], counts)
        before = [p.grad.numpy().copy() for p in model.parameters()]
        model.zero_grad()
        with minillm.no_grad():
            for p in model.parameters():
                p.array = p.array * 1.5  # another array, as load_state_dict or a user may put there
        frozen = model.positions.weight.requires_grad_(False)
        workers.gradients([batch], counts)
    assert frozen.grad is None
    alone = make_model()
    with minillm.no_grad():
        for p in alone.parameters():
            p.mul_(1.5)
    task.loss(alone, batch).backward()
    after = dict(model.named_parameters())
    assert any(not np.allclose(after[n].grad.numpy(), g) for (n, p), g in zip(after.items(), before) if p.requires_grad)
    for name, p in alone.named_parameters():
        if name != "positions.weight":
            np.testing.assert_allclose(after[name].grad.numpy(), p.grad.numpy(), rtol=0, atol=1e-13)


def test_an_error_in_a_thread_reaches_the_caller():
    class Fails(LanguageTask):
        def loss(self, model, batch):
            if threading.current_thread() is not threading.main_thread():
                raise ZeroDivisionError("in a thread")
            return super().loss(model, batch)

    task = Fails(IDS, IDS[:60], 60, block_size=6, batch_size=4)
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        Trainer(make_model(), task, TrainingConfig(workers=2, steps=1)).fit()
    assert not [t for t in threading.enumerate() if t.name.startswith("minillm")]


def test_anomalies_are_looked_for_in_every_thread():
    class Poisoned(LanguageTask):
        def loss(self, model, batch):
            loss = super().loss(model, batch)
            late = threading.current_thread() is not threading.main_thread()
            return loss + (loss.detach() * 0 - 1).sqrt() if late else loss

    task = Poisoned(IDS, IDS[:60], 60, block_size=6, batch_size=4)
    workers = Workers(make_model(), task, 2)
    with detect_anomaly(), pytest.raises(AnomalyError, match="Sqrt"), workers.running():
        workers.gradients([task.batch(0)], [24])


def test_a_task_that_cannot_be_split_is_trained_by_one_thread():
    class Whole(LanguageTask):
        split = property()  # hasattr says no

    task = Whole(IDS, IDS[:60], 60, block_size=6, batch_size=4)
    trainer = Trainer(make_model(), task, TrainingConfig(workers=3, steps=1, eval_every=1))
    assert len(trainer.workers.models) == 1
    assert math.isfinite(trainer.fit()["val_loss"])


@given(st.integers(0, 9), st.integers(1, 5))
def test_shares_are_the_batch_in_order(rows, n):
    batch = np.arange(rows * 2).reshape(rows, 2), np.arange(rows)
    shares = split_rows(batch, n)
    assert len(shares) == min(rows, n)
    for i, array in enumerate(batch):
        assert [x for share in shares for x in share[i].tolist()] == array.tolist()


def test_the_state_of_the_optimizer_is_in_the_order_of_the_parameters():
    states = [train(n).optimizer.state_dict()["state"] for n in (1, 3)]
    assert list(states[0]) == list(states[1]) == sorted(states[0])


def test_parameters_side_by_side_are_clipped_as_one() -> None:
    task, model = make_task(), make_model()
    several, batch = Workers(model, task, 2), make_task().batch(0)
    groups = sorted(model.parameters(), key=lambda p: p.ndim < 2)
    assert several.as_one(groups) is groups and list(several.as_one([])) == []
    with several.running():
        several.gradients([batch], [task.count(batch)])
        before = [p.grad.numpy().copy() for p in groups]
        (one,) = several.as_one(groups)
        norm = clip_grad_norm_([one], 0.01).item()
        assert norm == pytest.approx(math.sqrt(sum((g**2).sum() for g in before)), rel=1e-12) and norm > 0.01
        for p, g in zip(groups, before, strict=True):
            np.testing.assert_allclose(p.grad.numpy(), g * (0.01 / norm), rtol=1e-3)
        groups[0].grad = None
        assert several.as_one(groups) is groups
