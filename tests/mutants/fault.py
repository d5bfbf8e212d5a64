"""What a fault is: an exact replacement of text, and the tests that must notice it."""

from __future__ import annotations

from typing import NamedTuple


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
