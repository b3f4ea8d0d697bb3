"""A Hugging Face hub on this machine, for the real client: data sets with commits, large files with digests, faults."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import huggingface_hub.utils._http
import pytest

LARGE = (".parquet",)
"""Endings of files whose digests the hub knows, as it does of those that git itself does not hold."""


class FakeHub:
    """What it serves, and what was asked of it.

    Attributes:
        sets: By ``org/name`` and revision, the files.
        asked: Paths, in order, with their methods.
        fault: None, or what becomes of every request: "drop" the connection, "gate" it, or "500".
    """

    def __init__(self, url: str = "") -> None:
        self.url = url
        self.sets: dict[tuple[str, str], Mapping[str, bytes]] = {}
        self.asked: list[str] = []
        self.fault: str | None = None

    def put(self, name: str, files: Mapping[str, bytes], *, revision: str = "main") -> str:
        """A data set's files at a revision; its commit."""
        raw = json.dumps({key: hashlib.sha256(data).hexdigest() for key, data in files.items()}, sort_keys=True)
        commit = hashlib.sha1(raw.encode()).hexdigest()
        self.sets[name, revision] = self.sets[name, commit] = dict(files)
        return commit

    def commit(self, name: str, revision: str) -> str:
        """That a revision stands for."""
        files = self.sets[name, revision]
        return next(r for (n, r), held in self.sets.items() if n == name and len(r) == 40 and held == files)


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _say(self, status: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"{self.command} {path}")
            if hub.fault == "drop":
                self.close_connection = True
                return
            if hub.fault in ("gate", "500"):
                code = {"X-Error-Code": "GatedRepo"} if hub.fault == "gate" else {}
                self._say(403 if hub.fault == "gate" else 500, b"{}", code)
                return
            parts = [unquote(part) for part in path.strip("/").split("/")]
            if parts[:2] == ["api", "datasets"]:
                self._listing("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
            elif parts[0] == "datasets" and parts[3] == "resolve":
                self._file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
            else:
                self._say(404, b"")

        def _missing(self, name: str) -> bool:
            if any(held == name for held, _ in hub.sets):
                return False
            self._say(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            return True

        def _listing(self, name: str, revision: str) -> None:
            if self._missing(name):
                return
            if (name, revision) not in hub.sets:
                self._say(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            siblings = [
                {"rfilename": file, "size": len(data)}
                | (
                    {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}
                    if file.endswith(LARGE)
                    else {}
                )
                for file, data in hub.sets[name, revision].items()
            ]
            body = {"id": name, "sha": hub.commit(name, revision), "siblings": siblings, "tags": []}
            self._say(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

        def _file(self, name: str, revision: str, file: str) -> None:
            if self._missing(name):
                return
            data = hub.sets.get((name, revision), {}).get(file)
            if data is None:
                kind = "EntryNotFound" if (name, revision) in hub.sets else "RevisionNotFound"
                self._say(404, b"", {"X-Error-Code": kind})
                return
            tag = hashlib.sha256(data).hexdigest()
            self._say(200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": hub.commit(name, revision)})

    return Handler


@contextmanager
def fake_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that this process's client asks, with caches of its own."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(huggingface_hub.utils._http, "time", SimpleNamespace(sleep=lambda _: None))  # no backoff
    monkeypatch.setenv("SPIRITSAFE_CACHE", str(cache / "own"))
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
