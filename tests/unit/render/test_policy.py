from tests.builders import model_deployment

from moorage.api.conditions import NOT_YET_SUPPORTED, STORAGE_URI_FORBIDDEN
from moorage.render import Refusal, refusal


def test_a_sound_deployment_is_acted_on() -> None:
    assert refusal(model_deployment()) is None


def test_what_is_not_supported_is_told_in_one_sentence() -> None:
    deployment = model_deployment(cache={"ttl": "5m"}, scaling={"minReplicas": 0})
    assert refusal(deployment) == Refusal(
        NOT_YET_SUPPORTED,
        "spec.cache is not supported yet: remove it; spec.scaling.minReplicas: 0 is not supported yet: use 1 or more",
    )


def test_a_node_s_files_are_refused_in_a_cluster_and_are_the_users_own_on_a_laptop() -> None:
    deployment = model_deployment(model={"storageUri": "file:///models/cats"})
    refused = refusal(deployment)
    assert refused is not None
    assert refused.reason is STORAGE_URI_FORBIDDEN
    assert refused.message.startswith("spec.model.storageUri: file:// names a file of the machine that reads it")
    assert refusal(deployment, local=True) is None


def test_what_is_not_supported_is_refused_on_a_laptop_too() -> None:
    assert refusal(model_deployment(cache={"ttl": "5m"}), local=True) is not None
