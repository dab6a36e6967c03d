"""`spec.access` on a laptop: the keys lie in a file beside the YAML file, and `moor up` has one of its own for its photo."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from moorage.access import keys, stores
from moorage.api import ModelDeployment
from moorage.cli.errors import UserError

_HEADER = "X-API-Key"


@dataclass(frozen=True)
class LocalAccess:
    """What the predictor is told, and what our own request carries. Both are empty where everybody may call."""

    settings: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def end_own_key(self) -> None:
        """After the photo nobody needs it any more."""
        if self.folder is not None:
            stores.write_file(self.folder / "own.json", [])


def keys_file(file: Path) -> Path:
    """Where the keys of a ModelDeployment's file are: `cat.keys.json` for `cat.yaml`."""
    return file.with_suffix(".keys.json")


@contextmanager
def local_access(deployment: ModelDeployment, file: Path) -> Iterator[LocalAccess]:
    """Stands in for the Secret of a cluster.

    Raises:
        UserError: the deployment has API keys, and their file is not there.
    """
    access = deployment.spec.access
    if access is None:
        yield LocalAccess()
        return
    told = {}
    if access.api_keys is not None:
        beside = keys_file(file)
        if not beside.exists():
            raise UserError(
                f"{beside}: expected the API keys of spec.access, as moor up reads no Secret: "
                f"moor keys create --file {beside}"
            )
        told["access_keys_file"] = str(beside)
    with tempfile.TemporaryDirectory(prefix="moorage-keys-") as folder:
        secret = keys.new_secret()
        own = keys.StoredKey(
            id=f"moor-up-{keys.new_id()}", hash=keys.hashed(secret), role="read-write", created=datetime.now(UTC)
        )
        stores.write_file(Path(folder) / "own.json", [own])
        told["access_keys_dir"] = folder
        yield LocalAccess(told, {_HEADER: keys.presented(own.id, secret)}, Path(folder))
