"""A folder of checkpoints under saves, crashes at any file operation, damage and new starts, in any order.

Whatever happened: the newest whole checkpoint loads, bit for bit, and is one of the last two that were saved.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minillm.training import CheckpointError, Checkpoints, SaveError
from tests.training.test_checkpoints import Gone, assert_whole, failing_at, state


class Folder(RuleBasedStateMachine):
    """The model: the steps whose checkpoint is whole, oldest first, and the one that is marked best."""

    @initialize(keep=st.integers(2, 3))
    def begin(self, keep: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda file: None)  # waiting for the disk proves nothing here
        self.folder, self.keep = Path(tempfile.mkdtemp()), keep
        self.whole: list[int] = []
        self.best: int | None = None
        self.step = 0  # of the trainer that is at work
        self.save(1, False)

    def there(self) -> list[int]:
        """The steps whose files are there, damaged or not."""
        return [int(path.stem.removeprefix("step-")) for path in Checkpoints(self.folder).paths()]

    def see(self, *saved: int) -> None:
        """Note what is whole now: what was, was not removed, and what was saved; the best is never removed."""
        there = self.there()
        assert self.best not in self.whole or self.best in there
        assert {*saved} <= {*there}
        self.whole = sorted({step for step in self.whole if step in there} | {*saved})

    # --- what may happen
    @rule(steps=st.integers(0, 2), best=st.booleans())
    def save(self, steps: int, best: bool) -> None:
        """A step is saved; with ``steps`` 0 once more the same, which changes nothing."""
        self.step += steps
        Checkpoints(self.folder, self.keep).save(self.step, state(self.step), best=best)
        self.best = self.step if best else self.best
        self.see(self.step)
        kept = [step for step in self.there() if step <= self.step and step != self.best]
        assert len(kept) <= self.keep and self.step in self.there()

    @rule(at=st.integers(1, 25), how=st.sampled_from(["once", "for good", "killed"]), best=st.booleans())
    def crash(self, at: int, how: str, best: bool) -> None:
        """The disk refuses an operation of a save, or the process is killed there."""
        self.step += 1
        before, done = self.there(), False
        with failing_at(at, how) as tried:
            try:
                Checkpoints(self.folder, self.keep).save(self.step, state(self.step), best=best)
                done = True
            except (SaveError, Gone):
                assert len(tried) >= at
        marked = Checkpoints(self.folder).best()
        if best and marked is not None and marked.name == f"step-{self.step:08d}.safetensors":
            self.best = self.step
        assert self.best == self.step or not (best and done)
        if self.step in before and not done:  # it was damaged, and may be still
            with contextlib.suppress(CheckpointError):
                Checkpoints(self.folder).load(self.folder / f"step-{self.step:08d}.safetensors")
                done = True
        self.see(*[self.step] if done or self.step in {*self.there()} - {*before} else [])
        self.start_anew()

    @rule()
    def start_anew(self) -> None:
        """Another process cleans up and goes on from the newest that is whole."""
        Checkpoints(self.folder, self.keep).clean()
        self.step = self.whole[-1]
        known = {f"step-{s:08d}.{end}" for s in self.there() for end in ("json", "safetensors")}
        assert {name for name in os.listdir(self.folder) if name.endswith((".tmp", ".safetensors"))} <= known

    @precondition(lambda self: len(self.whole) > 1)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """A bit flips, or the end is lost, in any checkpoint but the last that is whole."""
        step = data.draw(st.sampled_from(self.whole))
        path = self.folder / f"step-{step:08d}.safetensors"
        content = path.read_bytes()
        at = data.draw(st.integers(0, len(content) - 1))
        cut = data.draw(st.booleans())
        path.write_bytes(content[:at] if cut else content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        self.whole.remove(step)

    # --- what holds
    @invariant()
    def the_newest_whole_one_loads(self) -> None:
        damaged = [step for step in self.there() if step > self.whole[-1]]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            path, found = Checkpoints(self.folder).load_latest()
        assert path.name == f"step-{self.whole[-1]:08d}.safetensors"
        assert_whole(found, self.whole[-1])
        assert len(said) == len(damaged) and all("going back" in str(w.message) for w in said)

    @invariant()
    def the_best_is_kept(self) -> None:
        path = Checkpoints(self.folder).best()
        assert (None if path is None else int(path.stem.removeprefix("step-"))) == self.best
        if self.best in self.whole:
            assert path is not None
            assert_whole(Checkpoints(self.folder).load(path), self.best)

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.folder)


TestFolder = Folder.TestCase
