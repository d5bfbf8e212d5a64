"""``save`` and ``load``: state dicts in one safetensors file. Never pickle: reading a file must not run code.

Tensors are entries of the file; everything else (numbers, texts, the nesting) is JSON in the file's metadata, with
``{"$tensor": name}`` where a tensor stands.
"""

from __future__ import annotations

import json
import math
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
# safetensors allows headers of 100 MB, which become 3 GB of Python objects. These are far above any model's.
_MAX_HEADER = 16_000_000  # bytes
_MAX_TENSORS = 100_000
_TYPES = {
    **{"F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8", "BOOL": "u1", "BF16": ""},
    **{"I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8"},
}


def save(obj: Any, path: str | Path) -> None:
    """Write nested dictionaries and lists of tensors, numbers, texts, bools and ``None``.

    The file is written beside its place, forced to disk and renamed, so a reader sees all of it or none.

    Raises:
        TypeError: for anything else, naming where it stands.
        ValueError: for what could not be read again: too deeply nested, or too much beside the tensors.
    """
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, np.ndarray] = {}
    try:
        tree = _flatten(obj, "", arrays, {})
        metadata = {"format": "minillm", _KEY: json.dumps({"version": _VERSION, "tree": tree})}
    except RecursionError:
        raise ValueError("save: nested too deeply to be read again, or holds itself; make it flatter") from None
    data = to_bytes(arrays, metadata)
    header = int.from_bytes(data[:8], "little")
    if header > _MAX_HEADER or len(arrays) > _MAX_TENSORS:
        raise ValueError(
            f"save: {len(arrays)} tensors, and {header} bytes of names and plain values; more than {_MAX_TENSORS} or "
            f"{_MAX_HEADER} would not be read again; keep long lists of numbers as tensors"
        )
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
    size = int.from_bytes(start[:8], "little")
    try:
        if size > _MAX_HEADER:
            raise ValueError(f"a header of {size} bytes, at most {_MAX_HEADER} are read")
        with safe_open(path, framework="np") as file:  # checks all that the format promises
            metadata, n_tensors = file.metadata() or {}, len(file.keys())
        if n_tensors > _MAX_TENSORS:
            raise ValueError(f"{n_tensors} tensors, at most {_MAX_TENSORS} are read")
        arrays = _read(path)
    except (SafetensorError, ValueError, RuntimeError) as error:  # RuntimeError: bfloat16 without ml_dtypes; deep JSON
        raise ValueError(f"load: {path} is not a safetensors file, or is damaged ({_short(error)})") from None
    found = {name: Tensor._wrap(array).to(map_location or "cpu") for name, array in arrays.items()}
    if _KEY not in metadata:
        return found
    try:
        content = json.loads(metadata[_KEY], object_hook=lambda entry: _restored(entry, found))
        if not isinstance(content, dict) or type(content["version"]) is not int or content["version"] != _VERSION:
            raise ValueError(f"expected version {_VERSION}")
        return content["tree"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"load: {path}: its metadata cannot be read ({_short(error)})") from None


def _short(error: Exception) -> str:
    """Return what an error says without most of a name or number of a megabyte that it repeats."""
    text = str(error)
    return text if len(text) <= 300 else text[:297] + "..."


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a file that safetensors has found whole, and refuse what is whole but cannot be used.

    Not by safetensors: where memory does not suffice for a tensor (its file can be a hole of 4 TB) it aborts with an
    exception that ``except Exception`` does not catch.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands twice in its header")
        return found

    arrays = {}
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(size), object_pairs_hook=once)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        unknown = {entry["dtype"] for entry in entries.values()} - set(_TYPES)
        if unknown:
            raise ValueError(f"it holds {', '.join(sorted(unknown))}, which NumPy does not have")
        for name, entry in entries.items():
            kind, shape = entry["dtype"], entry["shape"]
            dtype = bfloat16() if kind == "BF16" else np.dtype(_TYPES[kind])
            f.seek(8 + size + entry["data_offsets"][0])
            try:
                array = np.fromfile(f, dtype, math.prod(shape)).reshape(shape)
            except (MemoryError, OverflowError):
                raise ValueError(f"{name!r} has shape {tuple(shape)}, more than there is memory for") from None
            # A byte that is neither 0 nor 1 would be a bool that equals neither True nor False.
            arrays[name] = array.astype(bool if kind == "BOOL" else dtype.newbyteorder("="), copy=False)
    return arrays


def _restored(entry: dict[str, Any], found: dict[str, Tensor]) -> Any:
    """Return what ``_flatten`` made an entry of; called for the innermost first, so nothing is held twice."""
    if entry.keys() == {"version", "tree"}:
        return entry
    ((kind, value),) = entry.items()
    if kind == "$tensor":
        return found[value]
    if not isinstance(value, list):
        raise TypeError(f"expected a list in {kind!r}, got {type(value).__name__}")
    if kind == "$dict":
        pairs = [(key, v) for key, v in value]
        made = dict(pairs)
        if len(made) < len(pairs) or not all(type(key) in (str, int) for key in made):
            raise ValueError(f"expected different texts or integers as keys, got {[key for key, _ in pairs[:9]]}")
        return made
    if kind in ("$list", "$tuple"):
        return tuple(value) if kind == "$tuple" else value
    raise ValueError(f"unknown kind {kind!r}")
