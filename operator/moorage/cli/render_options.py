"""The options of `moor controller` that decide what is rendered -> RenderSettings; also those of an operator that runs.

`moor controller` starts with them, `moor diff` reads them from the operator's own Deployment.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from typer.core import TyperCommand

from moorage.cli import names
from moorage.cli.errors import UserError
from moorage.render import NetworkSettings, RenderSettings


@dataclass(frozen=True)
class RenderOptions:
    """As given on the command line; None or nothing stands for the default."""

    predictor_image: str | None
    torchserve_image: str | None
    gateway_namespace: str
    prometheus_namespace: str
    node_cidr: list[str] | None
    storage_cidr: list[str] | None
    storage_port: list[int] | None
    network_policies: bool

    def settings(self) -> RenderSettings:
        """The same for `render()`.

        Raises:
            UserError: a network, a namespace or an image is not one.
        """
        names.image("--predictor-image", self.predictor_image)
        names.image("--torchserve-image", self.torchserve_image)
        names.namespace("--gateway-namespace", self.gateway_namespace)
        names.namespace("--prometheus-namespace", self.prometheus_namespace)
        defaults = NetworkSettings()
        network = NetworkSettings(
            enabled=self.network_policies,
            gateway_namespace=self.gateway_namespace,
            prometheus_namespace=self.prometheus_namespace,
            node_cidrs=_networks("--node-cidr", self.node_cidr or ()),
            storage_cidrs=_networks("--storage-cidr", self.storage_cidr or defaults.storage_cidrs),
            storage_ports=tuple(self.storage_port or defaults.storage_ports),
        )
        usual = RenderSettings()
        return RenderSettings(
            predictor_image=self.predictor_image or usual.predictor_image,
            torchserve_image=self.torchserve_image or usual.torchserve_image,
            network=network,
        )


def of_arguments(command: TyperCommand, arguments: list[str]) -> RenderOptions:
    """What an operator with these arguments renders with; options that this version does not know are left out.

    Args:
        command: `moor controller`.
        arguments: behind that, as in the operator's container.
    """
    context = command.make_context(
        command.name, list(arguments), resilient_parsing=True, ignore_unknown_options=True, allow_extra_args=True
    )
    given: dict[str, Any] = context.params
    defaults: dict[str | None, Any] = {option.name: option.default for option in command.params}
    fields = RenderOptions.__dataclass_fields__
    return RenderOptions(**{name: defaults[name] if given.get(name) is None else given[name] for name in fields})


def _networks(option: str, texts: Iterable[str]) -> tuple[str, ...]:
    for text in texts:
        try:
            ip_network(text)
        except ValueError as error:
            raise UserError(f"{option}: expected a network such as 10.0.0.0/8, found {text!r}: {error}") from error
    return tuple(texts)
