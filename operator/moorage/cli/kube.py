"""The way of `moor apply`, `explain` and `diff` to a cluster: the user's own kubeconfig, plain dicts, the server's own words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import kubernetes
import urllib3
from kubernetes.config import ConfigException

from moorage.api import ExitCode
from moorage.api.v1alpha1 import GROUP, PLURAL, VERSION
from moorage.cli.files import UserError

Body = dict[str, Any]

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
        UserError: there is no kubeconfig, or no context in it.
    """

    def __init__(self) -> None:
        try:
            kubernetes.config.load_kube_config()
            _, context = kubernetes.config.list_kube_config_contexts()
            self.namespace: str = context["context"].get("namespace", "default")
        except (ConfigException, OSError) as error:
            raise UserError(f"no cluster: {error}; set KUBECONFIG", ExitCode.UNAVAILABLE) from error
        self._client = kubernetes.client.ApiClient()

    def get(self, path: str, **query: str) -> Body | None:
        """An object or a collection; None if there is none."""
        try:
            return self._call("GET", path, query)
        except KubeError as error:
            if error.status == 404:
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
                headers[setting["key"]] = setting["value"]
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


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what the cluster refuses, and its silence, into one message that begins with `what`."""
    try:
        yield
    except KubeError as error:
        refused = error.status in (400, 403, 404, 409, 422)
        code = ExitCode.INVALID_INPUT if refused else ExitCode.UNAVAILABLE
        raise UserError(f"{what}: {error}", code) from error
    except urllib3.exceptions.HTTPError as error:
        raise UserError(f"the cluster does not answer: {error}", ExitCode.UNAVAILABLE) from error


def model_deployment_path(namespace: str, name: str = "") -> str:
    """The URL path of one ModelDeployment, or of a namespace's collection."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}" + (f"/{name}" if name else "")
