"""A share of the training in a process of its own.

Between two calls of NumPy only one thread of a process runs Python, and a thread that wants its turn back sleeps until
the other one's next call. Where arrays are small that costs up to a quarter of a step (``tests/bench/NOTES.md`` has
what was measured, and how much it varies). The price is a second Python, about 60 MB for a small GPT.

All processes see the same weights, which move into memory that they share, and each puts its gradients there. What
they compute is what threads would compute, bit for bit.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from minillm.autograd import detect_anomaly, is_anomaly_enabled
from minillm.backend.device import get_default_dtype, set_default_dtype
from minillm.backend.layout import Block
from minillm.backend.random import default_generator
from minillm.backend.threads import alone, single_blas_thread
from minillm.nn.parameter import Parameter
from minillm.tensor import Tensor

__all__ = ["Process", "SharedBlock", "in_order", "serve"]


def in_order(model: Any) -> list[Any]:
    """Return the parameters of a model as they lie in a block: matrices first, since weight decay is for them alone."""
    return sorted(model.parameters(), key=lambda p: p.ndim < 2)


class SharedBlock(Block):
    """A block with an array for each parameter, in memory that other processes can open by the number of its file.

    Args:
        parameters: whose shapes and type the arrays have.
        file: the number of an open file that another process has made, or ``None`` to make one.
    """

    def __init__(self, parameters: Sequence[Any], file: int | None = None) -> None:
        shapes, dtype = [p.array.shape for p in parameters], parameters[0].array.dtype
        size = max(1, Block.nbytes(shapes, dtype))
        if file is None:
            if hasattr(os, "memfd_create"):  # Linux: memory without a name, gone when the last process is
                file = os.memfd_create("minillm")
            else:
                with tempfile.TemporaryFile() as f:
                    file = os.dup(f.fileno())
            os.truncate(file, size)
        self.file = file
        super().__init__(shapes, dtype, mmap.mmap(file, size))

    def close(self) -> None:
        """Close the file; the arrays stay what they are."""
        os.close(self.file)


class Process:
    """Another Python that computes the gradients of its share of every batch.

    Args:
        number: its lane of random numbers, 1 or more.
        model: is sent to it; its parameters must be views of ``weights`` from then on.
        task: is sent to it; ``without_data()``, if it has that, instead of itself.
        weights: where its parameters' arrays are, in the order of ``in_order``.

    Raises:
        OSError, ValueError, TypeError, AttributeError: if the process cannot be started, or the model or the task
            cannot be sent to it (a function without a name, for example).
    """

    def __init__(self, number: int, model: Any, task: Any, weights: SharedBlock) -> None:
        self.gradients = SharedBlock(in_order(model))
        self.number, self.ready = number, False
        self._connection, theirs = multiprocessing.Pipe()
        files = (theirs.fileno(), weights.file, self.gradients.file)
        command = [sys.executable, "-c", "from minillm.training.processes import serve; serve()", *map(str, files)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        with _stops_blocked():
            self._process = subprocess.Popen(command, pass_fds=files, env=environment, stdin=subprocess.DEVNULL)
        theirs.close()
        try:
            for kind in (Tensor, Parameter):  # which otherwise refuse to be pickled: not into files, but into this pipe
                ForkingPickler.register(kind, _as_arguments)
            task = task.without_data() if hasattr(task, "without_data") else task
            self._connection.send({"main": _main_module(), "dtype": get_default_dtype(), "number": number})
            self._connection.send((model, task))
        except BaseException:
            self.close()
            raise

    def is_ready(self) -> bool:
        """Tell whether it has read model and task.

        Raises:
            RuntimeError: if it could not.
        """
        if not self.ready and self._connection.poll():
            self._reply()
            self.ready = True
        return self.ready

    def begin(self, batches: Sequence[Any], step: Any, model: Any) -> None:
        """Tell it to compute the gradients of its share of some batches; ``model`` is what it follows."""
        end = f"#{self.number}"
        streams = {k: s.bit_generator.state for k, s in default_generator._streams.items() if k.endswith(end)}
        flags = model.training, [p.requires_grad for p in in_order(model)], is_anomaly_enabled()
        random = {"seed": default_generator.initial_seed(), "streams": streams}
        with contextlib.suppress(ConnectionError):  # ``result`` will say that it is gone
            self._connection.send((batches, step, flags, random))

    def result(self) -> tuple[float, list[np.ndarray | None]]:
        """Return its part of the mean loss, and its gradients.

        Raises:
            what the model or the task raised in it; EOFError if it has ended.
        """
        mean, used, streams = self._reply()
        for name, state in streams.items():
            default_generator.stream(name).bit_generator.state = state
        return mean, [g if u else None for g, u in zip(self.gradients.arrays, used, strict=True)]

    def _reply(self) -> Any:
        answer = self._connection.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """End it."""
        self._connection.close()  # it ends when nobody is at the other end
        self._process.kill()
        self._process.wait()
        self.gradients.close()


@contextlib.contextmanager
def _stops_blocked() -> Iterator[None]:
    """Inside, Ctrl-C, SIGTERM and SIGHUP wait. A process that is started here never sees them, even while it starts.

    Often they go to all processes of a program (from a terminal, from ``timeout``, from a cluster): the first process
    decides, and ends the others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_arguments(t: Tensor) -> Any:
    return _tensor, (type(t), t.array, t.requires_grad)


