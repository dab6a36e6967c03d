"""Load, warm up, forward: the only module of the predictor that runs torch and timm.

`load` runs in the load thread while the server already answers; a task calls `Network.forward` in a worker thread.
"""

import difflib
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from moorage.api.predictor import LoadProgress
from moorage_predictor.engine import checkpoint, files
from moorage_predictor.engine.config import DataConfig, HubConfig
from moorage_predictor.engine.layout import Layout, recognise
from moorage_predictor.errors import LoadFailed

Report = Callable[[LoadProgress], None]
Float32s = NDArray[np.float32]

_LISTED: Final = 5
_REPORTS: Final = 20


@dataclass(frozen=True)
class Network:
    """A loaded model: float32 NCHW in, logits out. Calls may run in parallel."""

    architecture: str
    num_classes: int
    data: DataConfig
    hub: HubConfig
    weights: Path
    _module: Any  # a torch.nn.Module; timm has no types

    def forward(self, batch: Float32s) -> Float32s:
        """Logits [n, classes]."""
        import torch

        with torch.inference_mode():
            logits: Float32s = self._module(torch.from_numpy(batch)).numpy()
        return logits


def load(
    path: Path, *, architecture: str | None, sha256: str | None, report: Report, cancelled: threading.Event
) -> Network:
    """The network at `path`, a weight file or the folder that holds one, warm.

    Raises:
        LoadFailed: the file is missing, corrupt, unsafe, or does not fit the architecture.
    """
    weights = files.find_weights(path)
    files.check_sha256(weights, sha256)
    hub = HubConfig.beside(weights)
    with ExitStack() as stack:
        readable = weights
        conversion = None
        if weights.suffix in files.CHECKPOINT_SUFFIXES:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="moorage-weights-"))
            conversion = checkpoint.Conversion(weights, Path(folder) / "weights.safetensors")
            stack.callback(conversion.close)
        import timm  # noqa: F401 - seconds; the conversion runs meanwhile

        report(LoadProgress("import", 2, 2))
        if conversion:
            readable = conversion.wait(cancelled)
        tensors = _read(readable, weights)
        network = _assemble(
            tensors, weights, hub, (architecture or "").removeprefix("timm/") or hub.architecture, report
        )
    _warm_up(network, report)
    return network


def _read(file: Path, named: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise LoadFailed(named, f"not a complete safetensors file: {reason}") from error
    if not tensors:
        raise LoadFailed(named, "the file holds no tensors")
    return tensors


def _assemble(
    tensors: Mapping[str, Any], weights: Path, hub: HubConfig, architecture: str | None, report: Report
) -> Network:
    layout = recognise(tensors, architecture)
    name = architecture or layout.architecture
    if name is None:
        raise LoadFailed(
            weights, "the architecture is unknown: set it (timm/NAME) or put timm's config.json beside the file"
        )
    renamed = {layout.names[key]: tensor for key, tensor in tensors.items()}
    num_classes = _count_classes(renamed, weights, hub, name)
    module = _build(name, num_classes, hub, weights)
    _fill(module, renamed, weights, name, report)
    return Network(name, num_classes, _data_config(module, layout, hub, weights), hub, weights, module)


def _count_classes(tensors: Mapping[str, Any], weights: Path, hub: HubConfig, name: str) -> int:
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(f'timm/{match}' for match in close)}?" if close else ""
        raise LoadFailed(f"timm/{name}", f"timm has no such architecture{hint}")
    config = timm.models.get_pretrained_cfg(name)
    classifier = getattr(config, "classifier", None) or "head"
    key = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight"
    found = int(tensors[key].shape[0]) if key in tensors else None
    stated = hub.num_classes or hub.pretrained_cfg.num_classes or (len(hub.label_names) if hub.label_names else None)
    if found is not None and stated is not None and found != stated:
        raise LoadFailed(weights, f"expected {stated} classes (config.json), found {found} in {key}")
    count = stated or found or getattr(config, "num_classes", 0)
    if not count:
        raise LoadFailed(weights, f"timm/{name} has no classifier here ({key} is absent), so it cannot classify images")
    return count


def _build(name: str, num_classes: int, hub: HubConfig, weights: Path) -> Any:
    import timm

    try:
        module = timm.create_model(name, pretrained=False, num_classes=num_classes, **hub.build_args())
    except (TypeError, RuntimeError, AssertionError, ValueError) as error:
        raise LoadFailed(weights, f"timm/{name} cannot be built with {hub.build_args()}: {error}") from error
    return module.eval().requires_grad_(False)


def _fill(module: Any, tensors: Mapping[str, Any], weights: Path, name: str, report: Report) -> None:
    """Copy every tensor into the module, strictly."""
    import torch

    targets = module.state_dict()
    missing = [key for key in targets if key not in tensors and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in tensors if key not in targets]
    if missing or unexpected:
        raise LoadFailed(
            weights, f"does not fit timm/{name}: {_list('missing', missing)}; {_list('unexpected', unexpected)}"
        )
    total = len(tensors)
    with torch.no_grad():
        for done, (key, tensor) in enumerate(tensors.items(), start=1):
            if tensor.shape != targets[key].shape:
                shapes = f"expected {list(targets[key].shape)}, found {list(tensor.shape)}"
                raise LoadFailed(weights, f"does not fit timm/{name}: {key}: {shapes}")
            if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
                raise LoadFailed(weights, f"{key} contains NaN")
            targets[key].copy_(tensor)
            if done == total or done % max(1, total // _REPORTS) == 0:
                report(LoadProgress("weights", done, total))


def _list(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return f"{what}: {', '.join(keys[:_LISTED]) or 'none'}{more}"


def _data_config(module: Any, layout: Layout, hub: HubConfig, weights: Path) -> DataConfig:
    """config.json before the recognised layout before timm's own for the architecture."""
    from timm.data.config import resolve_data_config

    stated = {**module.pretrained_cfg, **layout.data.stated(), **hub.pretrained_cfg.stated()}
    if hub.model_args.img_size and "input_size" not in hub.pretrained_cfg.stated():
        side = hub.model_args.img_size
        stated["input_size"] = (3, *((side, side) if isinstance(side, int) else side))
    try:
        return DataConfig.model_validate(resolve_data_config(args={}, pretrained_cfg=stated))  # type: ignore[no-untyped-call]
    except ValidationError as error:
        first = error.errors()[0]
        raise LoadFailed(weights, f"data config {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _warm_up(network: Network, report: Report) -> None:
    report(LoadProgress("warmup", 0, 1))
    batch = np.zeros((1, *network.data.input_size), dtype=np.float32)
    try:
        logits = network.forward(batch)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise LoadFailed(network.weights, f"a forward pass with input {list(batch.shape)} fails: {error}") from error
    if logits.shape != (1, network.num_classes):
        raise LoadFailed(
            network.weights, f"expected logits [1, {network.num_classes}], the network gives {list(logits.shape)}"
        )
    report(LoadProgress("warmup", 1, 1))
