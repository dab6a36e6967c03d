"""input.yaml -> the objects of a cluster, byte for byte. The sample is the one of the docs."""

from pathlib import Path

import pytest
from tests.golden.comparison import Compare

from moorage.cli.files import one_model_deployment
from moorage.cli.yamltext import to_yaml
from moorage.render import refusal, render

HERE = Path(__file__).parent
SAMPLES = HERE.parents[1] / "manifests" / "samples"
INPUTS = {path.parent.name: path for path in sorted(HERE.glob("*/input.yaml"))} | {
    f"sample_{path.stem}": path for path in sorted(SAMPLES.glob("*.yaml"))
}


@pytest.mark.parametrize("case", INPUTS)
def test_a_deployment_becomes_these_objects(case: str, golden: Compare) -> None:
    deployment = one_model_deployment(INPUTS[case])
    assert refusal(deployment) is None
    golden(HERE / case / "expected.yaml", to_yaml(render(deployment)))
