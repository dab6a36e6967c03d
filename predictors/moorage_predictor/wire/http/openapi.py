"""The OpenAPI document of the predictor, made from the table of endpoints. Called by `tools/generate.py`, which writes
docs/reference/predictor-openapi.json; the tests send what it allows, and what it does not, to a real server.
"""

import re
from typing import Any, Final

from moorage import __version__
from moorage_predictor.wire.datatypes import DATATYPES
from moorage_predictor.wire.http.endpoints import ENDPOINTS, Endpoint

_NAME: Final = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}
_PARAMETERS: Final = {
    "type": "object",
    "additionalProperties": {"oneOf": [{"type": kind} for kind in ("string", "number", "boolean")]},
}
_TENSOR: Final[dict[str, Any]] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 256},
    "datatype": {"type": "string", "enum": list(DATATYPES)},
    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 32},
    "parameters": _PARAMETERS,
    "data": {"type": "array", "description": "flat, or nested as in shape", "items": {}},
}
_SCHEMAS: Final[dict[str, Any]] = {
    "Error": {
        "type": "object",
        "required": ["error", "code"],
        "properties": {
            "error": {"type": "string", "description": "what was expected, what was found, and where"},
            "code": {"type": "string", "description": "one word for programs, such as INVALID_ARGUMENT"},
        },
    },
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "inputs": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "object", "required": ["name", "datatype", "shape"], "properties": _TENSOR},
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string", "minLength": 1}, "parameters": _PARAMETERS},
                },
            },
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "id": {"type": "string"},
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "parameters": _PARAMETERS,
            "outputs": {
                "type": "array",
                "items": {"type": "object", "required": ["name", "datatype", "shape"], "properties": _TENSOR},
            },
        },
    },
    "V1Request": {
        "type": "object",
        "properties": {"instances": {"type": "array", "items": {}}, "inputs": {}},
        "anyOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    },
    "Settings": {"type": "object"},
    "RepositoryIndexRequest": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
}

_SECURITY_SCHEMES: Final[dict[str, Any]] = {
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "where access is configured; the header's name is a setting",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "where access is configured: a JSON Web Token of the configured issuer, or an API key",
    },
}
"""Optional for every operation, because access is a choice of who runs the server."""


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Moorage predictor",
            "version": __version__,
            "description": "V1 and the Open Inference Protocol (V2). Binary tensors follow the JSON in the same body; "
            "`Inference-Header-Content-Length` says where the JSON ends.",
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "securitySchemes": _SECURITY_SCHEMES},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", endpoint.path)
    operation: dict[str, Any] = {
        "summary": endpoint.summary + (" (off without --control-endpoints)" if endpoint.control else ""),
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method.lower()}{endpoint.path}").strip("_"),
        "responses": {
            "200": {"description": "the answer", **_answer(endpoint)},
            "default": {
                "description": "an error",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if endpoint.role is not None:
        operation |= {"security": [{}, *({name: []} for name in _SECURITY_SCHEMES)], "x-moorage-role": endpoint.role}
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _NAME if name == "name" else {"type": "string"}}
            for name in names
        ]
    if endpoint.method == "POST":
        operation["requestBody"] = _request(endpoint)
    return operation


def _request(endpoint: Endpoint) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    if endpoint.path.endswith("/infer"):
        schema, more = "InferRequest", {"application/octet-stream": binary, "image/*": binary}
    elif endpoint.path.startswith("/v1/"):
        schema, more = "V1Request", {"image/*": binary}
    else:
        schema, more = ("RepositoryIndexRequest" if endpoint.handler == "index" else "Settings"), {}
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}, **more}
    return {"required": bool(more), "content": content}


def _answer(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.path == "/metrics":
        return {"content": {"text/plain": {"schema": {"type": "string"}}}}
    schema: dict[str, Any] = {"type": "array" if endpoint.handler == "index" else "object"}
    if endpoint.path.endswith("/infer"):
        schema = {"$ref": "#/components/schemas/InferResponse"}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if endpoint.path.endswith("/infer"):
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {"content": content}
