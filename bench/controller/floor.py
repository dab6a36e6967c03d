"""The same objects from a client that does nothing but write: how fast this machine's API server and store take them.

It has each ModelDeployment applied and, as soon as that has its uid, what the controller makes of it; rendered once before, so
that neither a watch nor rendering takes anything of the processors. No controller runs meanwhile.
"""

import asyncio
import json
import time
from typing import Any, Final

from bench.controller.world import World, model_deployment, until

from moorage.api.v1alpha1 import ModelDeployment
from moorage.controller.cluster import Cluster
from moorage.controller.credentials import load
from moorage.controller.observe import CHILDREN, MODEL_DEPLOYMENT
from moorage.render import render

AT_ONCE: Final = 16
NAMESPACE: Final = "bench-floor"
_NAME, _UID = "the-name-of-it", "the-uid-of-it"


def written(world: World, many: int) -> float:
    """Seconds for so many ModelDeployments with their children; they and their namespace are gone afterwards."""
    api = world.plane.api
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    try:
        return asyncio.run(_written(str(world.plane.kubeconfig), many))
    finally:
        api.delete("Namespace", None, NAMESPACE)
        until(lambda: api.get("Namespace", None, NAMESPACE) is None)


async def _written(kubeconfig: str, many: int) -> float:
    made = model_deployment(_NAME)
    made["metadata"] |= {"namespace": NAMESPACE}
    known = made | {"metadata": made["metadata"] | {"uid": _UID}}
    owner, children = json.dumps(made), json.dumps(render(ModelDeployment.model_validate(known)))
    names = iter([f"m{number}" for number in range(many)])

    async def writer(cluster: Cluster) -> None:
        for name in names:
            uid = (await cluster.apply(MODEL_DEPLOYMENT, _of(owner, name)))["metadata"]["uid"]
            *first, last = _of(children, name, uid)
            await asyncio.gather(*[cluster.apply(CHILDREN[child["kind"]], child) for child in first])
            await cluster.apply(CHILDREN[last["kind"]], last)

    async with Cluster(lambda: load({"KUBECONFIG": kubeconfig}), lambda verb, code: None) as cluster:
        started = time.perf_counter()
        await asyncio.gather(*[writer(cluster) for _ in range(AT_ONCE)])
        return time.perf_counter() - started


def _of(text: str, name: str, uid: str = "") -> Any:
    return json.loads(text.replace(_NAME, name).replace(_UID, uid))
