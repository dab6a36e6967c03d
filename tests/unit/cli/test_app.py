import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from tests.builders import document, model_deployment
from typer.testing import CliRunner

from moorage import __version__
from moorage.api import ExitCode
from moorage.api.crd import custom_resource_definition
from moorage.cli import up
from moorage.cli.app import app
from moorage.cli.yamltext import to_yaml
from moorage.render import render

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "cat.yaml"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def file(name: str = "cats.yaml", **changes: Any) -> Path:
        path = tmp_path / name
        path.write_text(to_yaml([document(**changes)]))
        return path

    return file


def invoke(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, result.stdout, result.stderr


def test_version_prints_the_version() -> None:
    assert invoke("version") == (0, f"{__version__}\n", "")


def test_crd_prints_the_crd() -> None:
    code, out, _ = invoke("crd")
    assert code == 0
    assert yaml.safe_load(out) == custom_resource_definition()


def test_render_prints_what_the_operator_would_apply(write: Any) -> None:
    code, out, err = invoke("render", write(scaling={"replicas": 2}))
    assert (code, err) == (0, "")
    assert list(yaml.safe_load_all(out)) == render(model_deployment(scaling={"replicas": 2}))


def test_a_valid_file_is_said_to_be_valid(write: Any) -> None:
    path = write()
    assert invoke("validate", path, SAMPLE) == (0, f"{path}: cats: valid\n{SAMPLE}: cat: valid\n", "")


def test_every_file_is_judged_even_after_a_bad_one(write: Any, tmp_path: Path) -> None:
    bad, refused, good = write("a.yaml", scaling={"x": 1}), write("b.yaml", cache={"ttl": "5m"}), write("c.yaml")
    code, out, err = invoke("validate", bad, refused, tmp_path / "gone.yaml", good)
    assert code == 2
    assert out == f"{good}: cats: valid\n"
    assert err.splitlines() == [
        f'{bad}: The ModelDeployment "cats" is invalid: unknown field "spec.scaling.x"',
        f"{refused}: cats: NotYetSupported: spec.cache is not supported yet: remove it",
        f"{tmp_path / 'gone.yaml'}: cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize("command", ["up", "render"])
def test_an_invalid_file_is_answered_in_the_words_of_the_api_server(moor: Any, write: Any, command: str) -> None:
    path = write(scaling={"minReplicas": 3, "maxReplicas": 2})
    code, out, err = moor(command, path)
    assert (code, out) == (2, "")
    assert err == (
        f'moor: {path}: The ModelDeployment "cats" is invalid: spec.scaling: Invalid value: "object": '
        "minReplicas is larger than maxReplicas: lower minReplicas or raise maxReplicas\n"
    )


@pytest.mark.parametrize("command", ["up", "render"])
def test_what_is_not_supported_yet_is_refused(moor: Any, write: Any, command: str) -> None:
    path = write(cache={"ttl": "5m"})
    code, _, err = moor(command, path)
    assert (code, err) == (2, f"moor: {path}: NotYetSupported: spec.cache is not supported yet: remove it\n")


def test_a_nodes_files_are_refused_for_a_cluster(moor: Any, write: Any) -> None:
    code, _, err = moor("render", write(model={"storageUri": "file:///models/cats"}))
    assert code == 2
    assert "StorageUriForbidden: spec.model.storageUri: file:// names a file" in err


@pytest.mark.parametrize(
    "words",
    [
        ["render", "/nowhere/cats.yaml"],
        ["up", "/nowhere/cats.yaml"],
        ["render"],
        ["render", "a", "b"],
        ["nonsense"],
        ["up", str(SAMPLE), "--http-port=high"],
        ["up", str(SAMPLE), "--http-port=70000"],
        ["up", str(SAMPLE), "--nonsense"],
        ["controller", "--port=high"],
        ["controller", "--log-level=loud"],
        ["controller", "--port=70000"],
        ["controller", "--port=0"],
        ["controller", "--node-cidr=garbage"],
        ["controller", "--storage-port=99999"],
        ["controller", "--predictor-image=a b"],
        ["controller", "--gateway-namespace=A b"],
        ["controller", "--lease-namespace=A b"],
        ["install", "--image=a b"],
        ["install", "--image=registry//predictor"],
        ["explain", "a..b"],
        ["apply", str(SAMPLE), "-n", "a/../b"],
        ["explain", "Bad/../x?y=z"],
        ["diff", "-n", "a/../b"],
        ["controller", "--storage-cidr=10.0.0.1/8"],
        ["up", "cat.yaml", "--http-port=0"],
        ["up", "cat.yaml", "--grpc-port=65536"],
    ],
)
def test_a_users_mistake_ends_with_code_2_and_no_traceback(
    moor: Any, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))  # a controller must not find a cluster here
    code, _, err = moor(*words)
    assert code == 2
    assert err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["render", str(SAMPLE)], ["version"]])
