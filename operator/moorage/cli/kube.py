"""The way of `moor apply`, `explain` and `diff` to a cluster: the user's own kubeconfig, plain dicts, the server's own words."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import kubernetes
import urllib3
import yaml
from kubernetes.config import ConfigException
from kubernetes.config.kube_config import KubeConfigMerger

from moorage.api import ExitCode
from moorage.api.v1alpha1 import GROUP, PLURAL, VERSION
from moorage.cli import names
from moorage.cli.errors import UserError

Body = dict[str, Any]

_NO_KUBECONFIG = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    RecursionError,
    urllib3.exceptions.HTTPError,
)
"""What the library raises for a file that is none, or has values of other types."""

REQUEST_S = 30


class KubeError(Exception):
    """The API server refused, in its own words."""

    def __init__(self, status: int, message: str, *, told: bool = True) -> None:
        self.status, self.told = status, told
        """`told` is False where it said nothing but the status."""
        super().__init__(message)


class Kube:
    """One API server, as whoever the kubeconfig names.

    Raises:
        UserError: there is no kubeconfig, no context in it, or its credentials cannot be had.
    """

    def __init__(self) -> None:
        _expect_a_file()
        try:
            with _plugins_words() as words:
                kubernetes.config.load_kube_config(_kubeconfig())
            _, context = kubernetes.config.list_kube_config_contexts(_kubeconfig())
            self.namespace: str = context["context"].get("namespace", "default")
            self._client = kubernetes.client.ApiClient()
            host = urllib3.util.parse_url(self._client.configuration.host)
        except (ConfigException, OSError) as error:
            raise UserError(f"no cluster: {error}; set KUBECONFIG", ExitCode.UNAVAILABLE) from error
        except _NO_KUBECONFIG as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"no cluster: {_kubeconfig()}: expected a kubeconfig, found something else: {type(error).__name__}: {reason}; set "
                "KUBECONFIG",
                ExitCode.UNAVAILABLE,
            ) from error
        if words:
            raise UserError(
                f"no cluster: {_program()}, which {_kubeconfig()} names for credentials, failed: {'; '.join(words)}",
                ExitCode.UNAVAILABLE,
            )
        if not isinstance(self.namespace, str):
            raise UserError(
                f"no cluster: {_kubeconfig()}: expected text as the context's namespace, found {self.namespace!r}",
                ExitCode.UNAVAILABLE,
            )
        if host.scheme not in ("http", "https") or not host.host:
            raise UserError(
                f"no cluster: {_kubeconfig()}: expected a server such as https://HOST:6443, found {self._client.configuration.host!r}",
                ExitCode.UNAVAILABLE,
            )

    def get(self, path: str, **query: str) -> Body | None:
        """An object or a collection; None if there is none."""
        try:
            return self._call("GET", path, query)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def model_deployment(self, namespace: str, name: str) -> Body | None:
        """It, or None if there is none.

        Raises:
            KubeError: also where the cluster does not have the kind.
        """
        try:
            return self._call("GET", model_deployment_path(namespace, name), {})
        except KubeError as error:
            if error.status == 404 and error.told:
                return None
            raise

    def items(self, path: str, **query: str) -> list[Body]:
        """All of a collection, page by page."""
        found: list[Body] = []
        query = {"limit": "500", **query}
        while True:
            page = self._call("GET", path, query)
            found += page.get("items", [])
            more = page.get("metadata", {}).get("continue")
            if not more:
                return found
            query = {**query, "continue": more}

    def apply(self, path: str, body: Body, field_manager: str, *, dry_run: bool = False) -> Body:
        """Server-side apply with strict field validation."""
        query = {"fieldManager": field_manager, "force": "true", "fieldValidation": "Strict"}
        return self._call("PATCH", path, query | ({"dryRun": "All"} if dry_run else {}), body)

    def merge(self, path: str, patch: Body, field_manager: str, *, dry_run: bool = False) -> Body:
        """A merge patch (RFC 7386) with strict field validation: null removes a field."""
        query = {"fieldManager": field_manager, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self._call("PATCH", path, query, patch, "application/merge-patch+json")

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: Body | None = None,
        content_type: str = "application/apply-patch+yaml",
    ) -> Body:
        """Through the client's own pool and credentials; its methods for calls differ from one release to the next."""
        headers = {"Accept": "application/json"}
        for setting in self._client.configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = _header(setting["value"])
        if body is not None:
            headers["Content-Type"] = content_type
        answer = self._client.rest_client.pool_manager.request(
            method,
            f"{self._client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body),
            headers=headers,
            timeout=REQUEST_S,
            retries=False,
        )
        try:
            found = json.loads(answer.data)
        except ValueError:
            found = None
        if answer.status >= 400 or not isinstance(found, dict):
            status = found if isinstance(found, dict) else {}
            message = status.get("message")
            raise KubeError(answer.status, str(message or f"{answer.status} {answer.reason}"), told=bool(message))
        return found


