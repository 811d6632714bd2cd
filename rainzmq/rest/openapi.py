"""The interface as an OpenAPI 3.1 document, made from the table that serves it."""

from __future__ import annotations

from typing import Any

from rainzmq._version import __version__
from rainzmq.rest.parameters import Parameter
from rainzmq.rest.problems import PROBLEM
from rainzmq.rest.resource import EVENT_STREAM, JSON, PROMETHEUS, SCHEMA_JSON, Resource
from rainzmq.rest.schemas import NAMES, schema

Document = dict[str, Any]

_PROBLEMS = {
    400: "a parameter or the body is not as it must be: the problem says which",
    401: "the token is missing or not this server's",
    403: "the Host or Origin is not on the list, or a page of another origin asks",
    404: "what is asked for is not there",
    405: "the method is not one of `Allow`",
    406: "nothing of what is accepted can be answered",
    409: "not possible as things are",
    413: "the body is too long",
    415: "the body is not `application/json`",
    503: "not possible at the moment",
}
_ALWAYS = (400, 401, 403, 405, 406)

_DESCRIPTION = """\
How the tasks, workers, sessions and data of a server are, now or at a time, and what happened.
Times are s since the epoch, sizes bytes; null means not known or not yet. What answers GET also answers HEAD
and OPTIONS.
"""


def openapi(resources: tuple[Resource, ...]) -> Document:
    """The document that describes these."""
    paths: Document = {}
    for resource in resources:
        paths.setdefault(resource.path, {})[resource.method.lower()] = _operation(resource)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rainzmq", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"query": []}],
        "paths": paths,
        "components": {
            "schemas": _components(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`rainzmq dashboard` prints it",
                },
                "query": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "token",
                    "description": "a page visit turns it into a cookie",
                },
            },
        },
    }


def _operation(resource: Resource) -> Document:
    made: Document = {
        "operationId": _name(resource),
        "summary": resource.summary,
        "parameters": [
            *(_parameter(item, "path") for item in resource.in_path),
            *(_parameter(item, "query") for item in resource.query),
        ],
        "responses": _responses(resource),
    }
    if resource.method == "POST":
        made["requestBody"] = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/cancel"}}}}
    return made


def _name(resource: Resource) -> str:
    parts = [part for part in resource.path.removeprefix("/api/v1").split("/") if part]
    words = [part.strip("{}").replace(".", "_") for part in parts] or ["index"]
    return "_".join([resource.method.lower(), *words])


def _parameter(parameter: Parameter, where: str) -> Document:
    made: Document = {
        "name": parameter.name,
        "in": where,
        "required": where == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }
    if parameter.schema["type"] == "array":
        made |= {"style": "form", "explode": False}
    return made


def _responses(resource: Resource) -> Document:
    content: Document = {}
    for media in resource.media:
        content[media] = {"schema": _schema_of(resource, media)}
    status = "202" if resource.method == "POST" else "200"
    made: Document = {status: {"description": resource.summary, "content": content}}
    problem = {PROBLEM: {"schema": {"$ref": "#/components/schemas/problem"}}}
    for number in sorted({*_ALWAYS, *resource.problems}):
        made[str(number)] = {"description": _PROBLEMS[number], "content": problem}
    return made


def _schema_of(resource: Resource, media: str) -> Document:
    if media in (EVENT_STREAM, PROMETHEUS):
        return {"type": "string"}
    if media == SCHEMA_JSON or resource.schema is None:
        return {"type": "object"}
    return {"$ref": f"#/components/schemas/{resource.schema}"}


def _components() -> Document:
    """All schemas side by side: their parts are components too."""
    made: Document = {}
    for name in NAMES:
        whole = {key: value for key, value in schema(name).items() if key != "$schema"}
        for part, definition in whole.pop("$defs", {}).items():
            made.setdefault(part, _moved(definition))
        made[name] = _moved(whole)
    return made


def _moved(value: Any) -> Any:
    """A schema with its references to `$defs` turned into references to components."""
    if isinstance(value, dict):
        return {
            key: item.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _moved(item)
            for key, item in value.items()
        }
    return [_moved(item) for item in value] if isinstance(value, list) else value
