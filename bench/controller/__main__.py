"""The controller with very many models, on a real API server on this machine: `make bench-operator`.

    python -m bench.controller [--many 1000] [--most 5000] [--idle 600] [--output RESULT.json]

Stretches, one after the other: a hundred to warm up; all applied at once; as many Deployments for the controller-manager's own
Go code; the same objects written without a controller; nothing changes; a restart; single edits, without and beside broken
models; a leader that stands still; growth to the largest number; as many deleted at once, and a new one among them. The last
line is the RESULT.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.controller import floor
from bench.controller.section import Result
from bench.controller.world import BROKEN_PREFIX, World, broken, control_plane, deployment, model_deployment, until
from bench.harness import machine
from tests.contract.controller_process import ControllerProcess

WARM_UP: Final = 100
EDITS: Final = 40
BROKEN: Final = 50
STEPS: Final = (2000, 3500)
"""Sizes between the many and the most, at which the cost is looked at too."""


def main() -> None:
    """All of it."""
    options = argparse.ArgumentParser(prog="python -m bench.controller")
    options.add_argument("--many", type=int, default=1000, help="ModelDeployments of most stretches, 40 or more")
    options.add_argument("--most", type=int, default=5000, help="ModelDeployments of the last stretch; 0 leaves it out")
    options.add_argument("--idle", type=float, default=600.0, help="seconds without a change")
    options.add_argument("--output", type=Path, help="where the figures go as JSON")
    chosen = options.parse_args()
    many, found, growth = chosen.many, dict[str, float](), list[dict[str, float]]()
    with tempfile.TemporaryDirectory() as folder, control_plane(Path(folder)) as plane:
        world = World(plane)
        world.controller.start()
        until(world.controller.leads)
        growth.append(grown(world, 0, WARM_UP))
        replica_sets(world, "warm", WARM_UP)
        growth.append(grown(world, WARM_UP, WARM_UP + many))
        found |= {f"create_{many}_s": growth[-1]["create_s"], f"status_{many}_s": growth[-1]["status_s"]}
        found[f"rss_{many}_mb"] = growth[-1]["rss_mb"]
        go_s = replica_sets(world, "go", many)
        found[f"floor_{many}_s"] = without_controller(world, many)
        found |= idle(world, chosen.idle)
        found["edit_p95_s"] = edit_p95(world, many, 9)
        found["broken_edit_p95_s"] = edit_p95_beside_broken(world, many)
        found["vs_go_controller"] = growth[1]["create_s"] / go_s
        found["vs_floor"] = growth[1]["create_s"] / found[f"floor_{many}_s"]
        found["failover_s"] = failed_over(world)
        sizes = [WARM_UP + many, *(size for size in STEPS if many < size < chosen.most), chosen.most]
        for before, after in itertools.pairwise(sizes) if chosen.most > WARM_UP + many else ():
            growth.append(grown(world, before, after))
            found[f"rss_{chosen.most}_mb"] = growth[-1]["rss_mb"]
        found |= deleted(world, many)
        world.controller.stop()
    if chosen.output:
        result: Result = {
            **machine.describe("make bench-operator", sys.argv[1:]),
            "settings": {"many": many, "most": chosen.most, "idle_s": chosen.idle},
            "result": {name: float(f"{value:.3g}") for name, value in found.items()},
            "growth": growth,
        }
        chosen.output.write_text(json.dumps(result, indent=1) + "\n")
    print("RESULT " + " ".join(f"{name}={value:.3g}" for name, value in found.items()))


def grown(world: World, before: int, after: int) -> dict[str, float]:
    """More of them, all at once: until every InferenceService is there, and every status. And what each has cost."""
    started, cpu = time.perf_counter(), world.cpu_s()
    world.apply_all([model_deployment(f"m{number}") for number in range(before, after)])
    say(f"{after - before} applied", time.perf_counter() - started)
    until(lambda: world.count("InferenceService") >= after)
    create_s = time.perf_counter() - started
    until(lambda: world.has_judged(after))
    status_s = time.perf_counter() - started
    say(f"{after - before} InferenceServices", create_s)
    say(f"{after - before} statuses", status_s)
    each_ms = {name: (now - cpu[name]) / (after - before) * 1000 for name, now in world.cpu_s().items()}
    say(f"from {before} to {after}: processor time for each in ms, of the controller,", each_ms["controller"])
    return {
        "models": after,
        "added": after - before,
        "create_s": create_s,
        "status_s": status_s,
        "rss_mb": world.rss_mb(),
        **{f"{name}_ms": value for name, value in each_ms.items()},
    }


def replica_sets(world: World, prefix: str, many: int) -> float:
    """As many Deployments for the controller-manager: seconds until each has its ReplicaSet."""
    before = world.count("ReplicaSet")
    started = time.perf_counter()
    world.apply_all([deployment(f"{prefix}{number}") for number in range(many)])
    until(lambda: world.count("ReplicaSet") >= before + many)
    say(f"{many} ReplicaSets by the controller-manager", time.perf_counter() - started)
    return time.perf_counter() - started


def without_controller(world: World, many: int) -> float:
    """The same objects by a client that only writes, while the controller is down."""
    world.controller.stop()
    floor_s = floor.written(world, many)
    say(f"{many} ModelDeployments and their children by a client that only writes", floor_s)
    world.controller.start()
    return floor_s


def idle(world: World, idle_s: float) -> dict[str, float]:
    """Nothing changes, then the controller is started anew and still nothing has."""
    time.sleep(5)
    mark, cpu_s = world.plane.audit.mark(), world.cpu_s()["controller"]
    time.sleep(idle_s)
    say(f"{idle_s:g} s without a change, of the processor", world.cpu_s()["controller"] - cpu_s)
    idle_writes = world.writes(mark)
    mark = world.plane.audit.mark()
    models = world.count("ModelDeployment")
    started = time.perf_counter()
    world.restart()
    until(lambda: world.reconciled() >= models, 120)
    restart_s = time.perf_counter() - started
    say("restarted, and all looked at,", restart_s)
    time.sleep(5)
    return {"idle_writes": idle_writes, "restart_writes": world.writes(mark), "restart_s": restart_s}


def edit_p95(world: World, many: int, replicas: int) -> float:
    """One edit among many that rest: seconds until the child has it."""
    took = []
    for number in range(EDITS):
        name = f"m{number * many // EDITS}"
        started = time.perf_counter()
        world.plane.api.apply(model_deployment(name, scaling={"minReplicas": 1, "maxReplicas": replicas}))
        while world.max_replicas(name) != replicas:
            time.sleep(0.01)
        took.append(time.perf_counter() - started)
    return statistics.quantiles(took, n=20)[-1]


def edit_p95_beside_broken(world: World, many: int) -> float:
    """The same, while others are tried again and again and cannot be made."""
    for number in range(BROKEN):
        for body in broken(f"{BROKEN_PREFIX}{number}"):
            world.plane.api.apply(body)
    until(lambda: world.broken() >= BROKEN)
    return edit_p95(world, many, 8)


def failed_over(world: World) -> float:
    """The leader stands still: seconds until a standby has made the next InferenceService."""
    standby = ControllerProcess(world.plane, world.plane.run_dir / "standby.log")
    standby.start()
    until(world.controller.leads)
    world.pause()
    started = time.perf_counter()
    world.plane.api.apply(model_deployment("late"))
    until(lambda: world.max_replicas("late") is not None)
    failover_s = time.perf_counter() - started
    world.controller.stop()
    world.controller = standby
    return failover_s


def deleted(world: World, many: int) -> dict[str, float]:
    """So many deleted at once, then one new: seconds until that has its InferenceService, and until those of all the others
    have gone. The garbage collector removes them; the controller's part is to forget."""
    left = world.count("InferenceService") - many
    started = time.perf_counter()
    world.delete_all([f"m{number}" for number in range(many)])
    asked_s = time.perf_counter() - started
    world.plane.api.apply(model_deployment("fresh"))
    until(lambda: world.max_replicas("fresh") is not None)
    fresh_s = time.perf_counter() - started - asked_s
    until(lambda: world.count("InferenceService") <= left + 1)
    delete_s = time.perf_counter() - started
    say(f"{many} deleted, and their InferenceServices gone", delete_s)
    say("memory of the controller then, MB", world.rss_mb())
    return {f"delete_{many}_s": delete_s, "fresh_beside_deletes_s": fresh_s}


def say(what: str, figure: float) -> None:
    """A line as it goes."""
    print(f"{what}: {figure:.2f}", flush=True)


if __name__ == "__main__":
    main()
