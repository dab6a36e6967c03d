"""A plan as people read it: a unified diff of YAML for each object, and what happens to pods. Called by `command.py`."""

import difflib
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from moorage.cli.diff.plan import Change, Plan
from moorage.cli.kube import Body
from moorage.cli.yamltext import to_yaml

_SERVERS = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
"""Of metadata: what the API server writes at each change."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def lines(change: Change) -> list[str]:
    """The unified diff of one object; empty if nothing changes."""
    title = f"{change.kind} {change.name}"
    return list(
        difflib.unified_diff(
            _yaml(change.before),
            _yaml(change.after),
            f"{title} (now)" if change.before is not None else "/dev/null",
            f"{title} (then)" if change.after is not None else "/dev/null",
            lineterm="",
        )
    )


def picture(plan: Plan) -> RenderableType:
    """Every diff, then one line on the pods."""
    parts: list[RenderableType] = []
    for change in plan.changes:
        if found := lines(change):
            parts += [Text(line, style=_style(line)) for line in found]
            if change.estimated:
                parts.append(Text("  (an estimate: the API server did not let you ask)", style="yellow"))
    parts.append(Text.assemble((f"{plan.namespace}/{plan.name}: ", "bold"), _summary(plan, bool(parts))))
    return Group(*parts)


def _summary(plan: Plan, changed: bool) -> Text:
    if plan.refused is not None:
        return Text(f"would not be acted on: {plan.refused.reason}: {plan.refused.message}", style="red")
    if plan.replaced_pods:
        pods = "1 pod is" if plan.replaced_pods == 1 else f"{plan.replaced_pods} pods are"
        return Text(f"{pods} replaced, one after the other", style="yellow")
    return Text("no pod is replaced" if changed else "nothing changes", style="green")


def _style(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "bold"
    return _STYLES.get(line[:1], "default")


def _yaml(body: Body | None) -> list[str]:
    return [] if body is None else to_yaml([_tidy(body)]).splitlines()


def _tidy(body: Body) -> Body:
    metadata: dict[str, Any] = {key: value for key, value in body["metadata"].items() if key not in _SERVERS}
    notes = {key: value for key, value in metadata.get("annotations", {}).items() if key != _LAST_APPLIED}
    metadata.pop("annotations", None)
    if notes:
        metadata["annotations"] = notes
    head = {"apiVersion": body.get("apiVersion"), "kind": body.get("kind"), "metadata": dict(sorted(metadata.items()))}
    rest = {key: value for key, value in sorted(body.items()) if key not in (*head, "status")}
    return {**head, **_sorted(rest)}


def _sorted(value: Any) -> Any:
    """Keys in one order, so that two answers of the API server differ only where they differ."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
