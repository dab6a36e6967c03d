"""A YAML file -> the ModelDeployments in it, judged as the API server would judge them."""

from pathlib import Path
from typing import Any

import yaml

from moorage.api import ModelDeployment, check
from moorage.api.messages import Cause, InvalidDeploymentError
from moorage.cli import names
from moorage.cli.errors import UserError
from moorage.cli.suggest import meant

MAX_FILE_BYTES = 1024 * 1024
"""etcd takes no larger object."""

MAX_DEPTH = 100
"""Far more than any field needs, and less than PyYAML can take: it calls itself for each level."""


class _Loader(yaml.SafeLoader):
    """Reads dates as text, as kubectl does; everything else is PyYAML's safe subset."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Stops at the level that is one too many, while its place is still known."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            problem = f"nested too deeply (at most {MAX_DEPTH} levels)"
            raise yaml.composer.ComposerError(problem=problem, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A key that stands twice is a mistake, as it is for the API server; PyYAML takes the last one in silence."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):  # for instance `name: {{ .Values.name }}`
                raise yaml.constructor.ConstructorError(problem="expected a plain key", problem_mark=key.start_mark)
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key.value!r} already set", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def documents(path: Path) -> list[Any]:
    """All documents of a YAML file, empty ones left out.

    Raises:
        UserError: the file cannot be read or is not YAML.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UserError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, found {len(data)}")
    try:
        return [item for item in yaml.load_all(data, Loader=_Loader) if item is not None]
    except RecursionError as error:
        raise UserError(f"{path}: not valid YAML: an anchor holds itself, or too many levels") from error
    except (yaml.YAMLError, ValueError, AttributeError) as error:  # PyYAML's own, for `!!int abc`
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UserError(f"{path}{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error


def model_deployments(path: Path) -> list[ModelDeployment]:
    """The ModelDeployments of a file; documents of other kinds are left out.

    Raises:
        UserError: the file is unreadable, has none, or has one that is invalid; with all mistakes, in the API server's words.
    """
    return [deployment for _, deployment in judged(path)]


def judged(path: Path) -> list[tuple[dict[str, Any], ModelDeployment]]:
    """The same, each with the document it was read from.

    Raises:
        UserError: as `model_deployments`.
    """
    found, others, complaints = [], [], []
    numbers: list[int] = []
    for number, document in enumerate(documents(path), start=1):
        if not isinstance(document, dict):
            complaints.append(f"{path}: expected an object with apiVersion and kind, found {str(document)[:60]!r}")
            continue
        if document.get("kind") not in (None, "ModelDeployment"):
            others.append(document)
            continue
        try:
            deployment = check(document)
            names.namespace(f"{path}: metadata.namespace", deployment.metadata.namespace)
            found.append((document, deployment))
            numbers.append(number)
        except UserError as error:
            complaints.append(str(error))
        except InvalidDeploymentError as error:
            complaints.append(f"{path}: {placed(error)}")
            hints = ((mistake.field, meant(mistake)) for mistake in error.mistakes)
            complaints += [f"{path}: did you mean {better} where it says {field}?" for field, better in hints if better]
    if complaints:
        raise UserError("\n".join(complaints))
    if not found:
        kinds = ", ".join(dict.fromkeys(str(each["kind"]) for each in others))
        raise UserError(
            f"{path}: expected a document of kind ModelDeployment, found {f'none among {kinds}' if kinds else 'none'}"
        )
    seen: dict[tuple[str | None, str], int] = {}
    for number, (_, deployment) in zip(numbers, found, strict=True):
        key = deployment.metadata.namespace, deployment.metadata.name
        if key in seen:
            raise UserError(
                f"{path}: expected each ModelDeployment once, found {deployment.metadata.name} twice, in the documents "
                f"{seen[key]} and {number} (empty ones not counted): rename one"
            )
        seen[key] = number
    return found


def placed(error: InvalidDeploymentError) -> InvalidDeploymentError:
    """The same mistakes, each with its field."""
    return InvalidDeploymentError(error.name, [_placed(mistake) for mistake in error.mistakes])


def _placed(mistake: Cause) -> Cause:
    """A rule of the whole object names its field in the sentence; `<nil>`, as the API server has it, says nobody where."""
    _, named, rest = mistake.message.partition(": metadata.name ")
    return Cause("metadata.name", f"Invalid value: {rest}") if mistake.field == "<nil>" and named else mistake


def one_model_deployment(path: Path) -> ModelDeployment:
    """The only ModelDeployment of a file.

    Raises:
        UserError: as `model_deployments`, or there are several.
    """
    found = model_deployments(path)
    if len(found) > 1:
        names = ", ".join(item.metadata.name for item in found)
        raise UserError(
            f"{path}: expected one ModelDeployment, found {len(found)} ({names}): put the one to serve into a file of its own"
        )
    return found[0]
