"""storageUri -> local files, verified. Called by `runtime` before the engine; the engine never sees a URI.

pkg://  -> package.py   (files of an installed package; nothing is imported, nothing is copied)
file:// -> local.py     (below --model-root only)
others  -> remote.py    (kserve-storage in a child process whose every connection is checked)
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from moorage.api.predictor import LoadProgress
from moorage_predictor.errors import LoadFailed
from moorage_predictor.storage import local, package, remote, uris

__all__ = ["fetch"]


def fetch(
    uri: str,
    *,
    into: Path,
    model_root: str | None,
    allow_hosts: Sequence[str],
    report: Callable[[LoadProgress], None],
    cancelled: threading.Event,
    also: Sequence[str] = (),
) -> Path:
    """The file or folder that `uri` names, on this machine; what must be downloaded is put in `into`. `also`: patterns of
    files that are downloaded beside those of `fetcher.PATTERNS`.

    Raises:
        LoadFailed: the URI is forbidden, or nothing is there.
        StoreUnavailable: the store does not answer.
    """
    report(LoadProgress("fetch", 0, 1))
    scheme = uris.scheme_of(uri)
    if scheme == "pkg":
        path = package.locate(uri)
    elif scheme == "file":
        path = local.locate(uri, model_root)
    elif scheme in uris.REMOTE:
        path = remote.download(uri, into, allow_hosts, cancelled, also)
    elif scheme == "pvc":
        raise LoadFailed(
            uri,
            "pvc:// is mounted by KServe in a cluster; for this machine name a copy, as file:///PATH with --model-root",
        )
    else:
        known = ", ".join(f"{name}://" for name in ("pkg", "file", *uris.REMOTE))
        raise LoadFailed(uri, f"expected one of {known}")
    report(LoadProgress("fetch", 1, 1))
    return path