def test_an_output_that_is_full_is_one_message(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "moorage", *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (3, "moor: the output: No space left on device\n")


@pytest.mark.parametrize("outputs", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("words", "code"), [("version", 0), ("conformance --list", 0), ("up no.yaml", 2)])
def test_an_output_that_is_closed_or_full_of_complaints_changes_no_exit_code(
    words: str, code: int, outputs: str
) -> None:
    ended = shell(f"{sys.executable} -m moorage {words} {outputs}")
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    assert ("no.yaml" in ended.stderr) == bool(code and "2>" not in outputs)


def test_an_output_that_is_full_at_the_end_does_not_hide_what_else_was_wrong() -> None:
    program = "import sys; from moorage.cli.main import main; sys.stdout.write('x'); sys.argv = ['moor', 'up', 'no.yaml']; main()"
    ended = shell(f'{sys.executable} -c "{program}" >/dev/full')
    assert ended.returncode == 2
    assert ended.stderr == (
        "moor: no.yaml: cannot be read: No such file or directory\nmoor: the output: No space left on device\n"
    )


def test_what_serves_has_somewhere_to_print_where_the_output_is_closed() -> None:
    ended = shell(f"{sys.executable} -m moorage serve --help >&-")
    assert (ended.returncode, ended.stderr) == (0, "")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(line, shell=True, capture_output=True, text=True, check=False, env=buffered)


def test_a_photo_may_come_through_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, seen = tmp_path / "photo", []
    os.mkfifo(pipe)
    monkeypatch.setattr(up, "_serve", lambda *arguments: seen.append(arguments[2].photo_data) or ExitCode.OK)
    writer = Thread(target=pipe.write_bytes, args=(b"a photo",))
    writer.start()
    up.up(up.UpOptions(SAMPLE, "127.0.0.1", 0, 0, None, (), pipe, once=True))
    writer.join()
    assert seen == [b"a photo"]


def test_a_photo_that_is_not_there_is_refused_before_anything_is_started(moor: Any, tmp_path: Path) -> None:
    code, out, err = moor("up", SAMPLE, f"--photo={tmp_path / 'none.png'}")
    assert (code, out) == (2, "")
    assert "none.png: cannot be read: No such file or directory" in err


KUBECONFIGS = {
    "no YAML": (b"{", "expected a kubeconfig"),
    "a binary file": (b"\xff\xfe\x00", "expected a kubeconfig"),
    "plain text": (b"words", "expected a kubeconfig"),
    "too many levels": (b"[" * 3000, "expected a kubeconfig"),
    "a number for the server": (5, "expected a kubeconfig"),
    "no URL for the server": ("ftp://x", "expected a server such as https://HOST:6443, found 'ftp://x'"),
    "no host in the URL": ("http://", "expected a server such as https://HOST:6443, found 'http:"),
}


@pytest.mark.parametrize(
    ("command", "case"),
    [(command, case) for command in ("explain", "controller") for case in KUBECONFIGS],
)
def test_a_kubeconfig_that_is_none_is_one_message(
    moor: Any, command: str, case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, said = KUBECONFIGS[case]
    file = tmp_path / "config"
    file.write_bytes(content if isinstance(content, bytes) else kubeconfig(content))
    monkeypatch.setenv("KUBECONFIG", str(file))
    code, _, err = moor(command, *(["cats"] if command == "explain" else []))
    assert (code, err.count("\n")) == (3, 1)
    assert str(file) in err
    assert command == "controller" or said in err


def test_a_program_for_credentials_that_fails_is_named(
    moor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws-nope", "interactiveMode": "Never"}
    file = tmp_path / "config"
    file.write_bytes(kubeconfig("https://127.0.0.1:1", {"exec": plugin}))
    monkeypatch.setenv("KUBECONFIG", str(file))
    code, _, err = moor("explain", "cats")
    assert (code, err.count("\n")) == (3, 1)
    assert f"'aws-nope', which {file} names for credentials, failed" in err
    plugin["command"] = "/bin/false"  # of this the library's own words do not have the name
    file.write_bytes(kubeconfig("https://127.0.0.1:1", {"exec": plugin}))
    code, _, err = moor("explain", "cats")
    assert (code, err.count("\n")) == (3, 1)
    assert f"'/bin/false', which {file} names for credentials, failed" in err


@pytest.mark.parametrize(
    ("user", "namespace", "said"),
    [
        ({"token": "se\ncret"}, "here", "expected a token or a password of printable ASCII"),
        ({"token": "secret\u2603"}, "here", "expected a token or a password of printable ASCII"),
        ({"token": "secret"}, 5, "expected text as the context's namespace, found 5"),
        ({"token": "secret"}, "a/../b", "expected the name of a namespace (a-z, 0-9, -), found 'a/../b'"),
    ],
)
def test_what_no_request_can_carry_is_refused_before_one_and_a_token_stays_unsaid(
    moor: Any, user: dict[str, Any], namespace: object, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_bytes(kubeconfig("http://127.0.0.1:1", user, namespace))
    monkeypatch.setenv("KUBECONFIG", str(file))
    code, _, err = moor("explain", "cats")
    assert (code in (2, 3), err.count("\n")) == (True, 1)
    assert said in err
    assert "cret" not in err.replace(str(file), "")


class _WithoutTheKind(BaseHTTPRequestHandler):
    """Answers as an API server does for a path that it does not know: no Status, a line of text."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "19")
        self.end_headers()
        self.wfile.write(b"404 page not found\n")

    do_PATCH = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize("words", [["apply", str(SAMPLE)], ["explain", "cat"], ["diff", str(SAMPLE)], ["diff"]])
def test_a_cluster_without_the_crd_is_told_so(
    moor: Any, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _WithoutTheKind) as server:
        Thread(target=server.serve_forever).start()
        file = tmp_path / "config"
        file.write_bytes(kubeconfig(f"http://127.0.0.1:{server.server_port}"))
        monkeypatch.setenv("KUBECONFIG", str(file))
        try:
            code, _, err = moor(*words)
        finally:
            server.shutdown()
    assert code == 2
    assert err.endswith("the cluster has no ModelDeployment: apply crds/ first\n")


def test_a_kubeconfig_that_is_not_there_is_named(moor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    code, _, err = moor("explain", "cats")
    assert code == 3
    assert f"expected a kubeconfig, found none at {tmp_path / 'none'}" in err


def kubeconfig(server: object, user: dict[str, Any] | None = None, namespace: object = "default") -> bytes:
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
    }
    return yaml.safe_dump(made).encode()


@pytest.mark.timeout(10)  # the first import of kopf
def test_a_controller_without_a_cluster_says_so_with_code_3(
    moor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    code, _, err = moor("controller", "--port=8085")
    assert code == 3
    assert err.startswith("moor controller: expected a ServiceAccount or a kubeconfig, found neither")


def test_a_scaffold_is_a_valid_deployment_whatever_is_put_in(moor: Any, tmp_path: Path) -> None:
    code, out, _ = moor("init", "cats", "--storage-uri=hf://org/repo", "--architecture=timm/resnet18")
    assert code == 0
    file = tmp_path / "cats.yaml"
    file.write_text(out)
    assert moor("validate", str(file))[:2] == (0, f"{file}: cats: valid\n")


@pytest.mark.parametrize(
    "words",
    [
        ["Cats"],
        ["a.b"],
        ['a"\nb'],
        ["cats", "--storage-uri=s3://{{7*7}}"],
        ["cats", "--architecture=resnet"],
        ["{{ 7*7 }}"],
    ],
    ids=repr,
)
def test_a_scaffold_is_refused_rather_than_wrong(moor: Any, words: list[str]) -> None:
    code, out, err = moor("init", *words)
    assert (code, out) == (2, "")
    assert "49" not in err
    assert "<nil>" not in err
