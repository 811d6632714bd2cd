"""The OpenAPI document: right as such, the same as what is served, and fuzzed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jsonschema
import pytest
import schemathesis
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_served import TOKEN, Served, demo
from schemathesis import GenerationMode

from rainzmq.rest.handlers import ResourceHandler, routes
from rainzmq.rest.openapi import openapi
from rainzmq.rest.resources import RESOURCES
from rainzmq.rest.schemas import NAMES, schema


def test_the_document_is_openapi(served):
    document = served.get("openapi.json")
    assert document == openapi(RESOURCES)
    OpenAPIV31SpecValidator(document).validate()


def test_the_document_has_what_is_served_and_nothing_else():
    handled = {spec.regex.pattern for spec in routes(demo()) if spec.handler_class is ResourceHandler}
    described = set()
    for path, operations in openapi(RESOURCES)["paths"].items():
        for name, operation in operations.items():
            resource = next(r for r in RESOURCES if (r.path, r.method.lower()) == (path, name))
            names = [parameter["name"] for parameter in operation["parameters"]]
            assert names == [parameter.name for parameter in (*resource.in_path, *resource.query)]
        pattern = re.sub(r"\\\{[^}]*\}", "([^/]*)", re.escape(path))
        described.add(pattern + ("?$" if path == "/api/v1/" else "$"))
    assert described == handled


def test_every_operation_tells_its_problems_and_has_a_name_of_its_own():
    names = []
    for operations in openapi(RESOURCES)["paths"].values():
        for operation in operations.values():
            names.append(operation["operationId"])
            assert {"400", "401", "403", "405", "406"} <= operation["responses"].keys()
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"]
    assert len(set(names)) == len(names) == len(RESOURCES)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_one_and_describes_its_fields(served, name):
    made = served.ask(f"/api/v1/schemas/{name}")
    assert made.kind == "application/schema+json"
    assert made.json == schema(name)
    jsonschema.Draft202012Validator.check_schema(made.json)
    assert made.json["description"]
    for part in (made.json, *made.json.get("$defs", {}).values()):
        for field, property_ in part.get("properties", {}).items():
            assert property_.get("description"), f"{name}: {field}"


def test_the_page_about_rest_names_every_path_and_status():
    page = (Path(__file__).resolve().parents[3] / "docs" / "rest.md").read_text()
    for path, operations in openapi(RESOURCES)["paths"].items():
        assert f"`{path}`" in page or f"`{path.removeprefix('/api/v1')}`" in page, path
        for operation in operations.values():
            for status in operation["responses"]:
                assert re.search(rf"\b{status}\b", page), status


# Fuzzed.


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Served]:
    """A server in which every operation can succeed."""
    hub = demo(end=False)
    hub.is_connected, hub.canceller = True, lambda session, reason: None
    server = Served(hub)
    yield server
    server.close()


# Without its security: each request gets the token, whatever would be made up for it.
DOCUMENT = schemathesis.openapi.from_dict({**openapi(RESOURCES), "security": []})
OPERATIONS = [result.ok() for result in DOCUMENT.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_is_asked_is_answered_as_the_document_says(fuzzed, operation, mode):
    if mode.is_negative and not (operation.query or operation.path_parameters or operation.body):
        return  # nothing that could be wrong

    @hypothesis.seed(4)
    @hypothesis.settings(
        database=None,
        deadline=None,
        max_examples=4 if mode.is_negative else 8,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        # A stream that is followed does not end.
        hypothesis.assume("follow" not in (case.query or {}))
        headers = {"Accept": "*/*", "Authorization": f"Bearer {TOKEN}"}
        case.call_and_validate(base_url=fuzzed.url, headers=headers)

    check()
