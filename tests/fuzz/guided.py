"""One target under atheris: ``python -m tests.fuzz.guided TARGET [flags of libFuzzer] [folder of seeds]``."""

from __future__ import annotations

import random
import sys
import time


def main() -> None:
    """Fuzz until the time is over or something is found."""
    import atheris

    readers = ["minillm.serialization", "minillm.text", "minillm.datasets", "minillm.training", "lessons.l11_gpt"]
    with atheris.instrument_imports(include=readers):
        from tests.fuzz.mutation import mutate
        from tests.fuzz.targets import SLOW, TARGETS, seeds

    name = sys.argv.pop(1)
    begin = seeds(name)

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        """Half of the changes are libFuzzer's own, which knows nothing of quotes, numbers and lengths."""
        rng = random.Random(seed)
        return atheris.Mutate(data, max_size) if rng.random() < 0.5 else mutate(data, begin, rng)[:max_size]

    def attempt(data: bytes) -> None:
        began = time.process_time()
        TARGETS[name](data)
        spent = time.process_time() - began
        assert spent <= SLOW, f"took {spent:.1f} s"

    atheris.Setup(sys.argv, attempt, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
