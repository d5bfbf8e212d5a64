"""The house keeps its rules, and each rule can fail.

Every rule of house_rules.py is run on this repository, where it must have no complaint, and on small trees, where it
must tell good from bad: a rule that cannot fail guards nothing.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.house_rules import (
    MAX_LINES,
    RULES,
    Rule,
    files_are_short,
    imports_do_no_work,
    imports_go_down,
    lessons_look_back,
    library_is_silent,
    modules_say_what_they_are,
    nothing_is_left_over,
    text_has_an_encoding,
    third_party_is_listed,
    top_level_is_known,
)

ROOT = Path(__file__).resolve().parents[1]

# (rule, path, text, whether it is allowed)
CASES: list[tuple[Rule, str, str, bool]] = [
    (imports_go_down, "minillm/ops/matmul.py", "from minillm.tensor import Tensor", True),
    (imports_go_down, "minillm/ops/matmul.py", "from minillm.nn import Linear", False),
    (imports_go_down, "minillm/ops/matmul.py", "def f():\n    from minillm.nn import Linear", False),
    (imports_go_down, "minillm/ops/matmul.py", "from ..nn import Linear", False),
    (imports_go_down, "minillm/ops/matmul.py", "from .. import nn", False),
    (imports_go_down, "minillm/ops/matmul.py", "from . import shape", True),
    (imports_go_down, "minillm/ops/__init__.py", "from .matmul import mm\nfrom minillm.ops import shape", True),
    (imports_go_down, "minillm/ops/__init__.py", "from ..nn import Linear", False),
    (imports_go_down, "minillm/ops/matmul.py", "import minillm", False),
    (imports_go_down, "minillm/ops/matmul.py", "import minillm.training.trainer as t", False),
    (imports_go_down, "minillm/ops/matmul.py", "import importlib\nimportlib.import_module('minillm.nn')", False),
    (imports_go_down, "minillm/tensor.py", "import numpy\nfrom minillm import ops\nops.x = ops", True),
    (imports_go_down, "minillm/tensor.py", "from minillm import ops\ndef f(): pass", False),
    (imports_go_down, "minillm/tensor.py", "def f():\n    from minillm import ops", False),
    (imports_go_down, "minillm/autograd.py", "from minillm.backend import cpu", True),
    (imports_go_down, "minillm/autograd.py", "from minillm.tensor import Tensor", False),
    (imports_go_down, "minillm/optim/sgd.py", "from minillm.autograd import no_grad", True),
    (imports_go_down, "minillm/optim/sgd.py", "from minillm.nn import Parameter", False),
    (imports_go_down, "minillm/text/bpe.py", "from minillm.tensor import Tensor", False),
    (imports_go_down, "minillm/datasets/corpora.py", "from minillm.text import bpe", True),
    (imports_go_down, "minillm/generation.py", "from minillm.training import Trainer", False),
    (imports_go_down, "minillm/training/loop.py", "from minillm.generation import generate", True),
    (imports_go_down, "minillm/training/loop.py", "from lessons.l11_gpt import GPT", False),
    (imports_go_down, "minillm/cellar/x.py", "", False),
    (third_party_is_listed, "minillm/backend/cuda/x.py", "def f():\n    import cupy.cuda\n    import cupyx", True),
    (third_party_is_listed, "minillm/ops/matmul.py", "def f():\n    import cupy", False),
    (third_party_is_listed, "lessons/l01_x.py", "import cupyx", False),
    (third_party_is_listed, "lessons/l01_x.py", "import json, numpy as np, minillm\nimport matplotlib.pyplot", True),
    (third_party_is_listed, "minillm/text/bpe.py", "import tqdm", False),
    (third_party_is_listed, "minillm/training/curves.py", "import matplotlib", False),
    (third_party_is_listed, "minillm/training/curves.py", "def f():\n    import matplotlib", True),
    (third_party_is_listed, "minillm/training/loop.py", "def f():\n    import torch", False),
    (third_party_is_listed, "lessons/l01_x.py", "from transformers import GPT2Model", False),
    (third_party_is_listed, "lessons/l01_x.py", "from jax import numpy", False),
    (third_party_is_listed, "lessons/l01_x.py", "import pickle", False),
    (third_party_is_listed, "minillm/utils/data.py", "def f():\n    from _pickle import loads", False),
    (third_party_is_listed, "minillm/utils/data.py", "import numpy as np\nnp.load(f, allow_pickle=True)", False),
    (third_party_is_listed, "minillm/utils/data.py", "import numpy as np\nnp.load(f, allow_pickle=False)", True),
    (lessons_look_back, "lessons/l11_gpt.py", "from lessons.l10_x import f\nfrom lessons import l08_seed", True),
    (lessons_look_back, "lessons/l11_gpt.py", "from lessons.l12_pretraining import f", False),
    (lessons_look_back, "lessons/l11_gpt.py", "def f():\n    from lessons import l12_pretraining", False),
    (lessons_look_back, "lessons/l11_gpt.py", "from . import l12_pretraining", False),
    (lessons_look_back, "lessons/exercises/l11_gpt.py", "import lessons.l12_pretraining", False),
    (lessons_look_back, "lessons/solutions/l11_gpt.py", "from lessons.l11_gpt import GPT", True),
    (lessons_look_back, "lessons/l11_gpt.py", "from lessons.__main__ import main", False),
    (lessons_look_back, "lessons/__main__.py", "from lessons import l12_pretraining", True),
    (lessons_look_back, "lessons/l11_gpt.py", "from minillm.ops import _broadcast", False),
    (lessons_look_back, "lessons/l11_gpt.py", "import minillm as torch\ntorch.nn._x()", False),
    (lessons_look_back, "lessons/l11_gpt.py", "import minillm as torch\ntorch.__version__\nself._x = 1", True),
    (library_is_silent, "minillm/nn/linear.py", "def f():\n    print('hello')", False),
    (library_is_silent, "minillm/nn/linear.py", "def f():\n    '''>>> print(1)'''", True),
    (imports_do_no_work, "lessons/l01_x.py", "print('hello')", False),
    (imports_do_no_work, "lessons/l01_x.py", "def f():\n    print(1)\nif __name__ == '__main__':\n    print(2)", True),
    (imports_do_no_work, "lessons/l01_x.py", "class A:\n    x = open('x')", False),
    (imports_do_no_work, "lessons/l01_x.py", "def f(x=open('x')): pass", False),
    (imports_do_no_work, "minillm/nn/linear.py", "try:\n    p.read_text()\nexcept OSError: pass", False),
    (text_has_an_encoding, "minillm/text/bpe.py", "open(p)", False),
    (text_has_an_encoding, "minillm/text/bpe.py", "open(p, 'w')", False),
    (text_has_an_encoding, "minillm/text/bpe.py", "p.open()", False),
    (text_has_an_encoding, "minillm/text/bpe.py", "p.open(mode='a')", False),
    (text_has_an_encoding, "minillm/text/bpe.py", "p.read_text()\np.write_text('x')", False),
    (text_has_an_encoding, "minillm/text/bpe.py", "open(p, 'rb')\np.open('wb')\nos.open(p, 0)\ngzip.open(p)", True),
    (text_has_an_encoding, "minillm/text/bpe.py", "open(p, encoding='utf-8')\np.read_text(encoding='utf-8')", True),
    (text_has_an_encoding, "minillm/text/bpe.py", "from minillm.text import read_text\nread_text(p)", True),
    (files_are_short, "minillm/tensor.py", "x = 1\n" * MAX_LINES, True),
    (files_are_short, "minillm/tensor.py", "x = 1\n" * (MAX_LINES + 1), False),
    (modules_say_what_they_are, "minillm/__init__.py", "'''The face.'''", True),
    (modules_say_what_they_are, "minillm/__init__.py", "x = 1", False),
    (modules_say_what_they_are, "minillm/nn/linear.py", "'''In a folder that is no package.'''", False),
    (nothing_is_left_over, "minillm/tensor.py", "x = 1  # " + "TODO: the rest", False),
    (nothing_is_left_over, "tests/test_x.py", "import pytest\n@pytest.mark.xfail\ndef test(): pass", False),
    (nothing_is_left_over, "tests/test_x.py", "import pytest\n@pytest.mark.gpu\ndef test(): pass", True),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    complaints = list(rule(ROOT))
    assert not complaints, f"{rule.__doc__}\n" + "\n".join(complaints)


@pytest.mark.parametrize(("rule", "path", "text", "allowed"), CASES)
def test_the_rule_can_fail(rule: Rule, path: str, text: str, allowed: bool, tmp_path: Path) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text + "\n" * (not text.endswith("\n")), encoding="utf-8")
    complaints = list(rule(tmp_path))
    assert (complaints == []) is allowed, complaints


def test_a_stranger_at_the_top_is_seen(tmp_path: Path) -> None:
    for name in ("setup.cfg", "notes.txt", "untracked.txt"):
        (tmp_path / name).touch()
    for command in (["git", "init", "-q"], ["git", "add", "setup.cfg", "notes.txt"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    assert list(top_level_is_known(tmp_path)) == ["notes.txt: not in TOP_LEVEL"]


def test_every_rule_has_a_case_of_each_kind() -> None:
    kinds = {(rule.__name__, allowed) for rule, _, _, allowed in CASES}
    wanted = {(rule.__name__, allowed) for rule in RULES if rule is not top_level_is_known for allowed in (True, False)}
    assert kinds == wanted
