"""The least that any process needs to answer with a model: `import torch`, read the weights, one forward pass. No server
and no check. Started by `moor bench cold-start --floor` with the predictor's options; prints seconds by stage as JSON.

What finds the files and the architecture is not counted: a program for one model would know them.
"""

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moorage_predictor import BEGAN


def main() -> int:
    """The exit code: 2 if the model cannot be read, with one line on stderr."""
    import torch  # before all else: what others import as well counts as its own

    seconds = {"imports": time.monotonic() - BEGAN}

    from moorage.api.exit_codes import ExitCode
    from moorage.api.predictor import PredictorSettings
    from moorage_predictor import log
    from moorage_predictor.errors import StartError

    settings = PredictorSettings.parse(sys.argv[1:], os.environ)
    try:
        with tempfile.TemporaryDirectory(prefix="moorage-floor-") as folder:
            seconds |= _forward(_weights(settings, Path(folder)), settings.architecture)
    except StartError as error:
        log.failure(str(error), None)
        return ExitCode.INVALID_INPUT
    json.dump({"interpreter": log.age(BEGAN), **seconds}, sys.stdout)
    return ExitCode.OK if torch else ExitCode.INTERNAL


def _weights(settings: Any, folder: Path) -> Path:
    from moorage_predictor import storage
    from moorage_predictor.engine import files

    if settings.storage_uri is None:
        return files.find_weights(Path(settings.model_dir))
    found = storage.fetch(
        settings.storage_uri,
        into=folder,
        model_root=settings.model_root,
        allow_hosts=settings.storage_allow_hosts,
        report=lambda step: None,
        cancelled=threading.Event(),
    )
    return files.find_weights(found)


def _forward(weights: Path, architecture: str | None) -> dict[str, float]:
    import torch

    from moorage_predictor.engine import architectures
    from moorage_predictor.engine.config import HubConfig
    from moorage_predictor.engine.layout import recognise

    seconds: dict[str, float] = {}
    hub = HubConfig.beside(weights)
    with _counted(seconds, "load"):
        tensors = _read(weights)
    stated = (architecture or "").removeprefix("timm/") or hub.architecture
    layout = recognise(tensors, stated)
    name = stated or layout.architecture
    if name is None or not architectures.exists(name):
        raise _unknown(weights, name)
    named = {layout.names[key]: tensor for key, tensor in tensors.items()}
    config = architectures.pretrained_cfg(name)
    classifier = getattr(config, "classifier", None) or "head"
    head = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight"
    with _counted(seconds, "load"):
        module = architectures.build(name, len(named[head]) if head in named else 0, **hub.build_args()).eval()
        module.load_state_dict(named, strict=False, assign=True)
    size = architectures.data_config({**module.pretrained_cfg, **hub.pretrained_cfg.stated()})["input_size"]
    with _counted(seconds, "first answer"), torch.inference_mode():
        module(torch.zeros(1, *size))
    return seconds


def _read(weights: Path) -> dict[str, Any]:
    import torch

    from moorage_predictor.engine import checkpoint, files

    if weights.suffix in files.CHECKPOINT_SUFFIXES:
        loaded = torch.load(weights, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(weights))
        return checkpoint.state_dict_of(loaded)
    from safetensors.torch import load_file

    return dict(load_file(weights))


def _unknown(weights: Path, name: str | None) -> Exception:
    from moorage_predictor.errors import LoadFailed

    return LoadFailed(weights, f"expected an architecture of timm, found {name}")


@contextlib.contextmanager
def _counted(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
