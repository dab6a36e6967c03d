"""How large a network is, and the memory of its GPU: what the model's configuration says of it. Called by `network.load` and
`wire/model.py`.
"""

import sys
from typing import Any, Final

_MB: Final = 1_000_000


def sizes(module: Any) -> dict[str, str]:
    """Of a torch.nn.Module that nobody has frozen yet: its parameters, those that training would change, and their megabytes."""
    parameters = list(module.parameters())
    return {
        "total_parameters": str(sum(tensor.numel() for tensor in parameters)),
        "trainable_parameters": str(sum(tensor.numel() for tensor in parameters if tensor.requires_grad)),
        "model_size_mb": f"{sum(tensor.numel() * tensor.element_size() for tensor in parameters) / _MB:.1f}",
    }


def gpu_memory() -> dict[str, str]:
    """Megabytes of this process on the current CUDA device; nothing where torch has not taken one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    return {
        "gpu_allocated_mb": f"{torch.cuda.memory_allocated() / _MB:.1f}",
        "gpu_cached_mb": f"{torch.cuda.memory_reserved() / _MB:.1f}",
        "gpu_max_allocated_mb": f"{torch.cuda.max_memory_allocated() / _MB:.1f}",
    }
