"""file:///path -> that path, if it lies below --model-root. Pods have no model root."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from moorage_predictor.errors import LoadFailed


def locate(uri: str, model_root: str | None) -> Path:
    """The file or folder, links resolved.

    Raises:
        LoadFailed: no model root is set, the path is outside it, or nothing is there.
    """
    if model_root is None:
        raise LoadFailed(
            uri, "file:// is for this machine alone: add --model-root FOLDER, below which the model must lie"
        )
    parts = urlsplit(uri)
    decoded = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or "\x00" in decoded:
        raise LoadFailed(uri, "expected file:///PATH")
    root, path = Path(model_root).resolve(), Path(decoded).resolve()
    # The same words whether or not something is there: nobody learns what else is on this machine.
    if not path.is_relative_to(root) or not path.exists():
        raise LoadFailed(uri, f"no such file or folder below --model-root {root}")
    return path
