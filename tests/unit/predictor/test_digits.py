"""What fewer bits cost on handwritten digits: at most half a point, with a small convolutional network trained here."""

import copy
import importlib.util

import numpy as np
import pytest
import torch

from moorage_predictor.engine.backends import eager, openvino
from moorage_predictor.engine.precision import missing

pytestmark = pytest.mark.timeout(300)
datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


class Digits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, padding=1),
            torch.nn.BatchNorm2d(32),
            torch.nn.ReLU(),
            torch.nn.Conv2d(32, 64, 3, stride=2, padding=1),
            torch.nn.BatchNorm2d(64),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
        )
        self.last = torch.nn.Linear(64 * 16, 10)

    def forward(self, images):
        return self.last(self.features(images))


@pytest.fixture(scope="module")
def trained():
    """The network, its images [n, 3, 8, 8] for fitting and for judging, and the latter's classes."""
    torch.manual_seed(0)
    digits = datasets.load_digits()
    images = np.repeat(digits.images[:, None].astype(np.float32) / 8 - 1, 3, axis=1)
    order = np.random.default_rng(0).permutation(len(images))
    images, classes = images[order], digits.target[order]
    fit, fit_classes = torch.from_numpy(images[:1000]), torch.from_numpy(classes[:1000]).long()
    module = Digits()
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(60):
        chosen = torch.randint(len(fit), (128,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(fit[chosen]), fit_classes[chosen]).backward()
        optimizer.step()
    return module.eval().requires_grad_(False), images[:200], images[1000:], classes[1000:]


def points(backend, images, classes):
    return 100 * float((backend.forward(images).argmax(axis=1) == classes).mean())


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        ("eager", "bf16"),
        ("eager", "fp16"),
        pytest.param("openvino", "bf16", marks=needs_openvino),
        pytest.param("openvino", "int8", marks=needs_openvino),
    ],
)
def test_digits_lose_at_most_half_a_point(trained, engine, kind, tmp_path):
    if reason := missing(kind, "cpu"):
        pytest.skip(reason)
    module, fitting, images, classes = trained
    right = points(eager.make(copy.deepcopy(module), "fp32", "cpu"), images, classes)
    assert right > 95, "the network has not learnt, so nothing would be shown"
    if engine == "eager":
        backend = eager.make(copy.deepcopy(module), kind, "cpu")
    else:
        openvino.export(copy.deepcopy(module), images[:1], tmp_path, kind, fitting)
        backend = openvino.open_files(tmp_path, kind)
    found = points(backend, images, classes)
    print(f"digits: {engine} {kind} {found:.2f}, fp32 {right:.2f}")
    assert right - found <= 0.5
