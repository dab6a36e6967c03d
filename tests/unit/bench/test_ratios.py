"""The figures of the RESULT line, from rows made up here."""

import dataclasses

import pytest
from bench.harness.footprint import Footprint
from bench.harness.load import Load
from bench.harness.meter import Measured
from bench.predictor import plan as plans
from bench.predictor import ratios
from bench.predictor.plan import Entrant, Plan
from bench.predictor.rows import FloorRow, LimitRow, Rows, Start, Stretch

MODEL = "resnet18"


@pytest.fixture
def plan() -> Plan:
    return dataclasses.replace(plans.read(), models=(MODEL,))


def entrants(plan: Plan, *names: str) -> tuple[Entrant, ...]:
    return tuple(one for one in plan.entrants if one.name in names)


def stretch(
    entrant: str, images_per_s: float, connections: int = 8, protocol: str = "v1", repetition: int = 1
) -> Stretch:
    load = Load(
        requests=round(images_per_s * 10), seconds=10, p50_ms=30, p95_ms=40, p99_ms=50, failed=0, checked=1, wrong=0
    )
    measured = Measured(load, 1.9, 0.1, 0.0, 600)
    return Stretch(repetition, entrant, MODEL, {}, protocol, connections, 0.0, measured, 1, False)


def both(entrant: str, images_per_s: float, repetition: int = 1) -> list[Stretch]:
    return [stretch(entrant, images_per_s, connections, repetition=repetition) for connections in (8, 32)]


def start(entrant: str, seconds: float, pss_mib: float) -> Start:
    memory = Footprint(pss_mib, pss_mib, pss_mib)
    return Start(1, entrant, MODEL, seconds, memory, memory)


def limit(images_per_s: float, connections: int = 8, batch_ms: float = 0, repetition: int = 1) -> LimitRow:
    name = "limit-ours-fp32"
    return LimitRow(repetition, name, MODEL, [2, 1, 8], images_per_s, batch_ms, 0.0, "v1", connections)


FLOORS = [FloorRow(number, MODEL, 2.0, Footprint(500, 400, 500)) for number in (1, 2, 3)]


def test_ours_is_compared_with_the_best_peer_at_each_load_and_the_worst_load_counts(plan: Plan) -> None:
    rows = [*both("ours-fp32", 60), *both("kserve", 20), stretch("litserve", 30, 8), stretch("litserve", 40, 32)]
    taking_part = entrants(plan, "ours-fp32", "kserve", "litserve")
    assert ratios.result(Rows(rows, [], FLOORS, []), plan, taking_part) == {"images_fp32_vs_best_peer": 1.5}


def test_the_slower_protocol_of_ours_counts(plan: Plan) -> None:
    rows = [*both("ours-fp32", 60), stretch("ours-fp32", 30, 8, "v2"), *both("kserve", 20)]
    found = ratios.result(Rows(rows, [], FLOORS, []), plan, entrants(plan, "ours-fp32", "kserve"))
    assert found["images_fp32_vs_best_peer"] == 1.5


def test_a_ratio_is_taken_within_a_repetition_and_the_median_counts(plan: Plan) -> None:
    rows, limits = [], []
    for repetition, speed in ((1, 100), (2, 50), (3, 10)):
        rows += both("ours-fp32", 0.9 * speed, repetition)
        limits += [limit(speed * way, connections, 0, repetition) for connections in (8, 32) for way in (0.9, 1.1)]
    assert ratios.result(Rows(rows, [], FLOORS, limits), plan, entrants(plan, "ours-fp32"))["images_vs_limit"] == 0.9


def test_a_stretch_is_compared_with_the_loops_right_before_and_after_it(plan: Plan) -> None:
    rows, limits = [*both("ours-fp32", 90)], [limit(90, 8), limit(110, 8), limit(200, 32), limit(100, 32)]
    assert ratios.result(Rows(rows, [], FLOORS, limits), plan, entrants(plan, "ours-fp32"))["images_vs_limit"] == 0.6


def test_one_connection_is_compared_with_one_offline_image_right_before_and_after_it(plan: Plan) -> None:
    rows = [stretch("ours-fp32", 30, connections=1)]  # p50 30 ms
    limits = [limit(40, 1, 24), limit(40, 1, 26), limit(40, 8, 300)]
    found = ratios.result(Rows(rows, [], FLOORS, limits), plan, entrants(plan, "ours-fp32"))
    assert found == {"image_p50_vs_offline": 1.2}


def test_starts_are_compared_with_the_floor_and_with_the_quickest_peer(plan: Plan) -> None:
    starts = [start("ours-eager", 2.5, 450), start("kserve", 5, 900), start("ray", 20, 3000)]
    found = ratios.result(Rows([], starts, FLOORS, []), plan, entrants(plan, "ours-eager", "kserve", "ray"))
    assert found == {"cold_start_vs_floor": 1.25, "cold_start_vs_best_peer": 0.5, "idle_pss_vs_floor": 1.125}


def test_what_was_not_measured_is_left_out_of_the_line(plan: Plan) -> None:
    assert ratios.line(ratios.result(Rows([], [], FLOORS, []), plan, plan.entrants)) == "RESULT"
