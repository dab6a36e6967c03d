"""`moor diff [FILE]`, behind its options. Called by `app.py`."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from typer.core import TyperCommand

from moorage.api import ExitCode
from moorage.cli.diff.plan import Plan, plan
from moorage.cli.diff.screen import lines, picture
from moorage.cli.errors import UserError
from moorage.cli.files import judged
from moorage.cli.kube import Body, Kube, KubeError, model_deployment_path, told
from moorage.cli.render_options import of_arguments
from moorage.render import RenderSettings


@dataclass(frozen=True)
class DiffOptions:
    """What `moor diff` is told."""

    file: Path | None
    namespace: str | None
    operator_namespace: str


def diff(options: DiffOptions, controller: TyperCommand, console: Console) -> ExitCode:
    """Print what would change. INTERNAL, which is 1, stands for *there are differences*, as in `kubectl diff`.

    Args:
        options: what to look at.
        controller: the command `moor controller`, which knows the options that an operator was started with.
        console: where to.

    Raises:
        UserError: the file is invalid, the cluster refuses it or does not answer.
    """
    documents = [document for document, _ in judged(options.file)] if options.file else None
    kube = Kube()
    settings = _settings(kube, options.operator_namespace, controller, console)
    differs = False
    for namespace, name, document in _asked(kube, options.namespace, documents):
        with told(f"{namespace}/{name}"):
            found = plan(kube, namespace, name, document, settings)
        console.print(picture(found))
        differs = differs or _differs(found)
    return ExitCode.INTERNAL if differs else ExitCode.OK


def _asked(kube: Kube, namespace: str | None, documents: list[Body] | None) -> list[tuple[str, str, Body | None]]:
    where = namespace or kube.namespace
    if documents is not None:
        return [(each["metadata"].get("namespace") or where, each["metadata"]["name"], each) for each in documents]
    with told(f"the ModelDeployments of {where}"):
        return [(where, each["metadata"]["name"], None) for each in kube.items(model_deployment_path(where))]


def _settings(kube: Kube, namespace: str, controller: TyperCommand, console: Console) -> RenderSettings:
    """What the operator renders with, by the arguments in its Deployment."""
    try:
        with told("the operator"):
            operator = kube.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/moorage-controller")
    except UserError as error:
        if not isinstance(error.__cause__, KubeError):
            raise
        operator = None
    if operator is None:
        note = f"no Deployment moorage-controller to be read in {namespace}: an operator without options is assumed"
        console.print(note, style="yellow", markup=False)
        return RenderSettings()
    containers = operator["spec"]["template"]["spec"]["containers"]
    container = next((each for each in containers if each["name"] == "controller"), None)
    if container is None:
        found = ", ".join(each["name"] for each in containers)
        raise UserError(
            f"the Deployment moorage-controller in {namespace}: expected a container named controller, found {found}: "
            "name the operator's own container so"
        )
    return of_arguments(controller, container.get("args", [])[1:]).settings()


def _differs(found: Plan) -> bool:
    return any(lines(change) for change in found.changes)
