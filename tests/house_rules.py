"""The rules of the house: which file may import, print, open or be as long as what.

Every rule is a function from the root of a tree to its complaints; test_structure.py runs them.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# Imports go down only. Left: a room of minillm/; right: the rooms it may import, at the top of a file or inside a
# function, or for the type checker alone. "face" is minillm/__init__.py, the public names; nothing below it may reach
# up to it.
ENGINE = {"backend", "autograd", "tensor", "ops"}
BESIDE = {"amp", "backends", "text", "datasets", "utils", "serialization", "cuda"}
ARROWS: dict[str, set[str]] = {
    "backend": set(),
    "autograd": {"backend"},
    "tensor": {"backend", "autograd"},  # and ops on its last line: see KNOT
    "ops": {"backend", "autograd", "tensor"},
    "nn": ENGINE,
    "optim": {"backend", "autograd", "tensor"},
    "amp": ENGINE,  # mixed precision: PyTorch's torch.amp
    "text": set(),
    "datasets": {"text"},
    "utils": ENGINE,
    "serialization": ENGINE,  # save and load
    "backends": {"backend"},  # PyTorch's switches of the libraries below
    "cuda": {"backend", "autograd"},  # PyTorch's questions about the card
    "generation": ENGINE | BESIDE | {"nn", "face"},
    "training": ENGINE | BESIDE | {"nn", "optim", "generation", "face"},
    "testing": ENGINE | BESIDE | {"nn", "optim", "face"},
    "face": ENGINE | BESIDE | {"nn", "optim", "testing"},
}
KNOT = ("tensor", "ops")
SAME_ROOM = {"methods": "tensor"}  # two files, one room: the class and its operators

# Other people's packages, and the rooms that may import them ("*": all of them, and the lessons).
THIRD_PARTY: dict[str, set[str]] = {
    "numpy": {"*"},
    "ml_dtypes": {"backend"},
    "cupy": {"backend"},
    "cupyx": {"backend"},
    "llvmlite": {"backend"},
    "numba": {"backend"},
    "cuda": {"backend"},  # cuda.pathfinder, which comes with CuPy
    "matplotlib": {"training", "lessons"},
    "safetensors": {"serialization", "training", "lessons"},
    "threadpoolctl": {"backend"},
    "tqdm": {"training", "lessons"},
    "PIL": {"lessons"},  # matplotlib brings it
    "docutils": {"lessons"},  # these two: the site alone
    "latex2mathml": {"lessons"},
    "hypothesis": {"testing"},
    "pytest": {"testing"},
}
# These only inside functions, or every command starts slowly.
LAZY = {"matplotlib", "threadpoolctl", "tqdm", "safetensors", "ml_dtypes", "cuda", "cupy", "cupyx"}
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

MAY_PRINT: set[str] = set()
EFFECTS = {"print", "open", "input", "exec", "eval", "urlopen", "urlretrieve", "read_text", "read_bytes", "write_text"}
EFFECTS |= {"write_bytes", "mkdir", "Popen", "check_output", "simplefilter", "filterwarnings", "basicConfig"}
BINARY_OPENERS = {"os", "gzip", "bz2", "lzma", "tarfile", "zipfile", "wave", "tokenize", "webbrowser"}
MAX_LINES = 500
TOP_LEVEL = {
    ".github",  # pictures of the README
    *(".ci", ".gitattributes", ".gitignore", ".pre-commit-config.yaml"),
    *("LICENSE", "README.md", "lessons", "minillm", "pyproject.toml", "setup.cfg", "tests"),
}


@dataclass(frozen=True)
class Source:
    """One file of Python."""

    path: str  # from the root, with forward slashes
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name, without a trailing `__init__`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        """`ops` for minillm/ops/..., `face` for minillm/__init__.py, `lessons` for lessons/..."""
        parts = self.module.split(".")
        if parts[0] != "minillm":
            return parts[0]
        return "face" if len(parts) == 1 else SAME_ROOM.get(parts[1], parts[1])

    @functools.cached_property
    def imports(self) -> list[tuple[ast.stmt | ast.Call, str, str]]:
        """Every import, wherever it stands: the node, the absolute module, the name taken from it (or "")."""
        found: list[tuple[ast.stmt | ast.Call, str, str]] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node, alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                package = self.module.split(".") + (["__init__"] if self.path.endswith("__init__.py") else [])
                above = package[: len(package) - node.level] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                found += [(node, base, alias.name) for alias in node.names]
            elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
                found += [(node, str(arg.value), "") for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        return found

    @functools.cached_property
    def at_import(self) -> list[ast.AST]:
        """Every node that is executed when the file is imported: not the bodies of functions, not the main guard."""
        found: list[ast.AST] = []
        waiting: list[ast.AST] = list(self.tree.body)
        while waiting:
            node = waiting.pop()
            found.append(node)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                waiting += [d for d in [*node.args.defaults, *node.args.kw_defaults] if d is not None]
                waiting += getattr(node, "decorator_list", [])
            elif isinstance(node, ast.If) and ast.unparse(node.test) in {"__name__ == '__main__'", "TYPE_CHECKING"}:
                waiting += node.orelse
            else:
                waiting += ast.iter_child_nodes(node)
        return found

    def complain(self, node: ast.AST, text: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {text}"


@functools.cache
def sources(root: Path, *folders: str) -> list[Source]:
    """The Python files of some folders of a tree."""
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    texts = [(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
    return [Source(path, text, ast.parse(text, filename=path)) for path, text in texts]


def called(node: ast.Call) -> str:
    """The last name of what is called: `open` for open(...) and for path.open(...)."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def calls(source: Source) -> Iterator[ast.Call]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))


