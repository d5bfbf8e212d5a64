"""The training loop: everything between a model, a task and a trained model, in one file.

A *task* says what is learned: it makes batches as a pure function of their number, computes the loss of one, and
evaluates the model. The *trainer* does the rest: gradient accumulation, clipping, AdamW, the schedule, evaluation,
early stopping, checkpoints, metrics and progress. Because batch number n is a function of (seed, n), the position in
the data is one number, and a resumed run continues bit for bit.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import warnings
from pathlib import Path
from typing import Any

from minillm.amp import GradScaler
from minillm.autograd import AnomalyError, detect_anomaly
from minillm.backend.random import Generator, default_generator, get_rng_state, set_rng_state
from minillm.nn.utils import clip_grad_norm_, get_total_norm
from minillm.ops import isfinite, stack
from minillm.optim import AdamW
from minillm.tensor import Tensor
from minillm.training.checkpoints import Checkpoints, append, write_atomically
from minillm.training.config import TrainingConfig
from minillm.training.early_stopping import EarlyStopping
from minillm.training.parallel import Workers, default_workers
from minillm.training.progress import Progress
from minillm.training.run_folder import PLACES, differences
from minillm.training.run_lock import RunError, RunLock
from minillm.training.signals import Interrupted, StopSignals
from minillm.training.tasks import Task

__all__ = ["NonFiniteLoss", "Trainer"]

PROCESSES_PAY = 15.0
"""Seconds left to train above which processes take over from threads: a short run is not worth starting them."""


class NonFiniteLoss(RuntimeError):
    """The loss, the gradient or a weight became NaN or infinite; what is saved is from before it."""


def _numbers(loss: float | Tensor, norm: Tensor) -> tuple[float, float]:
    """Return both as numbers; from a card they come together, since every look waits for it."""
    if not isinstance(loss, Tensor):
        return loss, norm.item()
    found = stack([loss, norm.to(loss.dtype)]).tolist()
    return found[0], found[1]


class Trainer:
    """Trains a model on a task.

    Args:
        model: the Module; its parameters are changed in place.
        task: what is learned.
        config: how.
        folder: where checkpoints, metrics and samples go; ``None`` keeps everything in memory.
        title: what the progress bar says; ``None`` shows no bar.
        about: what the run depends on beside ``config``, by name (model, tokenizer, corpus, ...): it is kept in every
            checkpoint, and a run goes on only with the same. Settings listed in its "changed" are free, as are PLACES.

    Attributes:
        step: optimizer steps made.
        total_steps: steps that will be made; with a time budget it follows the measured speed.
        history: metrics so far, one dictionary a line of metrics.jsonl.
    """

    def __init__(
        self,
        model: Any,
        task: Task,
        config: TrainingConfig,
        folder: str | Path | None = None,
        *,
        title: str | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.task, self.config = model, task, config
        self.folder = None if folder is None else Path(folder)
        self.about = {**(about or {}), "training": config.to_dict()}
        self.lock = RunLock(self.folder)
        self.title = title
        self.optimizer = AdamW(
            parameter_groups(model, config.weight_decay), lr=config.lr, betas=(config.beta1, config.beta2)
        )
        self.stopper = EarlyStopping(config.patience, config.min_delta)
        self.checkpoints = None if self.folder is None else Checkpoints(self.folder / "checkpoints", config.keep_last)
        several = hasattr(task, "split") and all(p.device.type == "cpu" for p in model.parameters())
        threads = (config.workers or default_workers()) if several else 1
        self.workers = Workers(model, task, threads, config.precision)
        self.scaler = GradScaler(enabled=config.precision == "float16")
        self.optimizer.spread = self.workers.spread  # type: ignore[method-assign]
        self.optimizer.stretch = self.workers.stretch  # type: ignore[method-assign]
        self.step = 0
        self.total_steps = config.steps
        self.seconds = 0.0  # spent in this and earlier sittings
        self.skipped = 0
        self.history: list[dict[str, Any]] = []
        self._best_state: dict[str, Tensor] | None = None
        self._stop_signal: int | None = None
        self._ahead: tuple[int, list[Any]] | None = None  # micro-batches of the next step, already made

    # --- the loop ------------------------------------------------------------------------------------------------
    def fit(self) -> dict[str, Any]:
        """Train until the steps, the time or the patience run out, and return the last evaluation.

        Raises:
            Interrupted: after Ctrl-C, SIGTERM or SIGHUP, when the step is finished and saved.
            NonFiniteLoss: if the loss or gradient became NaN or infinite, before the weights were touched.
            SaveError: if the disk does not take a checkpoint or a line of the log.
            RunError: if another trainer is at work in the folder.
        """
        with self.lock:  # taken by ``resume`` already, if this run goes on
            return self._fit()

    def _fit(self) -> dict[str, Any]:
        self._started = time.perf_counter() - self.seconds
        first = self.step
        with (
            self.workers.running(),
            StopSignals(self._note_signal),
            Progress(self.title, self.total_steps, self.step) as bar,
        ):
            if (self.step % self.config.eval_every == 0 or self.step >= self.total_steps) and not self._evaluated():
                self._evaluate()  # also where a run was stopped between a step and its evaluation
            while self.step < self.total_steps and not self.stopper.should_stop:
                loss, norm, predictions = self.train_step()
                self.step += 1
                if self.step % self.config.log_every == 0 or self.step == self.total_steps:
                    self._log(
                        {
                            "step": self.step,
                            "train_loss": loss,
                            "lr": self.optimizer.param_groups[0]["lr"],
                            "grad_norm": norm,
                            **({"loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {}),
                        }
                    )
                due = self.step % self.config.eval_every == 0
                # The first fit to the time budget is made as soon as the speed is known, so that even a short budget
                # holds.
                if due or self.step == first + 20:
                    self._fit_steps_to_time(first)
                if self.step == first + 20 and self._seconds_left(first) > PROCESSES_PAY:
                    self.workers.start_processes()
                bar.update(self.step, self.total_steps, loss, predictions)
                if self._stop_signal is not None:
                    self._save(is_best=False)
                    raise Interrupted(self._stop_signal, self.step)
                if due or self.step >= self.total_steps:
                    self._evaluate()
            if self._stop_signal is not None:  # it came during the last look, which has saved
                raise Interrupted(self._stop_signal, self.step)
        return self.history[-1] if self.history else {}

    def _note_signal(self, number: int) -> None:
        self._stop_signal = number

    def train_step(self) -> tuple[float, float, int]:
        """Make one optimizer step; return the mean loss, the norm of the gradient and the number of predictions.

        Inside ``workers.running()`` several threads share the work.
        """
        config = self.config
        self.model.train(True)
        self.optimizer.zero_grad()
        batches = self._batches(self.step)
        counts = [self.task.count(batch) for batch in batches]
        total = sum(counts)
        if total == 0:
            warnings.warn(f"step {self.step + 1}: every target of the batch is ignored; skipped", stacklevel=2)
            return math.nan, 0.0, 0
        with detect_anomaly() if config.anomaly else contextlib.nullcontext():
            try:
                loss = self.workers.gradients(batches, counts, self.scaler.get_scale())
            except AnomalyError as error:
                raise NonFiniteLoss(f"step {self.step + 1}: {error}") from None
        self.scaler.unscale_(self.optimizer)
        parameters = self.workers.as_one([p for group in self.optimizer.param_groups for p in group["params"]])
        if config.clip:
            total_norm = clip_grad_norm_(parameters, config.clip)
        else:
            total_norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if isinstance(loss, Tensor):  # a card is at work: the next batches are made while it is
            self._ahead = self.step + 1, self._batches(self.step + 1)
        mean, norm = _numbers(loss, total_norm)
        too_large = self.scaler.overflowed(self.optimizer) and self.scaler.get_scale() > 1  # the scale, not the loss
        if not math.isfinite(mean) or not (math.isfinite(norm) or too_large):
            self._refuse_nonfinite(mean, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * self._lr_share()
        if math.isfinite(mean) and math.isfinite(norm):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        return mean, norm, total

    def _batches(self, step: int) -> list[Any]:
        """Return the micro-batches of a step, which are a function of its number."""
        if self._ahead is not None and self._ahead[0] == step:
            return self._ahead[1]
        n = self.config.accumulate
        return [self.task.batch(step * n + i) for i in range(n)]

    def _lr_share(self) -> float:
        """Return the step size of this step as a share of ``config.lr``: a rise, then a line or a cosine."""
        config, t = self.config, self.step
        if t < config.warmup_steps:
            return (t + 1) / config.warmup_steps
        if config.schedule == "constant":
            return 1.0
        share = min(1.0, (t - config.warmup_steps) / max(1, self.total_steps - config.warmup_steps))
        fall = 1 - share if config.schedule == "linear" else (1 + math.cos(math.pi * share)) / 2
        return config.min_lr_ratio + (1 - config.min_lr_ratio) * fall

    def _refuse_nonfinite(self, loss: float, norm: float) -> None:
        what = f"step {self.step + 1}: loss {loss}, gradient norm {norm}"
        if self.config.skip_nonfinite:
            self.skipped += 1
            warnings.warn(f"{what}: skipped ({self.skipped} so far)", stacklevel=3)
            return
        raise NonFiniteLoss(
            f"{what}: stopped before the weights were changed. Try a smaller lr or clip; "
            "with --anomaly (TrainingConfig.anomaly) the op that makes the first NaN is named"
        )

    def _fit_steps_to_time(self, first: int) -> None:
        """With a time budget, set ``total_steps`` so that the rest fits what is left, at the speed measured so far."""
        if self.config.minutes is None:
            return
        left = self.config.minutes * 60 - (time.perf_counter() - self._started)
        self.total_steps = min(self.config.steps, self.step + max(0, int(left / self._seconds_a_step(first))))

    def _seconds_a_step(self, first: int) -> float:
        # Evaluations and checkpoints take their share: the whole time a step, not the training time alone.
        return max(time.perf_counter() - self._started - self.seconds, 1e-9) / max(1, self.step - first)

    def _seconds_left(self, first: int) -> float:
        return self._seconds_a_step(first) * (self.total_steps - self.step)

    def _evaluated(self) -> bool:
        return any(r["step"] == self.step and "val_loss" in r for r in self.history[-2:])

    # --- looking and saving ----------------------------------------------------------------------------------------
    def _evaluate(self) -> None:
        """Look at the validation data, note the figures, and save."""
        self.model.eval()
        state = get_rng_state()  # looking must not change what comes after it
        figures = self.task.evaluate(self.model)
        text = self.task.sample(self.model) if self.folder is not None else None
        set_rng_state(state)
        if not math.isfinite(figures["loss"]):
            raise NonFiniteLoss(f"step {self.step}: validation loss {figures['loss']}; this state is not saved")
        is_best = self.stopper.update(self.step, figures["loss"])
        self._log({"step": self.step, **{f"val_{k}": v for k, v in figures.items()}})
        if text is not None and self.folder is not None:
            append(self.folder / "samples.txt", f"--- step {self.step} ---\n{text}\n\n")
        self._save(is_best)

    def _log(self, record: dict[str, Any]) -> None:
        record = {k: v for k, v in record.items() if math.isfinite(v)}  # a skipped step has no loss; JSON knows no NaN
        self.history.append(record)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            append(self.folder / "metrics.jsonl", json.dumps(record) + "\n")
            seconds = round(time.perf_counter() - self._started, 3)
            append(self.folder / "timing.jsonl", json.dumps({"step": self.step, "seconds": seconds}) + "\n")

    def _save(self, is_best: bool) -> None:
        for name, p in self.model.named_parameters():
            if not isfinite(p.detach()).all().item():
                raise NonFiniteLoss(f"step {self.step}: {name} is no longer finite; this state is not saved")
        if self.checkpoints is not None:
            info = {"val_loss": next((r["val_loss"] for r in reversed(self.history) if "val_loss" in r), None)}
            self.checkpoints.save(self.step, self.state_dict(), best=is_best, info=info)
        elif is_best:
            self._best_state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def load_best(self) -> None:
        """Put the weights of the best evaluation into the model."""
        if self.checkpoints is None:
            if self._best_state is not None:
                self.model.load_state_dict(self._best_state)
            return
        best = self.checkpoints.best()
        if best is not None:
            self.model.load_state_dict(self.checkpoints.load(best)["model"])

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on."""
        sizes = (
            {}
            if self.folder is None
            else {name: (self.folder / name).stat().st_size if (self.folder / name).exists() else 0 for name in _LOGS}
        )
        return {
            "about": self.about,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "trainer": {
                "step": self.step,
                "total_steps": self.total_steps,
                "seconds": time.perf_counter() - self._started,
                "skipped": self.skipped,
                "scaler": self.scaler.state_dict(),
                "stopper": self.stopper.state_dict(),
                "history": self.history,
            },
            "random": get_rng_state(),
            "log_sizes": sizes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where ``state_dict`` was taken; if that cannot be done as a whole, nothing is changed.

        Raises:
            ValueError: if it is not the state of a trainer, or not of this optimizer.
            RuntimeError: if it is of another model, listing every name that does not fit, with both shapes.
        """
        stopper = EarlyStopping(self.config.patience, self.config.min_delta)
        scaler = GradScaler(enabled=self.scaler.is_enabled())
        try:
            trainer = state["trainer"]
            step, total_steps, skipped = (int(trainer[k]) for k in ("step", "total_steps", "skipped"))
            seconds, history = float(trainer["seconds"]), [dict(record) for record in trainer["history"]]
            stopper.load_state_dict(trainer["stopper"])
            if trainer.get("scaler"):  # none in a run of another precision, nor in those of version 0.1.0
                scaler.load_state_dict(trainer["scaler"])
            # Trap: these names come from a file; any other one could cut off a file outside the folder.
            sizes = {name: int(state["log_sizes"][name]) for name in _LOGS if name in state["log_sizes"]}
            if min(step, total_steps, skipped, *sizes.values()) < 0:
                raise ValueError("a count below 0")
            Generator().set_state(state["random"])  # a trial
            model, optimizer = dict(state["model"]), dict(state["optimizer"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"load_state_dict: not the state of a trainer ({type(error).__name__}: {error})") from None
        before = {name: t.clone() for name, t in self.model.state_dict().items()}
        self.model.load_state_dict(model)
        try:
            self.optimizer.load_state_dict(optimizer)
        except Exception:
            self.model.load_state_dict(before)
            raise
        self.step, self.total_steps, self.seconds = step, total_steps, seconds
        self.skipped, self.history, self.stopper, self.scaler = skipped, history, stopper, scaler
        default_generator.set_state(state["random"])
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, size in sizes.items():
                path = self.folder / name
                if path.exists() and path.stat().st_size > size:  # lines after the checkpoint will be written again
                    os.truncate(path, size)
            # Logs are not forced to disk: a power cut may also leave too little of them.
            write_atomically(self.folder / "metrics.jsonl", "".join(json.dumps(r) + "\n" for r in self.history))

    def resume(self) -> Path:
        """Go back to the newest whole checkpoint in the folder and return its path; ``fit`` goes on from there.

        Raises:
            CheckpointError: if there is none.
            RunError: if the run began with other settings, model or data, or another trainer is at work in the folder.
            ValueError: if the trainer has no folder.
        """
        if self.checkpoints is None:
            raise ValueError("resume: this trainer has no folder to resume from")
        self.lock.__enter__()  # until ``fit`` is done, or the trainer is dropped
        try:
            return self._resume(self.checkpoints)
        except BaseException:
            self.lock.__exit__()
            raise

    def _resume(self, checkpoints: Checkpoints) -> Path:
        checkpoints.clean()
        path, state = checkpoints.load_latest()
        found = differences(state.get("about", {}), self.about)
        free = {"changed", *PLACES, *(f"training.{name}" for name in self.about.get("changed", ()))}
        wrong = "; ".join(f"{name} was {was!r}, is {now!r}" for name, (was, now) in found.items() if name not in free)
        if wrong:
            raise RunError(
                f"{path}: the run was saved with other settings: {wrong}. Put them back (options of minillm resume can "
                "change how it is trained), or start a new run"
            )
        self.load_state_dict(state)
        if {"training.steps", "training.minutes"} & found.keys():
            self.total_steps = self.config.steps
        if self.stopper.best_step == self.step:  # the crash may have come between the checkpoint and its mark
            checkpoints.mark_best(path, {"val_loss": self.stopper.best})
        return path


_LOGS = ("metrics.jsonl", "timing.jsonl", "samples.txt")


def parameter_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups: matrices are decayed, vectors (biases, norms) are not.

    Source: the convention of GPT-3's training, Brown et al. 2020, appendix B.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
