"""TorchServe: `workers`, `max_batch_size` (1 is off), `max_batch_delay_ms`; for images `torch_threads`. The archive is made
anew for each start.
"""

import json
import shutil
import subprocess
from pathlib import Path

from bench.harness.errors import NotThere
from bench.harness.launch import Dialect, Launch, Place
from bench.predictor import dialects

HERE = Path(__file__).parent
CONFIGURATION = """\
inference_address=http://127.0.0.1:{0}
management_address=http://127.0.0.1:{1}
metrics_address=http://127.0.0.1:{2}
grpc_inference_port={3}
grpc_management_port={4}
disable_token_authorization=true
enable_envvars_config=false
job_queue_size=1000
load_models={name}.mar
models={models}
"""


def check() -> None:
    """What must be there besides the environment."""
    if shutil.which("java") is None:
        raise NotThere(
            "TorchServe needs Java 17, and java is not on PATH; install it: apt-get install openjdk-17-jre-headless, or "
            "name the other servers with --only"
        )


def launch(place: Place) -> Launch:
    point = place.point
    is_images = place.workload == "images"
    name = dialects.MODEL if is_images else "tiny"
    model = {
        "defaultVersion": True,
        "marName": f"{name}.mar",
        "minWorkers": point["workers"],
        "maxWorkers": point["workers"],
        "batchSize": point["max_batch_size"],
        "maxBatchDelay": point["max_batch_delay_ms"],
        "responseTimeout": 60,
    }
    configuration = place.folder / "config.properties"
    models = json.dumps({name: {"1.0": model}})
    configuration.write_text(CONFIGURATION.format(*place.ports, name=name, models=models))
    store = place.folder / "store"
    store.mkdir()
    _archive(place, store, name)
    argv = [str(place.python.with_name("torchserve")), "--start", "--foreground", "--ncs", "--disable-token-auth"]
    argv += [f"--model-store={store}", f"--ts-config={configuration}", f"--log-config={HERE / 'log4j2.xml'}"]
    environment = {"TEMP": str(place.folder), "LOG_LOCATION": str(place.folder), "METRICS_LOCATION": str(place.folder)}
    if is_images:
        return Launch(argv, dialects.v1(f"/predictions/{name}"), environment | dialects.environment(place))
    return Launch(argv, {"tiny": Dialect("/predictions/tiny", body, floats)}, environment)


def _archive(place: Place, store: Path, name: str) -> None:
    archiver = place.python.with_name("torch-model-archiver")
    command = [archiver, f"--model-name={name}", "--version=1.0", f"--handler={HERE / 'handler.py'}", "--force"]
    command.append(f"--export-path={store}")
    done = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True, cwd=place.folder
    )
    if done.returncode != 0:
        raise NotThere(f"torch-model-archiver failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")


def body(row: list[float]) -> bytes:
    return json.dumps({"x": row}, separators=(",", ":")).encode()


def floats(answer: bytes) -> list[float]:
    return json.loads(answer)["y"]
