"""`python -m bench.predictor`: options -> plan -> sweep -> repetitions -> tables, JSON file, RESULT line."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.harness import command, go_tools, machine, paths, servers
from bench.harness.errors import BadInput
from bench.harness.progress import progress
from bench.predictor import assets, decoding, engines, overload, ratios, show, soak, summary
from bench.predictor import plan as plans
from bench.predictor.campaign import Campaign

from moorage.api.exit_codes import ExitCode

NAME = "bench-predictor"
DEFAULT_OUTPUT = paths.ROOT / "build" / "bench" / "predictor.json"
QUICK = {
    "repetitions": 1,
    "duration_s": 2,
    "side_duration_s": 1,
    "sweep_duration_s": 1,
    "limit_duration_s": 1,
    "beside_duration_s": 0.5,
    "warmup_s": 1,
    "attempts": 1,
}


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"make {NAME}", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="to try it: one repetition, 1 to 2 s a point, no sweep")
    parser.add_argument("--skip-sweep", action="store_true", help="use the committed best points")
    parser.add_argument("--save-best-points", action="store_true", help="write what the sweep chose, for --skip-sweep")
    parser.add_argument("--only", default="", help="entrants of predictor.toml, separated by commas: ours-fp32,kserve")
    parser.add_argument("--models", default="", help="networks of predictor.toml, separated by commas: resnet18")
    parser.add_argument("--repetitions", type=int, help="how often every server is started and measured")
    parser.add_argument("--duration", type=int, help="seconds of a point that is judged; the others take half")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="where the JSON goes")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="instead: half load for so long, and its memory")
    parser.add_argument(
        "--overload", action="store_true", help="instead: five times more than it can do, and who waits"
    )
    return parser.parse_args(arguments)


def settings(chosen: argparse.Namespace, plan: plans.Plan) -> plans.Plan:
    """The plan with what the command line changes."""
    changes: dict[str, float] = dict(QUICK) if chosen.quick else {}
    for option in ("repetitions", "duration", "soak"):
        value = getattr(chosen, option)
        if value is not None and value <= 0:
            raise BadInput(f"--{option}: expected more than 0, got {value}")
    if chosen.repetitions:
        changes["repetitions"] = chosen.repetitions
    if chosen.duration:
        half = max(1, chosen.duration // 2)
        changes |= {"duration_s": chosen.duration, "limit_duration_s": chosen.duration, "side_duration_s": half}
    changed = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, **changes))
    if not chosen.quick:
        return changed
    quick = tuple(dataclasses.replace(one, warmup_s=min(one.warmup_s, 1)) for one in changed.entrants)
    return dataclasses.replace(changed, entrants=quick)


def selected(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Names separated by commas, each of which must be known, in the plan's order; none means all."""
    names = {name.strip() for name in text.split(",") if name.strip()} or set(known)
    if unknown := names - set(known):
        raise BadInput(f"{option}: expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    return tuple(name for name in known if name in names)


def run(arguments: list[str]) -> ExitCode:
    """The whole run; the last line of stdout is the RESULT."""
    chosen = options(arguments)
    plan = settings(chosen, plans.read())
    names = selected(chosen.only, tuple(one.name for one in plan.entrants), "--only")
    models = selected(chosen.models, plan.models, "--models")
    taking_part = tuple(one for one in plan.entrants if one.name in names)
    if not machine.interpreter_is_the_products():
        raise BadInput(f"run it as `make {NAME}`: it needs the project's own environment")
    if chosen.save_best_points and (chosen.quick or chosen.skip_sweep):
        raise BadInput("--save-best-points: expected a sweep, but --quick and --skip-sweep make none")
    best = None
    if chosen.skip_sweep:
        best = plans.committed_best(plan, taking_part, models)
    elif chosen.quick:
        best = plans.first_points(plan, taking_part, models)
    made = assets.ready(progress)
    go_tools.built("httpload")
    for peer in dict.fromkeys(one.peer for one in taking_part):
        progress(f"{peer}: its environment")
        servers.prepare(peer)
    if chosen.overload:
        return overload.run(taking_part[0], models[0], made, plan.settings, progress)
    if chosen.soak:
        Campaign(plan, taking_part[:1], models[:1], made, progress).build()
        return soak.run(taking_part[0], models[0], made, plan.settings, chosen.soak, progress)
    campaign = Campaign(plan, taking_part, models, made, progress)
    if best is None:
        engines.forget()
    campaign.build()
    if best is None:
        best = campaign.sweep()
    if chosen.save_best_points:
        plans.save_best(
            {
                name: best[name]
                for name, points in plans.grids(plan, taking_part, models).items()
                if len(points) > 1 and name in best
            }
        )
    extra: dict[str, float] = {}
    for number in range(1, plan.settings.repetitions + 1):
        campaign.repetition(number, best)
        if number == plan.settings.repetitions:
            extra = decoding.figure(progress, quick=chosen.quick)
        measured = _measured(campaign, plan, taking_part, extra)
        described = {**machine.describe(f"make {NAME}", arguments), "settings": asdict(plan.settings), "best": best}
        chosen.output.parent.mkdir(parents=True, exist_ok=True)  # after each, so that nothing is lost if the next fails
        chosen.output.write_text(json.dumps(described | measured, indent=1) + "\n")
    show.tables(
        summary.medians(campaign.stretches, taking_part),
        summary.processes(campaign.rows, taking_part),
        summary.limits(campaign.rows),
    )
    print(f"written to {chosen.output}")
    for name, reason in campaign.failures.items():
        print(f"{NAME}: {name} was not measured in full: {reason}", file=sys.stderr)
    print(ratios.line(measured["result"]))
    return ExitCode.UNAVAILABLE if campaign.failures else ExitCode.OK


def _measured(
    campaign: Campaign, plan: plans.Plan, entrants: Sequence[plans.Entrant], extra: dict[str, float]
) -> dict[str, Any]:
    """What the result file has of the campaign so far."""
    rows = campaign.rows
    return {
        "result": ratios.result(rows, plan, entrants) | extra,
        "failures": campaign.failures,
        "engines": engines.chosen(),
        "medians": [asdict(one) for one in summary.medians(rows.stretches, entrants)],
        "processes": [asdict(one) for one in summary.processes(rows, entrants)],
        "limits": [asdict(one) for one in summary.limits(rows)],
        "rows": [row.as_dict() for row in rows.stretches],
        "starts": [asdict(row) for row in rows.starts],
        "floors": [asdict(row) for row in rows.floors],
        "offline": [asdict(row) for row in campaign.offline],
        "sweep": [row.as_dict() for row in campaign.swept],
    }


if __name__ == "__main__":
    sys.exit(command.status(NAME, run))
