"""What a client accepts."""

from __future__ import annotations

import pytest

from rainzmq.rest.accept import best


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("text/*", "text/event-stream"),
        ("application/json;q=0.5, text/event-stream", "text/event-stream"),
        ("text/event-stream;q=0.5, */*;q=0.5", "application/json"),
        ("*/*;q=0.1, application/json;q=0", "text/event-stream"),
        ("APPLICATION/JSON ; Q=1", "application/json"),
        ("application/json;q=2", None),
        ("image/png", None),
        ("nonsense", None),
    ],
)
def test_the_best_of_what_is_offered_is_chosen(accept, chosen):
    assert best(accept, ("application/json", "text/event-stream")) == chosen
