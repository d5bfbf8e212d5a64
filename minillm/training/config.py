"""Settings of a training run, checked when they are made."""

from __future__ import annotations

import difflib
import math
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

__all__ = ["ConfigError", "TrainingConfig"]


class ConfigError(ValueError):
    """Settings that cannot work; the message lists all of them, with the rule that each breaks."""


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Attributes:
        steps: optimizer steps; with ``minutes`` an upper bound.
        minutes: wall time for the whole run; the number of steps is then fitted to the measured speed.
        batch_size: sequences a micro-batch.
        accumulate: micro-batches whose gradients are summed before one optimizer step.
        lr: largest step size of AdamW.
        warmup_steps: steps of the linear rise at the beginning.
        schedule: what follows it: "linear", "cosine" or "constant".
        min_lr_ratio: step size at the end, as a share of ``lr``.
        weight_decay: decoupled decay of matrices (vectors are not decayed).
        beta1, beta2: AdamW's memory.
        clip: largest norm of the gradient; ``None`` is off.
        eval_every: steps between two looks at the validation set.
        patience: stop after so many looks without a better loss; ``None`` is off.
        min_delta: how much lower counts as better, in nats.
        keep_last: checkpoints kept beside the best one.
        log_every: steps between two lines of metrics.
        precision: of matrix products: "float32"; "bfloat16"; or "float16", with a loss scale that finds itself.
            Weights, optimizer and evaluation stay in float32. For GPUs: on a CPU 16 bits are slower, see
            ``minillm.autocast``.
        skip_nonfinite: skip a step whose loss or gradient is NaN or infinite (and count it) instead of stopping.
        anomaly: name the op that makes the first NaN, see ``autograd.detect_anomaly``; slow.
        seed: of everything random.
        workers: threads, or processes in a long run, that share the work of a step; ``None`` takes one a core, at
            most 4. Another number adds in another order: results agree to rounding only.

    Raises:
        ConfigError: when it is made, naming every setting that breaks its rule.
    """

    steps: int = 1000
    minutes: float | None = None
    batch_size: int = 12
    accumulate: int = 1
    lr: float = 3e-3
    warmup_steps: int = 50
    schedule: str = "linear"
    min_lr_ratio: float = 0.0
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float | None = 1.0
    eval_every: int = 250
    patience: int | None = None
    min_delta: float = 0.0
    keep_last: int = 2
    log_every: int = 10
    precision: str = "float32"
    skip_nonfinite: bool = False
    anomaly: bool = False
    seed: int = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        wrong = {**self._broken_rules(), **self._wrong_types()}  # of a wrong type, the rule says nothing more
        if wrong:
            listed = (f"{name}={getattr(self, name)!r} (expected {what})" for name, what in wrong.items())
            raise ConfigError("training settings: " + "; ".join(listed))

    def _wrong_types(self) -> dict[str, str]:
        kinds: dict[str, tuple[str, tuple[type, ...]]] = {
            "int": ("a whole number", (int,)),
            "float": ("a number", (int, float)),
            "str": ("a text", (str,)),
            "bool": ("True or False", (bool,)),
        }
        wrong = {}
        for field in fields(self):
            value, declared = getattr(self, field.name), str(field.type)
            if value is None and "None" in declared:
                continue
            what, types = kinds[declared.split(" ")[0]]
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                wrong[field.name] = what
        return wrong

    def _broken_rules(self) -> dict[str, str]:
        rules: list[tuple[str, Any, str]] = [
            ("steps", lambda v: v >= 0, "0 or more"),
            ("minutes", lambda v: v is None or 0 < v < math.inf, "a positive number"),
            ("batch_size", lambda v: v >= 1, "1 or more"),
            ("accumulate", lambda v: v >= 1, "1 or more"),
            ("lr", lambda v: 0 < v < math.inf, "a positive number"),
            ("warmup_steps", lambda v: v >= 0, "0 or more"),
            ("schedule", lambda v: v in ("linear", "cosine", "constant"), "one of linear, cosine, constant"),
            ("min_lr_ratio", lambda v: 0 <= v <= 1, "from 0 to 1"),
            ("weight_decay", lambda v: 0 <= v < math.inf, "0 or more, and finite"),
            ("beta1", lambda v: 0 <= v < 1, "from 0 to below 1"),
            ("beta2", lambda v: 0 <= v < 1, "from 0 to below 1"),
            ("clip", lambda v: v is None or v > 0, "a positive number or None"),
            ("eval_every", lambda v: v >= 1, "1 or more"),
            ("patience", lambda v: v is None or v >= 1, "1 or more, or None"),
            ("min_delta", lambda v: 0 <= v < math.inf, "0 or more, and finite"),
            ("keep_last", lambda v: v >= 2, "2 or more, so that one is whole whatever happens"),
            ("log_every", lambda v: v >= 1, "1 or more"),
            ("precision", lambda v: v in ("float32", "bfloat16", "float16"), "one of float32, bfloat16, float16"),
            ("seed", lambda v: v >= 0, "0 or more"),
            ("workers", lambda v: v is None or v >= 1, "1 or more, or None for one a core"),
        ]
        wrong = {}
        for name, rule, expected in rules:
            value = getattr(self, name)
            try:
                holds = rule(value)
            except TypeError:
                continue  # reported as a wrong type
            if not holds:
                wrong[name] = expected
        return wrong

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> TrainingConfig:
        """Make settings from a dictionary.

        Raises:
            ConfigError: for unknown names, with the nearest known one, and all other errors.
        """
        return settings_from(cls, "training settings", settings)


def settings_from(cls: Any, what: str, given: Any) -> Any:
    """Make a dataclass of settings from a dictionary, as a file or a user has given it.

    Raises:
        ConfigError: naming everything that is wrong at once: unknown names, each with the nearest known one, missing
            names, and values that break their rule.
    """
    if not isinstance(given, dict):
        raise ConfigError(f"{what}: expected names with values, got {type(given).__name__}")
    known = {field.name: field.default is not MISSING for field in fields(cls)}
    problems = []
    unknown = []
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name)[:80], known, n=1)
            unknown.append(f"{name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if unknown:
        problems.append(f"{what}: unknown {', '.join(unknown)}; known are {', '.join(known)}")
    missing = [name for name, has_default in known.items() if not has_default and name not in given]
    if missing:
        problems.append(f"{what}: missing {', '.join(missing)}")
    # In the place of what is missing stands something that breaks no rule, so that the rest can be judged.
    try:
        made = cls(**{name: given.get(name, 1) for name in known if name in given or name in missing})
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems))
    return made
