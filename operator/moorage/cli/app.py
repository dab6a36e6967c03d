"""The commands of `moor`. Each reads its options, calls one function and turns what it raises into a message and a code."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from moorage import __version__
from moorage.api import ExitCode
from moorage.api.child import python
from moorage.api.predictor import CALLED_AS, GRPC_PORT, HTTP_PORT
from moorage.cli import names
from moorage.cli.errors import UserError
from moorage.cli.files import model_deployments
from moorage.cli.init.kinds import KINDS
from moorage.cli.install import install
from moorage.cli.keys import keys

app = typer.Typer(
    help="Moorage: one YAML file, a ModelDeployment, becomes a production inference service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

bench = typer.Typer(help="Figures of one model on this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")
app.add_typer(keys, name="keys")

File = Annotated[Path, typer.Argument(help="A YAML file with a ModelDeployment.", show_default=False)]


@app.command()
def up(
    file: File,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for V1 and V2 REST.")] = HTTP_PORT,
    grpc_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for V2 gRPC.")] = GRPC_PORT,
    model_root: Annotated[Path | None, typer.Option(help="file:// weights must lie below this folder.")] = None,
    storage_allow_host: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT of a model store with a private address that may be read from. Repeatable."),
    ] = None,
    photo: Annotated[Path | None, typer.Option(help="The photo to send once ready; a cat if not given.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop after the first prediction.")] = False,
) -> None:
    """Serve a ModelDeployment on this machine, without a cluster."""
    from moorage.cli.up import UpOptions, up

    raise typer.Exit(
        up(UpOptions(file, host, http_port, grpc_port, model_root, tuple(storage_allow_host or ()), photo, once))
    )


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def serve(context: typer.Context) -> None:
    """Run the predictor alone, with the options that a pod would get. `moor serve --help` lists them."""
    command = python("-m", "moorage_predictor", *context.args)
    os.execve(command[0], command, {**os.environ, CALLED_AS: "moor serve"})  # noqa: S606 - argv list, our own module


@app.command()
def validate(files: Annotated[list[Path], typer.Argument(help="YAML files.", show_default=False)]) -> None:
    """Judge files as the API server and the operator would."""
    from moorage.render import refusal

    failed = False
    for file in files:
        try:
            for deployment in model_deployments(file):
                refused = refusal(deployment)
                failed = failed or refused is not None
                verdict = f"{refused.reason}: {refused.message}" if refused else "valid"
                typer.echo(f"{file}: {deployment.metadata.name}: {verdict}", err=refused is not None)
        except UserError as error:
            typer.echo(str(error), err=True)
            failed = True
    raise typer.Exit(ExitCode.INVALID_INPUT if failed else ExitCode.OK)


@app.command()
def init(
    name: Annotated[
        str,
        typer.Argument(
            help=f"Name of the ModelDeployment; or {', '.join(KINDS)}: a small model, trained here.", show_default=False
        ),
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="Where a model trained here goes; ./NAME if not given.", show_default=False)
    ] = None,
    storage_uri: Annotated[str | None, typer.Option(help="Where the weights are.", show_default=False)] = None,
    architecture: Annotated[str | None, typer.Option(help="timm/NAME, where no config.json names it.")] = None,
) -> None:
    """Print a commented ModelDeployment to start from; or train a small model to try, with its ModelDeployment."""
    if kind := KINDS.get(name):
        from moorage.cli.init.command import init

        if storage_uri or architecture:
            raise UserError(f"moor init {name} trains a model of its own: it takes no --storage-uri or --architecture")
        raise typer.Exit(init(kind, folder or Path(name)))
    from moorage.api import InvalidDeploymentError
    from moorage.cli.files import placed
    from moorage.cli.init.blank import scaffold

    if folder is not None:
        raise UserError(f"moor init: a FOLDER goes with one of {', '.join(KINDS)}, found {name!r}")
    try:
        typer.echo(scaffold(name, storage_uri or "s3://BUCKET/PATH", architecture), nl=False)
    except InvalidDeploymentError as error:
        raise UserError(str(placed(error))) from error


@app.command()
def apply(
    file: File,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Namespace, if the file names none.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until everything is ready, and say what it waits for.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for each.")] = 300,
) -> None:
    """Apply ModelDeployments to the cluster of your kubeconfig."""
    try:
        from moorage.cli.apply import apply
    except ModuleNotFoundError as error:
        raise UserError(f"moor apply needs {error.name}: pip install 'moorage[cli]'", ExitCode.UNAVAILABLE) from error
    from moorage.cli.screen import console

    raise typer.Exit(apply(file, names.namespace("--namespace", namespace), timeout if wait else None, console()))


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="Name of the ModelDeployment.", show_default=False)],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Its namespace; else that of the kubeconfig.")
    ] = None,
    output: Annotated[
        Literal["text", "json"], typer.Option("--output", "-o", help="For people or for programs.")
    ] = "text",
) -> None:
    """Show why a model in the cluster is ready or not: its objects as a tree, with the cause marked. Code 1 if it is not."""
    try:
        from moorage.cli.explain.command import explain
    except ModuleNotFoundError as error:
        raise UserError(f"moor explain needs {error.name}: pip install 'moorage[cli]'", ExitCode.UNAVAILABLE) from error
    from moorage.cli.screen import console

    names.object_name("NAME", name)
    raise typer.Exit(explain(name, names.namespace("--namespace", namespace), output, console()))


@app.command()
def diff(
    file: Annotated[
        Path | None,
        typer.Argument(help="A YAML file with ModelDeployments; without it those of the namespace, as they are."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Namespace, if the file names none.")
    ] = None,
    operator_namespace: Annotated[
        str, typer.Option(help="Where the operator runs: what is rendered depends on its options.")
    ] = "moorage-system",
) -> None:
    """Show what a file, or this version of Moorage, would change in the cluster, and whose pods it would replace. Code 1 if any."""
    try:
        from moorage.cli.diff.command import DiffOptions, diff
    except ModuleNotFoundError as error:
        raise UserError(f"moor diff needs {error.name}: pip install 'moorage[cli]'", ExitCode.UNAVAILABLE) from error
    from moorage.cli.screen import console

    commands = getattr(typer.main.get_command(app), "commands")  # noqa: B009 - of a group, which app is
    names.namespace("--namespace", namespace)
    names.namespace("--operator-namespace", operator_namespace)
    raise typer.Exit(diff(DiffOptions(file, namespace, operator_namespace), commands["controller"], console()))


@app.command()
def render(file: File) -> None:
    """Print the Kubernetes objects that the operator would apply."""
    from moorage.cli.yamltext import to_yaml
    from moorage.render import refusal
    from moorage.render import render as render_objects

    manifests = []
    for deployment in model_deployments(file):
        if refused := refusal(deployment):
            raise UserError(f"{file}: {refused.reason}: {refused.message}")
        manifests += render_objects(deployment)
    typer.echo(to_yaml(manifests), nl=False)


@app.command()
def crd() -> None:
    """Print the CustomResourceDefinition of ModelDeployment."""
    from moorage.api.crd import custom_resource_definition
    from moorage.cli.yamltext import to_yaml

    typer.echo(to_yaml([custom_resource_definition()]), nl=False)


@app.command()
def conformance(
    url: Annotated[
        str | None, typer.Argument(help="URL of the server, such as http://127.0.0.1:8080.", show_default=False)
    ] = None,
    grpc: Annotated[str | None, typer.Option(help="HOST:PORT of its gRPC service.")] = None,
    model: Annotated[str | None, typer.Option(help="A model to ask; the requests follow its metadata.")] = None,
    identity: Annotated[
        str | None, typer.Option(help="A model that answers with its inputs: moorage_predictor.examples.identity.")
    ] = None,
    section: Annotated[list[str] | None, typer.Option(help="Only this section. Repeatable.")] = None,
    case: Annotated[list[str] | None, typer.Option(help="Only this case. Repeatable.")] = None,
    level: Annotated[
        Literal["required", "extension", "strict"],
        typer.Option(help="How far to go: the core, its extensions, good answers to bad requests."),
    ] = "strict",
    slow: Annotated[bool, typer.Option("--slow", help="Also what takes seconds or much memory.")] = False,
    control: Annotated[
        bool, typer.Option("--control", help="Also what changes the server: load, unload, trace and log settings.")
    ] = False,
    output: Annotated[Literal["text", "json"], typer.Option(help="For people or for programs.")] = "text",
    list_only: Annotated[bool, typer.Option("--list", help="Name the cases, ask nothing.")] = False,
) -> None:
    """Check whether a server follows the Open Inference Protocol. Code 1 if a case fails."""
    from moorage.cli.conformance.command import ConformanceOptions, conformance

    options = ConformanceOptions(
        url, grpc, model, identity, tuple(section or ()), tuple(case or ()), level, slow, control, output, list_only
    )
    raise typer.Exit(conformance(options))


@app.command()
def optimize(
    model: Annotated[str, typer.Argument(help="A weight file, its folder, or a URI.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="Where the weights and the engine go.", show_default=False)],
    architecture: Annotated[str | None, typer.Option(help="timm/NAME, where no config.json names it.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the weight file.")] = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "int8", "auto"],
        typer.Option(help="What is to be had; auto takes the fastest that answers as fp32 does."),
    ] = "auto",
    engine: Annotated[
        Literal["auto", "eager", "aot", "onnxruntime", "openvino"],
        typer.Option(help="What may run it; auto measures all that are installed."),
    ] = "auto",
    budget: Annotated[float, typer.Option(min=1, max=3600, help="Seconds that may be spent on measuring.")] = 600,
    calibration_dir: Annotated[
        Path | None, typer.Option(help="Images as the model will see them. Without it generated ones, which is worse.")
    ] = None,
    model_root: Annotated[Path | None, typer.Option(help="file:// weights must lie below this folder.")] = None,
    output: Annotated[Literal["text", "json"], typer.Option(help="For people or for programs.")] = "text",
) -> None:
    """Measure engines for a model on this machine, and make a folder that is served without measuring or compiling."""
    from moorage.cli.optimize import OptimizeOptions, optimize

    options = OptimizeOptions(
        model, folder, architecture, sha256, precision, engine, budget, calibration_dir, model_root, output
    )
    raise typer.Exit(optimize(options))


@bench.command("cold-start")
def cold_start(
    file: Annotated[
        Path | None, typer.Argument(help="A YAML file with a ModelDeployment; or give the options.", show_default=False)
    ] = None,
    task: Annotated[
        str, typer.Option(help="image-classification, or a class as for moor serve.")
    ] = "image-classification",
    storage_uri: Annotated[str | None, typer.Option(help="Where the weights are.")] = None,
    model_dir: Annotated[Path | None, typer.Option(help="A folder, or one weight file, with the model.")] = None,
    architecture: Annotated[str | None, typer.Option(help="timm/NAME, where no config.json names it.")] = None,
    model_root: Annotated[Path | None, typer.Option(help="file:// weights must lie below this folder.")] = None,
    request: Annotated[
        Path | None,
        typer.Option(help="A V2 request in JSON to ask first. Without it a photo, or of a class its readiness."),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=100, help="How often to start it.")] = 3,
    floor: Annotated[
        bool, typer.Option("--floor", help="Also the least: import torch, read the weights, one forward pass.")
    ] = False,
    output: Annotated[Literal["text", "json"], typer.Option(help="For people or for programs.")] = "text",
    picture: Annotated[Path | None, typer.Option(help="An .svg file to draw a bar for each run in.")] = None,
) -> None:
    """Start the predictor several times, and show where the time to the first answer goes."""
    from moorage.cli.bench.cold_start import ColdStartOptions, bench_cold_start

    options = ColdStartOptions(
        file, task, storage_uri, model_dir, architecture, model_root, request, runs, floor, output, picture
    )
    raise typer.Exit(bench_cold_start(options))


@app.command()
def controller(
    predictor_image: Annotated[str | None, typer.Option(help="Image of the predictor pods.")] = None,
    torchserve_image: Annotated[
        str | None, typer.Option(help="The same for models with predictor.runtime torchserve.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address of /healthz, /readyz and /metrics.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of /healthz, /readyz and /metrics.")] = 8085,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Least level that is logged.")
    ] = "info",
    gateway_namespace: Annotated[
        str, typer.Option(help="Namespace of the gateway, which may call predictors.")
    ] = "moorage-system",
    prometheus_namespace: Annotated[
        str, typer.Option(help="Namespace of Prometheus, which may scrape predictors.")
    ] = "monitoring",
    node_cidr: Annotated[
        list[str] | None, typer.Option(help="Nodes, for network plugins that do not exempt the kubelet.")
    ] = None,
    storage_cidr: Annotated[list[str] | None, typer.Option(help="Where model stores are; anywhere by default.")] = None,
    storage_port: Annotated[
        list[int] | None,
        typer.Option(min=1, max=65535, help="Ports of model stores, and of tokens' issuers; 443 by default."),
    ] = None,
    network_policies: Annotated[bool, typer.Option(help="Make a NetworkPolicy for each model.")] = True,
    namespace: Annotated[
        list[str] | None, typer.Option(help="Look after the models of this namespace; may be repeated. All by default.")
    ] = None,
    leader_elect: Annotated[
        bool, typer.Option(help="Write only while this controller holds the lease; needed where there are several.")
    ] = True,
    lease_namespace: Annotated[
        str | None, typer.Option(help="Where the lease is; by default the pod's namespace, else moorage-system.")
    ] = None,
    watch_idle: Annotated[
        float, typer.Option(min=2, max=600, help="Seconds that a watch may be silent before it is opened anew.")
    ] = 60.0,
    profiling: Annotated[
        bool, typer.Option("--profiling", help="Answer /debug/profile and /debug/tasks to whoever reaches the port.")
    ] = False,
) -> None:
    """Run the operator: keep a cluster equal to its ModelDeployments."""
    from moorage.cli.render_options import RenderOptions

    options = RenderOptions(
        predictor_image,
        torchserve_image,
        gateway_namespace,
        prometheus_namespace,
        node_cidr,
        storage_cidr,
        storage_port,
        network_policies,
    )
    render, namespaces = options.settings(), names.namespaces("--namespace", namespace or ())
    names.namespace("--lease-namespace", lease_namespace)
    try:  # once the options are known to be good: it takes a second
        from moorage.controller.process import ControllerSettings, main
    except ModuleNotFoundError as error:
        raise UserError(
            f"the controller needs {error.name}: pip install 'moorage[operator]'", ExitCode.UNAVAILABLE
        ) from error
    raise typer.Exit(
        main(
            ControllerSettings(
                render=render,
                host=host,
                port=port,
                log_level=log_level,
                namespaces=namespaces,
                leader_elect=leader_elect,
                lease_namespace=lease_namespace,
                watch_idle_s=watch_idle,
                profiling=profiling,
            )
        )
    )


app.command()(install)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
