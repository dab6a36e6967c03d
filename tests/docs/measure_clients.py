"""The figures of docs/design/0002: our client beside the `kubernetes` package, on the tests' own API server.

python -m tests.docs.measure_clients

Each figure is taken in a process of its own, three times; the middle one is printed.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from tests.control_plane import binaries
from tests.control_plane.plane import ControlPlane
from tests.docs.blocks import ROOT

ROUNDS, PODS = 3, 500

PROLOGUE = """
import asyncio, sys, time
def rss(): return int(next(line for line in open('/proc/self/status') if line.startswith('VmRSS')).split()[1]) / 1024
def measured(call, times):
    for _ in range(3): call()
    memory, wall, cpu = rss(), time.perf_counter(), time.process_time()
    kept = [call() for _ in range(times)]
    print((time.perf_counter() - wall) / times * 1e3, (time.process_time() - cpu) / times * 1e3, (rss() - memory) / times)
"""
IMPORT = """
started = time.perf_counter()
{imports}
print((time.perf_counter() - started) * 1e3, time.process_time() * 1e3, rss())
"""
THEIRS = """
import kubernetes.client, kubernetes.config
kubernetes.config.load_kube_config({kubeconfig!r})
custom, core = kubernetes.client.CustomObjectsApi(), kubernetes.client.CoreV1Api()
get = lambda: custom.get_namespaced_custom_object('moorage.dev', 'v1alpha1', 'default', 'modeldeployments', 'cat')
pods = lambda: core.list_namespaced_pod('default', label_selector='measured', resource_version='0')
measured({what}, {times})
"""
OURS = """
from moorage.controller.cluster import Cluster, Resource
from moorage.controller.credentials import load
async def main():
    async with Cluster(lambda: load({{'KUBECONFIG': {kubeconfig!r}}}), lambda *_: None) as cluster:
        get = lambda: cluster.get(Resource('moorage.dev/v1alpha1', 'ModelDeployment', 'modeldeployments'), 'default', 'cat')
        pods = lambda: cluster.list(Resource('v1', 'Pod', 'pods'), 'default', 'measured')
        for _ in range(3): await {what}()
        memory, wall, cpu = rss(), time.perf_counter(), time.process_time()
        kept = {loop}
        print((time.perf_counter() - wall) / {times} * 1e3, (time.process_time() - cpu) / {times} * 1e3, (rss() - memory) / {times})
asyncio.run(main())
"""
ONE_BY_ONE = "[await {what}() for _ in range({times})]"
AT_ONCE = "await asyncio.gather(*({what}() for _ in range({times})))"


def middle(code: str) -> tuple[float, ...]:
    runs = []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-c", PROLOGUE + code], capture_output=True, text=True, check=True, cwd=ROOT
        )
        runs.append([float(word) for word in done.stdout.split()])
    return tuple(statistics.median(column) for column in zip(*runs, strict=True))


def show(label: str, code: str) -> None:
    wall_ms, cpu_ms, mib = middle(code)
    print(f"{label:<58} {wall_ms:8.1f} ms {cpu_ms:8.1f} ms CPU {mib:8.1f} MiB", flush=True)


def pod(index: int) -> dict[str, object]:
    container = {"name": "kserve-container", "image": "x", "args": ["--a=b"] * 6, "ports": [{"containerPort": 8080}]}
    metadata = {"name": f"pod-{index}", "namespace": "default", "labels": {"measured": "yes"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def main() -> None:
    show(
        "import kubernetes.client, kubernetes.config",
        IMPORT.format(imports="import kubernetes.client, kubernetes.config"),
    )
    show("import moorage.controller.cluster", IMPORT.format(imports="import moorage.controller.cluster"))
    show("import kopf, with kubernetes installed", IMPORT.format(imports="import kopf"))
    show("import kopf, without", IMPORT.format(imports="sys.modules['kubernetes'] = None; import kopf"))
    with tempfile.TemporaryDirectory() as folder:
        plane = ControlPlane(Path(folder) / "plane", binaries.find(), crds=[ROOT / "crds"])
        plane.start()
        try:
            sample = yaml.safe_load((ROOT / "manifests" / "samples" / "cat.yaml").read_text())
            sample["metadata"]["namespace"] = "default"
            plane.api.apply(sample)
            for index in range(PODS):
                plane.api.create(pod(index))
            told = {"kubeconfig": str(plane.kubeconfig)}
            for what, times, words in (("get", 500, "GET of a ModelDeployment"), ("pods", 5, f"list of {PODS} pods")):
                loop = ONE_BY_ONE.format(what=what, times=times)
                show(f"{words}, kubernetes", THEIRS.format(what=what, times=times, **told))
                show(f"{words}, ours", OURS.format(what=what, times=times, loop=loop, **told))
            loop = AT_ONCE.format(what="get", times=500)
            show("GET of a ModelDeployment, 500 at once, ours", OURS.format(what="get", times=500, loop=loop, **told))
        finally:
            plane.stop()


if __name__ == "__main__":
    main()
