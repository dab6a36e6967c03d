"""The least that serving a network costs before the first answer: `import torch`, read the weights, one forward pass.

`python bench/predictor/floor.py FOLDER` prints a line when that is done and then waits for the end of its input, so that
`processes.py` can look at its time and at its memory.
"""

import json
import sys
from pathlib import Path

import torch
from bench.models.images import networks
from safetensors.torch import load_file


def main() -> None:
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    network = networks.empty(config["architecture"], config["num_classes"])
    network.load_state_dict(load_file(folder / "model.safetensors"), assign=True)
    with torch.inference_mode():
        network(torch.zeros(1, *config["pretrained_cfg"]["input_size"]))
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
