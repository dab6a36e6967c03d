"""The files that TorchServe reads at its start, and the command that starts it. Called by `process.py`.

Nothing of it is open to anybody else: HTTP listens on Unix sockets in a folder of this user's alone, gRPC, which TorchServe
cannot do without, on loopback ports of the system's choice; both want the token that TorchServe makes up at its start and
`process.py` reads. Models cannot be loaded through any of them, and the files cannot be written.
"""

import contextlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from moorage.api.child import python
from moorage.api.exit_codes import ExitCode
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import LoadFailed, StartError
from moorage_predictor.tasks.torchserve import FAILURE_FILE

_LONGEST_SOCKET_PATH: Final = 100
"""Linux takes 107 bytes."""
_TEN_YEARS_MIN: Final = 10 * 365 * 24 * 60
_MAX_MESSAGE_BYTES: Final = 1 << 30
"""Rows come from the predictor alone, which limits bodies and batches."""
_KEPT: Final = (
    "CUDA_VISIBLE_DEVICES",
    "LANG",
    "LD_LIBRARY_PATH",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)
"""Of the environment; the rest, with what credentials it may hold, is not TorchServe's business."""
_LAUNCH: Final = (
    "import os, sys; from moorage_predictor.orphans import die_with_parent; die_with_parent(); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Between us and Java, which cannot ask the kernel to end it when we end."""
_LOGGING: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <Console name="console" target="SYSTEM_OUT"><PatternLayout pattern="%p %c{1} - %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Logger name="io.netty.bootstrap" level="error"/><!-- warns at every connection that a Unix socket is no TCP -->
    <Root level="warn"><AppenderRef ref="console"/></Root>
  </Loggers>
</Configuration>
"""


class NotInstalled(StartError):  # noqa: N818 - as in errors.py
    """Something that the runtime needs is not on this machine."""

    exit_code = ExitCode.UNAVAILABLE


@dataclass(frozen=True)
class Layout:
    """Where everything of one TorchServe lies, below a folder that only this user can enter."""

    folder: Path

    def remove(self) -> None:
        """All of it."""
        for read_only in (self.store, self.read_only):
            with contextlib.suppress(OSError):
                read_only.chmod(0o700)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def store(self) -> Path:
        """The archive alone, read-only."""
        return self.folder / "store"

    @property
    def read_only(self) -> Path:
        """config.properties and the logging's configuration."""
        return self.folder / "config"

    @property
    def work(self) -> Path:
        """Its current and its temporary folder: the token, the unpacked archive, the sockets of its workers."""
        return self.folder / "work"

    @property
    def socket(self) -> Path:
        """Where it takes requests."""
        return self.work / "i.sock"

    @property
    def token(self) -> Path:
        """Where it writes what its callers must show."""
        return self.work / "key_file.json"

    @property
    def failure(self) -> Path:
        """Where the handler writes why it cannot load."""
        return self.work / "failure.txt"


def java() -> str:
    """The program.

    Raises:
        NotInstalled: there is none, or TorchServe or its archiver is missing.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise NotInstalled(
            "runtime torchserve needs Java 17, and java is not on PATH: apt-get install openjdk-17-jre-headless"
        )
    if missing := [name for name in ("ts", "model_archiver") if find_spec(name) is None]:
        raise NotInstalled(f"runtime torchserve needs {' and '.join(missing)}: pip install 'moorage[torchserve]'")
    return found


def command(program: str, layout: Layout) -> list[str]:
    """What starts it in the foreground: what TorchServe's own script would start, without the script, so that the process
    which is watched is the one that serves."""
    found = find_spec("ts")
    [package] = (found and found.submodule_search_locations) or [""]
    return [
        *python("-c", _LAUNCH, program),
        f"-Dmodel_server_home={Path(package).parent}",
        f"-Djava.io.tmpdir={layout.work}",
        f"-Dlog4j.configurationFile=file://{layout.read_only / 'log4j2.xml'}",
        "-Xmx512m",
        "-XX:+ExitOnOutOfMemoryError",
        *("-cp", f"{package}/frontend/*"),
        "org.pytorch.serve.ModelServer",
        *("--python", sys.executable),
        *("-f", str(layout.read_only / "config.properties")),
        *("-s", str(layout.store)),
        "-ncs",
    ]


def environment(layout: Layout) -> dict[str, str]:
    """Of the process and of its workers."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    folders = dict.fromkeys(("HOME", "TEMP", "TMPDIR", "LOG_LOCATION", "METRICS_LOCATION"), str(layout.work))
    return {**kept, **folders, FAILURE_FILE: str(layout.failure), "PYTHONUNBUFFERED": "1"}


def write(layout: Layout, settings: PredictorSettings, archive: Path) -> None:
    """The two files, read-only in a read-only folder.

    Raises:
        LoadFailed: the temporary folder's path is too long for a socket.
    """
    if len(os.fsencode(layout.socket)) > _LONGEST_SOCKET_PATH:
        raise LoadFailed(layout.folder, "too long a path for a Unix socket: set TMPDIR to a shorter one")
    layout.read_only.mkdir()
    texts = {"config.properties": properties(layout, settings, archive), "log4j2.xml": _LOGGING}
    for name, text in texts.items():
        file = layout.read_only / name
        file.write_text(text)
        file.chmod(0o400)
    layout.read_only.chmod(0o500)


def properties(layout: Layout, settings: PredictorSettings, archive: Path) -> str:
    """config.properties."""
    model = {
        "defaultVersion": True,
        "marName": archive.name,
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": 1,  # rows share a batch before they come here
        "maxBatchDelay": 1,
        "responseTimeout": int(settings.forward_timeout_s) or 86_400,
        "startupTimeout": 86_400,  # who started the predictor decides how long to wait
    }
    stated = {
        "inference_address": f"unix:{layout.socket}",
        "management_address": f"unix:{layout.work / 'm.sock'}",
        "metrics_address": f"unix:{layout.work / 'x.sock'}",
        "grpc_inference_address": "127.0.0.1",
        "grpc_inference_port": 0,
        "grpc_management_address": "127.0.0.1",
        "grpc_management_port": 0,
        "disable_token_authorization": "false",
        "token_expiration_min": _TEN_YEARS_MIN,
        "enable_model_api": "false",
        "enable_metrics_api": "false",
        "enable_envvars_config": "false",
        "use_env_allowed_urls": "false",
        "allowed_urls": "file:///nowhere",
        "install_py_dep_per_model": "false",
        "disable_system_metrics": "true",
        "model_store": layout.store,
        "load_models": archive.name,
        "models": json.dumps({settings.model_name: {settings.model_version: model}}),
        "job_queue_size": 1000,  # what waits is counted by the predictor
        "max_request_size": _MAX_MESSAGE_BYTES,
        "max_response_size": _MAX_MESSAGE_BYTES,
        "number_of_netty_threads": 2,
        "netty_client_threads": 2,
    }
    return "".join(f"{name}={value}\n" for name, value in stated.items())
