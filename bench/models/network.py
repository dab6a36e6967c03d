"""The tiny network, 4 -> 16 -> 3, and what it must answer. Plain torch: every server of the bench imports this module.

`python -m bench.models.network COUNT` prints COUNT rows and the network's answers as JSON; the bench compares with them.
"""

import json
import sys

import torch

SEED = 7


def build() -> torch.nn.Module:
    """The same weights in every process."""
    generator = torch.Generator().manual_seed(SEED)
    network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return network.eval()


def answer(network: torch.nn.Module, rows: list[list[float]]) -> list[list[float]]:
    """What peers without tensors of their own call: lists in, lists out."""
    with torch.inference_mode():
        return network(torch.tensor(rows, dtype=torch.float32)).tolist()


def sample_rows(count: int) -> list[list[float]]:
    """Rows that differ, with short decimals as people type them; the first is the one of the load."""
    return [[round(value + 0.1 * number, 1) for value in (5.1, 3.5, 1.4, 0.2)] for number in range(count)]


if __name__ == "__main__":
    rows = sample_rows(int(sys.argv[1]))
    network = build()
    json.dump({"rows": rows, "answers": [answer(network, [row])[0] for row in rows]}, sys.stdout)
