"""pkg://PACKAGE/path -> a file or folder inside an installed Python package. Its code is not imported."""

import importlib.util
import re
from pathlib import Path, PurePosixPath
from typing import Final

from moorage_predictor.errors import LoadFailed

_FORM: Final = re.compile(r"pkg://([A-Za-z_][A-Za-z0-9_]*)/(.+)")


def locate(uri: str) -> Path:
    """The file or folder.

    Raises:
        LoadFailed: no such package, nothing there, or a path that leaves the package.
    """
    match = _FORM.fullmatch(uri)
    if not match:
        raise LoadFailed(uri, "expected pkg://PACKAGE/PATH")
    name, inner = match[1], PurePosixPath(match[2])
    if inner.is_absolute() or ".." in inner.parts:
        raise LoadFailed(uri, "expected a path inside the package, without '..'")
    # For a top-level name find_spec only looks; it runs no code of the package.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise LoadFailed(uri, f"the Python package {name} is not installed here")
    for location in spec.submodule_search_locations:
        root = Path(location).resolve()
        path = (root / inner).resolve()
        if path.exists():
            if not path.is_relative_to(root):
                raise LoadFailed(uri, "the path leaves the package")
            return path
    raise LoadFailed(uri, f"the package {name} has no such file or folder")
