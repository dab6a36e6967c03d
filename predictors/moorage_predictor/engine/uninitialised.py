"""Modules built without the random numbers that training starts from. Used by `architectures.build`.

Drawing them takes seconds for a large network, and the weights overwrite every one. torch's own way, the meta device,
would leave buffers empty that no weight file holds, and its first use imports a compiler (2 s).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

_INITIALISERS: Final = "torch.nn.init"


class Uninitialised(TorchFunctionMode):
    """Within it, and in this thread only, nothing writes into a parameter in place; buffers are filled as ever."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Any function of torch, called while a module is built."""
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        if isinstance(target, Parameter) and _writes(func):
            return target
        return func(*args, **kwargs)


def _writes(func: Callable[..., Any]) -> bool:
    if getattr(func, "__module__", None) == _INITIALISERS:
        return True
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__")
