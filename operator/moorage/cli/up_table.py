"""What `moor up` asks a model of task `tabular` first: why it says what it says of a row that the model itself proposes.

GET config -> its sample row -> POST :explain -> the answer as a table, and curl lines. Called by `up.py`.
"""

import json
import shlex
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from moorage.api import ExitCode
from moorage.cli.errors import UserError
from moorage.cli.predictor_process import DIRECTLY


@dataclass(frozen=True)
class First:
    """A row, and the answer to it."""

    row: dict[str, Any]
    answer: dict[str, Any]


def ask(url: str, model: str, headers: dict[str, str]) -> First:
    """The first question and its answer.

    Raises:
        UserError: the predictor did not answer it.
    """
    config = _json(f"{url}/v2/models/{model}/config", headers)
    row = json.loads(config["parameters"]["sample"]["string_value"])
    body = json.dumps({"instances": [row]}).encode()
    answer = _json(f"{url}/v1/models/{model}:explain", {"Content-Type": "application/json", **headers}, body)
    return First(row, answer["explanations"][0])


def _json(url: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - our own child
    try:
        with DIRECTLY.open(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise UserError(f"the predictor answered {error.code}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise UserError(f"the predictor did not answer: {error}", ExitCode.UNAVAILABLE) from error


def shown(first: First) -> RenderableType:
    """The prediction as the title, and what each of the most important features added to it."""
    answer, explanation = first.answer, first.answer["explanation"]
    said = str(answer.get("label", answer["prediction"]))
    if "confidence" in answer:
        said += f"  {answer['confidence']:.4f} ({answer['confidence_level']})"
    of = f" of {explanation['class']}" if "class" in explanation else ""
    table = Table(title=Text(said), title_style="bold", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("feature", style="cyan")
    table.add_column("value", justify="right")
    table.add_column(f"adds to the {explanation['space']}{of}", justify="right")
    table.add_row(Text("base", style="dim"), "", f"{explanation['base_value']:+.4f}")
    for item in explanation["top_features"]:
        value = item["value"]
        told = f"{value:g}" if type(value) in (int, float) else str(value)
        table.add_row(Text(item["feature"]), told, f"{item['importance']:+.4f}")
    rest = len(explanation["shap_values"]) - len(explanation["top_features"])
    if rest > 0:
        left = explanation["output"] - explanation["base_value"]
        left -= sum(item["importance"] for item in explanation["top_features"])
        table.add_row(Text(f"{rest} others", style="dim"), "", f"{left:+.4f}")
    return table


def curl_lines(url: str, model: str, first: First, *, with_key: bool = False) -> tuple[tuple[str, str], ...]:
    """Shell lines that ask the same: V1 for a prediction and for its reasons, V2 for both."""
    head = "curl -s -H 'Content-Type: application/json'" + (' -H "X-API-Key: $KEY"' if with_key else "")
    v1 = shlex.quote(json.dumps({"instances": [first.row]}))
    columns = [
        {"name": name, "datatype": _datatype(value), "shape": [1], "data": [value]}
        for name, value in first.row.items()
        if value is not None
    ]
    v2 = shlex.quote(json.dumps({"inputs": columns, "parameters": {"explain": True}}))
    return (
        ("V1", f"{head} -d {v1} {url}/v1/models/{model}:predict"),
        ("why", f"{head} -d {v1} {url}/v1/models/{model}:explain"),
        ("V2", f"{head} -d {v2} {url}/v2/models/{model}/infer"),
    )


def _datatype(value: Any) -> str:
    if type(value) is bool:
        return "BOOL"
    return "BYTES" if type(value) is str else "FP64"
