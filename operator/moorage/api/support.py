"""What the schema knows and nothing acts on yet: a value there is answered with `NotYetSupported`, never ignored."""

from collections.abc import Iterator
from typing import Any

from moorage.api.v1alpha1 import ModelDeployment, NotYetSupported, Section

# Values of supported fields that nothing acts on yet: (path, the values that are acted on).
_VALUES: tuple[tuple[str, frozenset[Any]], ...] = (
    ("spec.model.task", frozenset({"image-classification", "object-detection", "tabular", "custom"})),
    ("spec.predictor.runtime", frozenset({"torch", "torchserve"})),
    ("spec.scaling.scaleMetric", frozenset({None, "cpu", "memory"})),
)


def not_yet_supported(deployment: ModelDeployment) -> list[str]:
    """One sentence for each field of this deployment that nothing acts on yet; empty if all of it is supported."""
    found = [f"{path} is not supported yet: remove it" for path in _marked(deployment.spec, "spec")]
    for path, supported in _VALUES:
        value = _at(deployment, path)
        if value not in supported:
            known = ", ".join(sorted(str(v) for v in supported if v is not None))
            found.append(f"{path}: {value} is not supported yet: use {known}")
    if deployment.spec.scaling.min_replicas == 0:
        found.append("spec.scaling.minReplicas: 0 is not supported yet: use 1 or more")
    return found


def _marked(section: Section, path: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        where = f"{path}.{field.alias or name}"
        if value is None:
            continue
        if any(isinstance(mark, NotYetSupported) for mark in field.metadata):
            yield where
        elif isinstance(value, Section):
            yield from _marked(value, where)


def _at(deployment: ModelDeployment, path: str) -> Any:
    node: Any = deployment
    for word in path.split("."):
        names = {field.alias or name: name for name, field in type(node).model_fields.items()}
        node = getattr(node, names[word])
    return node
