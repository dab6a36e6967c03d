"""What of a result file stands on the page."""

from typing import Any

import pytest
from bench import report
from bench.predictor import section

MEDIAN = {
    "entrant": "ours-auto",
    "role": "ours",
    "model": "resnet18",
    "protocol": "v1",
    "connections": 32,
    "rate_per_s": 0.0,
    "images_per_s": 123.4,
    "spread": 0.1,
    "p50_ms": 1.0,
    "p95_ms": 2.0,
    "p99_ms": 3.0,
    "server_cores": 1.9,
    "client_cores": 0.1,
    "disturbed": 1,
    "repetitions": 3,
}
PROCESS = {
    "entrant": "ours-auto",
    "role": "ours",
    "model": "resnet18",
    "cold_start_s": 2.5,
    "idle_rss_mib": 500,
    "idle_pss_mib": 400,
    "loaded_pss_mib": 450,
    "peak_rss_mib": 600,
}
LIMIT = {"name": "limit-ours-auto", "model": "resnet18", "split": [2, 1, 8], "images_per_s": 130.0, "one_image_ms": 8.0}


@pytest.fixture
def result() -> dict[str, Any]:
    peer = MEDIAN | {"entrant": "kserve", "role": "peer", "images_per_s": 50.0, "point": {"workers": 1}}
    return {
        "command": "make bench-predictor",
        "date": "2026-01-01",
        "machine": {"cpu": "a CPU", "cores": 2, "memory_gib": 24, "system": "Linux", "python": "3.11"},
        "versions": {"torch": "2"},
        "settings": {"repetitions": 3, "duration_s": 4},
        "result": {"images_vs_limit": 0.95},
        "medians": [peer, MEDIAN, MEDIAN | {"connections": 0, "rate_per_s": 98.7}],
        "processes": [PROCESS],
        "limits": [LIMIT],
        "engines": [
            {
                "model": "resnet18",
                "asked": {"precision": "auto", "engine": None},
                "taken": {"engine": "openvino", "precision": "bf16", "agreement": 0.995, "error": 0.01},
                "dropped": ["openvino int8: no time"],
            }
        ],
        "sweep": [peer],
        "best": {"kserve/resnet18": {"workers": 1}, "limit-ours-auto/resnet18": {"split": [2, 1, 8]}},
    }


def test_the_section_has_every_median_the_fastest_first(result: dict[str, Any]) -> None:
    text = section.text(result, "picture.svg")
    rows = [line for line in text.splitlines() if "| c=32 |" in line or "/s open |" in line]
    assert [row.split(" | ")[0] for row in rows] == ["| ours-auto", "| kserve", "| ours-auto"]
    assert "| 123.4 | 5 % | 1.0 | 2.0 | 3.0 | 1.90 | 0.10 | 1 of 3 |" in rows[0]
    assert "99/s open" in rows[2]
    assert "| kserve/resnet18 | workers 1 | 50.0 | yes |" in text
    assert "| resnet18 | auto, engine not asked for | openvino, bf16 | 99.5% | openvino int8: no time |" in text
    assert "| images_vs_limit | images a second, ours against the offline loop" in text


def test_the_picture_shows_the_limit_beside_the_servers(result: dict[str, Any]) -> None:
    throughput, starts = section.panels(result)
    assert [(bar["name"], bar["label"]) for bar in throughput["bars"]] == [
        ("limit-ours-auto", "130.0"),
        ("ours-auto", "123.4"),
        ("kserve", "50.0"),
    ]
    assert [bar["label"] for bar in starts["bars"]] == ["2.5"]


def test_only_the_sections_own_figures_are_replaced(result: dict[str, Any]) -> None:
    protocols, images = report.PROTOCOLS.begin, report.PREDICTOR.begin
    page = f"a\n{protocols}\nold\n{report.END}\nb\n{images}\nold\n{report.END}\nc\n"
    made = report.replaced(page, report.PREDICTOR, result)
    assert made.startswith(f"a\n{protocols}\nold\n{report.END}\nb\n{images}\n\n`make bench-predictor`")
    assert made.endswith(f"\n{report.END}\nc\n")
