"""`moor install`: print what installs the controller, for `kubectl apply`. Registered by app.py."""

import re
from collections.abc import Iterable
from typing import Annotated

import typer

from moorage.cli.files import UserError
from moorage.cli.yamltext import to_yaml

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


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

    namespaces_of("--system-namespace", [system_namespace])
    namespaces = namespaces_of("--namespace", namespace or ())
    chosen = Installation(system_namespace, namespaces, image or Installation().image, replicas)
    typer.echo(to_yaml(manifests(chosen)), nl=False)


def namespaces_of(option: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions.

    Raises:
        UserError: one cannot be a namespace's.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise UserError(f"{option}: expected the name of a namespace (a-z, 0-9, -), found {name!r}")
    return tuple(dict.fromkeys(names))
