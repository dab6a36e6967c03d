"""Writes every generated file of the repository: `make generate`. A test runs it with --check and compares.

crds/  manifests/install.yaml  operator/moorage/api/oip/open_inference_pb2.{py,pyi}
docs/reference/{metrics,conditions,modeldeployment,predictor-settings,cli,exit-codes,rbac}.md
docs/reference/predictor-openapi.json
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from grpc_tools import protoc

from moorage.api import PredictorSettings, conditions, metrics, predictor
from moorage.api.crd import custom_resource_definition
from moorage.api.exit_codes import ExitCode
from moorage.api.features import FEATURES, GPU
from moorage.cli.app import app
from moorage.cli.yamltext import to_yaml
from moorage.controller import install, rbac
from moorage_predictor.wire.http import openapi

ROOT = Path(__file__).resolve().parent.parent
NOTE = "Made by `make generate`; edits here are lost."


def files() -> dict[str, str]:
    """Path from the root -> content."""
    crd = custom_resource_definition()
    return {
        "crds/moorage.dev_modeldeployments.yaml": f"# {NOTE}\n" + to_yaml([crd]),
        "manifests/install.yaml": f"# {NOTE}\n" + to_yaml(install.manifests()),
        "docs/reference/metrics.md": _page("Metrics", _metrics()),
        "docs/reference/conditions.md": _page("Conditions and reasons", _conditions()),
        "docs/reference/modeldeployment.md": _page("ModelDeployment", _fields(crd)),
        "docs/reference/predictor-settings.md": _page("Settings of the predictor", _predictor_settings()),
        "docs/reference/cli.md": _page("The command moor", _cli()),
        "docs/reference/exit-codes.md": _page("Exit codes", _exit_codes()),
        "docs/reference/predictor-openapi.json": json.dumps(openapi.document(), indent=1) + "\n",
        "docs/reference/rbac.md": _page("What the controller may do", _rbac()),
        **_messages(),
    }


def _messages() -> dict[str, str]:
    """The Python modules of the .proto file."""
    folder = "operator/moorage/api"
    root = Path(__file__).resolve().parent.parent / folder  # what is read; ROOT is where files are written
    with tempfile.TemporaryDirectory() as out:
        proto = "oip/open_inference.proto"
        if protoc.main(["protoc", f"-I{root}", f"--python_out={out}", f"--pyi_out={out}", proto]):
            raise SystemExit(f"{proto}: protoc failed; its words are above")
        made = sorted(Path(out, "oip").iterdir())
        return {f"{folder}/oip/{file.name}": file.read_text() for file in made}


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", "", f"<!-- {NOTE} -->", "", *lines]) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---'] * len(head))}|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _metrics() -> Iterator[str]:
    yield "Names and labels are API: more may come, none is renamed. `/metrics` has them in Prometheus' text format; of a"
    yield "predictor with several workers it has the numbers of all of them, whichever is asked. How they are switched on,"
    yield "and what else a predictor tells: [Observe a model](../how-to/observe-a-model.md)."
    yield ""
    rows = [
        (f"`{m.name}`", m.kind, m.component, ", ".join(f"`{name}`" for name in m.labels), m.help)
        for m in metrics.METRICS
    ]
    yield from _table(("name", "type", "of", "labels", "meaning"), rows)
    yield ""
    yield f"`model` and `version` are `{metrics.UNKNOWN}` where a request named what is not there, and `{metrics.OTHER}` for all"
    yield "versions together beyond the first `--max-metric-models`. Codes, stages, outcomes and reasons are words of ours. What a"
    yield "class of yours counts with `prometheus_client` follows after these metrics, also added up over the workers."
    yield ""
    yield "## Buckets"
    yield ""
    rows = [(f"`{m.name}`", ", ".join(f"{edge:g}" for edge in m.buckets)) for m in metrics.METRICS if m.buckets]
    yield from _table(("histogram", "upper edges"), rows)
    yield ""
    yield "## Questions"
    for query in metrics.QUERIES:
        yield from ("", f"{query.question}:", "", "```promql", query.promql, "```")


def _conditions() -> Iterator[str]:
    yield "`kubectl wait --for=condition=Ready mdep/NAME` waits for the summary; `kubectl get mdep` shows its reason."
    yield ""
    yield from _table(("condition", "True when"), [(f"`{name}`", text) for name, text in conditions.TYPES.items()])
    yield ""
    yield "These are there only while they are True:"
    yield ""
    yield from _table(("condition", "True when"), [(f"`{name}`", text) for name, text in conditions.ABNORMAL.items()])
    for kind in conditions.TYPES:
        yield ""
        yield f"## Reasons of {kind}"
        yield ""
        yield from _reasons(kind)
        if kind == conditions.READY:
            yield ""
            yield "While not True, `Ready` repeats the reason and message of the first condition above that is not True."
            yield "`Reconciling` and `Stalled` repeat them too."
    yield ""
    yield "## Reasons of what is missing"
    yield ""
    yield from _reasons(FEATURES[0].condition)
    yield ""
    yield "The controller looks for all of these. Specs of this version ask for KServe and, where copies follow the load, for"
    yield "ResourceMetrics; what would ask for the others is not supported yet. A controller of some namespaces looks for no GPU."
    yield ""
    rows = [(f"`{each.condition}`", f"`{each.group}/{each.resource}`", each.install) for each in FEATURES]
    rows.append((f"`{GPU.condition}`", "on any node: the resource of `spec.predictor.gpu`", GPU.install))
    yield from _table(("condition", "what the cluster does not serve", "what to do"), rows)


def _reasons(kind: str) -> Iterator[str]:
    found = [reason for reason in conditions.REASONS if kind in reason.types]
    heals = [(reason, "yes" if reason.waits or reason.remedy == "Nothing." else "no") for reason in found]
    rows = [(f"`{reason.name}`", reason.meaning, reason.remedy, word) for reason, word in heals]
    yield from _table(("reason", "meaning", "what to do", "may pass by itself"), rows)


def _predictor_settings() -> Iterator[str]:
    yield "What `moor serve` and `python -m moorage_predictor` are told. The operator and `moor up` write them; people rarely do."
    yield "One of `--model-dir`, `--storage-uri` and `--model-repository` must be given; a class of your own may need none. An unknown"
    yield "option ends the process with code 2."
    yield ""
    fields = PredictorSettings.model_json_schema()
    rows = []
    for name, schema in fields["properties"].items():
        kind = next((choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"), schema)
        default = "" if schema.get("default") in (None, []) else f"`{schema['default']!s}`"
        rows.append(
            (
                f"`{predictor._FROM_ENV[name]}`" if name in predictor._FROM_ENV else f"`--{name.replace('_', '-')}`",
                "required" if name in fields["required"] else default,
                _limits({**kind, **({"enum": [kind["const"]]} if "const" in kind else {})}),
                schema.get("description", ""),
            )
        )
    yield from _table(("option or variable", "default", "limits", "meaning"), rows)


def _cli() -> Iterator[str]:
    yield "Every command ends with one of these [exit codes](exit-codes.md)."
    for name, command in _commands(typer.main.get_command(app), ""):
        yield ""
        yield f"## moor {name}"
        yield ""
        yield command.help
        rows = [
            (
                " / ".join(f"`{word}`" for word in (*each.opts, *each.secondary_opts)),
                "required" if each.required else _default(each.default),
                each.help or "",
            )
            for each in command.params
        ]
        if rows:
            yield ""
            yield from _table(("argument or option", "default", "meaning"), rows)


def _commands(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    """Those of subgroups too, under their whole names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def _default(value: object) -> str:
    return "" if value in (None, False) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _exit_codes() -> Iterator[str]:
    yield "Of `moor` and of the predictor."
    yield ""
    yield from _table(("code", "name", "meaning"), [(str(int(code)), code.name, code.meaning) for code in ExitCode])
    yield ""
    yield "As shells have it, a command of `moor` that serves nothing (`optimize`, `bench`, `init`, `explain`) ends with 130 after"
    yield "Ctrl-C, and whatever a signal ended at once with 128 and its number."


