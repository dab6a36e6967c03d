"""The URL of a Redis, from a file, because it has a password in it. Used by `gate.py`, by `limits/build.py` and by `moor keys`."""

from pathlib import Path

from moorage.access.errors import ConfigurationError
from moorage.api import regular_file


def read_url(option: str, path: str | Path) -> str:
    """The file's only word.

    Raises:
        ConfigurationError: it cannot be read; the message names the option and the file.
    """
    try:
        return regular_file.read(path).decode().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise ConfigurationError(f"{option}: {path}: cannot be read: {reason}") from error
