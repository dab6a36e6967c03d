"""A reader who does what a page says, block after block, and compares what comes with what the page shows.

    bash    `make` commands are targets of the Makefile; `make run` is one real process for all pages, the others would
            run these tests again. `moor up` and `moor serve` serve until the page starts another server or ends, unless
            they are told `--once`, or what to do (`||`) when they fail. `kubectl` runs command by command. Everything
            else is executed.
    python  saved, if its first line is `# FILE.py`; else executed
    json    is like what the block before it printed
    text    its lines come in what the block before it printed; without such a block it is a picture
    yaml    is a sample, or is valid, accepted by the API server and, if a ModelDeployment, acted on

Any other block is not covered and fails the page.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import yaml
from tests.control_plane.plane import Cluster
from tests.control_plane.process import free_ports
from tests.docs.blocks import ROOT, Block, missing, unlike

from moorage.api import check
from moorage.render import refusal

BLOCK_TIMEOUT_S = 240
SAMPLES = ROOT / "manifests" / "samples"
SERVING = (".venv/bin/moor up", ".venv/bin/moor serve")


class Serving(Protocol):
    """A server that a page started."""

    @property
    def output(self) -> str: ...
    def here(self, text: str) -> str: ...
    def to_page(self, text: str) -> str: ...


class NotCovered(AssertionError):
    """A block for which there is no rule."""


class Reader:
    """What one reader has at hand; `read` raises AssertionError at the first block that is not true."""

    def __init__(
        self,
        folder: Path,
        environment: Callable[..., dict[str, str]],
        *,
        make_run: Callable[[], Serving],
        serve: Callable[[list[str]], Serving],
        cluster: Cluster | None = None,
        start_controller: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._environment = folder, environment
        self._make_run, self._serve = make_run, serve
        self._cluster, self._start_controller = cluster, start_controller
        self._server: Serving | None = None
        self._output: Callable[[], str] | None = None

    @property
    def printed(self) -> str:
        """What the last block printed."""
        assert self._output is not None
        return self._output()

    def read(self, block: Block) -> None:
        rule = getattr(self, f"_{block.language}", None) if block.language else None
        if rule is None:
            raise NotCovered(f"{block}: there is no rule for such a block")
        rule(block)

    def _bash(self, block: Block) -> None:
        first = block.text.split()[0]
        if first == "make":
            self._make(block)
        elif block.text.startswith(SERVING) and "--once" not in block.text and "||" not in block.text:
            server = self._serve(shlex.split(block.text.replace("\\\n", " ")))
            self._server, self._output = server, lambda: server.output
        elif first == "kubectl":
            self._kubectl(block)
        else:
            self._execute(block, ["bash", "-euo", "pipefail", "-c"])

    def _make(self, block: Block) -> None:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        for line in block.text.splitlines():
            word, _, target = line.split("#")[0].strip().partition(" ")
            assert word == "make", f"{block}: only make commands in a block that begins with one"
            assert target in targets, f"{block}: the Makefile has no {target}"
        if block.text == "make run\n":
            self._server = server = self._make_run()
            self._output = lambda: server.output
        else:
            self._output = None

    def _kubectl(self, block: Block) -> None:
        assert self._cluster is not None
        assert self._cluster.kubectl is not None
        environment = self._environment(
            KUBECONFIG=str(self._cluster.kubeconfig),
            KUBECACHEDIR=str(self._folder / "kubectl-cache"),  # as on a machine that has never seen the kind
            PATH=f"{self._cluster.kubectl.parent}:{self._environment()['PATH']}",
        )
        said = []
        for command in block.text.replace("\\\n", " ").splitlines():
            assert command.startswith(("kubectl ", "until kubectl ")), (
                f"{block}: only kubectl in a block that begins with it: {command}"
            )
            said.append(self._run(block, ["bash", "-c", command], environment))
            if " apply " in command and "manifests/install.yaml" in command:
                self._start_controller()
        self._output = lambda: "".join(said)

    def _python(self, block: Block) -> None:
        if named := re.match(r"# (\w+\.py)\n", block.text):
            (self._folder / named[1]).write_text(block.text)
            self._output = None
        else:
            self._execute(block, ["python", "-c"])

    def _execute(self, block: Block, command: list[str]) -> None:
        text = self._server.here(block.text) if self._server else block.text
        if any(command in text for command in SERVING):  # it ends by itself
            http_port, grpc_port = free_ports(2)
            text = re.sub(r"(moor (?:up|serve))", rf"\1 --http-port={http_port} --grpc-port={grpc_port}", text)
        printed = self._run(block, [*command, text], self._environment())
        if self._server:
            printed = self._server.to_page(printed)
        if "curl" in block.text:
            assert printed, f"{block}: printed nothing"
        self._output = lambda: printed

    def _run(self, block: Block, command: list[str], environment: dict[str, str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{block}: status {done.returncode}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def _json(self, block: Block) -> None:
        assert self._output is not None, f"{block}: nothing was printed before it"
        printed = self._output()
        where = unlike(json.loads(block.text), json.loads(printed))
        assert where is None, f"{block}: differs at {where}: {printed[:3000]}"

    def _text(self, block: Block) -> None:
        if self._output is None:
            assert re.search("[─│▼→]", block.text), f"{block}: neither a picture nor the output of a block before it"
            return
        printed = self._output()
        line = missing(block.text, printed)
        assert line is None, f"{block}: no such line: {line!r} in {printed[:3000]}"
        self._output = None

    def _yaml(self, block: Block) -> None:
        self._output = None
        if any(block.text == sample.read_text() for sample in SAMPLES.glob("*.yaml")):
            return
        assert self._cluster is not None, f"{block}: no cluster to ask"
        for document in yaml.safe_load_all(block.text):
            if document["kind"] == "ModelDeployment":
                refused = refusal(check(document))
                assert refused is None, f"{block}: {refused}"
            self._accepted(document)

    def _accepted(self, document: dict[str, Any]) -> None:
        """As a new object: under a name that nothing on the cluster has."""
        assert self._cluster is not None
        name = f"{document['metadata']['name']}-of-a-page"
        self._cluster.api.create(
            {**document, "metadata": {"namespace": "default", **document["metadata"], "name": name}}, dry_run=True
        )


def needs_cluster(blocks: list[Block]) -> bool:
    """Whether a page cannot be read without a cluster."""
    samples = [sample.read_text() for sample in SAMPLES.glob("*.yaml")]
    return any(
        (block.language == "bash" and block.text.startswith("kubectl "))
        or (block.language == "yaml" and block.text not in samples)
        for block in blocks
    )
