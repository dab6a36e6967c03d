"""The training loop of the image scaffolds: AdamW under one cycle of the learning rate, whole batches in memory.

Called by `image.py`. Equal seeds give equal networks, on one kind of processor and with one number of threads.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

BATCH: Final = 64
_WEIGHT_DECAY: Final = 0.05


def made(architecture: str, classes: int, seed: int, **arguments: Any) -> Any:
    """timm's network with weights drawn from this seed."""
    torch.manual_seed(seed)
    return timm.create_model(architecture, num_classes=classes, **arguments)


def fit(
    network: Any,
    rows: NDArray[np.float32],
    classes: NDArray[np.int64],
    *,
    epochs: int,
    seed: int,
    report: Callable[[int, int], None],
    shift: int = 0,
    mirror: bool = False,
    learning_rate: float = 2e-3,
) -> None:
    """Train on rows [n, 3, height, width] of these classes [n]; each batch moved by up to `shift` pixels, with `mirror` turned
    and mirrored. `report` is told of steps done, and of all. Leaves the network in `eval`."""
    torch.manual_seed(seed)  # of the order and the changes; the network's own weights are drawn by now
    network.train()
    images, targets = torch.from_numpy(rows), torch.from_numpy(classes)
    steps = epochs * -(-len(targets) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps, pct_start=0.2)
    done = 0
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(targets)), BATCH):
            batch = images[chosen]
            if shift:
                down, right = torch.randint(-shift, shift + 1, (2,)).tolist()
                batch = batch.roll((down, right), dims=(2, 3))
            if mirror:
                turns, flips = torch.randint(4, (2,)).tolist()
                batch = torch.rot90(batch, turns, (2, 3))
                batch = batch.flip(3) if flips % 2 else batch
            optimizer.zero_grad()
            loss: Any = cross_entropy(network(batch), targets[chosen], label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            cycle.step()
            done += 1
            report(done, steps)
    network.eval()


def share_right(network: Any, rows: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """Accuracy of the network on rows [n, 3, height, width]."""
    with torch.inference_mode():
        found = torch.cat([network(batch).argmax(1) for batch in torch.split(torch.from_numpy(rows), BATCH)])
    return float((found.numpy() == classes).mean())
