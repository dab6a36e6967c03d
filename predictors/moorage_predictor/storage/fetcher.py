"""The child process that downloads: kserve-storage under a watch. `remote` starts it with URI FOLDER PATTERNS [HOST:PORT ...].

    Storage.download(uri, folder) ── every socket.connect ──> is the address public or allowed?
                                  └─ every path it creates ─> does a path that begins in the folder stay in it?

The watch is an audit hook: it sees redirects, changed name records, and the forks that kserve-storage makes for S3.
An object whose key holds `../` would otherwise be written outside the folder. A connection through a proxy is seen at the
proxy, which must then be allowed. Result: exit 0, or exit 1 and one JSON object on stdout.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from moorage_predictor.errors import MoorageError
from moorage_predictor.orphans import die_with_parent
from moorage_predictor.storage import uris

PATTERNS: Final = ["*.safetensors", "*.pth", "*.pt", "*.bin", "*.json", "*.txt"]
"""All that a model may consist of, beside what its task adds; more is not downloaded."""

_CREATING: Final = frozenset({"open", "os.mkdir", "os.rename", "os.symlink", "os.link"})
_UNAVAILABLE: Final = ("Connection", "Connect", "Timeout", "Endpoint", "gaierror", "ProxyError")


class Watch:
    """The audit hook."""

    def __init__(self, folder: str, allow_hosts: Sequence[str]) -> None:
        self._folder = os.path.realpath(folder) + os.sep
        self._allowed: set[tuple[str, int]] = set()
        for entry in allow_hosts:
            host, _, port = entry.rpartition(":")
            self._allowed |= {(address, int(port)) for address in uris.resolve(host.strip("[]"), int(port))}
        self.refused: str | None = None

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        # Any: that is how sys.addaudithook passes them.
        if event == "socket.connect":
            self._connect(args[1])
        elif event in _CREATING:
            for path in args[:2]:
                if isinstance(path, str) and path.startswith(self._folder):
                    self._create(path)

    def _connect(self, address: Any) -> None:
        if not isinstance(address, tuple):  # a Unix socket
            return
        host, port = str(address[0]).split("%")[0], int(address[1])
        if (host, port) in self._allowed or (port == 53):
            return
        try:
            public = uris.is_public(host)
        except ValueError:  # a name: the system resolves it, and this check does not see to what
            public = False
        if not public:
            self.refused = f"a connection to {host}:{port} was refused: not a public address"
            raise PermissionError(self.refused)

    def _create(self, path: str) -> None:
        if ".." in Path(path).parts:
            self.refused = "an object's name holds '..'"
            raise PermissionError(self.refused)


def _is_unavailable(error: BaseException | None) -> bool:
    while error is not None:
        if any(word in type(error).__name__ for word in _UNAVAILABLE):
            return True
        error = error.__cause__ or error.__context__
    return False


def main(argv: Sequence[str]) -> int:
    """Download, or say why not."""
    die_with_parent()
    uri, folder, also, *allow_hosts = argv
    watch: Watch | None = None
    try:
        watch = Watch(folder, allow_hosts)
        sys.addaudithook(watch)
        from kserve_storage import Storage

        Storage.download(uri, os.path.realpath(folder), allow_patterns=[*PATTERNS, *filter(None, also.split(","))])
    except MoorageError as error:
        return _fail(str(error), unavailable=error.retryable)
    except Exception as error:  # noqa: BLE001 - kserve-storage and five client libraries raise anything
        # Not every refusal is the cause: S3's client also asks, in vain, a metadata address for credentials.
        if watch and watch.refused and (_is_unavailable(error) or isinstance(error, PermissionError)):
            return _fail(watch.refused, unavailable=False)
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        return _fail(reason, unavailable=_is_unavailable(error))
    return 0


def _fail(reason: str, *, unavailable: bool) -> int:
    sys.stdout.write(json.dumps({"reason": reason, "unavailable": unavailable}))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
