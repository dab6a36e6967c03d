import asyncio
from typing import Any

import pytest
from aiohttp import web
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller.capabilities import Discovery, mode_word
from moorage.controller.cluster import ApiError

KSERVE = ("serving.kserve.io", "inferenceservices")
METRICS = ("metrics.k8s.io", "pods")


def group(name: str, *resources: str) -> dict[str, Any]:
    versions = [{"version": "v1", "resources": [{"resource": each} for each in resources]}]
    return {"metadata": {"name": name}, "versions": versions}


class World:
    """A server whose discovery a test changes, and what is made of it."""

    def __init__(self, connection: Connection) -> None:
        self.groups: list[dict[str, Any]] = []
        self.image = "kserve/kserve-controller:v0.20.0"
        self.answers: list[int] = []
        self.asked_for_version = 0
        self.nodes: list[dict[str, Any]] = []
        self.pages: list[str] = []
        self.server = connection.server
        self.server.faults["GET", "/apis"] = self._discovery
        self.server.faults["GET", "/deployments"] = self._deployments
        self.server.faults["GET", "/nodes"] = self._nodes
        self.discovery = Discovery(connection.cluster, poll_s=0.001)

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        tag = f'"{hash(str(self.groups))}"'
        assert "as=APIGroupDiscoveryList" in request.headers["Accept"]
        self.answers.append(304 if request.headers.get("If-None-Match") == tag else 200)
        if self.answers[-1] == 304:
            return web.Response(status=304)
        return web.json_response({"items": self.groups}, headers={"ETag": tag})

    async def _deployments(self, request: web.Request) -> web.StreamResponse:
        assert request.query["labelSelector"] == "control-plane=kserve-controller-manager"
        self.asked_for_version += 1
        containers = [{"image": "quay.io/brancz/kube-rbac-proxy:v0.18.0"}, {"image": self.image}]
        made = {"spec": {"template": {"spec": {"containers": containers}}}}
        return web.json_response({"items": [made], "metadata": {"resourceVersion": "1"}})

    async def _nodes(self, request: web.Request) -> web.StreamResponse:
        """One a page."""
        self.pages.append(request.query.get("continue", ""))
        index = int(self.pages[-1] or 0)
        more = {"continue": str(index + 1)} if index + 1 < len(self.nodes) else {}
        return web.json_response({"items": self.nodes[index : index + 1] or None, "metadata": more})


def node(**allocatable: str) -> dict[str, Any]:
    amounts = {name.replace("__", "/").replace("_", "."): amount for name, amount in allocatable.items()}
    return {"status": {"allocatable": {"cpu": "8", "hugepages-2Mi": "0", **amounts}}}


@pytest.fixture
def world(connection: Connection) -> World:
    return World(connection)


async def test_what_appears_and_goes_is_learned_without_a_restart(world: World) -> None:
    assert world.discovery.current().features is None
    world.groups = [group(*KSERVE), group("apps", "deployments")]
    assert await world.discovery.look()
    found = world.discovery.current()
    assert (found.features, found.kserve_version, found.deployment_mode) == ({"KServe"}, "0.20", "Standard")
    world.groups.append(group(*METRICS))
    assert await world.discovery.look()
    assert world.discovery.current().features == {"KServe", "ResourceMetrics"}
    world.groups = []
    assert await world.discovery.look()
    assert (world.discovery.current().features, world.discovery.current().kserve_version) == (frozenset(), None)


async def test_a_group_without_the_resource_is_not_the_feature(world: World) -> None:
    """CRDs of one group are applied one after the other."""
    world.groups = [group("serving.kserve.io", "servingruntimes")]
    await world.discovery.look()
    assert world.discovery.current().features == frozenset()


async def test_an_answer_that_nothing_has_changed_costs_no_second_question(world: World) -> None:
    world.groups = [group(*KSERVE)]
    assert await world.discovery.look()
    for _ in range(10):
        assert not await world.discovery.look()
    assert world.answers == [200] + [304] * 10
    assert world.asked_for_version == 1


async def test_an_upgrade_of_kserve_that_changes_no_resource_is_noticed(world: World) -> None:
    world.groups = [group(*KSERVE)]
    await world.discovery.look()
    world.image = "kserve/kserve-controller:v0.21.1"
    changed = [await world.discovery.look() for _ in range(40)]
    assert (sum(changed), world.discovery.current().kserve_version) == (1, "0.21")


