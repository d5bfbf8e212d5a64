"""Module: parameters, buffers and other modules, found by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from minillm.backend.device import device as Device
from minillm.backend.device import is_floating
from minillm.nn.parameter import Parameter
from minillm.tensor import Tensor


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` did not find, and what it did not know."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class RemovableHandle:
    """What registering a hook returns: ``remove()`` takes the hook away."""

    def __init__(self, hooks: list[Callable], hook: Callable) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook away."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


class Module:
    """Base of all networks. A subclass makes its parts in ``__init__`` and defines ``forward``.

    Parameters, buffers and modules that become attributes are registered under the attribute's name.

    Attributes:
        training: whether the module is in training mode; dropout asks for it.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        for name, value in (
            ("training", True),
            ("_parameters", {}),
            ("_buffers", {}),
            ("_modules", {}),
            ("_transient", set()),
            ("_forward_hooks", []),
            ("_forward_pre_hooks", []),
        ):
            object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; defined by every subclass."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._forward_hooks and not self._forward_pre_hooks:
            return self.forward(*args, **kwargs)
        for hook in list(self._forward_pre_hooks):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks):
            changed = hook(self, args, result)
            result = result if changed is None else changed
        return result

    # --- attributes ------------------------------------------------------------------------------------------------
    def __setattr__(self, name: str, value: Any) -> None:
        members = self.__dict__
        if isinstance(value, (Parameter, Module)) and "_parameters" not in members:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        if isinstance(value, Parameter):
            self._forget(name, but="_parameters")  # a name that is replaced keeps its place in the order
            self._parameters[name] = value
        elif "_parameters" in members and name in self._parameters:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name} is a parameter; expected a Parameter or None, got {value!r}"
                )
            self._parameters[name] = None
        elif isinstance(value, Module):
            self._forget(name, but="_modules")
            self._modules[name] = value
        elif "_buffers" in members and name in self._buffers:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"{type(self).__name__}.{name} is a buffer; expected a Tensor or None, got {value!r}")
            self._buffers[name] = value
        elif "_modules" in members and name in self._modules:
            if value is not None:
                raise TypeError(f"{type(self).__name__}.{name} is a module; expected a Module or None, got {value!r}")
            self._modules[name] = None
        else:
            self._forget(name)
            object.__setattr__(self, name, value)

    def _forget(self, name: str, but: str = "") -> None:
        """Take a name out of wherever it is registered, except in one registry."""
        self.__dict__.pop(name, None)
        for registry in ("_parameters", "_buffers", "_modules"):
            if registry != but:
                self.__dict__.get(registry, {}).pop(name, None)
        self.__dict__.get("_transient", set()).discard(name)

    def __getattr__(self, name: str) -> Any:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no {name!r}: its __init__ must call super().__init__()")
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                return registry[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if any(name in self.__dict__.get(r, {}) for r in ("_parameters", "_buffers", "_modules")):
            self._forget(name)
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or the name of one that is absent (``None``)."""
        self._check_name(name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: expected a Parameter or None, got {type(param).__name__}")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the state but is not learned; not saved unless ``persistent``."""
        self._check_name(name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: expected a Tensor or None, got {type(tensor).__name__}")
        self._buffers[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a module."""
        self._check_name(name, self._modules)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"register_module: expected a Module or None, got {type(module).__name__}")
        self._modules[name] = module

    add_module = register_module

    def _check_name(self, name: str, registry: Mapping[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"expected a name, got {name!r}")
        if not name or "." in name:
            raise KeyError(f"expected a name without dots, got {name!r}")
        if name not in registry and hasattr(self, name):
            raise KeyError(f"attribute {name!r} exists already")

    def get_submodule(self, target: str) -> Module:
        """Return the module with a dotted name."""
        found: Any = self
        for part in target.split(".") if target else []:
            found = found._modules.get(part) if isinstance(found, Module) else None
        if not isinstance(found, Module):
            raise AttributeError(f"{type(self).__name__} has no module {target!r}")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter with a dotted name."""
        where, _, name = target.rpartition(".")
        found = self.get_submodule(where)._parameters.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer with a dotted name."""
        where, _, name = target.rpartition(".")
        found = self.get_submodule(where)._buffers.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no buffer {target!r}")
        return found

    # --- going through all parts -------------------------------------------------------------------------------------
    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield this module ("") and all below it with dotted names, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly below with their names, each once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the modules directly below."""
        return (module for _, module in self.named_children())

    def _named_members(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        all_of_it = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for where, module in all_of_it if recurse else [(prefix, self)]:
            for name, member in getattr(module, registry).items():
                if member is not None and not (remove_duplicate and id(member) in seen):
                    seen.add(id(member))
                    yield (f"{where}.{name}" if where else name), member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield parameters with dotted names; a tied one once, under its first name."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield parameters, a tied one once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield buffers with dotted names."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield buffers."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call ``fn`` on every module below and then on this one; return this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # --- modes, types, devices ---------------------------------------------------------------------------------------
    def train(self, mode: bool = True) -> Any:
        """Put this module and all below it into training mode (or out of it)."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: expected True or False, got {mode!r}")
        # Straight down, past the names and registers: generation changes the mode at every token.
        found: set[Module] = {self}
        waiting: list[Module] = [self]
        while waiting:
            module = waiting.pop()
            module.__dict__["training"] = mode
            below = [m for m in module._modules.values() if m is not None and m not in found]
            found.update(below)
            waiting += below
        return self

    def eval(self) -> Any:
        """Put this module and all below it into evaluation mode."""
        return Module.train(self, False)  # a subclass may call something else ``train``, as the seed's listing does

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Let all parameters be learned, or none."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or fill them with zeros)."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.zero_()

    def to(self, *args: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Any:
        """Move parameters and buffers to a device, and floating ones to another type, in place.

        A parameter stays the same object, so that ties and optimizers keep it; its gradient moves along.
        """
        for a in args:
            if isinstance(a, Tensor):
                device, dtype = a.device, a.dtype
            elif isinstance(a, (str, Device)):
                device = a
            elif a is not None and not isinstance(a, bool):
                dtype = np.dtype(a)
        if dtype is not None and not is_floating(np.dtype(dtype)):
            raise TypeError(f"to: expected a floating type for a module, got {dtype}")
        for t in [*self.parameters(), *self.buffers()]:
            wanted = dtype if is_floating(t.dtype) else None
            t.array = t.detach().to(device=device, dtype=wanted).array
            if t.grad is not None:
                t._grad = t.grad.to(device=device, dtype=wanted)
        return self

    def cpu(self) -> Any:
        """Move to main memory."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Any:
        """Move to the GPU."""
        return self.to("cuda")

    def float(self) -> Any:
        """Make floating parameters and buffers float32."""
        return self.to(np.float32)

    def double(self) -> Any:
        """Make floating parameters and buffers float64."""
        return self.to(np.float64)

    def half(self) -> Any:
        """Make floating parameters and buffers float16."""
        return self.to(np.float16)

    # --- state -------------------------------------------------------------------------------------------------------
    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what is saved, under all names (a tied parameter under each)."""
        for where, module in self.named_modules(remove_duplicate=False):
            for name, member in [*module._parameters.items(), *module._buffers.items()]:
                if member is not None and name not in module._transient:
                    yield (f"{where}.{name}" if where else name), member

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Return parameters and persistent buffers by dotted name; they share memory with the module."""
        return OrderedDict((prefix + name, t if keep_vars else t.detach()) for name, t in self._state())

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy a state into the module; if it cannot be done as a whole, nothing is changed.

        Args:
            state_dict: tensors by name, cast to the module's types.
            strict: refuse missing and unexpected names; otherwise they are returned.
            assign: take over the given memory instead of copying.

        Raises:
            RuntimeError: listing every name that is missing, unexpected, or has another shape.
            TypeError: if the state is no dictionary.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: expected a dictionary of tensors, got {type(state_dict).__name__}")
        own = dict(self._state())
        missing = [k for k in own if k not in state_dict]
        unexpected = [k for k in state_dict if k not in own]
        wrong = []
        for name, t in own.items():
            if name not in state_dict:
                continue
            given = state_dict[name]
            if not isinstance(given, Tensor):
                wrong.append(f"{name}: expected a Tensor, got {type(given).__name__}")
            elif given.shape != t.shape:
                wrong.append(f"{name}: the module has shape {tuple(t.shape)}, the state {tuple(given.shape)}")
        problems = [*wrong]
        if strict and missing:
            problems.append("missing: " + ", ".join(missing))
        if strict and unexpected:
            problems.append("unexpected: " + ", ".join(unexpected))
        if problems:
            raise RuntimeError(f"load_state_dict of {type(self).__name__}:\n  " + "\n  ".join(problems))
        for name, t in own.items():
            if name in state_dict:
                given = state_dict[name].detach().to(device=t.device, dtype=t.dtype)
                if assign:
                    t.array = given.array
                else:
                    t.array[...] = given.array
                t._version[0] += 1
                t.backend.changed(t.array)
        return IncompatibleKeys(missing, unexpected)

    # --- hooks and text ----------------------------------------------------------------------------------------------
    def register_forward_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; what it returns, if anything, replaces the arguments."""
        self._forward_pre_hooks.append(hook)
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, args, result)`` after forward; what it returns, if anything, replaces the result."""
        self._forward_hooks.append(hook)
        return RemovableHandle(self._forward_hooks, hook)

    def extra_repr(self) -> str:
        """Return what stands in the parentheses of the module's text."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        for name, module in self._modules.items():
            lines.append(f"({name}): " + repr(module).replace("\n", "\n  "))
        if not self._modules:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"
