"""A torch checkpoint -> a safetensors file, read in a process of its own with `weights_only=True`.

`network.load` starts the child first and imports timm meanwhile, so the second `import torch` costs little time. There is
no way back to `weights_only=False`: that flag is what keeps a pickle from running code. It has been broken before
(CVE-2025-32434, CVE-2026-24747), which is why a process without listeners or requests does the reading.

    network.load -> Conversion(src, dst) ... import timm ... .wait() -> dst
                        └─ python -m moorage_predictor.engine.checkpoint src dst
"""

import json
import re
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moorage.api.child import python
from moorage_predictor.errors import LoadFailed
from moorage_predictor.orphans import die_with_parent

if TYPE_CHECKING:
    import torch

_TIMEOUT_S: Final = 600
_POLL_S: Final = 0.05
_REFUSED: Final = 2
_SHOWN: Final = 300
"""Characters of the last line of a child that died."""
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model")
_UNSAFE: Final = re.compile(r"(?:GLOBAL|class) ([\w.<>]+)")


class Conversion:
    """The child at work."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target
        self._process = subprocess.Popen(
            python("-m", __spec__.name, str(source), str(target)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait(self, cancelled: threading.Event) -> Path:
        """The safetensors file.

        Raises:
            LoadFailed: the checkpoint was refused, the child died or took too long, or the process is stopping.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        try:
            while (printed := self._printed()) is None:
                if cancelled.is_set():
                    raise LoadFailed(self._source, "loading was cancelled")
                if time.monotonic() > deadline:
                    raise LoadFailed(self._source, f"reading the checkpoint took longer than {_TIMEOUT_S} s")
        finally:
            self.close()
        if self._process.returncode == 0:
            return self._target
        output, errors = printed
        if self._process.returncode == _REFUSED:
            raise LoadFailed(self._source, json.loads(output)["reason"])
        reason = f"the process that reads it died with status {self._process.returncode}"
        last = errors.decode(errors="replace").strip().rpartition("\n")[2][:_SHOWN]
        raise LoadFailed(self._source, f"{reason}: {last}" if last else reason)

    def _printed(self) -> tuple[bytes, bytes] | None:
        """What it has written to stdout and stderr, which are read meanwhile: None until it has ended."""
        try:
            return self._process.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End the child if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


def state_dict_of(loaded: Any) -> "dict[str, torch.Tensor]":
    """The tensors of a checkpoint, whichever of the usual ways it was saved.

    Raises:
        ValueError: it is something else.
    """
    # Any: whatever an unpickled file holds; this function is where it gets a type.
    import torch

    while isinstance(loaded, dict) and (
        inner := next((loaded[name] for name in _WRAPPERS if _holds(loaded, name)), None)
    ):
        loaded = inner
    if not isinstance(loaded, dict) or not loaded:
        raise ValueError(f"expected a state dict, found {type(loaded).__name__}")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ValueError(f"expected tensors by name, found {type(value).__name__} under {str(key)[:80]!r}")
    return dict(loaded)


def _holds(loaded: dict[Any, Any], name: str) -> bool:
    return isinstance(loaded.get(name), dict)


def _explain(error: Exception) -> str:
    text = str(error)
    if unsafe := _UNSAFE.search(text):
        return f"refused: not only tensors, it also names {unsafe[1]} (a pickle could run code)"
    if "central directory" in text or "zip archive" in text or isinstance(error, EOFError):
        return "not a complete torch checkpoint: it is truncated or corrupt"
    return "not a torch checkpoint that weights_only=True accepts: it is corrupt or another format"


def convert(source: Path, target: Path) -> None:
    """What the child does.

    Raises:
        ValueError: the file is not a plain checkpoint; the message says why.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or 'truncated'}") from error
    except Exception as error:  # torch raises anything from UnpicklingError to KeyError on a bad file
        raise ValueError(_explain(error)) from error
    tensors = state_dict_of(loaded)
    for key, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized:
            kind = "quantized" if value.is_quantized else str(value.layout).removeprefix("torch.")
            raise ValueError(f"{key[:80]!r}: expected a plain tensor, found a {kind} one; save it dense, as float32")
    try:
        save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, target)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot be converted in {target.parent}: {' '.join(str(error).split())[:_SHOWN]}") from error


def _main() -> int:
    die_with_parent()
    source, target = map(Path, sys.argv[1:])
    try:
        convert(source, target)
    except ValueError as error:
        sys.stdout.write(json.dumps({"reason": str(error)}))
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main())
