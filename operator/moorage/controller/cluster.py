"""The one door to the API server: a thin asynchronous client for the few verbs that a controller needs.

Objects stay plain dicts: nothing is parsed into classes and back (docs/design/0002 has the reasons and the figures).
Every call has a timeout, is counted by verb and code, and raises `ApiError` with the server's own words. No write leaves
that the fence does not let pass: it says for how many more seconds this process leads (docs/design/0018).
"""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from moorage.controller.answers import NAMESPACE_NOT_FOUND, lines, parsed, unreachable
from moorage.controller.answers import ApiError as ApiError
from moorage.controller.answers import Body as Body
from moorage.controller.credentials import Credentials, CredentialsError

FIELD_MANAGER = "moorage"
TIMEOUT_S = 30.0
WATCH_IDLE_S = 60.0
"""A watch that is silent for longer is dead: the server is asked to end it before, and to send a bookmark as it does."""
LONGEST_ASKED_WAIT_S = 30.0
"""A server that asks for more, as a proxy's page for maintenance does, may be back long before."""
NOT_LEADING = "NotLeading"
_SERVERS_SHARE = 0.85
"""Of the time that we wait for a write: after it the server gives up, and its word of that still reaches us."""
_OF_NOTHING = "1"
"""A resourceVersion that no object has: that of the empty storage."""
_JSON = "application/json"
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Resource:
    """Where objects of one kind live."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The URL path of one object, of one namespace's collection, or of the whole collection."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{self.group_path}{scope}/{self.plural}", name, subresource) if part)

    @property
    def group_path(self) -> str:
        """The URL path of the API group and version."""
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"


class Cluster:
    """A session with one API server. Use `async with`; the credentials are loaded again after a 401, or a certificate of an unknown CA.

    Args:
        credentials: how to reach it.
        count: told of each answer, by verb and code.
        fence: for how many more seconds writes may be made; none is sent, or waited for, after that.
        timeout_s: of a call that is not a watch.
        watch_idle_s: how long a watch may be silent.
        agent: what this process calls itself, for the API server's audit log.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        count: Callable[[str, int], None],
        *,
        fence: Callable[[], float] = lambda: math.inf,
        timeout_s: float = TIMEOUT_S,
        watch_idle_s: float = WATCH_IDLE_S,
        agent: str = FIELD_MANAGER,
    ) -> None:
        self._load, self._count, self._fence = credentials, count, fence
        self._timeout_s, self._watch_idle_s, self._agent = timeout_s, watch_idle_s, agent
        self._credentials = credentials()
        self._ssl: ssl.SSLContext = self._credentials.ssl_context()
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None
        self._writes: set[asyncio.Task[Body]] = set()

    async def __aenter__(self) -> "Cluster":
        last_look = aiohttp.TraceConfig()
        # Before a connection is written to, and again before the bytes: aiohttp leaves headers and body to a task of its own.
        last_look.on_request_headers_sent.append(self._last_look)
        last_look.on_request_chunk_sent.append(self._last_look)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64), trace_configs=[last_look])
        # One connection each, for as many kinds and namespaces as are watched: they must not take the calls' places.
        self._streams = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._session, self._streams):
            if session is not None:
                await session.close()

    @property
    def authority(self) -> str | None:
        """The CA that the API server's certificate is checked with, in PEM."""
        return self._credentials.ca_data

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """One object, or None if there is none.

        Raises:
            ApiError: also where the API server does not know the kind, as for some seconds after its own start.
        """
        try:
            return await self._call("get", resource.path(namespace, name))
        except ApiError as error:
            if error.code == 404 and error.reason == "NotFound":  # in a Status object; of a path it is "Not Found"
                return None
            raise

    async def list(
        self, resource: Resource, namespace: str | None, selector: str = "", *, metadata_only: bool = False
    ) -> Body:
        """A whole collection, from the watch cache (`resourceVersion=0`)."""
        answer = await self._call(
            "list",
            resource.path(namespace),
            params={"labelSelector": selector, "resourceVersion": "0"},
            accept=_METADATA if metadata_only else _JSON,
        )
        answer["items"] = answer.get("items") or []  # null of metadata, where there are none
        return answer

    async def list_page(self, resource: Resource, limit: int, page: str) -> Body:
        """A part of a whole collection, not from the watch cache; `metadata.continue` names the next `page`, "" is the first."""
        params = {"limit": str(limit), **({"continue": page} if page else {})}
        return await self._call("list", resource.path(None), params=params)

    async def discovery(self, etag: str) -> tuple[Body | None, str]:
        """What the API server serves, group by group, and the tag of that answer; None if it is still the one of `etag`."""
        headers = {"Accept": _DISCOVERY, **({"If-None-Match": etag} if etag else {})}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with self._request(self._session, "GET", "/apis", headers=headers, timeout=timeout) as response:
                await self._raise_for(response, "get")
                if response.status == 304:
                    return None, etag
                return parsed(await response.read()), response.headers.get("ETag", "")
        except (aiohttp.ClientError, TimeoutError) as error:
            self._count("get", 0)
            raise self._failed(error) from error

    async def serves(self, resource: Resource) -> bool:
        """Whether the API server knows the kind; asked of its discovery, which everybody may read."""
        try:
            known = await self._call("get", resource.group_path)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return any(each.get("name") == resource.plural for each in known.get("resources", ()))

    async def apply(self, resource: Resource, manifest: Body, uid: str = "") -> Body:
        """Server-side apply: creates or updates, takes over fields that others have changed, and returns the object.

        Args:
            uid: of the object that is to be updated; with none, one is created, and must not be there yet.

        Raises:
            ApiError: 409 if by now there is another object of that name, or none where there was one.
        """
        metadata = manifest["metadata"]
        only_if = {"uid": uid} if uid else {"resourceVersion": _OF_NOTHING}
        try:
            return await self._call(
                "apply",
                resource.path(metadata["namespace"], metadata["name"]),
                params={"fieldManager": FIELD_MANAGER, "force": "true"},
                body={**manifest, "metadata": {**metadata, **only_if}},
                content_type="application/apply-patch+yaml",
            )
        except ApiError as error:
            if uid and error.code == 422 and "metadata.uid" in error.message:  # "field is immutable"
                raise ApiError(409, "Conflict", error.message) from error
            raise

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object with that uid; one that is gone, or is another by now, is left alone."""
        try:
            await self._call("delete", resource.path(namespace, name), body={"preconditions": {"uid": uid}})
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def patch_status(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        status: Body,
        resource_version: str,
        *,
        dry_run: bool = False,
    ) -> Body:
        """Replace the status fields named in `status` (None removes one); 409 if the object has changed meanwhile."""
        return await self._call(
            "patch",
            resource.path(namespace, name, "status"),
            params={"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})},
            body={"metadata": {"resourceVersion": resource_version}, "status": status},
            content_type="application/merge-patch+json",
        )

    async def create(self, resource: Resource, manifest: Body) -> Body:
        """Create a new object."""
        path = resource.path(manifest["metadata"]["namespace"])
        return await self._call("create", path, params={"fieldManager": FIELD_MANAGER}, body=manifest)

    async def update(self, resource: Resource, body: Body) -> Body:
        """Replace an object; 409 if it is no longer the one whose resourceVersion `body` has."""
        metadata = body["metadata"]
        path = resource.path(metadata["namespace"], metadata["name"])
        return await self._call("update", path, params={"fieldManager": FIELD_MANAGER}, body=body)

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
            "timeoutSeconds": str(max(1, int(self._watch_idle_s * 5 / 6))),
        }
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout_s, sock_read=self._watch_idle_s)
        path = resource.path(namespace)
        try:
            async with self._request(self._streams, "GET", path, params=params, timeout=timeout) as response:
                await self._raise_for(response, "watch")
                async for line in lines(response.content):
                    event = parsed(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(status.get("code", 0), status.get("reason", "Error"), status.get("message", ""))
                    yield event
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failed(error) from error

    async def settled(self) -> None:
        """Wait until no write is under way any more; none takes longer than the fence allows."""
        await asyncio.gather(*self._writes, return_exceptions=True)

    def _request(self, session: aiohttp.ClientSession | None, method: str, path: str, **options: Any) -> Any:
        if session is None:
            raise RuntimeError("the cluster session is not open: use `async with`")
        ours = {"User-Agent": self._agent, "Accept": _JSON}
        headers = {**self._credentials.headers(), **ours, **options.pop("headers", {})}
        return session.request(method, self._credentials.server + path, headers=headers, ssl=self._ssl, **options)

    def _seconds_left(self, method: str) -> float:
        left_s = math.inf if method == "GET" else self._fence()
        if left_s <= 0:
            raise ApiError(0, NOT_LEADING, "another controller leads, or may: nothing is written")
        return left_s

    async def _last_look(
        self,
        _: object,
        __: object,
        request: aiohttp.TraceRequestHeadersSentParams | aiohttp.TraceRequestChunkSentParams,
    ) -> None:
        """Between the first look and the first byte a connection may have been waited for, or the process paused."""
        self._seconds_left(request.method)

    async def _call(
        self,
        verb: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Body | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Body:
        method = _METHODS[verb]
        total_s = min(self._timeout_s, self._seconds_left(method))
        headers = {"Accept": accept}
        options: dict[str, Any] = {"params": dict(params or {}), "timeout": aiohttp.ClientTimeout(total=total_s)}
        if body is not None:
            headers["Content-Type"] = content_type
            options["data"] = orjson.dumps(body)
        if method == "GET":
            return await self._send(verb, path, headers, options)
        # The server is to give up first, and to say so: what it has been given would else happen at any time.
        options["params"]["timeout"] = f"{max(1, int(total_s * 1000 * _SERVERS_SHARE))}ms"
        # It is waited for even if who asked for it is cancelled: see `settled`.
        write = asyncio.create_task(self._send(verb, path, headers, options))
        self._writes.add(write)
        write.add_done_callback(self._written)
        return await asyncio.shield(write)

    def _written(self, write: asyncio.Task[Body]) -> None:
        self._writes.discard(write)
        if not write.cancelled():
            write.exception()  # looked at, also where nobody waits for it any more

    async def _send(self, verb: str, path: str, headers: dict[str, str], options: dict[str, Any]) -> Body:
        try:
            async with self._request(self._session, _METHODS[verb], path, headers=headers, **options) as response:
                await self._raise_for(response, verb)
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._count(verb, 0)
            # What the last look says before the body reaches us as aiohttp's failure to send it.
            self._seconds_left(_METHODS[verb])
            raise self._failed(error) from error
        return parsed(answer)

    async def _raise_for(self, response: aiohttp.ClientResponse, verb: str) -> None:
        self._count(verb, response.status)
        if response.status < 400:
            return
        text = await response.text(errors="replace")
        try:
            status = parsed(text)
        except ApiError:  # a proxy's words, or an unknown path
            status = {}
        if response.status == 401:
            self._load_again()
        details = status.get("details") or {}
        no_namespace = response.status == 404 and details.get("kind") == "namespaces"
        cause = next((str(item.get("reason", "")) for item in details.get("causes") or ()), "")
        wait = response.headers.get("Retry-After") or str(details.get("retryAfterSeconds") or "")
        raise ApiError(
            response.status,
            status.get("reason", response.reason or ""),
            status.get("message", text[:500]),
            min(float(wait), LONGEST_ASKED_WAIT_S) if wait.isdigit() else None,
            NAMESPACE_NOT_FOUND if no_namespace else cause,
        )

    def _failed(self, error: BaseException) -> ApiError:
        if isinstance(error, aiohttp.ClientSSLError):  # perhaps the CA was rotated, and its certificate too
            self._load_again()
        return unreachable(error)

    def _load_again(self) -> None:
        try:
            self._credentials = self._load()
            self._ssl = self._credentials.ssl_context()
        except (CredentialsError, OSError) as error:  # perhaps being rotated at this moment
            raise ApiError(401, "Unauthorized", str(error)) from error


_METHODS = {
    "get": "GET",
    "list": "GET",
    "apply": "PATCH",
    "patch": "PATCH",
    "create": "POST",
    "update": "PUT",
    "delete": "DELETE",
}
