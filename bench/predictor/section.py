"""The section of docs/reference/benchmarks.md about images, from a result file. Called by bench/report.py."""

from typing import Any

from bench.harness import markdown

Result = dict[str, Any]

WORST = "the worse of the two networks"
MEANINGS = {
    "images_vs_limit": "images a second, ours against the offline loop, the worst of settings, networks, loads, protocols",
    "images_fp32_vs_best_peer": f"images a second in fp32 against the best peer, {WORST}",
    "images_auto_vs_best_peer": f"images a second with `--precision=auto` against the best peer, {WORST}",
    "images_int8_vs_best_peer": "images a second with `--precision=int8` against the best peer, resnet18",
    "image_p50_vs_offline": f"our median at one connection against one offline image, worst setting, {WORST}; less is better",
    "cold_start_vs_floor": f"our cold start against the floor, {WORST}; less is better",
    "cold_start_vs_best_peer": f"our cold start against the best peer's, {WORST}; less is better",
    "idle_pss_vs_floor": f"our idle PSS against the floor's, {WORST}; less is better",
    "decode_vs_pillow": "JPEGs a second and core, our path against Pillow",
}


def text(result: Result, picture: str) -> str:
    """Everything between the markers."""
    models = dict.fromkeys(one["model"] for one in result["processes"])
    parts = [
        markdown.heading(result),
        f"![Images per second and cold starts]({picture})",
        markdown.ratios(result["result"], MEANINGS),
    ]
    for model in models:
        loads = [one for one in result["medians"] if one["model"] == model]
        parts.append(f"### {model}\n\n{_loads(loads)}")
        parts.append(_processes([one for one in result["processes"] if one["model"] == model]))
        parts.append(_limits([one for one in result["limits"] if one["model"] == model]))
    if result["engines"]:
        parts.append(f"### The engines that were chosen\n\n{_engines(result['engines'])}")
    swept = [(f"{row['entrant']}/{row['model']}", row["point"], row["images_per_s"]) for row in result["sweep"]]
    best = {name: point for name, point in result["best"].items() if not name.startswith("limit-")}
    parts.append(f"### The points of the image grid\n\n{markdown.points(best, swept, 'images/s')}")
    return "\n\n".join(parts) + "\n"


def _loads(loads: list[Result]) -> str:
    order = sorted(loads, key=lambda one: (one["rate_per_s"] > 0, one["connections"], -one["images_per_s"]))
    rows = [
        (
            one["entrant"],
            one["protocol"].upper(),
            f"{one['rate_per_s']:.0f}/s open" if one["rate_per_s"] else f"c={one['connections']}",
            f"{one['images_per_s']:.1f}",
            f"{50 * one['spread']:.0f} %",
            *(f"{one[field]:.1f}" for field in ("p50_ms", "p95_ms", "p99_ms")),
            f"{one['server_cores']:.2f}",
            f"{one['client_cores']:.2f}",
            f"{one['disturbed']} of {one['repetitions']}" if one["disturbed"] else "",
        )
        for one in order
    ]
    headers = ("server", "protocol", "load", "images/s", "±", "p50 ms", "p95 ms", "p99 ms", "cores, server")
    return markdown.table((*headers, "cores, client", "disturbed"), rows)


def _processes(processes: list[Result]) -> str:
    fields = ("idle_rss_mib", "idle_pss_mib", "loaded_pss_mib", "peak_rss_mib")
    order = sorted(processes, key=lambda one: one["cold_start_s"])
    rows = [(one["entrant"], f"{one['cold_start_s']:.2f}", *(f"{one[name]:.0f}" for name in fields)) for one in order]
    headers = ("process", "cold start s", "idle RSS MiB", "idle PSS MiB", "PSS after load MiB", "peak RSS MiB")
    return markdown.table(headers, rows)


def _limits(limits: list[Result]) -> str:
    rows = []
    for one in limits:
        workers, threads, batch = one["split"]
        split = f"{workers} x {threads} threads, batch {batch}"
        rows.append((one["name"], split, f"{one['images_per_s']:.1f}", f"{one['one_image_ms']:.1f}"))
    return markdown.table(("offline loop", "best split", "images/s", "one image ms"), rows)


def _engines(engines: list[Result]) -> str:
    rows = [
        (
            one["model"],
            f"{one['asked']['precision']}, engine {one['asked']['engine'] or 'not asked for'}",
            f"{one['taken']['engine']}, {one['taken']['precision']}",
            f"{one['taken']['agreement']:.1%}",
            "; ".join(one["dropped"]),
        )
        for one in engines
    ]
    return markdown.table(("network", "asked for", "taken", "same best class as fp32", "dropped"), rows)


def panels(result: Result) -> list[dict[str, Any]]:
    """For each network, images per second at most connections beside the limits; and the cold starts."""
    most = max((one["connections"] for one in result["medians"]), default=0)
    found = []
    for model in dict.fromkeys(one["model"] for one in result["processes"]):
        shown = [
            (one["entrant"], one["images_per_s"], one["role"])
            for one in result["medians"]
            if (one["model"], one["connections"], one["protocol"]) == (model, most, "v1")
        ]
        shown += [(one["name"], one["images_per_s"], "limit") for one in result["limits"] if one["model"] == model]
        shown.sort(key=lambda one: -one[1])
        found.append(markdown.panel(f"{model}, c={most}, images/s", [markdown.bar(*one, digits=1) for one in shown]))
        starts = [one for one in result["processes"] if one["model"] == model]
        starts.sort(key=lambda one: one["cold_start_s"])
        bars = [markdown.bar(one["entrant"], one["cold_start_s"], one["role"], digits=1) for one in starts]
        found.append(markdown.panel(f"{model}, cold start, s (less is better)", bars))
    return found
