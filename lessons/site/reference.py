"""The reference: one page for each public module, and one for each family of ops, made from the docstrings."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from lessons.site.prose import heading

# In the order in which they are read: the engine from the bottom up, then what stands beside it and on it.
MODULES = """
minillm.autograd minillm.backend minillm.cuda minillm.nn minillm.nn.init minillm.nn.utils minillm.nn.utils.rnn
minillm.optim minillm.optim.lr_scheduler minillm.utils.data minillm.utils.checkpoint minillm.text minillm.datasets
minillm.datasets.microworld minillm.training minillm.training.baselines minillm.generation minillm.testing
minillm.testing.properties minillm.testing.strategies
""".split()


def public(module: Any) -> list[str]:
    """Return the public functions and classes of a module, by name."""
    there = vars(module)  # what is not there, but made when it is asked for, may need a package
    own = [name for name, thing in there.items() if getattr(thing, "__module__", "") == module.__name__]
    names = [name for name in getattr(module, "__all__", own) if name[0] != "_" and name in there]
    return [name for name in names if inspect.isroutine(there[name]) or isinstance(there[name], type)]


def page(title: str, introduction: str, module: str, names: list[str], known: dict[int, str]) -> str:
    """Return a page: what the module says of itself, a list of its names with a line each, then each in full.

    Args:
        title: of the page.
        introduction: the module whose docstring stands first.
        module: where the names are looked up.
        names: what the page describes.
        known: what is described already, by its identity; such a name is said to be another one.
    """
    here = importlib.import_module(module)
    parts = [heading(title, "="), f".. automodule:: {introduction}\n   :no-members:", f".. currentmodule:: {module}"]
    parts.append(".. autosummary::\n   :nosignatures:\n\n" + "\n".join(f"   {name}" for name in names))
    for name in names:
        thing = getattr(here, name)
        whole = f"{module}.{name}"
        if known.setdefault(id(thing), whole) != whole:
            parts.append(f".. function:: {name}\n\n   Another name of :obj:`{known[id(thing)]}`.")
        elif inspect.isclass(thing):
            kind = "exception" if issubclass(thing, BaseException) else "class"
            parts.append(f".. auto{kind}:: {name}\n   :members:")
        else:
            parts.append(f".. autofunction:: {name}")
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Return every page of the reference by its name."""
    face = importlib.import_module("minillm")
    families: dict[str, list[str]] = {}
    for name in public(face):
        home = getattr(face, name).__module__
        families.setdefault(home if home.startswith("minillm.ops.") else "minillm", []).append(name)
    known: dict[int, str] = {}
    made = {"minillm": page("minillm", "minillm", "minillm", families.pop("minillm"), known)}
    for home, names in sorted(families.items()):
        made[home] = page(f"Ops: {home.rpartition('.')[2].replace('_', ' ')}", home, "minillm", names, known)
    for module in MODULES:
        made[module] = page(module, module, module, public(importlib.import_module(module)), known)
    return made


def write(folder: Path) -> None:
    """Write the pages into a folder."""
    folder.mkdir()
    made = pages()
    for name, text in made.items():
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")
    ops = [name for name in made if name.startswith("minillm.ops.")]
    rest = [name for name in made if name not in ops]
    trees = ["\n".join([".. toctree::", "   :maxdepth: 1", "", *(f"   {n}" for n in part)]) for part in (rest, ops)]
    parts = [heading("Reference", "="), INTRODUCTION, trees[0], heading("Ops"), OPS, trees[1]]
    (folder / "index.rst").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


INTRODUCTION = """
Made from the docstrings. Names, arguments and defaults are PyTorch's; the README lists where minillm differs.
``minillm.nn.functional`` holds ops too, under PyTorch's names; they are described here once, as ops.
""".strip()
OPS = "Every function is ``minillm.NAME``, and most are methods of a tensor too: ``x.exp()`` is ``minillm.exp(x)``."
