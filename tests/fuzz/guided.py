"""One target under atheris: ``python -m tests.fuzz.guided TARGET [flags of libFuzzer] [folder of seeds]``."""

from __future__ import annotations

import sys


def main() -> None:
    """Fuzz until the time is over or something is found."""
    import atheris

    with atheris.instrument_imports(
        include=["minillm.serialization", "minillm.text", "minillm.datasets", "minillm.training"]
    ):
        from tests.fuzz.targets import TARGETS

    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