@pytest.mark.parametrize(
    ("image", "version", "word"),
    [
        ("kserve/kserve-controller:v0.15.2", "0.15", "RawDeployment"),
        ("host:5000/kserve-controller:0.16.0-rc1", "0.16", "Standard"),
        ("kserve/kserve-controller:v0.20.0@sha256:abc", "0.20", "Standard"),
        ("kserve/kserve-controller:latest", None, "Standard"),
        ("host:5000/kserve-controller", None, "Standard"),
    ],
)
async def test_kserves_version_decides_the_word_for_plain_deployments(
    world: World, image: str, version: str | None, word: str
) -> None:
    world.groups, world.image = [group(*KSERVE)], image
    await world.discovery.look()
    assert (world.discovery.current().kserve_version, world.discovery.current().deployment_mode) == (version, word)


async def test_a_controller_that_may_not_list_deployments_takes_the_newer_word(world: World) -> None:
    world.groups = [group(*KSERVE)]
    world.server.faults["GET", "/deployments"] = status(403, "Forbidden", "no")
    await world.discovery.look()
    assert world.discovery.current().features == {"KServe"}
    assert world.discovery.current().deployment_mode == mode_word(None) == "Standard"


async def test_a_controller_of_some_namespaces_does_not_ask_for_the_version(
    world: World, connection: Connection
) -> None:
    world.groups = [group(*KSERVE)]
    discovery = Discovery(connection.cluster, clusterwide=False)
    assert await discovery.look()
    assert (discovery.current().kserve_version, world.asked_for_version) == (None, 0)


async def test_a_failure_leaves_what_is_known_and_is_asked_again(world: World) -> None:
    world.groups = [group(*KSERVE)]
    await world.discovery.look()
    answer = world.server.faults["GET", "/apis"]
    world.server.faults["GET", "/apis"] = status(503, "ServiceUnavailable", "no")
    with pytest.raises(ApiError):
        await world.discovery.look()
    assert world.discovery.current().features == {"KServe"}
    changes: list[int] = []
    task = asyncio.create_task(world.discovery.run(lambda: changes.append(1)))
    await asyncio.sleep(0.05)
    world.groups, world.server.faults["GET", "/apis"] = [group(*METRICS)], answer
    async with asyncio.timeout(2):
        while not changes:
            await asyncio.sleep(0.01)
    task.cancel()
    assert world.discovery.current().features == {"ResourceMetrics"}


async def test_a_version_that_could_not_be_asked_for_is_asked_for_again(world: World) -> None:
    world.groups = [group(*KSERVE)]
    answer = world.server.faults["GET", "/deployments"]
    world.server.faults["GET", "/deployments"] = status(500, "InternalError", "no")
    with pytest.raises(ApiError):
        await world.discovery.look()
    world.server.faults["GET", "/deployments"] = answer
    assert await world.discovery.look()
    assert world.discovery.current().kserve_version == "0.20"


async def test_what_any_node_offers_beside_cpu_and_memory_is_read_page_by_page(world: World) -> None:
    world.nodes = [node(), node(nvidia_com__gpu="4", amd_com__gpu="0"), node(example_com__fpga="1")]
    assert await world.discovery.look()
    assert world.discovery.current().extended_resources == {"nvidia.com/gpu", "example.com/fpga"}
    assert world.pages == ["", "1", "2"]


async def test_a_node_that_comes_or_goes_is_noticed_though_it_changes_no_resource(world: World) -> None:
    await world.discovery.look()
    assert world.discovery.current().extended_resources == frozenset()
    world.nodes = [node(nvidia_com__gpu="4")]
    changed = [await world.discovery.look() for _ in range(40)]
    assert (sum(changed), world.discovery.current().extended_resources) == (1, {"nvidia.com/gpu"})
    assert len(world.pages) == 2, "nodes are large, and seldom asked for"


async def test_who_may_not_list_nodes_knows_nothing_of_gpus(world: World, connection: Connection) -> None:
    of_some_namespaces = Discovery(connection.cluster, clusterwide=False)
    await of_some_namespaces.look()
    assert (of_some_namespaces.current().extended_resources, world.pages) == (None, [])
    world.server.faults["GET", "/nodes"] = status(403, "Forbidden", "no")
    await world.discovery.look()
    assert world.discovery.current().extended_resources is None
    assert world.discovery.current().features == frozenset()
