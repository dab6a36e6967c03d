"""One look at one ModelDeployment: observe -> render -> apply -> evaluate -> patch status if changed.

The same function serves creation, edits, restarts, child events and the resync timer; it looks at how things are, not at
what happened. The workers of `engine.py` call it and act on the `Outcome`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from moorage.api import ModelDeployment
from moorage.api.conditions import CONTESTED, INVALID_SPEC
from moorage.api.messages import causes
from moorage.controller.apply import ApplyError, NamespaceGoingError, apply
from moorage.controller.cluster import ApiError, Body, Cluster
from moorage.controller.contests import Contested
from moorage.controller.deployments import fix_of_refusal
from moorage.controller.events import Events, transitions
from moorage.controller.observe import MODEL_DEPLOYMENT, Observed, observe
from moorage.controller.pods import waits_until
from moorage.controller.status import Judged, evaluate
from moorage.controller.store import Key, Store, key_of
from moorage.render import Capabilities, Need, Refusal, RenderSettings, missing, refusal, render

log = logging.getLogger(__name__)


class Result(StrEnum):
    """How a reconciliation ended; the label of `moorage_reconciles_total`."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    RETRY = "retry"
    GONE = "gone"
    LEFT_ALONE = "left_alone"


@dataclass(frozen=True)
class Outcome:
    """How it ended, and when the next try makes sense at the earliest (for RETRY)."""

    result: Result
    retry_after_s: float = 0.0
    look_again_s: float | None = None
    """When the judgement may be another one though no event has come."""


@dataclass(frozen=True)
class Reconciler:
    """What every reconciliation needs."""

    cluster: Cluster
    store: Store
    settings: RenderSettings
    capabilities: Callable[[], Capabilities]
    clock: Callable[[], datetime]
    events: Events
    crowded: Callable[[], bool] = lambda: False
    """Whether many others wait: then their objects come before this one's status."""

    async def reconcile(self, key: Key) -> Outcome:
        """Bring one ModelDeployment's children and status to where they should be.

        Raises:
            ApiError: the API server did not take the status; to be tried again.
        """
        body = self.store.get(MODEL_DEPLOYMENT.kind, key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return Outcome(Result.GONE)  # garbage collection removes the children by their owner references
        deployment, failure = _parse(body)
        writes, new = 0, False
        retry: Outcome | None = None
        contested: Contested | None = None
        capabilities = self.capabilities()
        if deployment is not None and failure is None:
            try:
                observed = observe(self.store, key)
                manifests = render(deployment, self.settings, capabilities.keeping(observed.deployment_mode))
                incomplete, judged = _incomplete(manifests, observed), bool(body.get("status", {}).get("conditions"))
                # of one that was never judged, the first patch of its status will tell
                if judged and incomplete and await self._went_unseen(key, body):
                    return Outcome(Result.GONE)
                new = incomplete and not judged
                writes = await apply(self.cluster, self.store, deployment.metadata.uid, manifests, observed)
                if contested := self.store.contests.among((each["kind"], key_of(each)) for each in manifests):
                    failure = Refusal(CONTESTED, contested.words)
            except NamespaceGoingError:
                return Outcome(Result.GONE)
            except ApplyError as error:
                fix = fix_of_refusal(error.message)
                failure = Refusal(error.reason, f"{error.message}: {fix}" if fix else error.message)
                retry = Outcome(Result.RETRY, error.retry_after_s)
        if writes and new and self.crowded():
            return Outcome(Result.CHANGED, look_again_s=0.0)
        needs = missing(deployment, capabilities) if deployment else ()
        try:
            written = await self._write_status(key, body, deployment, failure, needs)
        except ApiError as error:
            if error.is_of_namespace or (error.code in (404, 409) and await self._went_unseen(key, body)):
                return Outcome(Result.GONE)
            raise
        if retry:
            return retry
        if failure:
            return Outcome(Result.REFUSED, look_again_s=contested.look_again_s if contested else None)
        result = Result.CHANGED if writes or written else Result.UNCHANGED
        return Outcome(result, look_again_s=self._look_again_s(key))

    def _look_again_s(self, key: Key) -> float | None:
        """Until the first pod that waits for its volumes has waited for too long: nothing happens then that would tell us."""
        now = self.clock()
        waits = (waits_until(pod) for pod in observe(self.store, key).pods)
        return min(((until - now).total_seconds() + 1.0 for until in waits if until and until > now), default=None)

    async def _went_unseen(self, key: Key, body: Body) -> bool:
        """Whether the resource is no more: kopf tells of no deletion that it missed while it was disconnected.

        Asked before a child is made again, since one without a living owner is collected, and so on for ever.
        """
        live = await self.cluster.get(MODEL_DEPLOYMENT, key.namespace, key.name)
        if live is not None and live["metadata"]["uid"] == body["metadata"]["uid"]:
            return False
        self.store.remove(MODEL_DEPLOYMENT.kind, body)
        return True

    async def _write_status(
        self,
        key: Key,
        body: Body,
        deployment: ModelDeployment | None,
        failure: Refusal | None,
        needs: tuple[Need, ...] | None,
    ) -> bool:
        before, metadata, now = body.get("status", {}), body["metadata"], self.clock()
        judged = Judged(
            name=key.name,
            generation=metadata.get("generation", 0),
            version=deployment.spec.model.version if deployment else None,
            failure=failure,
            missing=needs,
            unsafe_formats=bool(deployment and deployment.spec.model.allow_unsafe_formats),
            tls=deployment.spec.predictor.tls is not None if deployment else None,
        )
        status = evaluate(judged, observe(self.store, key), before, now)
        if status == before:
            return False
        changes = {**{name: None for name in before if name not in status}, **status}
        updated = await self.cluster.patch_status(
            MODEL_DEPLOYMENT, key.namespace, key.name, changes, metadata["resourceVersion"]
        )
        self.store.put(MODEL_DEPLOYMENT.kind, updated)
        for condition in transitions(before, status):
            log.info("condition changed", extra=_fields(key, metadata, condition))
            self.events.put(updated, condition, now)
        return True


def _incomplete(manifests: list[Body], observed: Observed) -> bool:
    present = {(kind, body["metadata"]["name"]) for kind, bodies in observed.children.items() for body in bodies}
    return any((manifest["kind"], manifest["metadata"]["name"]) not in present for manifest in manifests)


def _parse(body: Body) -> tuple[ModelDeployment | None, Refusal | None]:
    try:
        deployment = ModelDeployment.model_validate(body)
    except ValidationError as error:
        return None, Refusal(INVALID_SPEC, "; ".join(str(cause) for cause in causes(error)))
    return deployment, refusal(deployment)


def _fields(key: Key, metadata: Body, condition: dict[str, Any]) -> dict[str, Any]:
    return {
        "namespace": key.namespace,
        "object": key.name,
        "generation": metadata.get("generation", 0),
        "condition": condition["type"],
        "status": condition["status"],
        "reason": condition["reason"],
    }
