"""KServe's CRDs for the test cluster: the real ones of a folder, or a structural fallback.

MOORAGE_KSERVE_CRDS names a folder with KServe's own. Without it, `python -m tests.control_plane.kserve_crds FOLDER`
writes CRDs generated from the typed models of the `kserve` package. Those know every field and its type, so that a
misspelt or misplaced one is refused, but not KServe's enums, patterns and defaults; a type the package does not
describe keeps whatever is in it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.control_plane.binaries import REPOSITORY

GROUP = "serving.kserve.io"
KINDS = (  # kind, plural, scope, version, class of the kserve package that models it, short name
    ("InferenceService", "inferenceservices", "Namespaced", "v1beta1", "V1beta1InferenceService", "isvc"),
    ("ServingRuntime", "servingruntimes", "Namespaced", "v1alpha1", "V1alpha1ServingRuntime", None),
    ("ClusterServingRuntime", "clusterservingruntimes", "Cluster", "v1alpha1", "V1alpha1ServingRuntime", None),
)
ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}
SCALARS = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "KnativeURL": {"type": "string"},  # modelled as Go's struct, but a string on the wire
    "KnativeVolatileTime": {"type": "string"},
}
GENERATE_TIMEOUT_S = 120


def given() -> Path | None:
    """The folder that MOORAGE_KSERVE_CRDS names, or None."""
    value = os.environ.get("MOORAGE_KSERVE_CRDS")
    if not value:
        return None
    folder = Path(value)
    if not any(folder.glob("*.yaml")):
        raise FileNotFoundError(f"MOORAGE_KSERVE_CRDS: expected a folder with YAML files, found none in {folder}")
    return folder


def generate(folder: Path) -> Path:
    """Write the fallback into `folder`, in a process of its own: importing kserve changes the process that does it."""
    subprocess.run(
        [sys.executable, "-m", "tests.control_plane.kserve_crds", str(folder)],
        cwd=REPOSITORY,
        check=True,
        timeout=GENERATE_TIMEOUT_S,
        stdout=subprocess.DEVNULL,
    )
    return folder


def crd(kind: str, plural: str, scope: str, version: str, model: type, short_name: str | None) -> dict[str, Any]:
    properties = _schema_of(model, ())["properties"]
    properties["metadata"] = {"type": "object"}
    names: dict[str, Any] = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    if short_name:
        names["shortNames"] = [short_name]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": names,
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                }
            ],
        },
    }


def _schema(type_name: str, ancestors: tuple[type, ...]) -> dict[str, Any]:
    """The schema of a type as the generated models write it: `str`, `list[X]`, `dict(str, X)` or a model's name."""
    import kserve

    if type_name in SCALARS:
        return dict(SCALARS[type_name])
    items = re.fullmatch(r"list\[(.+)\]", type_name)
    if items:
        return {"type": "array", "items": _schema(items.group(1), ancestors)}
    values = re.fullmatch(r"dict\(str, (.+)\)", type_name)
    if values:
        return {"type": "object", "additionalProperties": _schema(values.group(1), ancestors)}
    model = getattr(kserve, type_name, None) or getattr(kserve.models, type_name, None)
    if model is None or not hasattr(model, "openapi_types") or model in ancestors:
        return dict(ANYTHING)
    return _schema_of(model, ancestors)


def _schema_of(model: type, ancestors: tuple[type, ...]) -> dict[str, Any]:
    types: dict[str, str] = model.openapi_types  # type: ignore[attr-defined]
    wire_names: dict[str, str] = model.attribute_map  # type: ignore[attr-defined]
    properties = {wire_names[name]: _schema(type_, (*ancestors, model)) for name, type_ in types.items()}
    schema: dict[str, Any] = {"type": "object"}
    if properties:
        schema["properties"] = properties
    else:
        schema.update(ANYTHING)
    return schema


def main() -> None:
    folder = Path(sys.argv[1])
    import kserve

    folder.mkdir(parents=True, exist_ok=True)
    for kind, plural, scope, version, class_name, short_name in KINDS:
        definition = crd(kind, plural, scope, version, getattr(kserve, class_name), short_name)
        (folder / f"{GROUP}_{plural}.yaml").write_text(json.dumps(definition, indent=1))


if __name__ == "__main__":
    main()
