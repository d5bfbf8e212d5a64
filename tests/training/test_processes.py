"""Processes that train together: they compute what threads compute, bit for bit, and nothing is lost with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

import minillm
from lessons.l11_gpt import GPT, GPTConfig
from minillm.training import LanguageTask, Trainer, TrainingConfig
from minillm.training import trainer as trainer_module

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no files are passed on to processes there")

IDS = np.arange(500) * 7 % 11
PROGRAM = """
import sys, time
from tests.training.test_processes import make_trainer
trainer = make_trainer(workers=2)
with trainer.workers.running():
    trainer.workers.start_processes()
    trainer.train_step()
    print(trainer.workers._processes[0]._process.pid, flush=True)
    time.sleep(60)
"""


def make_trainer(workers: int = 2, dropout: float = 0.0, steps: int = 6, folder=None, loss=None) -> Trainer:
    minillm.manual_seed(1)
    config = GPTConfig(vocab_size=11, block_size=6, n_layer=1, n_head=2, n_embd=8, dropout=dropout)
    task = LanguageTask(IDS, IDS[:60], 60, block_size=6, batch_size=8, seed=3)
    if loss is not None:
        task.loss = loss
    config_ = TrainingConfig(steps=steps, workers=workers, warmup_steps=2, eval_every=3)
    return Trainer(GPT(config).to(minillm.float64), task, config_, folder)


def fail(model, batch):
    raise ZeroDivisionError("a loss that cannot be")


def stop_in(first, model, batch):
    """The second Ctrl-C, in the process with that number; others have much to do."""
    if os.getpid() == first:
        raise KeyboardInterrupt
    time.sleep(200)


def wait_until_ready(trainer: Trainer) -> None:
    deadline = time.monotonic() + 60
    while trainer.workers._processes and not all(p.is_ready() for p in trainer.workers._processes):
        assert time.monotonic() < deadline, "the processes do not answer"
        time.sleep(0.02)


def train(trainer: Trainer, steps: int, *, processes: bool, between=lambda step: None) -> tuple[list, list]:
    losses = []
    with trainer.workers.running():
        if processes:
            trainer.workers.start_processes()
            wait_until_ready(trainer)
            assert len(trainer.workers._processes) == len(trainer.workers.models) - 1
        for step in range(steps):
            losses.append(trainer.train_step())
            trainer.step += 1
            between(step)
    return losses, [p.detach().numpy().copy() for p in trainer.model.parameters()]


def assert_equal(ours: tuple, theirs: tuple) -> None:
    assert ours[0] == theirs[0]
    for a, b in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("workers", [2, 3])
def test_processes_compute_what_threads_compute_bit_for_bit(workers):
    threads = train(make_trainer(workers, dropout=0.3), 4, processes=False)
    state = minillm.get_rng_state()
    assert_equal(train(make_trainer(workers, dropout=0.3), 4, processes=True), threads)
    assert minillm.get_rng_state() == state  # a checkpoint holds the random numbers of the processes too


def test_what_happens_to_the_model_between_two_steps_is_followed():
    def between(trainer):
        def change(step):
            parameters = list(trainer.model.parameters())
            if step == 0:
                parameters[0].requires_grad_(False)
            elif step == 1:
                parameters[0].requires_grad_(True)
                parameters[1].array = parameters[1].array * 0.5  # another array than before
            elif step == 2:
                minillm.manual_seed(7)

        return change

    results = []
    for processes in (False, True):
        trainer = make_trainer(dropout=0.2)
        results.append(train(trainer, 5, processes=processes, between=between(trainer)))
    assert_equal(*results)


def test_weights_are_in_nobody_elses_memory_afterwards():
    trainer = make_trainer()
    train(trainer, 1, processes=True)
    assert all(p.array.flags.owndata for p in trainer.model.parameters())
    assert not trainer.workers._processes


def test_a_process_that_dies_is_replaced_by_a_thread():
    whole = train(make_trainer(dropout=0.3), 4, processes=False)
    trainer = make_trainer(dropout=0.3)

    def kill(step):
        if step == 1:
            trainer.workers._processes[0]._process.kill()

    with pytest.warns(UserWarning, match="threads take its place"):
        assert_equal(train(trainer, 4, processes=True, between=kill), whole)


def test_an_error_in_a_process_is_raised_here():
    trainer = make_trainer(loss=fail)
    with pytest.raises(ZeroDivisionError, match="cannot be"):
        train(trainer, 1, processes=True)


def test_what_cannot_be_sent_is_trained_by_threads():
    trainer = make_trainer()
    trainer.task.loss = lambda model, batch: LanguageTask.loss(trainer.task, model, batch)
    with trainer.workers.running():
        trainer.workers.start_processes()
        assert not trainer.workers._processes
        assert np.isfinite(trainer.train_step()[0])


def test_a_batch_that_cannot_be_sent_is_trained_on_by_threads():
    class Numbers(np.ndarray):  # a class without a name that another process could import
        pass

    whole = train(make_trainer(3, dropout=0.3), 4, processes=False)
    trainer = make_trainer(3, dropout=0.3)
    batch = trainer.task.batch

    def spoil(step):
        trainer.task.batch = lambda n: tuple(a.view(Numbers) for a in batch(n))

    assert_equal(train(trainer, 4, processes=True, between=spoil), whole)


def test_ctrl_c_does_not_wait_for_the_share_of_another_process():
    trainer = make_trainer(loss=partial(stop_in, os.getpid()))
    with pytest.raises(KeyboardInterrupt):
        began = time.monotonic()
        train(trainer, 1, processes=True)
    assert time.monotonic() - began < 50
    assert not trainer.workers._processes


def test_a_long_run_uses_processes_and_a_short_one_does_not(monkeypatch):
    for pays, started in ((0.0, 1), (1e6, 0)):
        monkeypatch.setattr(trainer_module, "PROCESSES_PAY", pays)
        trainer, calls = make_trainer(steps=40), []
        monkeypatch.setattr(trainer.workers, "start_processes", lambda calls=calls: calls.append(1))
        trainer.fit()
        assert len(calls) == started


def test_a_process_ends_with_the_one_that_started_it():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment) as first:
        assert first.stdout is not None
        other = int(first.stdout.readline())
        first.send_signal(signal.SIGKILL)
        first.wait()
    deadline = time.monotonic() + 30
    while True:
        try:
            os.kill(other, 0)
            with open(f"/proc/{other}/stat", encoding="utf-8") as f:
                if f.read().rpartition(")")[2].split()[0] == "Z":
                    return  # dead; nobody has asked for its status
        except (OSError, FileNotFoundError):
            return
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.05)