def _kubeconfig() -> str:
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _expect_a_file() -> None:
    """The library does not say where it has looked."""
    paths = [part for part in _kubeconfig().split(os.pathsep) if part]
    if not any(Path(os.path.expanduser(part)).exists() for part in paths):  # noqa: PTH111 - Path raises for an unknown ~user
        raise UserError(
            f"no cluster: expected a kubeconfig, found none at {' or '.join(paths)}; set KUBECONFIG",
            ExitCode.UNAVAILABLE,
        )


def _program() -> str:
    """The command of the user of the current context; the library's own words do not always have it."""
    config = KubeConfigMerger(_kubeconfig()).config
    context = config["contexts"].get_with_name(config["current-context"])["context"]
    user = config["users"].get_with_name(context["user"])["user"]
    return repr(user["exec"]["command"]) if "exec" in user else "the program"


def _header(value: str) -> str:
    """The value, if HTTP can carry it. What it is remains unsaid: it is a secret."""
    if not (value.isascii() and value.isprintable()):
        raise UserError(
            f"no cluster: {_kubeconfig()}: expected a token or a password of printable ASCII characters, found others in it",
            ExitCode.UNAVAILABLE,
        )
    return value


@contextmanager
def _plugins_words() -> Iterator[list[str]]:
    """What the library has to say of a credential plugin that fails: it logs that, and goes on without credentials."""
    words: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: words.append(" ".join(record.getMessage().split()))  # type: ignore[method-assign]
    root = logging.getLogger()
    others, root.handlers = root.handlers, [handler]  # it is told once, and by us
    try:
        yield words
    finally:
        root.handlers = others


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what the cluster refuses, and its silence, into one message that begins with `what`."""
    try:
        yield
    except KubeError as error:
        if error.status == 404 and not error.told:  # the path is unknown, and so is the kind
            raise UserError(f"{what}: the cluster has no ModelDeployment: apply crds/ first") from error
        refused = error.status in (400, 403, 404, 409, 422)
        code = ExitCode.INVALID_INPUT if refused else ExitCode.UNAVAILABLE
        raise UserError(f"{what}: {error}", code) from error
    except urllib3.exceptions.HTTPError as error:
        raise UserError(f"the cluster does not answer: {error}", ExitCode.UNAVAILABLE) from error


def model_deployment_path(namespace: str, name: str = "") -> str:
    """The URL path of one ModelDeployment, or of a namespace's collection.

    Raises:
        UserError: nothing can be called so. The namespace may be that of the kubeconfig, which nobody has looked at before.
    """
    names.namespace("the namespace", namespace)
    if name:
        names.object_name("the name", name)
    return f"/apis/{GROUP}/{VERSION}/namespaces/{quote(namespace, safe='')}/{PLURAL}" + (
        f"/{quote(name, safe='')}" if name else ""
    )
