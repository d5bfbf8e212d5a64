"""``save`` and ``load``: state dicts in one safetensors file. Never pickle: reading a file must not run code.

Tensors are entries of the file; everything else (numbers, texts, the nesting) is JSON in the file's metadata, with
``{"$tensor": name}`` where a tensor stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minillm.backend.device import bfloat16
from minillm.tensor import Tensor

__all__ = ["load", "save"]

_KEY = "minillm"
_VERSION = 1
_KINDS = {"BOOL", "BF16", "F16", "F32", "F64", "C64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"}


def save(obj: Any, path: str | Path) -> None:
    """Write nested dictionaries and lists of tensors, numbers, texts, bools and ``None``.

    The file is written beside its place, forced to disk and renamed, so a reader sees all of it or none.

    Raises:
        TypeError: for anything else, naming where it stands.
    """
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, np.ndarray] = {}
    tree = _flatten(obj, "", arrays, {})
    metadata = {"format": "minillm", _KEY: json.dumps({"version": _VERSION, "tree": tree})}
    data = to_bytes(arrays, metadata)
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _flatten(obj: Any, where: str, arrays: dict[str, np.ndarray], seen: dict[int, str]) -> Any:
    if isinstance(obj, Tensor):
        name = seen.get(id(obj))
        if name is None:
            name = where or "tensor"
            while name in arrays or name == "__metadata__":  # {"a.b": x, "a": {"b": y}}: two tensors at one place
                name += "_"
            seen[id(obj)] = name
            arrays[name] = np.ascontiguousarray(obj.backend.to_host(obj.array)).reshape(obj.array.shape)
        return {"$tensor": name}
    if isinstance(obj, Mapping):
        pairs = []
        for key, value in obj.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise TypeError(f"save: {where or 'the top'}: keys are texts or integers, got {key!r}")
            pairs.append([key, _flatten(value, f"{where}.{key}" if where else str(key), arrays, seen)])
        return {"$dict": pairs}
    if isinstance(obj, (list, tuple)):
        items = [_flatten(v, f"{where}.{i}" if where else str(i), arrays, seen) for i, v in enumerate(obj)]
        return {"$tuple" if isinstance(obj, tuple) else "$list": items}
    if isinstance(obj, np.generic):
        obj = obj.item()
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    raise TypeError(
        f"save: {where or 'the top'}: cannot keep a {type(obj).__name__}; expected tensors, numbers, texts, dicts or "
        "lists (of a model, save model.state_dict())"
    )


def load(path: str | Path, map_location: Any = None, weights_only: bool = True) -> Any:
    """Read what ``save`` wrote, or the tensors of any safetensors file as a dictionary.

    Args:
        map_location: the device to put tensors on; the CPU if not given.
        weights_only: accepted for PyTorch's sake; nothing but data is ever read.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a safetensors file (a pickle, say), is damaged, or holds a type that NumPy lacks.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with open(path, "rb") as f:
        start = f.read(9)
    # Trap: the file begins with the length of its header, and 1152 is written as a pickle begins. Then comes a brace.
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK") and start[8:] != b"{":
        raise ValueError(
            f"load: {path} is a pickle or a zip of pickles, which could run code when it is read; "
            "convert it to safetensors"
        )
    try:
        with safe_open(path, framework="np") as file:
            _check_header(path)
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"load: {path} is not a safetensors file, or is damaged ({error})") from None
    found = {name: Tensor._wrap(array).to(map_location or "cpu") for name, array in arrays.items()}
    if _KEY not in metadata:
        return found
    try:
        content = json.loads(metadata[_KEY])
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']}, expected {_VERSION}")
        return _unflatten(content["tree"], found)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"load: {path}: its metadata cannot be read ({error})") from None


def _check_header(path: Path) -> None:
    """Refuse what safetensors itself accepts or trips over: a name given twice, and types unknown to NumPy."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands twice in its header")
        return found

    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")), object_pairs_hook=once)
    kinds = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    if "BF16" in kinds:
        bfloat16()  # makes the type known to NumPy
    if kinds - _KINDS:
        raise ValueError(f"it holds {', '.join(sorted(kinds - _KINDS))}, which NumPy does not have")


def _unflatten(tree: Any, found: dict[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    if kind == "$tensor":
        return found[value]
    if kind == "$dict":
        return {key: _unflatten(v, found) for key, v in value}
    if kind in ("$list", "$tuple"):
        items = [_unflatten(v, found) for v in value]
        return tuple(items) if kind == "$tuple" else items
    raise ValueError(f"unknown kind {kind!r}")