def stands_last(node: ast.AST, tree: ast.Module) -> bool:
    """Whether a line stands at the top level of a file, behind every definition and every other import."""
    if node not in tree.body:
        return False
    return all(isinstance(later, ast.Assign) for later in tree.body[tree.body.index(node) + 1 :])


def imports_go_down(root: Path) -> Iterator[str]:
    """A room imports only the rooms that ARROWS lists for it."""
    for source in sources(root, "minillm"):
        if source.room not in ARROWS:
            yield f"{source.path}: room {source.room!r} is not in ARROWS; say there what it may import"
            continue
        for node, module, name in source.imports:
            parts = module.split(".")
            if parts[0] == "lessons":
                yield source.complain(node, "minillm imports a lesson")
            if parts[0] != "minillm":
                continue
            target = parts[1] if len(parts) > 1 else name if name in {*ARROWS, *SAME_ROOM} else "face"
            target = SAME_ROOM.get(target, target)
            knot = (source.room, target) == KNOT and stands_last(node, source.tree)
            if target not in {source.room, *ARROWS[source.room]} and not knot:
                yield source.complain(node, f"{source.room} must not import {target}")


def third_party_is_listed(root: Path) -> Iterator[str]:
    """Other packages only where THIRD_PARTY allows them, and the heavy ones only inside functions."""
    for source in sources(root, "minillm", "lessons"):
        for node, module, _ in source.imports:
            name = module.partition(".")[0]
            if name in PICKLES:
                yield source.complain(node, f"{name}: loading such a file can run code; use safetensors or JSON")
            elif name in sys.stdlib_module_names or name in {"minillm", "lessons"}:
                continue
            elif not THIRD_PARTY.get(name, set()) & {"*", source.room}:
                yield source.complain(node, f"{source.room} must not import {name}")
            elif name in LAZY and source.room != "lessons" and node in source.at_import:
                yield source.complain(node, f"{name} is imported at the top; do it inside the function that needs it")
        for call in calls(source):
            if any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in call.keywords):
                yield source.complain(call, "allow_pickle: loading such a file can run code")


def number_of(module: str) -> int | None:
    """11 for lessons.l11_gpt and for what mirrors its name, such as lessons.solutions.l11_gpt."""
    for part in module.split("."):
        if part[:1] == "l" and part[1:3].isdigit():
            return int(part[1:3])
    return None


