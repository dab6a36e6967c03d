from pathlib import Path

import pytest
from tests.builders import document

from moorage.cli.errors import UserError
from moorage.cli.files import MAX_DEPTH, MAX_FILE_BYTES, documents, model_deployments, one_model_deployment
from moorage.cli.yamltext import to_yaml


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cats.yaml"


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as error:
        one_model_deployment(path)
    assert error.value.code == 2
    return str(error.value)


def test_a_file_that_is_not_there_is_named_with_the_cause(file: Path) -> None:
    assert complaint(file) == f"{file}: cannot be read: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_file_that_is_too_long_for_etcd_is_refused(file: Path) -> None:
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert complaint(file) == f"{file}: expected at most 1048576 bytes, found 1048577"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1,\nb: 2", ":2:5"),
        ("a: b: c", ":1:5"),
        ("\tx: 1", ":1:1"),
        ("a: *nowhere", ":1:4"),
        ("a: !!python/name:os.x 1", ":1:4"),
    ],
)
def test_what_is_not_yaml_is_told_with_line_and_column(file: Path, text: str, where: str) -> None:
    file.write_text(text)
    assert complaint(file).startswith(f"{file}{where}: not valid YAML: ")


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b"a: \x80", b"a: \x00", b"!!int abc", b"!!timestamp x", b"a: !!float x"]
)
def test_bytes_that_are_no_text_are_not_yaml(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    assert f"{file}" in complaint(file)
    assert "not valid YAML" in complaint(file)


def test_yaml_that_is_nested_too_deeply_is_refused_with_the_limit_and_the_place(file: Path) -> None:
    said = f"{file}:1:{MAX_DEPTH + 1}: not valid YAML: nested too deeply (at most {MAX_DEPTH} levels)"
    for text in ("[" * 3000, "[" * 3000 + "]" * 3000):
        file.write_text(text)
        assert complaint(file) == said
    file.write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert len(documents(file)) == 1


def test_a_rule_for_the_name_is_told_at_the_name(file: Path) -> None:
    file.write_text(to_yaml([document(name="Bad_N")]))
    assert complaint(file) == (
        f'{file}: The ModelDeployment "Bad_N" is invalid: metadata.name: Invalid value: '
        "must start with a letter and hold only lower-case letters, digits and '-': rename it"
    )


def test_a_namespace_that_none_can_be_called_is_refused(file: Path) -> None:
    bad = document()
    bad["metadata"]["namespace"] = "a/../b"
    file.write_text(to_yaml([bad]))
    assert complaint(file).startswith(f"{file}: metadata.namespace: expected the name of a namespace")


def test_several_documents_are_read_and_empty_ones_left_out(file: Path) -> None:
    file.write_text("---\na: 1\n---\n---\n# only words\n---\nb: 2\n")
    assert documents(file) == [{"a": 1}, {"b": 2}]


def test_documents_of_other_kinds_are_left_out(file: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}}
    file.write_text(to_yaml([secret, document(name="a"), document(name="b")]))
    assert [item.metadata.name for item in model_deployments(file)] == ["a", "b"]


def test_only_one_can_be_served(file: Path) -> None:
    file.write_text(to_yaml([document(name="a"), document(name="b")]))
    assert complaint(file) == (
        f"{file}: expected one ModelDeployment, found 2 (a, b): put the one to serve into a file of its own"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "none"),
        ("# nothing\n", "none"),
        ("kind: Secret\n---\nkind: Deployment\n---\nkind: Secret\n", "none among Secret, Deployment"),
    ],
)
def test_a_file_without_a_model_deployment_says_what_it_has(file: Path, text: str, found: str) -> None:
    file.write_text(text)
    assert complaint(file) == f"{file}: expected a document of kind ModelDeployment, found {found}"


def test_the_same_model_deployment_twice_is_a_mistake_and_in_two_namespaces_is_not(file: Path) -> None:
    a, b = document(name="a"), document(name="a")
    file.write_text(to_yaml([a, b]))
    assert complaint(file) == (
        f"{file}: expected each ModelDeployment once, found a twice, in the documents 1 and 2 (empty ones not counted): rename one"
    )
    b["metadata"]["namespace"] = "elsewhere"
    file.write_text(to_yaml([a, b]))
    assert len(model_deployments(file)) == 2


def test_the_mistakes_of_all_documents_are_told(file: Path) -> None:
    file.write_text(to_yaml([document(name="a", model={"task": "x"}), document(name="b", scaling={"x": 1})]))
    lines = complaint(file).splitlines()
    assert lines[0].startswith(f'{file}: The ModelDeployment "a" is invalid: spec.model.task: Unsupported value: "x"')
    assert lines[1] == f'{file}: The ModelDeployment "b" is invalid: unknown field "spec.scaling.x"'


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        (
            {"model": {"task": "image-classification", "storageURI": "s3://b/p"}},
            "spec.model.storageUri where it says spec.model.storageURI",
        ),
        ({"replicas": 2}, "spec.scaling.replicas where it says spec.replicas"),
        ({"variants": [{"nam": "a"}]}, "spec.variants[].name where it says spec.variants[0].nam"),
        ({"colour": "red"}, None),
    ],
)
def test_of_an_unknown_field_the_one_that_was_perhaps_meant_is_told(
    file: Path, spec: dict[str, object], hint: str | None
) -> None:
    file.write_text(to_yaml([document(**spec)]))
    hints = [line for line in complaint(file).splitlines() if "did you mean" in line]
    assert hints == ([] if hint is None else [f"{file}: did you mean {hint}?"])


@pytest.mark.parametrize("word", ["2024-01-01", "2024-01-01 10:00:00"])
def test_dates_stay_text_as_with_kubectl(file: Path, word: str) -> None:
    file.write_text(f"version: {word}\n")
    assert documents(file) == [{"version": word}]


def test_anchors_and_aliases_work(file: Path) -> None:
    text = to_yaml([document(health={"startup": {}, "liveness": {"periodSeconds": 7}})])
    file.write_text(text.replace("startup: {}", "startup: &probe {periodSeconds: 9}\n    readiness: *probe"))
    health = one_model_deployment(file).spec.health
    assert (health.startup.period_seconds, health.readiness.period_seconds) == (9, 9)


def test_what_is_written_has_no_aliases_and_reads_back(file: Path) -> None:
    shared = {"a": "x" * 300, "b": ["yes", "1e3", "2024-01-01", "ä\n"]}
    text = to_yaml([{"one": shared, "two": shared}])
    assert "&id" not in text
    file.write_text(text)
    assert documents(file) == [{"one": shared, "two": shared}]


def test_a_key_that_stands_twice_is_named_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("kind: ModelDeployment\nspec:\n  model: {}\n  model: {}\n")
    with pytest.raises(UserError, match=r"twice\.yaml:4:3: not valid YAML: key 'model' already set"):
        documents(file)


def test_a_document_that_is_no_object_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "text.yaml"
    file.write_text("just words\n")
    with pytest.raises(UserError, match=r"expected an object with apiVersion and kind, found 'just words'"):
        model_deployments(file)


def test_a_template_that_nobody_rendered_is_not_yaml(tmp_path: Path) -> None:
    file = tmp_path / "helm.yaml"
    file.write_text("metadata:\n  name: {{ .Values.name }}\n")
    with pytest.raises(UserError, match=r"helm\.yaml:2:\d+: not valid YAML"):
        documents(file)
