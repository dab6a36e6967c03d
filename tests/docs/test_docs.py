"""The pages under docs/, and those beside the README: every block is covered by a rule, every link leads somewhere."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from tests.control_plane.plane import Cluster
from tests.docs.blocks import ROOT, Block, blocks, links, missing, pages, unlike
from tests.docs.conftest import Server, environment
from tests.docs.reader import NotCovered, Reader, needs_cluster

from moorage.api.limits import RequestLimits
from moorage.api.predictor import PredictorSettings
from moorage.api.v1alpha1 import ModelDeployment

OTHERS = [page for page in pages() if page != ROOT / "README.md" and page.parent.name != "tools"]
LOCAL = [page for page in OTHERS if not needs_cluster(blocks(page))]
CLUSTERED = [page for page in OTHERS if needs_cluster(blocks(page))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_of(request: pytest.FixtureRequest) -> Callable[[], Server]:
    return lambda: request.getfixturevalue("make_run")


@pytest.mark.parametrize("page", LOCAL, ids=name)
def test_every_block_of_a_page_does_what_it_says(
    page: Path, folder: Path, serve: Callable[[list[str]], Server], request: pytest.FixtureRequest
) -> None:
    reader = Reader(folder, environment, make_run=run_of(request), serve=serve)
    for block in blocks(page):
        reader.read(block)


@pytest.mark.usefixtures("kserve")
@pytest.mark.parametrize("page", CLUSTERED, ids=name)
def test_every_block_of_a_page_does_what_it_says_with_a_cluster(
    page: Path,
    folder: Path,
    serve: Callable[[list[str]], Server],
    control_plane: Cluster,
    controller: Callable[[], None],
    request: pytest.FixtureRequest,
) -> None:
    control_plane.apply_crds([ROOT / "crds"])  # a page may remove ours, and any page may be read alone
    reader = Reader(
        folder,
        environment,
        make_run=run_of(request),
        serve=serve,
        cluster=control_plane,
        start_controller=controller,
    )
    for block in blocks(page):
        reader.read(block)


@pytest.mark.parametrize("page", [*pages(), *(ROOT / "docs" / "reference").glob("*.md")], ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_index() -> None:
    reached = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(ROOT / "docs" / "index.md")}
    assert [
        name(page) for page in (ROOT / "docs").rglob("*.md") if page not in reached | {ROOT / "docs" / "index.md"}
    ] == []


@pytest.mark.parametrize("text", ["```ruby\nputs 1\n```\n", "```\nno language\n```\n"])
def test_a_block_that_no_rule_covers_fails(text: str, tmp_path: Path) -> None:
    page = ROOT / "docs" / "index.md"
    language = text.split("\n", 1)[0].removeprefix("```")
    reader = Reader(tmp_path, environment, make_run=_never, serve=_never)
    with pytest.raises(NotCovered, match="no rule"):
        reader.read(Block(page, 1, language, text))


def _never(*_: object) -> Server:
    raise AssertionError("not asked for")


def test_what_a_page_shows_is_compared_with_what_comes() -> None:
    assert missing("a …c\nlast\n", "a b c\nmore\n  last\n") is None
    assert missing("last\na\n", "a\nlast\n") == "a"
    assert unlike({"a": ["…", 0.5]}, {"a": ["x", 0.52]}) is None
    assert unlike({"ns": "…"}, {"ns": 12345}) is None
    assert unlike({"a": 1}, {"a": 1, "b": 2}) == ": ['b']"
    assert unlike({"a": [1]}, {"a": [2]}) == ".a[0]: 2"


REFERENCE = ROOT / "docs" / "reference"

# The statuses that a request alone brings about; the others need time, a broken model or a busy server, and belong to
# the predictor's tests.
MISTAKES = {
    "400": "-d '{}' http://127.0.0.1:8080/v1/models/cat:predict",
    "403": "-X POST http://127.0.0.1:8080/v2/repository/models/cat/unload",
    "404": "-d '{}' http://127.0.0.1:8080/v2/models/dog/infer",
    "405": "-X PUT -d '{}' http://127.0.0.1:8080/v2/models/cat/infer",
    "413": "-H 'Content-Length: 200000000' -d '{}' http://127.0.0.1:8080/v2/models/cat/infer",
    "415": "-H 'Content-Encoding: br' -d '{}' http://127.0.0.1:8080/v2/models/cat/infer",
    "431": '-H "X-Long: $(printf %070000d 0)" http://127.0.0.1:8080/v2',
    "501": "-d '{\"instances\":[]}' http://127.0.0.1:8080/v1/models/cat:explain",
}


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head; code is bare."""
    _, _, below = page.read_text().partition(f"\n## {heading}\n")
    rows = re.search(r"^\|.*\n\|[-|]*\n((?:\|.*\n)+)", below, re.MULTILINE)
    assert rows, f"{page}: no table below {heading}"
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]


