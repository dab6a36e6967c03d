"""What the ordinary `import timm` gives, as JSON on stdout: every name, and each named architecture as built. Run by
`test_architectures` in a process of its own; `described` is used there as well.
"""

import hashlib
import json
import sys
import warnings
from typing import Any


def described(module: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Its class, its tensors' types and shapes, its buffers' contents and its data config; not its random numbers."""
    return {
        "class": type(module).__name__,
        "tensors": {key: f"{tensor.dtype} {list(tensor.shape)}" for key, tensor in module.state_dict().items()},
        "buffers": {
            key: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
            for key, tensor in module.named_buffers()
        },
        "training": module.training,
        "data": {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()},
    }


def main() -> None:
    """Print it."""
    warnings.simplefilter("ignore")
    import timm
    from timm.data import resolve_data_config
    from timm.models import _registry

    built = {}
    for name in sys.argv[1:]:
        module = timm.create_model(name, num_classes=7)
        built[name] = described(module, resolve_data_config({}, pretrained_cfg=module.pretrained_cfg))
    print(json.dumps({"files": _registry._model_to_module, "built": built}))


if __name__ == "__main__":
    main()
