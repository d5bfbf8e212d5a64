"""Files that call themselves safetensors: whole ones, broken ones, and ones made to hurt whoever reads them.

``python -m tests.hostile_safetensors FOLDER`` reads all files of a folder with little memory and says how that went.
"""

from __future__ import annotations

import contextlib
import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

import minillm

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def header(entries: Any, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    """A file: the length of the header, the header (JSON, or whatever is given), the data."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**changes: Any) -> bytes:
    """A file with one tensor of two float32, some of its facts changed."""
    return header({"w": {**F32, **changes}})


def raw(text: str | bytes, data: bytes = b"\0" * 8) -> bytes:
    return header(text if isinstance(text, bytes) else text.encode(), data)


ENTRY = json.dumps(F32)
WHOLE = header({"__metadata__": {"a": "b"}, "w": F32})
SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2}
SIZES |= {"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8}
ODD_NUMBERS = [-1, 1, 4, 7, 9, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 1.5, 8.0, "8", None, True, [8]]
SHAPES: list[Any] = [[], [1], [3], [-2], [2, 1], [1, 2, 1], [2, 0], [0], [0, 2**63], [2, 2**62], [2**62, 2**62, 0]]
SHAPES += [[2**64], [2.0], ["2"], [None], [True], [[2]], None, {}, "2", 2, [1] * 64 + [2], [1] * 63 + [2], [-1, -2]]
NAMES = ["", "../../x", "/etc/passwd", "C:\\x", "a/../b", "a\0b", "\x1b[2J", "\u202e", "x" * 100_000, "猫", "w.w", "."]
TEXTS = {  # JSON that is odd, or none
    "trailing comma": f'{{"w":{ENTRY},}}',
    "comment": f'{{"w":{ENTRY}}}//',
    "single quotes": f"{{'w':{ENTRY}}}",
    "two objects": f'{{"w":{ENTRY}}}{{}}',
    "space before": f'  {{"w":{ENTRY}}}',
    "space after": f'{{"w":{ENTRY}}}   ',
    "line ends inside": f'{{\n"w":\t{ENTRY}\r\n}}',
    "zeros after": f'{{"w":{ENTRY}}}\0\0\0',
    "byte order mark": f'\ufeff{{"w":{ENTRY}}}',
    "a list": f"[{ENTRY}]",
    "null": "null",
    "a number": "1",
    "a text": '"w"',
    "nothing": "",
    "braces": "{{{{{{{{",
    "no tensors": "{}",
    "an entry is null": '{"w":null}',
    "an entry is a list": '{"w":[]}',
    "an entry is empty": '{"w":{}}',
    "no shape": '{"w":{"dtype":"F32","data_offsets":[0,8]}}',
    "no type": '{"w":{"shape":[2],"data_offsets":[0,8]}}',
    "no offsets": '{"w":{"dtype":"F32","shape":[2]}}',
    "one offset": '{"w":{"dtype":"F32","shape":[2],"data_offsets":[8]}}',
    "three offsets": '{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}',
    "a field more": f'{{"w":{ENTRY[:-1]},"x":1}}}}',
    "a number with 5,000 digits": '{"w":{"dtype":"F32","shape":[' + "9" * 5000 + '],"data_offsets":[0,8]}}',
    "NaN in the shape": '{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}',
    "1e0 in the shape": '{"w":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}',
    "a name twice": f'{{"w":{ENTRY},"w":{ENTRY}}}',
    "a name twice, once in escapes": f'{{"w":{ENTRY},"\\u0077":{ENTRY}}}',
    "a field twice": f'{{"w":{ENTRY[:-1]},"dtype":"F32"}}}}',
    "an unknown field twice": f'{{"w":{ENTRY[:-1]},"x":1,"x":2}}}}',
    "metadata twice": f'{{"__metadata__":{{"a":"1","a":"2"}},"w":{ENTRY}}}',
    "two metadata": f'{{"__metadata__":{{}},"__metadata__":{{}},"w":{ENTRY}}}',
    "metadata is null": f'{{"__metadata__":null,"w":{ENTRY}}}',
    "metadata is a list": f'{{"__metadata__":[],"w":{ENTRY}}}',
    "metadata is a tensor": f'{{"__metadata__":{ENTRY}}}',
    "metadata of numbers": f'{{"__metadata__":{{"a":1}},"w":{ENTRY}}}',
    "half a surrogate": f'{{"\\ud800":{ENTRY}}}',
    "deep list": '{"w":' + "[" * 50_000 + "]" * 50_000 + "}",
    "deep object": '{"w":' * 50_000 + "1" + "}" * 50_000,
    "deep in a field more": f'{{"w":{ENTRY[:-1]},"x":' + "[" * 50_000 + "]" * 50_000 + "}}",
    "deep, never closed": "[" * 100_000,
}
BYTES = {
    "no UTF-8": b'{"\xff":' + ENTRY.encode() + b"}",
    "overlong": b'{"\xc0\xaf":' + ENTRY.encode() + b"}",
    "surrogate in UTF-8": b'{"\xed\xa0\x80":' + ENTRY.encode() + b"}",
    "control character": b'{"a\nb":' + ENTRY.encode() + b"}",
    "UTF-16": f'{{"w":{ENTRY}}}'.encode("utf-16"),
    "UTF-32": f'{{"w":{ENTRY}}}'.encode("utf-32-le"),
}


def tensors(*ranges: tuple[int, int], more: int = 0, kind: str = "U8") -> bytes:
    """A file with a tensor in each range of bytes."""
    size = SIZES[kind]
    entries = {
        f"t{i}": {"dtype": kind, "shape": [(b - a) // size], "data_offsets": [a, b]} for i, (a, b) in enumerate(ranges)
    }
    return header(entries, b"\0" * (max((b for _, b in ranges), default=0) + more))


PLACES = {
    "side by side": tensors((0, 4), (4, 8)),
    "in another order": tensors((4, 8), (0, 4)),
    "overlap": tensors((0, 5), (4, 8)),
    "the same place": tensors((0, 8), (0, 8)),
    "one inside another": tensors((0, 8), (2, 4)),
    "a hole in front": tensors((4, 8)),
    "a hole between": tensors((0, 3), (4, 8)),
    "a hole at the end": tensors((0, 4), more=4),
    "nothing between": tensors((0, 4), (4, 4), (4, 8)),
    "nothing, twice": tensors((0, 0), (0, 0)),
    "nothing, behind the end": tensors((0, 8), (9, 9)),
    "backwards": one(data_offsets=[8, 0]),
    "not aligned": header({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                           "b": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]}}, b"\0" * 5),
}  # fmt: skip


def corpus() -> dict[str, bytes]:
    """Some hundred small files by name."""
    files = {"whole": WHOLE, "bools that are none": one(dtype="BOOL", shape=[8])[:-8] + bytes(range(8))}
    files |= {f"text: {name}": raw(text) for name, text in TEXTS.items()}
    files |= {f"bytes: {name}": raw(text) for name, text in BYTES.items()}
    files |= {f"place: {name}": data for name, data in PLACES.items()}
    files |= {f"name: {name[:20]!a}": header({name: F32}) for name in NAMES}
    files |= {f"begin {n!r}": one(data_offsets=[n, 8]) for n in ODD_NUMBERS}
    files |= {f"end {n!r}": one(data_offsets=[0, n]) for n in ODD_NUMBERS}
    files |= {f"shape {str(shape)[:30]}...{i}": one(shape=shape) for i, shape in enumerate(SHAPES)}
    files |= {f"nothing of {str(s)[:30]}...{i}": header({"w": {**F32, "shape": s, "data_offsets": [0, 0]}}, b"")
              for i, s in enumerate(SHAPES)}  # fmt: skip
    for kind in [*SIZES, "F4", "F6_E2M3", "F31", "f32", "", "O", "|O", "<f4", "object"]:
        files[f"type {kind}, right size"] = one(dtype=kind, shape=[8 // SIZES.get(kind, 4)])
        files[f"type {kind}, wrong size"] = one(dtype=kind, shape=[5])
    for odd in (None, 3, ["F32"], {"F32": 1}, True):
        files[f"type {odd}"] = one(dtype=odd)
    for n in (0, 1, 7, 8, 9, 40, len(WHOLE) - 9, len(WHOLE) - 1):
        files[f"cut to {n}"] = WHOLE[:n]
    for n in (1, 8, 1000):
        files[f"{n} bytes more"] = WHOLE + b"\0" * n
    length = struct.unpack("<Q", WHOLE[:8])[0]
    for n in (0, 1, 2, length - 1, length + 1, length + 8, 10**6, 10**8, 10**8 + 1, 2**31, 2**32, 2**63, 2**64 - 1):
        files[f"length {n}"] = struct.pack("<Q", n) + WHOLE[8:]
    return files


# What the reference reads and we refuse: of two things with one name, a reader can only show one.
STRICTER = {
    *("text: a name twice", "text: a name twice, once in escapes", "text: metadata twice"),
    "text: an unknown field twice",
}


def large() -> dict[str, bytes]:
    """Files of some megabytes that become much more when they are read."""
    entry = b'"%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'

    def tree(item: str, n: int) -> bytes:
        text = '{"version": 1, "tree": {"$list": [' + ",".join([item] * n) + "]}}"
        return header({"__metadata__": {"minillm": text}}, b"")

    return {
        "100,000 tensors": header(b"{" + b",".join(entry % i for i in range(100_000)) + b"}", b""),
        "250,000 tensors": header(b"{" + b",".join(entry % i for i in range(250_000)) + b"}", b""),
        "a long name": header({"n" * 15_000_000: F32}),
        "much white space": header(b"{" + b" " * 17_000_000 + b"}", b""),
        "many lists": tree('{"$list":[]}', 900_000),
        "many dictionaries": tree('{"$dict":[["a",1]]}', 500_000),
        "many numbers": tree("1", 6_000_000),
        "a deep tree": tree('{"$list":[' * 500_000 + "]}" * 500_000, 1),
        "brackets": header({"__metadata__": {"minillm": "[" * 15_000_000}}, b""),
    }


def holes(folder: Path) -> None:
    """Write files that are as long as they say, and hold nothing: the system keeps no zeros."""
    for exponent in (38, 42):
        n = 2**exponent
        start = header({"w": {"dtype": "U8", "shape": [n], "data_offsets": [0, n]}}, b"")
        with open(folder / f"hole of 2^{exponent} bytes", "wb") as f:
            f.write(start)
            f.truncate(len(start) + n)


def main(folder: Path) -> dict[str, Any]:
    """Read every file: what came of it, how long the processor worked on the slowest, the most memory needed."""
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        limit = 600 * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    came: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for path in sorted(folder.iterdir()):
        began = time.process_time()
        try:
            minillm.load(path)
            came[path.name] = "read"
        except ValueError as error:
            came[path.name] = "refused" if str(path) in str(error) else f"without its name: {error}"
        except BaseException as error:
            came[path.name] = f"{type(error).__name__}: {str(error)[:200]}"
        seconds[path.name] = time.process_time() - began
    slowest = max(seconds, key=lambda name: seconds[name])
    peak = 0
    with contextlib.suppress(OSError):  # Linux alone; ru_maxrss would count what the parent process holds
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    return {"came": came, "slowest": [slowest, seconds[slowest]], "peak": peak}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
