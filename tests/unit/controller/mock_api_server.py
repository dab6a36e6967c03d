"""A mock for the Kubernetes API server. Objects live in a dict, applies replace, and faults are injected on demand.

It is for answers that a healthy server does not give (401, 403, 409, 429, 5xx, torn streams); how a real server merges,
validates and watches is the contract tests' business. The client under test is the real one, over a real socket.

    faults  {("PATCH", "/status"): answer, ...}   by method and end of the path; a call takes a request, gives a response
    writes  every POST, PUT, PATCH and DELETE that was neither refused nor answered by a fault
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from moorage.controller.cluster import FIELD_MANAGER

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, reason: str, message: str, cause: str = "", kind: str = "", **headers: str) -> Answer:
    """A fault: a Status object, as the API server gives it."""

    async def answer(_: web.Request) -> web.StreamResponse:
        details = ({"causes": [{"reason": cause}]} if cause else {}) | ({"kind": kind} if kind else {})
        body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
        return web.json_response(body, status=code, headers=headers)

    return answer


class MockApiServer:
    """The objects by path, and the faults."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.faults: dict[tuple[str, str], Answer] = {}
        self.webhooks: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        """By path: what admission makes of an applied manifest."""
        self.writes: list[tuple[str, str]] = []
        self.requests: list[web.Request] = []
        self._version = 1000

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Store an object with a new resourceVersion, as another client's write would."""
        self._version += 1
        metadata = {"uid": f"uid-of-{path}", "generation": 1, **body["metadata"], "resourceVersion": str(self._version)}
        self.objects[path] = {**body, "metadata": metadata}
        return self.objects[path]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        for (method, end), answer in self.faults.items():
            if request.method == method and request.path.endswith(end):
                return await answer(request)
        if request.method == "GET":
            return await self._get(request)
        answer = await self._write(request)
        if answer.status < 400:
            self.writes.append((request.method, request.path))
        return answer

    async def _write(self, request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            gone = self.objects.pop(request.path, None)
            return web.json_response({}) if gone else await status(404, "NotFound", "not found")(request)
        body = json.loads(await request.read())
        if request.method == "PUT":
            return await self._replace(request, body)
        if request.method == "POST":
            return web.json_response(self.put(f"{request.path}/{body['metadata']['name']}", body), status=201)
        if request.path.endswith("/status"):
            return await self._patch_status(request, body)
        return await self._apply_if(request, body)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if found := self.objects.get(request.path):
            return web.json_response(found)
        items = [body for path, body in self.objects.items() if path.rpartition("/")[0] == request.path]
        if items:
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        return await status(404, "NotFound", "not found")(request)

    async def _replace(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        live = self.objects.get(request.path)
        if live is None:
            return await status(404, "NotFound", "not found")(request)
        if body["metadata"].get("resourceVersion") != live["metadata"]["resourceVersion"]:
            return await status(409, "Conflict", "the object has been modified")(request)
        return web.json_response(self.put(request.path, body))

    async def _patch_status(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        path = request.path.removesuffix("/status")
        live = self.objects.get(path)
        if live is None:
            return await status(404, "NotFound", "not found")(request)
        if body["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
            return await status(409, "Conflict", "the object has been modified")(request)
        if "dryRun" in request.query:
            return web.json_response(live)
        merged = {**live.get("status", {}), **body["status"]}
        kept = {key: value for key, value in merged.items() if value is not None}
        return web.json_response(self.put(path, {**live, "status": kept}))

    async def _apply_if(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        live = self.objects.get(request.path, {}).get("metadata", {})
        metadata = {key: value for key, value in body["metadata"].items() if key not in ("uid", "resourceVersion")}
        if body["metadata"].get("uid", live.get("uid")) != live.get("uid") and live:
            return await status(422, "Invalid", "metadata.uid: Invalid value: field is immutable")(request)
        if ("uid" in body["metadata"] and not live) or ("resourceVersion" in body["metadata"] and live):
            return await status(409, "Conflict", "the object has been modified")(request)
        return web.json_response(self._apply(request.path, {**body, "metadata": metadata}))

    def _apply(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        manifest = self.webhooks.get(path, lambda unchanged: unchanged)(manifest)
        entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": _owned(manifest)}
        return self.put(path, {**manifest, "metadata": {**manifest["metadata"], "managedFields": [entry]}})


def _owned(value: Any) -> dict[str, Any]:
    """Marks of structured-merge-diff for maps; lists are owned as a whole."""
    return {f"f:{key}": _owned(child) for key, child in value.items()} if isinstance(value, dict) else {}
