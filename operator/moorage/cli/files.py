"""A YAML file -> the ModelDeployments in it, judged as the API server would judge them."""

from pathlib import Path
from typing import Any

import yaml

from moorage.api import ExitCode, ModelDeployment, check
from moorage.api.messages import InvalidDeploymentError
from moorage.cli.suggest import meant

MAX_FILE_BYTES = 1024 * 1024
"""etcd takes no larger object."""


class UserError(Exception):
    """A mistake of the user's. `moor` prints the message, no traceback, and ends with `code`."""

    def __init__(self, message: str, code: ExitCode = ExitCode.INVALID_INPUT) -> None:
        self.code = code
        super().__init__(message)


class _Loader(yaml.SafeLoader):
    """Reads dates as text, as kubectl does; everything else is PyYAML's safe subset."""

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
        raise UserError(f"{path}: not valid YAML: it is nested too deeply") from error
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
    for document in documents(path):
        if not isinstance(document, dict):
            complaints.append(f"{path}: expected an object with apiVersion and kind, found {str(document)[:60]!r}")
            continue
        if document.get("kind") not in (None, "ModelDeployment"):
            others.append(document)
            continue
        try:
            found.append((document, check(document)))
        except InvalidDeploymentError as error:
            complaints.append(f"{path}: {error}")
            hints = ((mistake.field, meant(mistake)) for mistake in error.mistakes)
            complaints += [f"{path}: did you mean {better} where it says {field}?" for field, better in hints if better]
    if complaints:
        raise UserError("\n".join(complaints))
    if not found:
        kinds = ", ".join(dict.fromkeys(str(each["kind"]) for each in others))
        raise UserError(
            f"{path}: expected a document of kind ModelDeployment, found {f'none among {kinds}' if kinds else 'none'}"
        )
    seen: set[tuple[str | None, str]] = set()
    for _, deployment in found:
        key = deployment.metadata.namespace, deployment.metadata.name
        if key in seen:
            raise UserError(
                f"{path}: expected each ModelDeployment once, found {deployment.metadata.name} twice: rename one"
            )
        seen.add(key)
    return found


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
