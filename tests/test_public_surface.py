"""The public names: sorted, documented, PyTorch's own, and cheap to import."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import minillm

ROOT = Path(__file__).resolve().parents[1]

# What a small PyTorch program may use, by the module that has it in PyTorch.
NAMES = {
    "minillm": """
        Generator Tensor arange as_tensor bool cuda device double enable_grad eye float float16 float32 float64
        from_numpy full full_like get_default_dtype get_rng_state half inference_mode int32 int64 is_grad_enabled
        is_tensor linspace load long manual_seed multinomial no_grad ones ones_like rand rand_like randint randn
        randn_like randperm save set_default_dtype set_grad_enabled set_rng_state tensor zeros zeros_like
        abs add clamp cos div erf exp expm1 isfinite isinf isnan log log1p logical_and logical_not logical_or
        logical_xor maximum minimum mul neg pow reciprocal rsqrt sigmoid sign sin sqrt square sub tanh where
        eq ge gt le lt ne all amax amin any argmax argmin argsort cumsum logsumexp max mean min norm sort std sum topk
        var broadcast_to cat chunk diagonal flatten flip movedim permute reshape roll split squeeze stack transpose
        tril triu unbind unsqueeze gather index_select masked_fill nonzero scatter_add take_along_dim einsum matmul
        outer softmax log_softmax relu autograd nn optim utils amp autocast is_autocast_enabled""",
    "minillm.nn": """
        BCELoss BCEWithLogitsLoss CrossEntropyLoss Dropout ELU Embedding Flatten GELU HingeEmbeddingLoss Identity
        KLDivLoss L1Loss LayerNorm LeakyReLU Linear LogSigmoid LogSoftmax MSELoss Module ModuleDict ModuleList
        MultiMarginLoss MultiheadAttention NLLLoss Parameter ParameterList RMSNorm ReLU Sequential SiLU Sigmoid
        SmoothL1Loss Softmax Softplus Tanh functional init utils""",
    "minillm.nn.functional": """
        binary_cross_entropy binary_cross_entropy_with_logits cosine_similarity cross_entropy dropout elu embedding
        gelu hinge_embedding_loss kl_div l1_loss layer_norm leaky_relu linear log_softmax logsigmoid mse_loss
        multi_margin_loss nll_loss normalize one_hot pad relu rms_norm scaled_dot_product_attention sigmoid silu
        smooth_l1_loss softmax softplus tanh""",
    "minillm.nn.init": """
        constant_ eye_ kaiming_normal_ kaiming_uniform_ normal_ ones_ orthogonal_ trunc_normal_ uniform_
        xavier_normal_ xavier_uniform_ zeros_""",
    "minillm.nn.utils": "clip_grad_norm_ clip_grad_value_ parameters_to_vector vector_to_parameters",
    "minillm.optim": "Adagrad Adam AdamW Optimizer RMSprop SGD lr_scheduler",
    "minillm.optim.lr_scheduler": "CosineAnnealingLR LRScheduler LambdaLR LinearLR ReduceLROnPlateau StepLR",
    "minillm.utils.data": """
        BatchSampler DataLoader Dataset RandomSampler Sampler SequentialSampler Subset TensorDataset random_split""",
    "minillm.utils.checkpoint": "checkpoint",
    "minillm.amp": "GradScaler autocast",
    "minillm.cuda": "is_available",
    "minillm.autograd": "Function detect_anomaly grad",
    "minillm.testing": "gradcheck",
}
METHODS = """
    T abs add_ all amax amin any argmax argmin argsort backward bool chunk clamp clone contiguous copy_ cos cpu cuda
    cumsum data detach device dim div_ dtype element_size erf exp expand fill_ flatten flip float gather grad
    grad_fn half index_add_ index_select is_leaf item log log1p long logsumexp mT masked_fill matmul max mean min
    movedim mul_ ndim norm normal_ numel numpy permute pow register_hook relu repeat requires_grad requires_grad_
    reshape retain_grad roll scatter_add shape sigmoid sin size softmax sort split sqrt square squeeze std sub_ sum
    tanh to tolist topk transpose tril triu type_as unbind uniform_ unsqueeze var view zero_"""

HEAVY = ("cupy", "hypothesis", "matplotlib", "ml_dtypes", "pytest", "safetensors", "torch", "tqdm")
LEGACY = {"size_average", "reduce", "_stacklevel"}  # arguments that PyTorch itself no longer wants


def with_public_names() -> list[str]:
    """Every module of minillm that declares __all__; found in the files, so that a broken one fails its own test."""
    files = [p for p in sorted((ROOT / "minillm").rglob("*.py")) if "\n__all__ = " in p.read_text(encoding="utf-8")]
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files]
    return [name.removesuffix(".__init__") for name in names]


MODULES = with_public_names()


def test_the_face_is_sorted() -> None:
    assert list(minillm.__all__) == sorted(minillm.__all__)


@pytest.mark.parametrize("path", MODULES)
def test_public_names_are_unique_and_resolve(path: str) -> None:
    module = importlib.import_module(path)
    assert len(module.__all__) == len(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("path", MODULES)
def test_everything_public_is_documented(path: str) -> None:
    module = importlib.import_module(path)
    things = {name: getattr(module, name) for name in module.__all__}
    ours = {name: thing for name, thing in things.items() if inspect.isroutine(thing) or inspect.isclass(thing)}
    assert [name for name, thing in ours.items() if not inspect.getdoc(thing)] == []


@pytest.mark.parametrize("path", NAMES)
def test_pytorch_names_exist(path: str) -> None:
    module = pkgutil.resolve_name(path)
    assert [name for name in NAMES[path].split() if not hasattr(module, name)] == []


def test_bfloat16_exists_where_ml_dtypes_does() -> None:
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the package ml_dtypes")
    assert minillm.bfloat16.itemsize == 2


def test_without_optional_packages_all_names_can_be_imported() -> None:
    program = """
