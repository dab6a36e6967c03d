"""`python -m bench.protocols`: options -> plan -> sweep -> repetitions -> table, JSON file, RESULT line."""

import argparse
import dataclasses
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.harness import command, go_tools, machine, paths, servers
from bench.harness.errors import BadInput
from bench.harness.progress import progress
from bench.protocols import entrants as plans
from bench.protocols import http_load, show, summary
from bench.protocols.campaign import Campaign

from moorage.api.exit_codes import ExitCode

DEFAULT_OUTPUT = paths.ROOT / "build" / "bench" / "protocols.json"
QUICK = {"repetitions": 1, "duration_s": 2, "side_duration_s": 1, "sweep_duration_s": 1, "attempts": 1}


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-protocols", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="to try it: one repetition, 1 to 2 s a point, no sweep")
    parser.add_argument("--skip-sweep", action="store_true", help="use the committed best points")
    parser.add_argument("--save-best-points", action="store_true", help="write what the sweep chose, for --skip-sweep")
    parser.add_argument("--only", default="", help="entrants of protocols.toml, separated by commas: ours,kserve")
    parser.add_argument("--workloads", default="tiny,grpc,binary", help="of: tiny,grpc,binary")
    parser.add_argument("--repetitions", type=int, help="how often every server is started and measured")
    parser.add_argument("--duration", type=int, help="seconds of a headline point; the others take half")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="where the JSON goes")
    return parser.parse_args(arguments)


def settings(chosen: argparse.Namespace, plan: plans.Plan) -> plans.Plan:
    """The plan with what the command line changes."""
    changes: dict[str, float] = dict(QUICK) if chosen.quick else {}
    for option in ("repetitions", "duration"):
        value = getattr(chosen, option)
        if value is not None and value < 1:
            raise BadInput(f"--{option}: expected 1 or more, got {value}")
    if chosen.repetitions:
        changes["repetitions"] = chosen.repetitions
    if chosen.duration:
        changes |= {"duration_s": chosen.duration, "side_duration_s": max(1, chosen.duration // 2)}
    changed = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, **changes))
    if not chosen.quick:
        return changed
    quick = tuple(dataclasses.replace(one, warmup_s=min(one.warmup_s, 2)) for one in changed.entrants)
    return dataclasses.replace(changed, entrants=quick)


def selected(text: str, known: tuple[str, ...], option: str) -> set[str]:
    """Names separated by commas, each of which must be known; none means all."""
    names = {name.strip() for name in text.split(",") if name.strip()} or set(known)
    if unknown := names - set(known):
        raise BadInput(f"{option}: expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    return names


def run(arguments: list[str]) -> ExitCode:
    """The whole run; the last line of stdout is the RESULT."""
    chosen = options(arguments)
    plan = settings(chosen, plans.read())
    names = selected(chosen.only, tuple(one.name for one in plan.entrants), "--only")
    workloads = selected(chosen.workloads, tuple(plan.connections), "--workloads")
    taking_part = tuple(one for one in plan.entrants if one.name in names and workloads & set(one.workloads))
    if not machine.interpreter_is_the_products():
        raise BadInput("run it as `make bench-protocols`: it needs the project's own environment")
    if chosen.save_best_points and (chosen.quick or chosen.skip_sweep):
        raise BadInput("--save-best-points: expected a sweep, but --quick and --skip-sweep make none")
    best = None
    if chosen.skip_sweep:
        best = plans.committed_best(taking_part)
    elif chosen.quick:
        best = {one.name: one.points[0] for one in taking_part}
    http_load.wrk()
    if "grpc" in workloads:
        go_tools.built("grpcload")
    for peer in dict.fromkeys(one.peer for one in taking_part):
        progress(f"{peer}: its environment")
        servers.prepare(peer)
    campaign = Campaign(plan, taking_part, workloads, progress)
    if best is None:
        best = campaign.sweep()
    if chosen.save_best_points:
        plans.save_best({one.name: best[one.name] for one in taking_part if len(one.points) > 1 and one.name in best})
    rows = []
    for number in range(1, plan.settings.repetitions + 1):
        rows += campaign.repetition(number, best)
    found = summary.medians(rows, taking_part)
    written = {
        **machine.describe("make bench-protocols", arguments),
        "settings": asdict(plan.settings),
        "result": summary.result(found, plan),
        "best": best,
        "failures": campaign.failures,
        "medians": [asdict(one) for one in found],
        "rows": [row.as_dict() for row in rows],
        "sweep": [row.as_dict() for row in campaign.swept],
    }
    return _report(written, found, chosen.output)


def _report(written: dict[str, Any], found: list[summary.Median], output: Path) -> ExitCode:
    """The file, the table, the line; what could not be measured goes to stderr and into the exit status."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(written, indent=1) + "\n")
    show.table(found)
    print(f"written to {output}")
    for name, reason in written["failures"].items():
        print(f"bench-protocols: {name} was not measured in full: {reason}", file=sys.stderr)
    print(summary.line(written["result"]))
    return ExitCode.UNAVAILABLE if written["failures"] else ExitCode.OK


if __name__ == "__main__":
    sys.exit(command.status("bench-protocols", run))