def documented_errors() -> set[tuple[str, str, str]]:
    return {(status, code, grpc) for status, code, grpc, _ in table(REFERENCE / "errors-and-limits.md", "Errors")}


def test_every_error_of_the_predictor_is_in_the_reference() -> None:
    """And none that there is not. Where the page leaves gRPC empty the error is HTTP's alone."""
    from moorage_predictor.errors import RequestError

    made, pending = set(), [RequestError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        made.add((str(kind.status), kind.code, kind.grpc))
    without_grpc = {(status, code, "") for status, code, _ in made}
    refused_by_the_connection = {("431", "HEADERS_TOO_LARGE", "RESOURCE_EXHAUSTED")}
    assert documented_errors() <= made | without_grpc | refused_by_the_connection
    assert {code for _, code, _ in made} <= {code for _, code, _ in documented_errors()}


@pytest.mark.parametrize("status", MISTAKES)
def test_a_documented_status_and_its_word_are_what_the_server_answers(status: str, make_run: Server) -> None:
    curl = f"curl -s -w '\\n%{{http_code}}' {make_run.here(MISTAKES[status])}"
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60)
    body, _, answered = done.stdout.rpartition("\n")
    assert answered == status
    assert json.loads(body)["code"] in {code for listed, code, _ in documented_errors() if listed == status}


OTHER_LIMITS = (
    "drain_delay_s",
    "forward_timeout_s",
    "max_explained_rows",
    "max_image_bytes",
    "max_image_side",
    "max_models",
    "max_models_bytes",
    "max_queue_size",
    "max_rows",
    "shutdown_grace_s",
    "worker_timeout_s",
)


def test_the_reference_has_every_limit_with_its_default() -> None:
    defaults = {
        f"--{name.replace('_', '-')}": in_words(name, PredictorSettings.model_fields[name].default)
        for name in (*RequestLimits.model_fields, *OTHER_LIMITS)
    }
    page = REFERENCE / "errors-and-limits.md"
    listed = {row[-1]: row[1] for heading in ("Limits", "Times") for row in table(page, heading) if row[-1]}
    assert listed == defaults


def in_words(name: str, value: float | None) -> str:
    """A limit as people write it."""
    if value is None:
        return ""
    if name.endswith("_s"):
        return f"{value:g} s"
    if name == "max_image_side":
        return f"{value:g} pixels"
    if name.endswith("_bytes"):
        return f"{value // 2**20} MiB" if value >= 2**20 else f"{value // 2**10} KiB"
    return str(value)


def test_every_path_and_every_call_of_the_predictor_is_in_the_reference() -> None:
    from moorage_predictor.wire.access import GRPC_ROLES
    from moorage_predictor.wire.http.endpoints import ENDPOINTS

    pages = [REFERENCE / f"{name}.md" for name in ("protocol-v1", "protocol-v2-rest", "extensions")]
    text = "".join(page.read_text() for page in pages)
    paths = {endpoint.path.replace("{name}", "NAME") for endpoint in ENDPOINTS}
    # What is below a version is said in a sentence.
    assert [path for path in sorted(paths) if f"{path}`" not in text and "{version}" not in path] == []
    grpc_page = (REFERENCE / "protocol-v2-grpc.md").read_text()
    assert [call for call in GRPC_ROLES if f"`{call}`" not in grpc_page] == []


def test_the_readme_says_what_is_not_supported_yet() -> None:
    text = (ROOT / "README.md").read_text()
    assert [word for word in not_yet() if f"`{word}`" not in text] == []


def not_yet() -> list[str]:
    """The words of the schema that are marked as not acted on, and the values that are refused."""
    from moorage.api import support
    from moorage.api.v1alpha1 import NotYetSupported, Section

    found: list[str] = []
    pending: list[type[Section]] = [ModelDeployment.model_fields["spec"].annotation]  # type: ignore[list-item]
    while pending:
        for field_name, field in pending.pop().model_fields.items():
            if any(isinstance(mark, NotYetSupported) for mark in field.metadata):
                found.append(field.alias or field_name)
            elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                pending.append(field.annotation)
    assert [path for path, _ in support._VALUES] == [
        "spec.model.task",
        "spec.predictor.runtime",
        "spec.scaling.scaleMetric",
    ]
    return [
        *found,
        "custom",
        "concurrency",
        "rps",
        "latency",
        "queue",
        "gpu",
    ]


def test_the_kind_cluster_has_a_gpu_pool_that_is_labelled_and_tainted() -> None:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]
    pool = config["nodes"][2]
    assert pool["labels"] == {"nvidia.com/gpu.present": "true"}
    [taint] = yaml.safe_load(pool["kubeadmConfigPatches"][0])["nodeRegistration"]["taints"]
    assert (taint["key"], taint["effect"]) == ("nvidia.com/gpu", "NoSchedule")
    assert config["nodes"][0]["extraPortMappings"][0]["hostPort"] == 8000


def test_the_script_of_ci_and_the_hooks_are_well_formed() -> None:
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], capture_output=True).returncode == 0
    [repo] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}
