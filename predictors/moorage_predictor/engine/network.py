"""Load, warm up, forward: the module of the predictor that runs a network.

`load` runs in the load thread while the server already answers; a task calls `Network.forward` in a worker thread.
"""

import logging
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from moorage.api.predictor import LoadProgress
from moorage_predictor.engine import architectures, checkpoint, dinov3, files, info, plan, running
from moorage_predictor.engine import weights as stored
from moorage_predictor.engine.backend import Backend, Float32s, Unavailable
from moorage_predictor.engine.config import DataConfig, HubConfig
from moorage_predictor.engine.layout import Layout, recognise, with_classifier
from moorage_predictor.engine.options import EngineOptions
from moorage_predictor.engine.plan import Plan
from moorage_predictor.errors import LoadFailed

if TYPE_CHECKING:
    from moorage_predictor.engine.inspection import Inspectable

_log = logging.getLogger(__name__)

Report = Callable[[LoadProgress], None]


@dataclass(frozen=True)
class Network:
    """A loaded model: float32 NCHW in, logits out; of a backbone without a classifier (num_classes 0) its features. Calls may
    run in parallel."""

    architecture: str
    num_classes: int
    data: DataConfig
    hub: HubConfig
    weights: Path
    backend: Backend
    inspect: "Inspectable | None" = None
    """Gives features and attention; None: nobody may ask for them."""
    sizes: dict[str, str] = field(default_factory=dict)
    """How large it is, for the model's configuration."""
    told: dict[str, str] = field(default_factory=dict)
    """Why this engine, for the model's configuration."""

    def describe(self) -> dict[str, str]:
        """What it is and how it runs, for the model's configuration."""
        return {
            "variant": self.architecture,
            **self.sizes,
            "num_classes": str(self.num_classes),
            "data_config": self.data.model_dump_json(),
            **self.backend.describe(),
            **self.told,
        }

    def forward(self, batch: Float32s, threads: int | None = None) -> Float32s:
        """Logits [n, classes] of any n >= 1, made with so many cores; None is all of the pod's."""
        return self.backend.forward(batch, threads)


def load(
    path: Path,
    *,
    architecture: str | None,
    sha256: str | None,
    report: Report,
    cancelled: threading.Event,
    options: EngineOptions | None = None,
) -> Network:
    """The network at `path`, a weight file or the folder that holds one, warm.

    Raises:
        LoadFailed: the file is missing, corrupt, unsafe, or does not fit the architecture.
    """
    weights = files.find_weights(path)
    files.check_sha256(weights, sha256)
    hub = HubConfig.beside(weights)
    options = options or EngineOptions()
    planned = plan.make(weights, architecture, sha256, options, cancelled)
    network = _opened(planned, weights, hub)
    if network and not running.kept_beside(options, network.num_classes):
        report(LoadProgress("import", 2, 2))
        report(LoadProgress("weights", 1, 1))
        _warm_up(network, report)
        return network
    with ExitStack() as stack:
        readable = weights
        conversion = None
        if weights.suffix in files.CHECKPOINT_SUFFIXES:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="moorage-weights-"))
            conversion = checkpoint.Conversion(weights, Path(folder) / "weights.safetensors")
            stack.callback(conversion.close)
        files.read_ahead(weights)
        import torch  # noqa: F401 - seconds; the conversion runs meanwhile, and the disk

        report(LoadProgress("import", 2, 2))
        if conversion:
            readable = conversion.wait(cancelled)
        tensors = stored.read(readable, weights)
        name = (architecture or "").removeprefix("timm/") or hub.architecture
        network = _assemble(tensors, weights, hub, name, report, planned, options, network)
    _warm_up(network, report)
    return network


def _assemble(
    tensors: Mapping[str, Any],
    weights: Path,
    hub: HubConfig,
    architecture: str | None,
    report: Report,
    planned: Plan,
    options: EngineOptions,
    opened: Network | None,
) -> Network:
    """With an engine that is open already, only what `inspect` needs is built."""
    layout = recognise(tensors, architecture)
    name = architecture or layout.architecture
    if name is None:
        raise LoadFailed(
            weights, "the architecture is unknown: set it (timm/NAME) or put timm's config.json beside the file"
        )
    named = {layout.names[key]: tensor for key, tensor in tensors.items()}
    classifier = _classifier(name)
    renamed = with_classifier(named, classifier)
    num_classes = _count_classes(renamed, weights, hub, name, classifier)
    module = _build(name, num_classes, {**layout.build_args, **hub.build_args()}, weights)
    sizes = info.sizes(module)
    module.requires_grad_(False)
    if layout.released:
        renamed = _from_release(renamed, module, classifier, weights, name)
    stored.fill(module, renamed, weights, name, report)
    data = _data_config(module, layout, hub, weights)
    backend, inspect = running.engines(planned, module, data, options, opened.backend if opened else None, num_classes)
    return Network(name, num_classes, data, hub, weights, backend, inspect, sizes, planned.told)


