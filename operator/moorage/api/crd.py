"""The pydantic models of `v1alpha1` -> the CustomResourceDefinition in `crds/`.

pydantic's own JSON schema is not structural: it has `$ref`, `anyOf` with null, `additionalProperties: false` (which the
API server refuses beside `properties`) and no default for nested objects. This generator walks it and writes what
apiextensions/v1 wants. `moor crd` prints it, `make generate` commits it, a test compares.
"""

from typing import Any

from pydantic import BaseModel

from moorage.api.v1alpha1 import GROUP, KIND, PLURAL, VERSION, ModelDeployment, Rule, Section, Spec, Status

Schema = dict[str, Any]

_VALIDATIONS = "x-kubernetes-validations"
_COPIED = (
    _VALIDATIONS,
    "type",
    "description",
    "default",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
)


def custom_resource_definition() -> dict[str, Any]:
    """The whole CRD, keys in the order in which people read it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["mdep"],
                "categories": ["moorage"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": _printer_columns(),
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.scaling.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": _root_schema()},
                }
            ],
        },
    }


def _printer_columns() -> list[dict[str, Any]]:
    ready = ".status.conditions[?(@.type=='Ready')]"
    return [
        {"name": "Ready", "type": "string", "jsonPath": f"{ready}.status"},
        {"name": "Reason", "type": "string", "jsonPath": f"{ready}.reason"},
        {"name": "URL", "type": "string", "jsonPath": ".status.url"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".status.replicas"},
        {"name": "Version", "type": "string", "jsonPath": ".status.version"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Message", "type": "string", "jsonPath": f"{ready}.message", "priority": 1},
    ]


def _root_schema() -> Schema:
    return {
        "type": "object",
        "description": "A model and how it is served: one of these becomes an inference service.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"type": "object"},
            "spec": {**_object_schema(Spec), "description": "What is wanted."},
            "status": {
                **_object_schema(Status),
                "description": "What is. Written by the operator alone.",
                # Before the operator's first look: no generation. Without it tools by the kstatus rules say Current.
                "default": {"observedGeneration": -1},
            },
        },
        _VALIDATIONS: [_validation(rule) for rule in ModelDeployment.rules],
    }


def _validation(rule: Rule) -> Schema:
    return {"rule": rule.cel, "message": rule.message}


def _object_schema(model: type[BaseModel]) -> Schema:
    full = model.model_json_schema(by_alias=True)
    return _structural(full, full.get("$defs", {}), _rules_by_name(model))


def _rules_by_name(model: type[BaseModel]) -> dict[str, tuple[Rule, ...]]:
    """The rules of a model and of all that it holds, by the title that pydantic gives each class in its schema."""
    found: dict[str, tuple[Rule, ...]] = {}
    pending: list[Any] = [model]
    while pending:
        item = pending.pop()
        if isinstance(item, type) and issubclass(item, BaseModel):
            if item.__name__ not in found:
                found[item.__name__] = item.rules if issubclass(item, Section) else ()
                pending += [field.annotation for field in item.model_fields.values()]
        else:
            pending += getattr(item, "__args__", ())
    return found


def _structural(node: Schema, defs: dict[str, Schema], rules: dict[str, tuple[Rule, ...]]) -> Schema:
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        outer = {key: value for key, value in node.items() if key != "$ref"}
        return _structural({**defs[name], **outer}, defs, rules)
    if "anyOf" in node:
        return _without_null(node, defs, rules)
    schema: Schema = {key: node[key] for key in _COPIED if key in node and not (key == "default" and node[key] is None)}
    if "const" in node:
        schema["enum"] = [node["const"]]
    if "properties" in node:
        schema["properties"] = {name: _property(child, defs, rules) for name, child in node["properties"].items()}
        if required := node.get("required"):
            schema["required"] = required
        if validations := [_validation(rule) for rule in rules.get(node.get("title", ""), ())]:
            schema[_VALIDATIONS] = validations
    elif node.get("type") == "object":
        if "maxProperties" in node:
            schema["maxProperties"] = node["maxProperties"]
        schema["additionalProperties"] = _structural(node["additionalProperties"], defs, rules)
    if "items" in node:
        schema["items"] = _structural(node["items"], defs, rules)
        if set(schema["items"].get("properties", ())) >= {"type", "status", "reason"}:
            schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return schema


def _property(node: Schema, defs: dict[str, Schema], rules: dict[str, tuple[Rule, ...]]) -> Schema:
    """A property that holds an object all of whose parts are optional has their defaults as its own.

    `{}` would do for the values, but the API server also judges each default by the rules, before nested defaults are set.
    """
    schema = _structural(node, defs, rules)
    if "$ref" in node and "properties" in schema and "required" not in schema:
        schema["default"] = {
            name: child["default"] for name, child in schema["properties"].items() if "default" in child
        }
    return schema


def _without_null(node: Schema, defs: dict[str, Schema], rules: dict[str, tuple[Rule, ...]]) -> Schema:
    choices = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
    outer = {key: value for key, value in node.items() if key != "anyOf"}
    if len(choices) == 1:
        return _structural({**choices[0], **outer}, defs, rules)
    if [choice.get("type") for choice in choices] != ["string", "integer"]:
        raise TypeError(f"no structural schema for {node}")
    kept = {key: outer[key] for key in ("description", "default", _VALIDATIONS) if outer.get(key) is not None}
    text, number = choices
    bounds = {key: value for part in (text, number) for key, value in part.items() if key in _COPIED and key != "type"}
    return {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], **bounds, **kept}
