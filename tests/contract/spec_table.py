"""One table of good and bad specs: for each rule, bound and enum of the CRD, one spec just inside and one just outside.

The constraints are read from the CRD, so that a new one without a pair fails `test_specs.py`. Bounds and enums make their
own pair from their value; what has words (a rule) needs a pair written down here.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from moorage.api.crd import custom_resource_definition

Document = dict[str, Any]
MODEL = {"task": "image-classification", "architecture": "timm/resnet18", "storageUri": "s3://bucket/cats/"}


def document(name: str = "cats", **spec: Any) -> Document:
    return {
        "apiVersion": "moorage.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": dict(MODEL), **spec},
    }


def full() -> Document:
    """Every field of the spec that can stand beside the others."""
    probe = {"periodSeconds": 3, "timeoutSeconds": 3, "failureThreshold": 3}
    quantities = {"cpu": 1, "memory": "1Gi", "ephemeral-storage": "1Gi"}
    return document(
        model={
            **MODEL,
            "name": "cats",
            "version": "1.2",
            "sha256": "0" * 64,
            "storageSecret": "store",
            "imageClassification": {
                "maxImageBytes": 1000,
                "maxImageSide": 100,
                "topK": 3,
                "confidenceThreshold": 0.5,
                "features": False,
            },
        },
        predictor={
            "runtime": "torch",
            "image": "example.com/predictor:1",
            "imagePullSecrets": ["pull"],
            "resources": {"requests": quantities, "limits": quantities},
            "batching": {"maxBatchSize": 8, "maxQueueDelay": "5ms", "maxQueueSize": 100},
            "precision": "fp32",
            "requestLog": "errors",
            "tls": {"secretName": "cats-tls", "clientCaSecretName": "clients", "clientAuth": "optional"},
            "tracing": {"endpoint": "http://collector:4318", "sampleRate": 0.5, "headersSecret": "collector"},
            "gpu": {"count": 1, "resourceName": "nvidia.com/gpu"},
            "placement": {
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [
                    {"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 1}
                ],
                "priorityClassName": "high",
            },
        },
        scaling={
            "minReplicas": 0,
            "maxReplicas": 1000,
            "scaleMetric": "rps",
            "scaleTarget": 10,
            "scaleToZeroAfter": "5m",
        },
        health={"startup": probe, "readiness": probe, "liveness": probe},
        rateLimits=[{"requests": 100, "per": "minute", "by": "key", "operation": "predict", "model": "cats"}],
        rateLimiting={
            "redisUrlSecret": "limits",
            "onStoreFailure": "closed",
            "trustedProxies": ["10.0.0.0/8"],
            "countedProofSecret": "proof",
        },
        access={
            "apiKeys": {"secret": "keys"},
            "jwt": {
                "issuer": "https://a",
                "audience": "b",
                "jwksUri": "https://a/k",
                "algorithms": ["RS256"],
                "role": "read",
                "roleClaim": "role",
                "modelsClaim": "models",
                "subjectClaim": "sub",
                "tenantClaim": "org",
            },
        },
        rollout={"strategy": "canary", "canaryTrafficPercent": 10, "analysisAfter": "5m"},
        variants=[
            {"name": "a", "weight": 50, "storageUri": "s3://bucket/a", "version": "1"},
            {"name": "b", "weight": 50},
        ],
        cache={"ttl": "5m", "maxEntries": 10},
        monitoring={
            "dashboard": True,
            "alerts": {"errorRatePercent": 5, "latencyP95": "300ms"},
            "drift": {"referenceUri": "s3://bucket/r", "minSamples": 10},
        },
    )


def fixed() -> Document:
    return document(scaling={"replicas": 2})


def own_class() -> Document:
    return document(model={"task": "custom", "class": "harbour:Tides"})


def table() -> Document:
    return document(
        model={
            "task": "tabular",
            "storageUri": "s3://bucket/churn/",
            "trustedTypes": ["sklearn.tree._tree.Tree"],
            "allowUnsafeFormats": True,
            "tabular": {
                "columns": [
                    {
                        "name": "tenure",
                        "type": "integer",
                        "min": 0,
                        "max": 100.5,
                        "enum": [1, "2"],
                        "default": "1",
                        "nullable": True,
                        "unseen": "default",
                    },
                ],
                "classNames": ["stays", "leaves"],
                "modelOutput": "logits",
                "topFeatures": 3,
                "explainSeed": 1,
                "maxRows": 10,
                "maxExplainedRows": 1,
                "mediumConfidence": 0.5,
                "highConfidence": 0.9,
            },
        }
    )


def detector() -> Document:
    return document(
        model={
            "task": "object-detection",
            "storageUri": "s3://bucket/ships/",
            "objectDetection": {
                "maxImageBytes": 1000,
                "maxImageSide": 100,
                "confidence": 0.5,
                "iou": 0.5,
                "maxDetections": 10,
            },
        }
    )


@dataclass(frozen=True)
class Constraint:
    """One sentence of the schema: at `path` (list items as `[]`), `keyword` with its value."""

    path: str
    keyword: str
    value: Any
    schema: Any

    def __str__(self) -> str:
        words = self.value["message"][:60] if self.keyword == "rule" else self.value
        return f"{self.path or 'root'}: {self.keyword} {words}"


def constraints() -> list[Constraint]:
    """Every constraint on `metadata` and `spec`; the status is written by the controller alone."""
    root = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    rules = [Constraint("", "rule", rule, root) for rule in root["x-kubernetes-validations"]]
    return rules + list(_walk(root["properties"]["spec"], "spec"))


_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "enum", "required")


def _walk(schema: Any, path: str) -> Iterator[Constraint]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield Constraint(path, "rule", rule, schema)
    for keyword in (*_BOUNDS, "pattern"):
        if keyword in schema:
            yield Constraint(path, keyword, schema[keyword], schema)
    for name, child in schema.get("properties", {}).items():
        yield from _walk(child, f"{path}.{name}")
    if "items" in schema:
        yield from _walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _walk(schema["additionalProperties"], f"{path}.*")


Pair = tuple[list[Document], list[Document]]
"""Specs just inside, and specs just outside."""


def pair(constraint: Constraint) -> Pair:
    """The pair of one constraint. Raises LookupError if nobody has written one."""
    if constraint.keyword == "rule":
        return _rule_pair(constraint)
    return _BOUND_PAIRS[constraint.keyword](constraint)


def _with(path: str, value: Any, base: Callable[[], Document] | None = None) -> Document:
    """A copy of the first base that has the path, with the value there."""
    if path.endswith(
        ("columns[].enum[]", "columns[].default")
    ):  # of a column of another type it would break another rule
        key = "enum" if path.endswith("[]") else "default"
        return _columns({"name": "a", "type": "string", key: [value] if key == "enum" else value})
    for make in (base,) if base else (full, fixed, own_class, table, detector):
        changed = make()
        try:
            parent, last = _reach(changed, path)
        except LookupError:
            continue
        parent[last] = copy.deepcopy(value)
        return changed
    raise LookupError(f"no base spec has {path}")


def _without(path: str) -> Document:
    for make in (full, table):
        changed = make()
        try:
            parent, last = _reach(changed, path)
        except LookupError:
            continue
        del parent[last]
        return changed
    raise LookupError(f"no base spec has {path}")


def _reach(node: Any, path: str) -> tuple[Any, Any]:
    words = path.replace("[]", ".[]").split(".")
    for index, word in enumerate(words):
        key: Any = 0 if word == "[]" else next(iter(node)) if word == "*" else word
        if index == len(words) - 1:
            if isinstance(node, dict) and key not in node:
                raise LookupError(path)
            return node, key
        node = node[key]
    raise LookupError(path)


def _number(constraint: Constraint, outside: int) -> Pair:
    return [_number_at(constraint.path, constraint.value)], [_number_at(constraint.path, outside)]


def _number_at(path: str, value: int) -> Document:
    """The number alone must decide, so its neighbours are set such that no rule speaks."""
    if path.endswith(("mediumConfidence", "highConfidence")):
        return _table(mediumConfidence=min(value, 0), highConfidence=max(value, 1))
    if path == "spec.scaling.minReplicas":
        return document(scaling={"minReplicas": value})
    if path == "spec.scaling.maxReplicas":
        return document(scaling={"maxReplicas": value})
    if path == "spec.variants[].weight":
        return document(variants=[{"name": "a", "weight": value}, {"name": "b", "weight": 100 - value}])
    return _with(path, value)


def _text(path: str, length: int) -> str:
    """A well-formed text of exactly that many characters."""
    prefixes = {
        "spec.model.storageUri": "s3://",
        "spec.variants[].storageUri": "s3://",
        "spec.monitoring.drift.referenceUri": "s3://",
        "spec.model.architecture": "timm/",
        "spec.model.class": "a:",
        "spec.access.jwt.issuer": "https://",
        "spec.access.jwt.jwksUri": "https://",
        "spec.predictor.gpu.resourceName": "a.b/",
        "spec.predictor.tracing.endpoint": "http://",
    }
    if path == "spec.rateLimiting.trustedProxies[]":
        return ":".join(["ffff"] * 8) + "/128" + "0" * (length - 43)
    if path.endswith(("Delay", "After", "ttl", "latencyP95")):
        return "9" * (length - 2) + "ms"
    if path.startswith("spec.predictor.resources"):
        return "0" * 15 + "." + "0" * (length - 18) + "Mi"
    prefix = prefixes.get(path, "")
    return prefix + "a" * (length - len(prefix))


def _length(constraint: Constraint, outside: int) -> Pair:
    path = constraint.path
    return [_with(path, _text(path, constraint.value))], [_with(path, _text(path, outside))]


def _items(constraint: Constraint, outside: int) -> Pair:
    return [_with(constraint.path, _some(constraint, constraint.value))], [
        _with(constraint.path, _some(constraint, outside))
    ]


def _some(constraint: Constraint, count: int) -> list[Any]:
    if constraint.path == "spec.variants":
        return [{"name": f"v{i}", "weight": 100 // count + (i < 100 % count)} for i in range(count)]
    if constraint.path == "spec.model.tabular.columns":
        return [{"name": f"c{i}"} for i in range(count)]
    if constraint.path == "spec.model.tabular.classNames":
        return [f"c{i}" for i in range(count)]
    if constraint.path == "spec.model.tabular.columns[].enum":
        return list(range(1, count + 1))
    for make in (full, table):
        with contextlib.suppress(LookupError):
            parent, last = _reach(make(), constraint.path)
            return [copy.deepcopy(parent[last][0]) for _ in range(count)]
    raise LookupError(f"no base spec has {constraint.path}")


def _properties(constraint: Constraint) -> Pair:
    def many(count: int) -> dict[str, str]:
        return {f"label{i}": "x" for i in range(count)}

    return [_with(constraint.path, many(constraint.value))], [_with(constraint.path, many(constraint.value + 1))]


def _enum(constraint: Constraint) -> Pair:
    base = {
        "spec.model.task": lambda: document(
            model={"task": "x", "storageUri": "s3://bucket/cats/"}, predictor={"runtime": "custom"}
        ),
        "spec.model.tabular.columns[].type": lambda: _columns({"name": "a", "type": "x"}),
        "spec.rollout.strategy": lambda: document(rollout={"strategy": "x"}),
        "spec.scaling.scaleMetric": lambda: document(scaling={"scaleMetric": "x"}),
    }.get(constraint.path)
    return [_with(constraint.path, value, base) for value in constraint.value], [
        _with(constraint.path, "something-else", base)
    ]


def _required(constraint: Constraint) -> Pair:
    return [full()], [_without(f"{constraint.path}.{name}") for name in constraint.value]


_BOUND_PAIRS: dict[str, Callable[[Constraint], Pair]] = {
    "minimum": lambda c: _number(c, c.value - 1),
    "maximum": lambda c: _number(c, c.value + 1),
    "minLength": lambda c: _length(c, c.value - 1),
    "maxLength": lambda c: _length(c, c.value + 1),
    "minItems": lambda c: _items(c, c.value - 1),
    "maxItems": lambda c: _items(c, c.value + 1),
    "maxProperties": _properties,
    "enum": _enum,
    "required": _required,
}

# Rules on one text or number: words of the message -> the values just inside, the values just outside.
_VALUES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "expected one number with ms, s, m or h": (
        ("1ms", "999999s", "5m", "2h"),
        ("0s", "5", "5d", "-5s", "1000000s", "5m3", "1.5s", "5m\n"),
    ),
    "expected s3://, gs://, pvc://": (
        (
            *(f"{s}://bucket/a-b_c.d~e/:@%2F+=,?&f" for s in ("s3", "gs", "pvc", "https", "hf", "oci", "pkg", "file")),
            "file:///a",
        ),
        (
            "http://host/a",
            "S3://bucket/a",
            "s3:/bucket",
            "s3://",
            "s3://.a",
            "s3://a b",
            "s3://a$(id)",
            "s3://a`id`",
            "s3://a;b",
            "s3://a'b",
            's3://a"b',
            "s3://a\nb",
            "s3://{{7*7}}",
            "s3://a\\b",
            "https://h\r\nX: y",
        ),
    ),
    "expected one or more characters": (
        ("a", " é, =\\\"'", "\u2028", "-x"),
        ("", "a\0b", "a\nb", "a\n", "\t", "\x7f", "\x9f"),
    ),
    "expected an integer or characters": (
        ("", "é", 3),
        ("a\0b", "a\nb", "a\n", "\x80"),
    ),
    "expected at most 63 letters, digits": (
        ("A", "0a", "a.b_c-D", "a" * 63),
        ("-a", ".a", "a/b", "a b", "", "é", "{{a}}"),
    ),
    "expected MODULE:CLASS": (
        ("a:B", "harbour.models_2:Tides", "_a:_b"),
        ("a", "a.py:B/C", "a/b.py:C", "a:", ":B", "a:B.C", "2a:B", "a..b:C", "a: B", "a:B\n"),
    ),
    "expected a type as Python names it": (
        ("a", "sklearn.tree._tree.Tree"),
        ("", ".a", "a.", "a..b", "a b", "a-b", "2a", "a:b", "a\n"),
    ),
    "expected timm/NAME, torchvision/NAME or ultralytics/NAME": (
        ("timm/a", "timm/vit_small_patch16_dinov3.lvd1689m"),
        ("resnet18", "torch/a", "timm/", "timm/_a", "timm/A", "timm/a-b", "timm/../a"),
    ),
    "expected 64 lower-case hexadecimal digits": (
        ("0123456789abcdef" * 4,),
        ("0" * 63, "A" * 64, "g" * 64),
    ),
    "expected letters, digits, '.', '_' and '-'": (
        ("1", "1.2.0", "a_b-C.9"),
        ("", "-1", "1-", "1.", "a b", "a+b"),
    ),
    "expected the name of an object of this namespace": (
        ("a", "a.b-c", "0"),
        ("A", "-a", "a-", "a/b", "a_b", "other/ns"),
    ),
    "expected the name of a model": (
        ("a", "Birds.v2", "a_b-C"),
        ("", "-a", "a/b", "a b"),
    ),
    "expected an address or a network": (
        ("10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"),
        ("10.0.0.0/33", "10.0.0", "example.com", "999.1.1.1", "10.0.0.0/255.0.0.0", "", "010.0.0.1"),
    ),
    "expected an image reference": (
        ("a", "example.com:5000/a/b_c:1.0", "a@sha256:" + "0" * 64),
        ("A", "a:", "a@sha256:0", "a b", "-a", "a@md5:" + "0" * 32),
    ),
    "expected an extended resource": (
        ("nvidia.com/gpu", "nvidia.com/mig-1g.10gb"),
        ("gpu", "/gpu", "nvidia.com/", "A/b"),
    ),
    "expected a quantity": (
        (0, 1, "500m", "2", "1.5", "4Gi", "0.5Ti", "10k"),
        (-1, "x", "1 Gi", "4gb", "-1", "1e3", ".5", "1.", ""),
    ),
    "expected an http:// or https:// URL": (
        ("http://a", "https://a.b:4318/x-y", "http://[::1]:4318"),
        ("a:4318", "grpc://a", "http://user@a", "http://u:p@a:4318", "http://a b", "http://a:port", "http://a?x=y"),
    ),
    "expected an https:// URL": (
        ("https://a", "https://a.b:443/c?d=e"),
        ("http://a", "https://", "https://a@b", "https://a b", "https://{{a}}"),
    ),
    "expected lower-case letters, digits and '-'": (
        ("a", "a-1"),
        ("A", "1a", "-a", "a-", "a_b", ""),
    ),
    "expected pvc://, s3://, gs:// or https:// and a path": (
        ("pvc://a/b", "s3://a", "gs://a", "https://a/b.parquet"),
        ("file:///a", "s3://", "s3://a b", "s3://a@b"),
    ),
}

_S3 = "s3://bucket/cats/"


def _model(**fields: Any) -> Document:
    return document(model={"task": "image-classification", "storageUri": _S3, **fields})


def _table(**fields: Any) -> Document:
    return _model(task="tabular", tabular=fields)


def _columns(*columns: Document) -> Document:
    return _table(columns=list(columns))


def _resources(field: str, request: Any, limit: Any) -> Document:
    return document(predictor={"resources": {"requests": {field: request}, "limits": {field: limit}}})


def _weights(*weights: int) -> Document:
    return document(variants=[{"name": f"v{i}", "weight": weight} for i, weight in enumerate(weights)])


# Rules on several fields: words of the message -> documents just inside, documents just outside.
_DOCUMENTS: dict[str, Pair] = {
    "metadata.name is longer than 48": ([document("a" * 48)], [document("a" * 49), document("a" * 63)]),
    "metadata.name must start with a letter": (
        [document("a"), document("a-1"), document("z9")],
        [document("1a"), document("a.b")],
    ),
    "metadata.name is async or batch": (
        [document("asynchronous"), {**_model(name="cats"), "metadata": {"name": "batch"}}],
        [document("async"), document("batch")],
    ),
    "storageUri is missing": (
        [own_class(), document(model={"task": "tabular", "storageUri": _S3})],
        [document(model={"task": task}) for task in ("image-classification", "object-detection", "tabular")],
    ),
    "architecture is only known for": (
        [_model(architecture="timm/a"), _model(task="object-detection", architecture="torchvision/a")],
        [
            *(_model(task=task, architecture="timm/a") for task in ("object-detection", "tabular", "custom")),
            *(
                _model(task=task, architecture="torchvision/a")
                for task in ("image-classification", "tabular", "custom")
            ),
        ],
    ),
    "trustedTypes is only known for": ([table()], [_model(trustedTypes=["a.B"])]),
    "allowUnsafeFormats is only known for": (
        [table(), _model(allowUnsafeFormats=False)],
        [_model(allowUnsafeFormats=True)],
    ),
    "imageClassification is only known for": (
        [_model(imageClassification={})],
        [_model(task="object-detection", imageClassification={}), _model(task="tabular", imageClassification={})],
    ),
    "objectDetection is only known for": ([detector()], [_model(objectDetection={})]),
    "tabular is only known for": ([table()], [_model(tabular={})]),
    "min is larger than max": (
        [_columns({"name": "a", "min": 1, "max": 1}), _columns({"name": "a", "min": 2}, {"name": "b", "max": 1})],
        [_columns({"name": "a", "min": 1.5, "max": 1.4}), _columns({"name": "a"}, {"name": "b", "min": 2, "max": 1})],
    ),
    "min and max are only known for": (
        [_columns({"name": "a", "type": "integer", "min": 1}), _columns({"name": "a", "type": "string"})],
        [_columns({"name": "a", "type": "string", "max": 1}), _columns({"name": "a", "type": "boolean", "min": 0})],
    ),
    "enum and default of a column of type number": (
        [_columns({"name": "a", "enum": ["0.5", "-1e-3", "2.0", 0]}), _columns({"name": "a", "default": "1.5"})],
        [
            *(
                _columns({"name": "a", "enum": [word]})
                for word in ("x", "nan", "inf", "1e999", "01", "", "true", "1\u0663")
            ),
            _columns({"name": "a", "default": "x"}),
        ],
    ),
    "enum and default of a column of type integer": (
        [_columns({"name": "a", "type": "integer", "enum": ["-5", 3], "default": 3})],
        [
            _columns({"name": "a", "type": "integer", "enum": ["0.5"]}),
            _columns({"name": "a", "type": "integer", "default": "x"}),
        ],
    ),
    "enum and default of a column of type boolean": (
        [_columns({"name": "a", "type": "boolean", "enum": ["true", 0]})],
        [
            _columns({"name": "a", "type": "boolean", "enum": ["yes"]}),
            _columns({"name": "a", "type": "boolean", "default": 2}),
        ],
    ),
    "default is none of": (
        [_columns({"name": "a", "type": "string", "enum": ["x", 1], "default": "1"})],
        [_columns({"name": "a", "type": "string", "enum": ["x"], "default": "y"})],
    ),
    "unseen is default": (
        [_columns({"name": "a", "unseen": "default", "default": 1}), _columns({"name": "a", "unseen": "refuse"})],
        [_columns({"name": "a", "unseen": "default"})],
    ),
    "unseen is missing": (
        [_columns({"name": "a", "unseen": "missing", "nullable": True})],
        [_columns({"name": "a", "unseen": "missing"}), _columns({"name": "a", "unseen": "missing", "nullable": False})],
    ),
    "two columns have one name": (
        [_columns(*({"name": f"a{i}"} for i in range(200)))],
        [_columns({"name": "a"}, {"name": "b"}, {"name": "a"})],
    ),
    "classNames has a name twice": (
        [_table(classNames=[f"{i:064}" for i in range(200)])],
        [_table(classNames=["a", "b", "a"])],
    ),
    "enum of all columns": (
        [_columns(*({"name": f"a{i}", "enum": list(range(100))} for i in range(10)))],
        [_columns(*({"name": f"a{i}", "enum": list(range(100))} for i in range(10)), {"name": "b", "enum": [1]})],
    ),
    "mediumConfidence": (
        [_table(mediumConfidence=0.75), _table(highConfidence=0.6), _table(mediumConfidence=1, highConfidence=1)],
        [_table(mediumConfidence=0.76), _table(highConfidence=0.59), _table(mediumConfidence=1, highConfidence=0.9)],
    ),
    "model.imageClassification.features is not known": (
        [
            _model(imageClassification={"features": True}),
            document(model={**MODEL, "imageClassification": {"features": False}}, predictor={"runtime": "torchserve"}),
        ],
        [document(model={**MODEL, "imageClassification": {"features": True}}, predictor={"runtime": "torchserve"})],
    ),
    "class is only known for task custom": (
        [own_class()],
        [_model(**{"class": "a:B"}), document(model={"task": "tabular", "storageUri": _S3, "class": "a:B"})],
    ),
    "model.class is missing": (
        [own_class(), document(model={"task": "custom"}, predictor={"runtime": "custom"})],
        [document(model={"task": "custom"}), document(model={"task": "custom"}, predictor={"runtime": "torch"})],
    ),
    "predictor.runtime torchserve is only known": (
        [document(predictor={"runtime": "torchserve"})],
        [
            document(model={"task": task, "storageUri": _S3}, predictor={"runtime": "torchserve"})
            for task in ("object-detection", "tabular")
        ],
    ),
    "predictor.precision is only known": (
        [document(predictor={"precision": "bf16"}), document(predictor={"runtime": "torchserve", "precision": "fp32"})],
        [
            document(predictor={"runtime": "torchserve", "precision": "bf16"}),
            document(model={"task": "tabular", "storageUri": _S3}, predictor={"precision": "int8"}),
        ],
    ),
    "storageUri must not contain '..'": (
        [_model(storageUri="s3://a/.b/c.d")],
        [_model(storageUri="s3://a/../b"), _model(storageUri="pkg://a/..")],
    ),
    "storageUri must not carry a user": (
        [_model(storageUri="https://host/a@b"), _model(storageUri="oci://host/a@sha256:0")],
        [_model(storageUri="https://user@host/a"), _model(storageUri="s3://user:secret@bucket")],
    ),
    "name must not be async or batch": (
        [_model(name="Async"), _model(name="batches")],
        [_model(name="async"), _model(name="batch")],
    ),
    "requests.cpu is larger": (
        [_resources("cpu", "1000m", 1), _resources("cpu", 1, "1")],
        [_resources("cpu", "1001m", 1), _resources("cpu", 2, "1.9")],
    ),
    "requests.memory is larger": (
        [_resources("memory", "1024Mi", "1Gi"), document(predictor={"resources": {"requests": {"memory": "4Gi"}}})],
        [_resources("memory", "1025Mi", "1Gi"), document(predictor={"resources": {"requests": {"memory": "5Gi"}}})],
    ),
    "requests.ephemeral-storage is larger": (
        [_resources("ephemeral-storage", "1G", "1G"), _resources("ephemeral-storage", "1Gi", None)],
        [_resources("ephemeral-storage", "1Gi", "1G")],
    ),
    "replicas fixes the number of copies: remove minReplicas and": (
        [document(scaling={"replicas": 2}), document(scaling={"minReplicas": 1, "maxReplicas": 2})],
        [document(scaling={"replicas": 2, "minReplicas": 2}), document(scaling={"replicas": 2, "maxReplicas": 2})],
    ),
    "replicas fixes the number of copies: remove scaleMetric and": (
        [document(scaling={"scaleMetric": "cpu", "scaleTarget": 50})],
        [document(scaling={"replicas": 2, "scaleMetric": "cpu"}), document(scaling={"replicas": 2, "scaleTarget": 5})],
    ),
    "minReplicas is larger than maxReplicas": (
        [document(scaling={"minReplicas": 3, "maxReplicas": 3}), document(scaling={"minReplicas": 9})],
        [document(scaling={"minReplicas": 4, "maxReplicas": 3})],
    ),
    "scaleTarget is a percentage": (
        [document(scaling={"scaleTarget": 100}), document(scaling={"scaleMetric": "rps", "scaleTarget": 101})],
        [document(scaling={"scaleTarget": 101}), document(scaling={"scaleMetric": "memory", "scaleTarget": 101})],
    ),
    "scaleToZeroAfter needs minReplicas: 0": (
        [document(scaling={"scaleToZeroAfter": "5m", "minReplicas": 0})],
        [
            document(scaling={"scaleToZeroAfter": "5m", "minReplicas": 1}),
            document(scaling={"scaleToZeroAfter": "5m"}),
        ],
    ),
    "canaryTrafficPercent needs": (
        [
            document(rollout={"strategy": "canary", "canaryTrafficPercent": 5}),
            document(rollout={"strategy": "rolling"}),
        ],
        [document(rollout={"strategy": "blueGreen", "canaryTrafficPercent": 5})],
    ),
    "weights of variants must add up to 100": (
        [_weights(0, 100), _weights(33, 33, 34)],
        [_weights(50, 49), _weights(50, 51)],
    ),
    "access lets nobody in": (
        [document(access={"apiKeys": {"secret": "keys"}})],
        [document(access={})],
    ),
    "clientAuth says who must show": (
        [document(predictor={"tls": {"secretName": "a", "clientCaSecretName": "b", "clientAuth": "require"}})],
        [document(predictor={"tls": {"secretName": "a", "clientAuth": "optional"}})],
    ),
    "rateLimiting says how rateLimits are counted": (
        [document(rateLimits=[{"requests": 1, "per": "second"}], rateLimiting={})],
        [document(rateLimiting={})],
    ),
    "two variants have the same name": (
        [_weights(50, 50)],
        [document(variants=[{"name": "a", "weight": 50}, {"name": "a", "weight": 50}])],
    ),
}

# Transition rules: words of the message -> (before, allowed after, refused after).
TRANSITIONS: dict[str, tuple[Document, Document, Document]] = {
    "task cannot be changed": (_model(), _model(storageUri="s3://bucket/dogs/"), _model(task="tabular")),
}


def _rule_pair(constraint: Constraint) -> Pair:
    message = constraint.value["message"]
    for words, documents in _DOCUMENTS.items():
        if message.startswith(words) or words in message:
            return documents
    for words, (inside, outside) in _VALUES.items():
        if message.startswith(words):
            path = constraint.path
            return [_value_at(path, v) for v in inside if _fits(path, v)], [_value_at(path, v) for v in outside]
    raise LookupError(f"no pair of specs for the rule {message!r} at {constraint.path}: add one to spec_table.py")


def _fits(path: str, value: Any) -> bool:
    """A limit that is smaller than its request would break another rule."""
    return not (path == "spec.predictor.resources.limits.memory" and value in (0, 1, "500m", "2", "1.5", "10k"))


def _value_at(path: str, value: Any) -> Document:
    if path.startswith("spec.predictor.resources."):
        *_, side, field = path.split(".")
        other = {"requests": ("limits", "9Ti"), "limits": ("requests", 0)}[side]
        return document(predictor={"resources": {side: {field: value}, other[0]: {field: other[1]}}})
    return _with(path, value)
