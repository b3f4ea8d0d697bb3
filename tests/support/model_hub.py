"""A hub on this machine that serves model directories to the real client, as huggingface.co does, and may misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelHub:
    """Repositories by name, each a directory; what was asked, and what is answered wrongly.

    ``cut[file]``: so many bytes of it are sent, then the connection is reset. ``is_down``: every connection is.
    ``statuses[path]``: answered with this status.
    """

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.cut: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.is_down = False
        self.asked: list[tuple[str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self, has_body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, has_body=False)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    @property
    def files_sent(self) -> list[str]:
        """Names of files whose content was asked for."""
        return [path.rpartition("/")[2] for verb, path in self.asked if verb == "GET" and "/resolve/" in path]

    def answer(self, request: BaseHTTPRequestHandler, *, has_body: bool) -> None:
        path = urlparse(request.path).path
        self.asked.append((request.command, path))
        if self.is_down:
            request.close_connection = True
            return
        if status := self.statuses.get(path):
            return _send(request, status, {}, b"{}")
        for name, directory in self.repositories.items():
            if path.startswith(f"/{name}/resolve/"):
                file = directory / path.removeprefix(f"/{name}/resolve/").partition("/")[2]
                return self._send_file(request, file, has_body=has_body)
            if path.startswith(f"/api/models/{name}/tree/"):
                return _send(request, 200, {}, json.dumps([_entry(file) for file in _files(directory)]).encode())
            if path == f"/api/models/{name}" or path.startswith(f"/api/models/{name}/revision/"):
                revision = path.removeprefix(f"/api/models/{name}").removeprefix("/revision/") or "main"
                if revision not in ("main", "v1", COMMIT):
                    return _send(request, 404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
                siblings = [{"rfilename": file.name} for file in _files(directory)]
                return _send(request, 200, {}, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode())
        return _send(request, 404, {"X-Error-Code": "RepoNotFound"}, b"{}")

    def _send_file(self, request: BaseHTTPRequestHandler, file: Path, *, has_body: bool) -> None:
        if not file.is_file():
            return _send(request, 404, {"X-Error-Code": "EntryNotFound"}, b"")
        data = file.read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        status = 200
        if (wanted := request.headers.get("Range")) and has_body:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(data), len(data))
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(data)}"
            data, status = data[int(first) : end], 206
        if not has_body:
            headers["Content-Length"] = str(len(data))
            return _send(request, status, headers, b"")
        if (most := self.cut.get(file.name)) is not None and len(data) > most:
            headers["Content-Length"] = str(len(data))
            _send(request, status, headers, data[:most])
            request.close_connection = True
            return None
        return _send(request, status, headers, data)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_file())


def _entry(file: Path) -> dict[str, Any]:
    return {
        "type": "file",
        "path": file.name,
        "size": file.stat().st_size,
        "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
    }


def _send(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def model_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, repositories: dict[str, Path]) -> Iterator[ModelHub]:
    """The hub that this process's client asks, with an empty cache of its own."""
    hub = ModelHub(repositories)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    try:
        yield hub
    finally:
        hub.close()
