"""The one door to the API server: a thin asynchronous client for the few verbs that a controller needs.

Objects stay plain dicts: nothing is parsed into classes and back (docs/design/0002 has the reasons and the figures).
Every call has a timeout, is counted by verb and code, and raises `ApiError` with the server's own words.
"""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from moorage.controller.credentials import Credentials, CredentialsError

FIELD_MANAGER = "moorage"
TIMEOUT_S = 30.0
WATCH_IDLE_S = 80.0
"""The server sends a bookmark every 60 to 75 s; a watch that is silent for longer is dead."""

Body = dict[str, Any]


class ApiError(Exception):
    """The API server's answer was not a success. `code` is 0 if there was no answer at all."""

    def __init__(
        self, code: int, reason: str, message: str, retry_after_s: float | None = None, cause: str = ""
    ) -> None:
        self.code, self.reason, self.message, self.retry_after_s = code, reason, message, retry_after_s
        self.cause = cause
        """The first of the machine-readable causes, for instance NamespaceTerminating."""
        super().__init__(f"{code} {reason}: {message}")


@dataclass(frozen=True)
class Resource:
    """Where objects of one kind live."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The URL path of one object, of one namespace's collection, or of the whole collection."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{root}{scope}/{self.plural}", name, subresource) if part)


class Cluster:
    """A session with one API server. Use `async with`; the credentials are loaded again after a 401."""

    def __init__(self, credentials: Callable[[], Credentials], count: Callable[[str, int], None]) -> None:
        self._load, self._count = credentials, count
        self._credentials = credentials()
        self._ssl: ssl.SSLContext = self._credentials.ssl_context()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Cluster":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=64), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """One object, or None if there is none."""
        try:
            return await self._call("get", resource.path(namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(self, resource: Resource, namespace: str | None, selector: str = "") -> Body:
        """A whole collection, from the watch cache (`resourceVersion=0`)."""
        return await self._call(
            "list", resource.path(namespace), params={"labelSelector": selector, "resourceVersion": "0"}
        )

    async def apply(self, resource: Resource, manifest: Body) -> Body:
        """Server-side apply: creates or updates, takes over fields that others have changed, and returns the object."""
        metadata = manifest["metadata"]
        return await self._call(
            "apply",
            resource.path(metadata["namespace"], metadata["name"]),
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object with that uid; one that is gone, or is another by now, is left alone."""
        try:
            await self._call("delete", resource.path(namespace, name), body={"preconditions": {"uid": uid}})
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, status: Body, resource_version: str
    ) -> Body:
        """Replace the status fields named in `status` (None removes one); 409 if the object has changed meanwhile."""
        return await self._call(
            "patch",
            resource.path(namespace, name, "status"),
            params={"fieldManager": FIELD_MANAGER},
            body={"metadata": {"resourceVersion": resource_version}, "status": status},
            content_type="application/merge-patch+json",
        )

    async def create(self, resource: Resource, manifest: Body) -> Body:
        """Create a new object."""
        path = resource.path(manifest["metadata"]["namespace"])
        return await self._call("create", path, params={"fieldManager": FIELD_MANAGER}, body=manifest)

    async def watch(
        self, resource: Resource, namespace: str | None, selector: str, version: str
    ) -> AsyncIterator[Body]:
        """Watch events after `version` until the server ends the stream.

        Raises:
            ApiError: the stream could not be opened, broke, or told of an error (410: relist).
        """
        params = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "290",
        }
        timeout = aiohttp.ClientTimeout(total=None, connect=TIMEOUT_S, sock_read=WATCH_IDLE_S)
        try:
            async with self._request("GET", resource.path(namespace), params=params, timeout=timeout) as response:
                await self._raise_for(response, "watch")
                async for line in _lines(response.content):
                    event = _parsed(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(status.get("code", 0), status.get("reason", "Error"), status.get("message", ""))
                    yield event
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(error) from error

    def _request(self, method: str, path: str, **options: Any) -> Any:
        if self._session is None:
            raise RuntimeError("the cluster session is not open: use `async with`")
        headers = {**self._credentials.headers(), "Accept": "application/json", **options.pop("headers", {})}
        return self._session.request(method, self._credentials.server + path, headers=headers, ssl=self._ssl, **options)

    async def _call(
        self,
        verb: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
    ) -> Body:
        options: dict[str, Any] = {"params": params or {}}
        if body is not None:
            options |= {
                "data": json.dumps(body, separators=(",", ":")).encode(),
                "headers": {"Content-Type": content_type},
            }
        try:
            async with self._request(_METHODS[verb], path, **options) as response:
                await self._raise_for(response, verb)
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._count(verb, 0)
            raise _unreachable(error) from error
        return _parsed(answer)

    async def _raise_for(self, response: aiohttp.ClientResponse, verb: str) -> None:
        self._count(verb, response.status)
        if response.status < 400:
            return
        text = await response.text(errors="replace")
        try:
            status = _parsed(text)
        except ApiError:  # a proxy's words, or an unknown path
            status = {}
        if response.status == 401:
            self._load_again()
        wait = response.headers.get("Retry-After", "")
        raise ApiError(
            response.status,
            status.get("reason", response.reason or ""),
            status.get("message", text[:500]),
            float(wait) if wait.isdigit() else None,
            next((str(item.get("reason", "")) for item in (status.get("details") or {}).get("causes") or ()), ""),
        )

    def _load_again(self) -> None:
        try:
            self._credentials = self._load()
            self._ssl = self._credentials.ssl_context()
        except (CredentialsError, OSError) as error:  # perhaps being rotated at this moment
            raise ApiError(401, "Unauthorized", str(error)) from error


_METHODS = {"get": "GET", "list": "GET", "apply": "PATCH", "patch": "PATCH", "create": "POST", "delete": "DELETE"}


def _parsed(text: str | bytes) -> Body:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(0, "Unreadable", f"expected a JSON object, got {text[:100]!r}")
    return body


def _unreachable(error: BaseException) -> ApiError:
    """In words that are the same each time: aiohttp's own hold addresses of objects."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return ApiError(0, "Unreachable", f"{error.host}:{error.port}: {error.os_error.strerror or error.os_error}")
    return ApiError(0, "Unreachable", str(error) or type(error).__name__)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; StreamReader's own iterator gives up past 64 KiB, and an InferenceService may be larger."""
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
