"""`moor install`: print what installs the controller, for `kubectl apply`. Registered by app.py."""

from typing import Annotated

import typer

from moorage.cli import names
from moorage.cli.yamltext import to_yaml


def install(
    namespace: Annotated[
        list[str] | None,
        typer.Option(help="A namespace with models; may be repeated. Then the controller has no right in any other."),
    ] = None,
    system_namespace: Annotated[str, typer.Option(help="Namespace of the controller.")] = "moorage-system",
    image: Annotated[str | None, typer.Option(help="Image of the controller.")] = None,
    replicas: Annotated[int, typer.Option(min=1, max=5, help="Controllers: one leads, the others stand by.")] = 1,
) -> None:
    """Print the manifests of the controller, all but the CRD, for `kubectl apply -f -`."""
    from moorage.controller.install import Installation, manifests

    names.namespace("--system-namespace", system_namespace)
    names.image("--image", image)
    namespaces = names.namespaces("--namespace", namespace or ())
    chosen = Installation(system_namespace, namespaces, image or Installation().image, replicas)
    typer.echo(to_yaml(manifests(chosen)), nl=False)