def _opened(planned: Plan, weights: Path, hub: HubConfig) -> Network | None:
    """The network from its artifact alone, for which torch is not even imported; None if it must be built."""
    if planned.artifact is None or not planned.artifact.has_files:
        return None
    from moorage_predictor.engine import artifacts

    try:
        backend = artifacts.open_backend(planned.artifact)
    except Unavailable as error:
        _log.warning("an engine artifact is not used", extra={"reason": str(error)})
        return None
    described = planned.artifact.record.network
    return Network(
        described.architecture,
        described.num_classes,
        described.data,
        hub,
        weights,
        backend,
        sizes=described.sizes,
        told=planned.told,
    )


def _classifier(name: str) -> str:
    """What timm calls this architecture's linear classifier."""
    if not architectures.exists(name):
        close = architectures.close_matches(name)
        hint = f"; did you mean {', '.join(f'timm/{match}' for match in close)}?" if close else ""
        raise LoadFailed(f"timm/{name}", f"timm has no such architecture{hint}")
    try:
        config = architectures.pretrained_cfg(name)
    except RuntimeError as error:
        raise LoadFailed(f"timm/{name}", str(error)) from error
    classifier = getattr(config, "classifier", None) or "head"
    return classifier if isinstance(classifier, str) else str(classifier[0])


def _count_classes(tensors: Mapping[str, Any], weights: Path, hub: HubConfig, name: str, classifier: str) -> int:
    key = f"{classifier}.weight"
    found = int(tensors[key].shape[0]) if key in tensors else None
    if found is None and 0 in (hub.num_classes, hub.pretrained_cfg.num_classes):
        return 0
    stated = hub.num_classes or hub.pretrained_cfg.num_classes or (len(hub.label_names) if hub.label_names else None)
    if found is not None and stated is not None and found != stated:
        raise LoadFailed(weights, f"expected {stated} classes (config.json), found {found} in {key}")
    return stated or found or getattr(architectures.pretrained_cfg(name), "num_classes", 0) or 0


def _from_release(tensors: dict[str, Any], module: Any, classifier: str, weights: Path, name: str) -> dict[str, Any]:
    """The tensors of Meta's release in timm's names; a classifier, which is not the release's, stays as it is."""
    if reason := dinov3.misfit(tensors, name):
        raise LoadFailed(weights, f"does not fit timm/{name}: {reason}")
    own = {key: tensors[key] for leaf in ("weight", "bias") if (key := f"{classifier}.{leaf}") in tensors}
    try:
        converted = dinov3.converted({key: value for key, value in tensors.items() if key not in own}, module)
    except (KeyError, RuntimeError, ValueError, AttributeError):
        return tensors  # which do not fit: `fill` names those that are missing and those that are too many
    return {**converted, **own}


def _build(name: str, num_classes: int, args: dict[str, Any], weights: Path) -> Any:
    try:
        module = architectures.build(name, num_classes, **args)
    except (TypeError, RuntimeError, AssertionError, ValueError) as error:
        raise LoadFailed(weights, f"timm/{name} cannot be built with {args}: {error}") from error
    return module.eval()


def _data_config(module: Any, layout: Layout, hub: HubConfig, weights: Path) -> DataConfig:
    """config.json before the recognised layout before timm's own for the architecture."""
    stated = {**module.pretrained_cfg, **layout.data.stated(), **hub.pretrained_cfg.stated()}
    if hub.model_args.img_size and "input_size" not in hub.pretrained_cfg.stated():
        side = hub.model_args.img_size
        stated["input_size"] = (3, *((side, side) if isinstance(side, int) else side))
    try:
        return DataConfig.model_validate(architectures.data_config(stated))
    except ValidationError as error:
        first = error.errors()[0]
        raise LoadFailed(weights, f"data config {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _warm_up(network: Network, report: Report) -> None:
    report(LoadProgress("warmup", 0, 1))
    batch = np.zeros((1, *network.data.input_size), dtype=np.float32)
    try:
        logits = _first_logits(network, batch)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise LoadFailed(network.weights, f"a forward pass with input {list(batch.shape)} fails: {error}") from error
    if logits.shape != (1, network.num_classes or logits.shape[-1]):
        raise LoadFailed(
            network.weights, f"expected logits [1, {network.num_classes}], the network gives {list(logits.shape)}"
        )
    if not np.isfinite(logits).all():
        raise LoadFailed(network.weights, "expected finite logits of a black image, the network gives NaN or infinity")
    report(LoadProgress("warmup", 1, 1))


def _first_logits(network: Network, batch: Float32s) -> Float32s:
    """Of what runs it. What looks into it is the same, and then needs no pass of its own, or another copy."""
    if network.inspect is None:
        return network.forward(batch)
    logits = network.inspect.verified(batch)
    return logits if network.inspect.engine is network.backend else network.forward(batch)