def _rbac() -> Iterator[str]:
    yield "Everything that it may do, and why. It reads no Secret and uses no wildcard; what the API server serves it learns"
    yield "from discovery, which everybody may read. The tests compare this table with the API server's audit log."
    for where, title, text in (
        (
            "models",
            "Where models are",
            "A ClusterRole; with `moor install --namespace` a Role in each of those namespaces, and nothing beyond.",
        ),
        (
            "cluster",
            "Of no namespace",
            "In the same ClusterRole; not with `moor install --namespace`. Take the rule out, and nothing is said of GPUs.",
        ),
        ("home", "In its own namespace", "A Role."),
    ):
        yield from ("", f"## {title}", "", text, "")
        rows = [
            (
                f"`{g.group or 'core'}`",
                ", ".join(g.resources) + (f" named {', '.join(g.names)}" if g.names else ""),
                ", ".join(g.verbs),
                g.why,
            )
            for g in rbac.GRANTS
            if g.where == where
        ]
        yield from _table(("API group", "resources", "verbs", "why"), rows)
    yield from ("", "## What the audit log does not show", "")
    rows = [
        (f"`{g.group or 'core'}`", ", ".join(g.resources), verb, why) for g in rbac.GRANTS for verb, why in g.seldom
    ]
    yield from _table(("API group", "resources", "verb", "why it is there all the same"), rows)


