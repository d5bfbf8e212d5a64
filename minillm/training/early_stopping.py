"""Stop when the validation loss has not become better for a while."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Remembers the best loss and counts the looks since.

    Source: Prechelt, "Early Stopping, But When?", 1998.

    Args:
        patience: looks without a better loss after which ``should_stop`` becomes true; ``None`` never stops.
        min_delta: how much lower counts as better, in the unit of the loss.

    >>> stopper = EarlyStopping(patience=2)
    >>> [stopper.update(step, loss) for step, loss in enumerate([3.0, 2.0, 2.5, 2.1])]
    [True, True, False, False]
    >>> stopper.should_stop, stopper.best_step
    (True, 1)
    """

    def __init__(self, patience: int | None, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.best = math.inf
        self.best_step: int | None = None
        self.bad_looks = 0

    def update(self, step: int, loss: float) -> bool:
        """Note a loss; tell whether it is the best so far. NaN is never better."""
        if loss < self.best - self.min_delta:
            self.best, self.best_step, self.bad_looks = loss, step, 0
            return True
        self.bad_looks += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.bad_looks >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on."""
        best = None if math.isinf(self.best) else self.best  # JSON knows no infinity
        return {"best": best, "best_step": self.best_step, "bad_looks": self.bad_looks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.best = math.inf if state["best"] is None else float(state["best"])
        self.best_step, self.bad_looks = state["best_step"], int(state["bad_looks"])
