"""What people see: the objects as a tree, the answer as a table, the curl lines."""

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from moorage.api import ModelDeployment
from moorage.render import Manifest


def objects(deployment: ModelDeployment, manifests: list[Manifest]) -> RenderableType:
    """One readable screen: what the operator would apply, an object a line with what matters in it."""
    head = Text.assemble(
        ("ModelDeployment ", "bold"), (deployment.metadata.name, "bold cyan"), "  in a cluster becomes"
    )
    tree = Tree(head, guide_style="dim")
    for manifest in manifests:
        branch = tree.add(Text.assemble((manifest["kind"], "bold"), " ", (manifest["metadata"]["name"], "cyan")))
        for fact in _FACTS[manifest["kind"]](manifest):
            branch.add(Text(fact, style="default"))
    tree.add(Text("and by KServe: Deployment, Service and autoscaler", style="dim"))
    return tree


def _service_account(manifest: Manifest) -> list[str]:
    secrets = ", ".join(item["name"] for item in manifest.get("secrets", []))
    return [f"no API token mounted; credentials: {secrets or 'none'}"]


def _network_policy(manifest: Manifest) -> list[str]:
    stores = len(manifest["spec"]["egress"]) > 1
    return [
        "in: gateway, Prometheus, labelled namespaces",
        f"out: DNS{' and the model store on port 443' if stores else ' only'}",
    ]


def _budget(manifest: Manifest) -> list[str]:
    return [f"at most {manifest['spec']['maxUnavailable']} pod evicted at a time"]


def _runtime(manifest: Manifest) -> list[str]:
    container = manifest["spec"]["containers"][0]
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    return [
        f"image {container['image']}",
        *(
            f"{word}"
            for word in container["args"]
            if word.startswith(("--architecture", "--storage-uri", "--model-dir"))
        ),
        f"cpu {requests['cpu']}, memory {requests['memory']}, at most {limits['memory']}; not root, read-only, no capabilities",
        f"ready when {container['readinessProbe']['httpGet']['path']} answers 200",
    ]


def _service(manifest: Manifest) -> list[str]:
    predictor = manifest["spec"]["predictor"]
    low, high = predictor["minReplicas"], predictor["maxReplicas"]
    copies = (
        f"{low} copies"
        if low == high
        else f"{low} to {high} copies, {predictor['scaleMetric']} at {predictor['scaleTarget']}"
    )
    uri = predictor["model"].get("storageUri")
    return [copies, *([f"weights {uri}"] if uri else [])]


_FACTS = {
    "ServiceAccount": _service_account,
    "NetworkPolicy": _network_policy,
    "PodDisruptionBudget": _budget,
    "ServingRuntime": _runtime,
    "InferenceService": _service,
}


def predictions(photo: Path, answer: dict[str, Any]) -> RenderableType:
    """The best classes of one photo, best first."""
    table = Table(title=Text(photo.name), title_style="bold", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("class", style="cyan")
    table.add_column("id", justify="right")
    table.add_column("confidence", justify="right")
    table.add_column("")
    for item in answer["predictions"]:
        share = float(item["confidence"])
        table.add_row(
            Text(str(item["class_name"])),
            str(item["class_id"]),
            f"{share:.4f}",
            Text("█" * round(share * 30), style="green"),
        )
    return table


def detections(photo: Path, answer: dict[str, Any]) -> RenderableType:
    """What was found in one photo, the surest first; boxes in whole pixels."""
    title = f"{photo.name}, {answer['width']}x{answer['height']}"
    table = Table(title=Text(title), title_style="bold", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("found", style="cyan")
    table.add_column("score", justify="right")
    table.add_column("left, top - right, bottom", justify="right")
    for item in answer["detections"]:
        left, top, right, bottom = (round(side) for side in item["box"])
        table.add_row(Text(str(item["label"])), f"{float(item['score']):.4f}", f"{left}, {top} - {right}, {bottom}")
    if not answer["detections"]:
        table.add_row(Text("nothing", style="dim"))
    return table


def curl_lines(
    url: str, model: str, photo: Path, *, with_key: bool = False, own_class: bool = False
) -> tuple[str, str]:
    """Shell lines that ask V1 and V2 for the same photo. The body goes through a pipe: a photo is too long for an argument.
    With a key they take it from the variable KEY. To a class of the user's V2 says that the text stands for bytes."""
    encoded = f"base64 < {shlex.quote(str(photo))} | tr -d '\\n'"
    head = "-s -H 'Content-Type: application/json' --data-binary @-"
    if with_key:
        head += ' -H "X-API-Key: $KEY"'
    v1 = f"""(printf '{{"instances":[{{"b64":"'; {encoded}; printf '"}}]}}') | curl {head} {url}/v1/models/{model}:predict"""
    said = '"parameters":{"content_type":"base64"},' if own_class else ""
    opening = f'{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[1],{said}"data":["'
    v2 = f"""(printf '{opening}'; {encoded}; printf '"]}}]}}') | curl {head} {url}/v2/models/{model}/infer"""
    return v1, v2


def console() -> Console:
    """Standard output; plain when it is not a terminal, with lines never broken, so that they can be copied and searched."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=200, no_color=True)
