"""Every rendered object is taken by KServe's own schemas, and what a user writes arrives in the pod as it was written."""

from typing import Any

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.contract.spec_table import document
from tests.control_plane.client import Api, eventually
from tests.golden.test_rendered_objects import INPUTS
from tests.unit.render.test_literal import HOSTILE, by_kubelet

from moorage.cli.files import judged
from moorage.render import render

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve")]


def test_all_golden_cases_pass_a_dry_run_against_kserves_schemas(api: Api, namespace: str) -> None:
    assert len(INPUTS) >= 20
    for path in INPUTS.values():
        for _, deployment in judged(path):
            metadata = deployment.metadata.model_copy(update={"namespace": namespace})
            for manifest in render(deployment.model_copy(update={"metadata": metadata})):
                api.apply(manifest, dry_run=True)


def test_hostile_text_arrives_literally_in_the_container(
    api: Api, namespace: str, controller: ControllerProcess
) -> None:
    """KServe's templates have run by then; the kubelet's variables are expanded as it would."""
    for index, text in enumerate(HOSTILE):
        jwt: dict[str, Any] = {"issuer": "https://a/", "jwksUri": "https://a/b", "audience": text, "subjectClaim": text}
        made = document(f"m{index}", access={"jwt": jwt}, scaling={"replicas": 1})
        made["metadata"]["namespace"] = namespace
        api.apply(made)
    for index, text in enumerate(HOSTILE):
        found = eventually(lambda index=index: api.get("Deployment", namespace, f"m{index}-predictor"))
        [container] = found["spec"]["template"]["spec"]["containers"]
        args = [by_kubelet(word) for word in container["args"]]
        assert {f"--jwt-audience={text}", f"--jwt-subject-claim={text}"} <= set(args)
