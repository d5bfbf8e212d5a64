"""A progress bar with the time that is left."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import Any

__all__ = ["Progress"]


class _Unheard:
    """A stream to which one may go on talking when nobody listens any more: a closed terminal or pipe."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Progress:
    """A tqdm bar that also shows the loss and tokens a second; nothing if the title is ``None`` or stderr is closed.

    Args:
        title: what the bar says.
        total: steps of the whole.
        done: steps made before.
    """

    def __init__(self, title: str | None, total: int, done: int = 0) -> None:
        self._bar: Any = None
        self._loss: float | None = None
        self._tokens, self._since = 0, time.perf_counter()
        if title is not None and sys.stderr is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=done, desc=title, unit="step", dynamic_ncols=True, mininterval=0.5,
                file=_Unheard(sys.stderr),
            )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def update(self, step: int, total: int, loss: float, tokens: int) -> None:
        """Show that ``step`` of ``total`` is done; the loss is smoothed over about 20 steps."""
        if math.isfinite(loss):  # a skipped step has none
            self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        self._tokens += tokens
        if self._bar is not None:
            self._bar.total = total
            speed = self._tokens / max(time.perf_counter() - self._since, 1e-9)
            shown = math.nan if self._loss is None else self._loss
            self._bar.set_postfix_str(f"loss {shown:.3f}, {speed:,.0f} tokens/s", refresh=False)
            self._bar.update(step - self._bar.n)

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
