"""A process that serves an image classifier imports nothing that it does not need."""

import json
import subprocess
import sys
from pathlib import Path

import timm
from safetensors.torch import save_file
from tests.control_plane.process import free_ports
from tests.e2e.predictor.conftest import PATIENCE_S, PHOTOS

UNWANTED = ("kserve", "pandas", "fastapi", "kubernetes", "starlette", "torchvision", "sympy", "torch._dynamo")
SCRIPT = """
import os, signal, sys, threading, time, urllib.request
from moorage.api.predictor import PredictorSettings
from moorage_predictor import runtime

settings = PredictorSettings.parse(sys.argv[2:], {})
url = f"http://127.0.0.1:{settings.http_port}/v1/models/model:predict"
request = urllib.request.Request(url, open(sys.argv[1], "rb").read(), {"Content-Type": "image/jpeg"})

def ask():
    while True:
        try:
            answer = urllib.request.urlopen(request).read()
            break
        except OSError:
            time.sleep(0.05)
    print(answer.decode())
    print(" ".join(sys.modules), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=ask, daemon=True).start()
code = runtime.run(settings)
sys.stdout.flush()
os._exit(code)
"""


def test_an_image_classifier_is_served_without_the_sdk_and_without_torchvision(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", pretrained=False, num_classes=10)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "num_classes": 10}))
    http, grpc = free_ports(2)
    words = [f"--model-dir={tmp_path}", "--task=image-classification", f"--http-port={http}", f"--grpc-port={grpc}"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(PHOTOS / "rocket.jpg"), *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    answer, modules = done.stdout.splitlines()
    assert len(json.loads(answer)["predictions"][0]["predictions"]) == 5
    assert {"torch", "grpc"} <= set(modules.split())
    assert [name for name in UNWANTED if name in modules.split()] == []


def test_a_class_without_the_sdk_is_served_without_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Own:\n    def predict(self, inputs):\n        return inputs['instances']\n")
    (tmp_path / "numbers.json").write_text('{"instances": [1, 2]}')
    http, grpc = free_ports(2)
    words = [f"--task={tmp_path}/own.py:Own", f"--http-port={http}", f"--grpc-port={grpc}"]
    script = SCRIPT.replace("image/jpeg", "application/json")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "numbers.json"), *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    answer, modules = done.stdout.splitlines()
    assert json.loads(answer) == {"predictions": [1, 2]}
    assert [name for name in (*UNWANTED, "torch", "PIL") if name in modules.split()] == []
