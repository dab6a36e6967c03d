from tests.builders import model_deployment

from moorage.render import Capabilities, missing

EVERYTHING = frozenset({"KServe", "ResourceMetrics"})


def lacking(gpu: dict[str, object], *offered: str) -> list[str]:
    known = Capabilities(features=EVERYTHING, extended_resources=frozenset(offered))
    needs = missing(model_deployment(predictor={"gpu": gpu}), known)
    assert needs is not None
    return [need.message for need in needs if need.feature.condition == "GPUUnavailable"]


def test_a_gpu_that_no_node_offers_is_named_with_what_to_do() -> None:
    [said] = lacking({"count": 1}, "amd.com/gpu")
    assert said.startswith(
        "spec.predictor.gpu needs GPU, and no node offers nvidia.com/gpu: no pod finds a place; add a node"
    )
    assert said.endswith("install its vendor's device plugin")
    [said] = lacking({"count": 1, "resourceName": "nvidia.com/mig-1g.10gb"}, "nvidia.com/gpu")
    assert "no node offers nvidia.com/mig-1g.10gb" in said


def test_a_gpu_that_a_node_offers_is_not_missing_and_neither_is_one_that_nobody_asks_for() -> None:
    assert lacking({"count": 1}, "nvidia.com/gpu") == []
    known = Capabilities(features=EVERYTHING, extended_resources=frozenset())
    assert missing(model_deployment(), known) == ()


def test_nothing_is_said_of_gpus_where_nodes_may_not_be_read() -> None:
    asks = model_deployment(predictor={"gpu": {"count": 1}})
    assert missing(asks, Capabilities(features=EVERYTHING)) == ()
    assert missing(asks, Capabilities()) is None
