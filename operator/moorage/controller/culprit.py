"""Which object keeps a model's copies from answering. Pure; `predictor.py` and `moor explain` ask the same question here.

Of pods only those of the latest change are asked, and those that have ended for good (evicted, for instance) after everything
else: they are kept for their story, and somebody else may be why no other pod has come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from moorage.api.conditions import PODS_REFUSED, Reason
from moorage.controller.deployments import pod_hash, refusal_of_pods
from moorage.controller.pods import exists, is_ready, worst_trouble
from moorage.render import POD_HASH

Body = dict[str, Any]


@dataclass(frozen=True)
class Culprit:
    """The object, the facts with the limit that was met, and what to do."""

    kind: Literal["Pod", "Deployment"]
    name: str
    reason: Reason
    said: str
    fix: str

    @property
    def message(self) -> str:
        """All of it, for a condition."""
        return f"{'pod' if self.kind == 'Pod' else self.kind} {self.name}: {self.said}: {self.fix}"


def wanted_hash(service: Body) -> str | None:
    """What the pods of an InferenceService's latest change have as their `pod_hash`."""
    found: str | None = service["spec"]["predictor"].get("annotations", {}).get(POD_HASH)
    return found


def of_latest_change(pods: Sequence[Body], wanted: str | None) -> list[Body]:
    """The pods that have the latest change; all of them if none has it yet."""
    return [pod for pod in pods if pod_hash(pod) == wanted] or list(pods)


def culprit(
    current: Sequence[Body], deployments: Sequence[Body], now: datetime, *, ended: bool = True
) -> Culprit | None:
    """The object, or None if nothing is wrong: then what is missing is on its way.

    Args:
        current: the pods of the latest change.
        deployments: KServe's.
        now: timezone-aware.
        ended: whether pods that have ended for good count. Beside good copies they do not: others have taken their place.
    """
    return (
        _pods([pod for pod in current if exists(pod) and not is_ready(pod)], now)
        or next(filter(None, map(_refused, deployments)), None)
        or (_pods([pod for pod in current if not exists(pod)], now) if ended else None)
    )


def _pods(pods: list[Body], now: datetime) -> Culprit | None:
    trouble = worst_trouble(pods, now)
    return Culprit("Pod", trouble.pod, trouble.reason, trouble.said, trouble.fix) if trouble else None


def _refused(deployment: Body) -> Culprit | None:
    refused = refusal_of_pods(deployment)
    return Culprit("Deployment", deployment["metadata"]["name"], PODS_REFUSED, *refused) if refused else None
