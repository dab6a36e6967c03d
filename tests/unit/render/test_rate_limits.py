"""Rate limits in pods and on a laptop. The objects themselves are a golden case."""

from typing import Any

from tests.builders import model_deployment

from moorage.render import POD_HASH, local_settings, predictor_settings, render

RULES = [{"requests": 100, "per": "minute", "by": "key", "operation": "predict", "model": "cats"}]


def pod_hash(**sections: Any) -> str:
    [service] = [each for each in render(model_deployment(**sections)) if each["kind"] == "InferenceService"]
    found: str = service["spec"]["predictor"]["annotations"][POD_HASH]
    return found


def test_a_laptop_has_the_same_rules_and_counts_by_itself() -> None:
    deployment = model_deployment(rateLimits=RULES, rateLimiting={"redisUrlSecret": "limits"})
    local, pod = local_settings(deployment), predictor_settings(deployment)
    assert local.rate_limit == pod.rate_limit == ("100/minute by=key operation=predict model=cats",)
    assert local.rate_limit_redis_url_file is None
    assert pod.rate_limit_redis_url_file == "/etc/moorage/rate-limit-store/url"


def test_the_url_of_redis_is_nowhere_but_in_its_secret() -> None:
    deployment = model_deployment(rateLimits=RULES, rateLimiting={"redisUrlSecret": "limits"})
    assert "redis://" not in str(render(deployment))


def test_more_replicas_replace_pods_only_where_each_has_a_share() -> None:
    def changed(**how: str) -> bool:
        of = {"rateLimits": RULES, **({"rateLimiting": how} if how else {})}
        return pod_hash(scaling={"maxReplicas": 3}, **of) != pod_hash(scaling={"maxReplicas": 9}, **of)

    assert not changed()
    assert not changed(redisUrlSecret="limits", onStoreFailure="closed")
    assert changed(redisUrlSecret="limits", onStoreFailure="local")
