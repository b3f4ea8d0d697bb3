"""What an endpoint says that it serves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from spiritsafe.core.errors import EndpointError, RecipeError
from spiritsafe.rollouts import served_models


@contextmanager
def server(
    body: bytes, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Iterator[tuple[str, list[str]]]:
    """An address and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", asked
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def test_names_in_the_servers_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "s3cret")
    with server(b'{"data": [{"id": "b"}, {"id": "a"}, {"id": 7}, "x", {"id": "bad\\u001b"}]}') as (url, asked):
        assert served_models(url, api_key_env="KEY") == ("b", "a")
        assert served_models(f"{url}/v1/") == ("b", "a")
    assert asked == ["/v1/models Bearer s3cret", "/v1/models None"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{}", 200), (b'{"data": []}', 200), (b"[1]", 200), (b"<html>", 200), (b"[" * 100_000, 200), (b"no", 401)],
)
def test_what_is_no_list_is_an_error(body: bytes, status: int) -> None:
    with server(body, status) as (url, _), pytest.raises(EndpointError, match="lists no models") as caught:
        served_models(url)
    assert "Name the model yourself" in caught.value.hint


def test_a_list_without_end_is_not_read_and_no_redirection_is_followed() -> None:
    with server(b" " * (2 << 20)) as (url, _), pytest.raises(EndpointError, match="too long"):
        served_models(url)
    with (
        server(b'{"data": [{"id": "elsewhere"}]}') as (other, asked),
        server(b"", 302, (("Location", f"{other}/v1/models"),)) as (url, _),
        pytest.raises(EndpointError, match="HTTP 302"),
    ):
        served_models(url)
    assert asked == []


def test_nobody_there_and_no_url() -> None:
    with server(b"") as (url, _):
        pass
    with pytest.raises(EndpointError, match="lists no models"):
        served_models(url)
    with pytest.raises(RecipeError):
        served_models("ftp://x")
