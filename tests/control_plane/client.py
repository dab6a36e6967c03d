"""A small synchronous client for tests: any kind by its name, server-side apply, and waiting for what must become true.

    api.apply({"apiVersion": "v1", "kind": "ConfigMap", ...})
    api.get("Deployment", namespace, "cats-predictor")          # None if it is not there
    eventually(lambda: condition(api.get("InferenceService", namespace, "cats"), "Ready")["status"] == "True")

It takes its credentials from a kubeconfig, so it speaks as whoever that file names.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import kubernetes.client
import kubernetes.config
import urllib3

Object = dict[str, Any]
T = TypeVar("T")

FIELD_MANAGER = "moorage-tests"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
REQUEST_TIMEOUT_S = 30.0


class ApiError(Exception):
    """The API server refused; `status`, `reason` and `message` are those of its Status object."""

    def __init__(self, status: int, reason: str, message: str, body: Any = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.body = body
        self.status = status
        self.reason = reason
        self.message = message


class Api:
    """One identity on one cluster. A kind is a bare name (`Deployment`) or a full one (`apps/v1/Deployment`)."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._client = kubernetes.config.new_client_from_config(str(kubeconfig))
        self._url = self._client.configuration.host
        self._kinds: dict[str, tuple[str, bool]] = {}

    def request(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", **query: object
    ) -> Any:
        """One call; JSON in and out (text if the answer is not JSON). Raises ApiError on any status from 400 on."""
        headers = {"Accept": str(query.pop("accept", "application/json")), "Content-Type": content_type}
        for setting in self._client.configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        words = {key: value for key, value in query.items() if value is not None}
        answer = self._client.rest_client.pool_manager.request(
            method,
            f"{self._url}{path}" + (f"?{urlencode(words)}" if words else ""),
            body=None if body is None else json.dumps(body),
            headers=headers,
            timeout=REQUEST_TIMEOUT_S,
            retries=False,
        )
        text = answer.data.decode()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = text
        if answer.status >= 400:
            status = parsed if isinstance(parsed, dict) else {}
            raise ApiError(answer.status, status.get("reason", ""), status.get("message", text), status)
        return parsed

    def apply(
        self, obj: Object, *, field_manager: str = FIELD_MANAGER, force: bool = True, dry_run: bool = False
    ) -> Any:
        """Server-side apply with strict field validation: a misspelt field is an error, not silently dropped."""
        return self.request(
            "PATCH",
            self._path_of(obj),
            obj,
            "application/apply-patch+yaml",
            fieldManager=field_manager,
            force=str(force).lower(),
            fieldValidation="Strict",
            dryRun="All" if dry_run else None,
        )

    def judge(self, collection: str, obj: Object) -> Any:
        """What the API server would say to the creation of `obj`: the object with its defaults, or a Status."""
        try:
            return self.request("POST", collection, obj, dryRun="All", fieldValidation="Strict")
        except ApiError as error:
            return error.body

    def create(self, obj: Object, *, dry_run: bool = False) -> Any:
        path = self._path_of(obj)
        collection = path.rpartition("/")[0] if "name" in obj["metadata"] else path
        return self.request("POST", collection, obj, fieldValidation="Strict", dryRun="All" if dry_run else None)

    def get(self, kind: str, namespace: str | None, name: str) -> Any:
        """The object, or None if there is none of that name."""
        try:
            return self.request("GET", self.path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[Any]:
        """All of a kind, in one namespace or (None) in all; `labels` is a selector such as `app=cats`."""
        return self.request("GET", self.path(kind, namespace), labelSelector=labels)["items"]

    def patch(self, kind: str, namespace: str | None, name: str, patch: Object, *, subresource: str = "") -> Any:
        """A merge patch: None deletes a field."""
        path = self.path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        return self.request("PATCH", path, patch, "application/merge-patch+json", fieldManager=FIELD_MANAGER)

    def patch_status(self, kind: str, namespace: str | None, name: str, status: Object) -> Any:
        return self.patch(kind, namespace, name, {"status": status}, subresource="status")

    def delete(self, kind: str, namespace: str | None, name: str, *, propagation: str = "Background") -> None:
        """Ask for deletion and return at once; an object that is already gone is fine."""
        try:
            self.request("DELETE", self.path(kind, namespace, name), propagationPolicy=propagation)
        except ApiError as error:
            if error.status != 404:
                raise

    def path(self, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        """The URL path of a kind, of its objects in a namespace, or of one object."""
        if kind not in self._kinds:
            self._discover()
        if kind not in self._kinds:
            raise LookupError(f"expected a kind that the API server at {self._url} serves, got {kind!r}")
        prefix, namespaced = self._kinds[kind]
        root, _, resource = prefix.rpartition("/")
        parts = [root]
        if namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(resource)
        if name is not None:
            parts.append(name)
        return "/".join(parts)

    def _path_of(self, obj: Object) -> str:
        metadata = obj["metadata"]
        kind = f"{obj['apiVersion']}/{obj['kind']}"
        return self.path(kind, metadata.get("namespace"), metadata.get("name"))

    def _discover(self) -> None:
        """Learn every kind in two calls; called again when a kind is unknown, because a CRD may be new."""
        kinds: dict[str, tuple[str, bool]] = {}
        for root in ("/api", "/apis"):
            for group in self.request("GET", root, accept=DISCOVERY)["items"]:
                group_name = group["metadata"].get("name", "")
                for version in group["versions"]:
                    group_version = f"{group_name}/{version['version']}" if group_name else version["version"]
                    for resource in version.get("resources", ()):
                        found = (f"{root}/{group_version}/{resource['resource']}", resource["scope"] == "Namespaced")
                        kind = resource["responseKind"]["kind"]
                        kinds[f"{group_version}/{kind}"] = found
                        kinds.setdefault(kind, found)
        self._kinds = kinds


def condition(obj: Object | None, type_: str) -> Object:
    """One condition of an object's status; an empty dict if the object or the condition is not there."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == type_), {})


def eventually(check: Callable[[], T], timeout_s: float = 30.0, interval_s: float = 0.1) -> T:
    """Call `check` until it returns something true without raising; return that, or raise what it said last.

    An object that is not there yet is None, so indexing it (TypeError) counts as not yet true.
    """
    deadline = time.perf_counter() + timeout_s
    while True:
        last: object
        try:
            last = check()
            if last:
                return last
        except (AssertionError, ApiError, LookupError, TypeError, urllib3.exceptions.HTTPError) as error:
            last = error
        if time.perf_counter() > deadline:
            cause = last if isinstance(last, BaseException) else None
            raise AssertionError(f"not true within {timeout_s:g} s; last answer: {last!r}") from cause
        time.sleep(interval_s)


def documents(folder: Path) -> Iterator[Object]:
    """Every YAML document of a folder's files, in the order of their names."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a CRD of KServe is 2 MB: minutes matter less than seconds
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        for document in yaml.load_all(path.read_text(), Loader=loader):
            if document:
                yield document
