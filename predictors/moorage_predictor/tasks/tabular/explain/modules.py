"""Sampled Shapley values of a torch module, by captum: each permutation of the features is one walk from the background's mean
to the row, so the values add up to the output, to 1e-4: captum sums in float32. Called by `estimators/torch.py`.
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from moorage_predictor.tasks.tabular.estimators import Contributions
from moorage_predictor.tasks.tabular.table import Table

SAMPLES: Final = 25
_AT_A_TIME: Final = 64
"""Perturbed copies of the rows in one forward pass."""


def contributions(estimator: Any, table: Table, chosen: NDArray[np.int64] | None, background: Table) -> Contributions:
    """Of `estimators.torch.Torch`, to the module's output for the chosen class."""
    from captum.attr import ShapleyValueSampling

    rows = torch.from_numpy(table.codes().astype(np.float32))
    start = torch.from_numpy(background.codes().astype(np.float32)).mean(dim=0, keepdim=True)

    def forward(codes: Any, picked: Any = None) -> Any:
        raw = estimator.raw(codes).to(torch.float64)
        if raw.shape[1] == 1 or picked is None:
            return raw[:, 0]
        return raw.gather(1, picked[:, None])[:, 0]

    picked = None if chosen is None else torch.from_numpy(chosen)
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(estimator.seed)
        explain = ShapleyValueSampling(forward)
        extra = {} if picked is None else {"additional_forward_args": (picked,)}
        many = max(1, _AT_A_TIME // len(rows))
        values = explain.attribute(
            rows, baselines=start.expand_as(rows), n_samples=SAMPLES, perturbations_per_eval=many, **extra
        )
        output = forward(rows, picked)
        base = forward(start.expand_as(rows), picked)
    space = "value" if chosen is None else "margin" if estimator.output == "logits" else "probability"
    return Contributions(
        values.numpy().astype(np.float64),
        base.numpy(),
        output.numpy(),
        space,  # type: ignore[arg-type]
        f"captum, {SAMPLES} permutations, seed {estimator.seed}",
    )