def _tensor(kind: type, array: np.ndarray, requires_grad: bool) -> Tensor:
    made: Tensor = Tensor.__new__(kind)
    made.array, made._version, made.requires_grad = array, [0], requires_grad
    return made


def _main_module() -> str | None:
    """Return the name by which another process can import what runs here as ``__main__``, if it can."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return None if spec is None or spec.name.endswith("__main__") else spec.name


def serve() -> None:
    """Be the other process: read model and task, then compute gradients until the first process is gone."""
    connection, weights, gradients = Connection(int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    with contextlib.suppress(EOFError, ConnectionError), single_blas_thread(), alone():
        about = connection.recv()
        if about["main"] is not None:  # classes that were defined in a module that was run
            import importlib

            sys.modules["__main__"] = importlib.import_module(about["main"])
        set_default_dtype(about["dtype"])
        try:
            model, task = connection.recv()
        except EOFError:
            raise
        except Exception as error:  # whatever it is, the first process goes on without this one
            connection.send(RuntimeError(f"{type(error).__name__}: {error}"))
            return
        parameters = in_order(model)
        own = SharedBlock(parameters, gradients)
        for p, array in zip(parameters, SharedBlock(parameters, weights).arrays, strict=True):
            p.array = array
        for p, place in zip(parameters, own.arrays, strict=True):
            p._grad_place = place
        connection.send("ready")
        while True:
            _share(connection, about["number"], model, task, parameters, own.arrays)


def _share(connection: Connection, number: int, model: Any, task: Any, parameters: list, gradients: list) -> None:
    """Do one step's share."""
    from minillm.training.parallel import share_of_gradients

    batches, step, (training, wanted, anomaly), random = connection.recv()
    if random["seed"] != default_generator.initial_seed() or random["streams"]:
        default_generator.set_state(random)
    model.train(training)
    for p, requires_grad in zip(parameters, wanted, strict=True):
        p.requires_grad, p.grad = requires_grad, None
    try:
        with detect_anomaly() if anomaly else contextlib.nullcontext():
            mean = share_of_gradients(model, task, number, batches, step)
    except Exception as error:
        connection.send(error)
        return
    for p, g in zip(parameters, gradients, strict=True):
        if p.grad is not None and p.grad.array is not g:  # a task that put another gradient there
            g[...] = p.grad.array
    end = f"#{number}"
    streams = {k: s.bit_generator.state for k, s in default_generator._streams.items() if k.endswith(end)}
    connection.send((mean, [p.grad is not None for p in parameters], streams))
