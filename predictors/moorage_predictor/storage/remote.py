"""s3://, gs://, https://, hf://, oci:// -> a folder, through kserve-storage in a child process (`fetcher`).

A child, because kserve-storage changes the environment, forks (S3), and must be stoppable; and because the child can
watch its own connections, which this process, a server, could not.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from moorage.api.child import python
from moorage_predictor.errors import LoadFailed, StoreUnavailable
from moorage_predictor.storage import uris

_POLL_S: Final = 0.1
_CHILD_ENV: Final = {
    "HF_HUB_DISABLE_XET": "1",  # its own network stack would not be watched
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


def download(
    uri: str, into: Path, allow_hosts: Sequence[str], cancelled: threading.Event, also: Sequence[str] = ()
) -> Path:
    """`into`, holding what `uri` names, as far as the patterns of `fetcher` and `also` allow.

    Raises:
        LoadFailed: the URI is forbidden, or nothing usable is there.
        StoreUnavailable: the store does not answer.
    """
    uris.check(uri, allow_hosts)
    with subprocess.Popen(
        python("-m", "moorage_predictor.storage.fetcher", uri, str(into), ",".join(also), *allow_hosts),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_CHILD_ENV},
        start_new_session=True,
    ) as child:
        output = _output_of(child, uri, cancelled)
    if child.returncode != 0:
        raise _error(uri, output, child.returncode)
    _check_files(uri, into)
    return into


def _output_of(child: subprocess.Popen[bytes], uri: str, cancelled: threading.Event) -> bytes:
    while True:
        try:
            return child.communicate(timeout=_POLL_S)[0]
        except subprocess.TimeoutExpired:
            if cancelled.is_set():
                os.killpg(child.pid, signal.SIGKILL)
                raise LoadFailed(uri, "loading was cancelled") from None


def _error(uri: str, output: bytes, status: int) -> LoadFailed | StoreUnavailable:
    try:
        report = json.loads(output)
    except ValueError:
        return LoadFailed(uri, f"the download process died with status {status}")
    if report["unavailable"]:
        return StoreUnavailable(f"{uri}: {report['reason']}")
    return LoadFailed(uri, report["reason"])


def _check_files(uri: str, into: Path) -> None:
    for path in into.rglob("*"):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise LoadFailed(uri, f"{path.relative_to(into)}: links and devices are not accepted")
