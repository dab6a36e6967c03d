import base64
import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from tests.builders import model_deployment

from moorage.cli import screen
from moorage.cli.files import one_model_deployment
from moorage.render import render

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "cat.yaml"
WIDTH, HEIGHT = 120, 40


def drawn(what: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=WIDTH)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_objects_of_the_sample_fit_one_screen() -> None:
    deployment = one_model_deployment(SAMPLE)
    lines = drawn(screen.objects(deployment, render(deployment)))
    assert len(lines) <= HEIGHT
    assert max(map(len, lines)) <= WIDTH
    assert "ModelDeployment cat  in a cluster becomes" in lines[0]


def test_every_object_is_drawn_with_its_name_and_what_matters() -> None:
    deployment = model_deployment(scaling={"replicas": 3}, model={"storageSecret": "keys"})
    text = "\n".join(drawn(screen.objects(deployment, render(deployment))))
    for manifest in render(deployment):
        assert f"{manifest['kind']} {manifest['metadata']['name']}" in text
    assert "3 copies" in text
    assert "weights s3://bucket/cats/" in text
    assert "credentials: keys" in text
    assert "and the model store on port 443" in text


def test_a_name_in_brackets_is_no_markup() -> None:
    answer = {"predictions": [{"class_name": "[bold]tabby[/bold]", "class_id": 281, "confidence": 0.5}]}
    text = "\n".join(drawn(screen.predictions(Path("cat[bold].png"), answer)))
    assert "[bold]tabby[/bold]" in text
    assert "cat[bold].png" in text


def test_the_best_classes_are_a_table() -> None:
    predictions = [
        {"class_name": "tabby", "class_id": 281, "confidence": 0.91239},
        {"class_name": "lynx", "class_id": 287, "confidence": 0.01},
    ]
    lines = drawn(screen.predictions(Path("folder/cat.png"), {"predictions": predictions}))
    assert lines[0].strip() == "cat.png"
    assert [line.replace("│", " ").split()[:3] for line in lines[-2:]] == [
        ["tabby", "281", "0.9124"],
        ["lynx", "287", "0.0100"],
    ]


@pytest.mark.timeout(20)  # starts shells
@pytest.mark.parametrize("name", ["cat.png", "my cat's photo.png", "$(touch x).png", "-n"])
def test_the_curl_lines_are_shell_that_sends_the_photo(name: str, tmp_path: Path) -> None:
    photo = tmp_path / name
    photo.write_bytes(b"photo \x00\xff" * 100)
    curl = tmp_path / "curl"  # shows what it would send
    curl.write_text('#!/bin/sh\nfor last; do :; done; echo "$last"; cat\n')
    curl.chmod(0o755)
    v1, v2 = screen.curl_lines("http://127.0.0.1:8080", "cats.v2", photo)
    for line, url in ((v1, "/v1/models/cats.v2:predict"), (v2, "/v2/models/cats.v2/infer")):
        assert subprocess.run(["bash", "-n", "-c", line]).returncode == 0
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=env, cwd=tmp_path)
        sent_to, _, body = result.stdout.partition("\n")
        assert (sent_to, result.stderr) == (f"http://127.0.0.1:8080{url}", "")
        assert body == expected(url, photo.read_bytes())
    assert {path.name for path in tmp_path.iterdir()} == {name, "curl"}


def expected(url: str, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    if url.startswith("/v1"):
        return f'{{"instances":[{{"b64":"{text}"}}]}}'
    return f'{{"inputs":[{{"name":"image","datatype":"BYTES","shape":[1],"data":["{text}"]}}]}}'


def test_boxes_are_a_table_in_whole_pixels() -> None:
    found = [{"label": "traffic light", "score": 0.91234, "box": [1.4, 2.6, 30.0, 40.4], "class_id": 9}]
    lines = drawn(screen.detections(Path("street.png"), {"width": 64, "height": 48, "detections": found}))
    assert lines[0].strip() == "street.png, 64x48"
    assert [word.strip() for word in lines[-1].split("│")] == ["traffic light", "0.9123", "1, 3 - 30, 40"]
    assert "nothing" in drawn(screen.detections(Path("a"), {"width": 1, "height": 1, "detections": []}))[-1]