def _fields(crd: dict[str, Any]) -> Iterator[str]:
    yield "`moorage.dev/v1alpha1`, short name `mdep`; write `modeldeployments.moorage.dev` where another project has the kind too."
    yield "`kubectl explain mdep.spec --recursive` shows the same."
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for part in ("spec", "status"):
        yield ""
        yield f"## {part}"
        yield ""
        yield from _table(("field", "type", "default", "limits", "meaning"), list(_rows(root[part], part)))
    yield ""
    yield "## Rules"
    yield ""
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield from _table(
        ("of", "refused unless"),
        [(f"`{path}`", f"`{rule['rule']}`: {rule['message']}") for path, rule in _rules(schema, "")],
    )


def _rows(schema: dict[str, Any], path: str) -> Iterator[tuple[str, ...]]:
    for name, child in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        needed = " (required)" if name in schema.get("required", ()) else ""
        default = f"`{child['default']}`" if child.get("type") != "object" and "default" in child else ""
        yield f"`{where}`{needed}", _type(child), default, _limits(child), child.get("description", "")
        yield from _rows(child, where)
        yield from _rows(child.get("items", {}), f"{where}[]")


def _type(schema: dict[str, Any]) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    return f"list of {_type(schema['items'])}" if schema.get("type") == "array" else str(schema.get("type", ""))


def _limits(schema: dict[str, Any]) -> str:
    said = [f"one of {', '.join(f'`{value}`' for value in schema['enum'])}"] if "enum" in schema else []
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " entries"),
    ):
        if low in schema and high in schema:
            said.append(f"{schema[low]} to {schema[high]}{unit}")
        elif low in schema:
            said.append(f"at least {schema[low]}{unit}")
        elif high in schema:
            said.append(f"at most {schema[high]}{unit}")
    if "pattern" in schema:
        said.append(f"`{schema['pattern']}`")
    return ", ".join(said)


def _rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path or "the whole", rule
    for name, child in schema.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}".lstrip("."))
        yield from _rules(child.get("items", {}), f"{path}.{name}[]".lstrip("."))


def main() -> int:
    """Write the files, or with --check name those that differ."""
    stale = []
    for name, text in files().items():
        path = ROOT / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name in stale:
        print(("differs: " if "--check" in sys.argv else "wrote ") + name)
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