import sys
for name in ("ml_dtypes", "numba", "torch", "cupy", "safetensors", "matplotlib", "tqdm"):
    sys.modules[name] = None  # importing it fails
from minillm import *
import minillm
assert tensor([1.0]).dtype == minillm.float32
try:
    minillm.bfloat16
except RuntimeError as error:
    assert "pip install ml_dtypes" in str(error)
else:
    raise SystemExit("there is no bfloat16 without ml_dtypes")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=ROOT)


def test_pytorch_methods_exist() -> None:
    one = minillm.ones(1, 1)  # an instance: grad, for one, exists only there
    assert [name for name in METHODS.split() if not hasattr(one, name)] == []


@pytest.mark.parametrize("path", NAMES)
def test_the_lists_above_name_things_of_pytorch(path: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the reference")
    if path == "minillm.testing":
        pytest.skip("the test kit is minillm's own (PyTorch has gradcheck in torch.autograd)")
    theirs = importlib.import_module(path.replace("minillm", "torch"))
    assert [name for name in NAMES[path].split() if not hasattr(theirs, name)] == []
    assert [name for name in METHODS.split() if not hasattr(torch.ones(1, 1), name)] == []


def positional(thing: object) -> dict[str, object] | None:
    """Names and defaults of the arguments that may be given by position; None where Python cannot tell."""
    try:
        parameters = inspect.signature(thing).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in LEGACY}


PATHS = ["minillm.nn", "minillm.nn.functional", "minillm.nn.init", "minillm.nn.utils", "minillm.optim"]
PATHS += ["minillm.optim.lr_scheduler", "minillm.utils.data", "minillm.amp"]


@pytest.mark.parametrize("path", PATHS)
def test_arguments_come_in_pytorch_order_with_its_defaults(path: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is the reference")
    module, theirs = importlib.import_module(path), importlib.import_module(path.replace("minillm", "torch"))
    different = []
    for name in module.__all__:
        ours, wanted = positional(getattr(module, name)), positional(getattr(theirs, name, None))
        if ours is None or wanted is None:
            continue
        if list(ours) != list(wanted)[: len(ours)]:
            different.append(f"{name}: {list(ours)}, in PyTorch {list(wanted)}")
        for key in ours.keys() & wanted.keys():
            plain = isinstance(wanted[key], (bool, int, float, str, tuple))
            if plain and (ours[key] != wanted[key] or isinstance(ours[key], bool) != isinstance(wanted[key], bool)):
                different.append(f"{name}({key}={ours[key]!r}), in PyTorch {wanted[key]!r}")
    assert not different, "\n".join(different)


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    return set(json.loads(done.stdout))


def test_import_loads_nothing_heavy() -> None:
    loaded = loaded_by("import minillm as torch, minillm.nn as nn, minillm.optim as optim")
    assert loaded & set(HEAVY) == set()
    assert {name for name in loaded if name.startswith(("minillm.training", "minillm.datasets", "lessons"))} == set()


def test_the_command_loads_no_engine_before_it_knows_what_to_do() -> None:
    assert loaded_by("import lessons.__main__") & {*HEAVY, "numpy", "minillm.tensor"} == set()