def lessons_look_back(root: Path) -> Iterator[str]:
    """A lesson imports no later lesson, no command, and no underscore name of minillm."""
    for source in sources(root, "lessons"):
        own = number_of(source.module)
        engine: set[str] = set()  # names under which parts of minillm are known in this file
        for statement, module, name in source.imports:
            whole = f"{module}.{name}"
            later = number_of(whole) if module.startswith("lessons") else None
            if own is not None and later is not None and later > own:
                yield source.complain(statement, f"lesson {own} imports the later lesson {later}")
            if own is not None and "__main__" in whole:
                yield source.complain(statement, "a lesson imports the command")
            if module.partition(".")[0] == "minillm":
                if any(part.startswith("_") and not part.endswith("__") for part in whole.split(".")):
                    yield source.complain(statement, f"{whole} is private to minillm")
                if isinstance(statement, ast.Import | ast.ImportFrom):
                    engine |= {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
                base: ast.expr = node.value
                while isinstance(base, ast.Attribute):
                    base = base.value
                if isinstance(base, ast.Name) and base.id in engine:
                    yield source.complain(node, f"{ast.unparse(node)} is private to minillm")


def library_is_silent(root: Path) -> Iterator[str]:
    """minillm does not print."""
    for source in sources(root, "minillm"):
        for call in calls(source):
            if called(call) == "print" and source.path not in MAY_PRINT:
                yield source.complain(call, "print in the library")


def imports_do_no_work(root: Path) -> Iterator[str]:
    """Importing a file prints nothing, touches no file and no global setting."""
    for source in sources(root, "minillm", "lessons"):
        for node in source.at_import:
            if isinstance(node, ast.Call) and called(node) in EFFECTS:
                yield source.complain(node, f"{ast.unparse(node)} is executed at import")


def text_has_an_encoding(root: Path) -> Iterator[str]:
    """Text files are opened with a named encoding; the default differs between systems."""
    for source in sources(root, "minillm", "lessons", "tests"):
        for call in calls(source):
            name, keywords = called(call), {keyword.arg for keyword in call.keywords}
            if name not in {"open", "read_text", "write_text"} or "encoding" in keywords:
                continue
            if name != "open" and isinstance(call.func, ast.Name):
                continue  # a function of ours, not the method of a path
            if name == "open":
                if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in BINARY_OPENERS:
                    continue
                mode = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
                mode += call.args[1:] if isinstance(call.func, ast.Name) else call.args
                if mode and not (isinstance(mode[0], ast.Constant) and "b" not in str(mode[0].value)):
                    continue  # binary, or a mode that only the run decides
            yield source.complain(call, f"{ast.unparse(call)} has no encoding=")


def files_are_short(root: Path) -> Iterator[str]:
    """No file is longer than one sitting."""
    for source in sources(root, "minillm", "lessons", "tests"):
        lines = source.text.count("\n")
        if lines > MAX_LINES:
            yield f"{source.path}: {lines} lines, at most {MAX_LINES}"


def modules_say_what_they_are(root: Path) -> Iterator[str]:
    """Every module has a docstring, and every folder of modules is a package (setup.cfg finds no other)."""
    for source in sources(root, "minillm", "lessons"):
        if not ast.get_docstring(source.tree):
            yield f"{source.path}: no docstring"
        if not (root / source.path).with_name("__init__.py").exists():
            yield f"{source.path}: its folder has no __init__.py"


def nothing_is_left_over(root: Path) -> Iterator[str]:
    """No note to oneself, and no test that is allowed to fail."""
    notes = tuple("# " + word for word in ("TODO", "FIXME", "XXX", "HACK"))
    for source in sources(root, "minillm", "lessons", "tests"):
        for number, line in enumerate(source.text.splitlines(), 1):
            if any(note in line for note in notes):
                yield f"{source.path}:{number}: {line.strip()}"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and node.attr in {"xfail", "flaky"}:
                yield source.complain(node, f"{ast.unparse(node)}: a test passes, or is skipped with a reason")


def top_level_is_known(root: Path) -> Iterator[str]:
    """The top of the repository holds what TOP_LEVEL names, and no more."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, encoding="utf-8")
    if listed.returncode:
        pytest.skip("not a git checkout: the list of the project's own files comes from git")
    found = {path.partition("/")[0].strip('"') for path in listed.stdout.splitlines()}
    yield from (f"{name}: not in TOP_LEVEL" for name in sorted(found - TOP_LEVEL))


Rule = Callable[[Path], Iterator[str]]
RULES: list[Rule] = [
    imports_go_down,
    third_party_is_listed,
    lessons_look_back,
    library_is_silent,
    imports_do_no_work,
    text_has_an_encoding,
    files_are_short,
    modules_say_what_they_are,
    nothing_is_left_over,
    top_level_is_known,
]
