"""A hub on this machine that takes uploads of the real client: repositories, commits, large files; it may misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import huggingface_hub.utils._http
import pytest

TOKEN = "hf_good"
LARGE_BYTES = 1_000
"""What is larger, or ends in one of :data:`LARGE`, goes the way of large files."""
LARGE = (".gguf", ".safetensors")


class UploadHub:
    """What it holds.

    Attributes:
        repositories: Files by path, by name.
        large: Which of all digests were sent the way of large files, and their bytes.
        commits: Number of them, by name; the commit's id is made of it.
        asked: Methods and paths, in order.
        faults: By the beginning of a path: the status that is answered, or "drop", or "silent".
        spoil: A path whose bytes change on their way.
    """

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}
        self.commits: dict[str, int] = {}
        self.asked: list[str] = []
        self.faults: dict[str, int | str] = {}
        self.spoil = ""
        self.private: dict[str, bool] = {}
        self.stopped = threading.Event()

    def head(self, name: str) -> str:
        return hashlib.sha1(f"{name} {self.commits[name]}".encode()).hexdigest()

    def tree(self, name: str) -> list[dict[str, Any]]:
        found = []
        for path, data in self.repositories[name].items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            one: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
            digest = hashlib.sha256(data).hexdigest()
            if digest in self.large:
                one |= {"lfs": {"oid": digest, "size": len(data), "pointerSize": 130}, "oid": "0" * 40}
            found.append(one)
        return found

    def commit(self, name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        files = self.repositories[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            if value.get("path") == self.spoil and line["key"] != "deletedFile":
                files[self.spoil] = b"spoilt"
        self.commits[name] += 1
        head = self.head(name)
        return {"commitUrl": f"{self.url}/{name}/commit/{head}", "commitOid": head, "success": True}


def _handler(hub: UploadHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _say(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
            for key, text in given.items():
                self.send_header(key, text)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            for beginning, fault in hub.faults.items():
                if f"{self.command} {path}".startswith(beginning):
                    if fault == "silent":
                        hub.stopped.wait(30)
                    if isinstance(fault, str):
                        self.close_connection = True
                        return
                    self._say(fault, {"error": "as you wish"})
                    return
            if path.startswith("/upload/"):
                hub.large[path.removeprefix("/upload/")] = body
                self._say(200, {})
            elif path == "/api/validate-yaml":
                self._say(200, {"errors": [], "warnings": []})
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._say(401, {"error": "Invalid credentials"})
            else:
                self._for_owner(path, body)

        def _for_owner(self, path: str, body: bytes) -> None:
            if path == "/api/repos/create":
                value = json.loads(body)
                name = f"{value['organization']}/{value['name']}" if value.get("organization") else value["name"]
                hub.repositories[name] = {".gitattributes": b"*.gguf filter=lfs\n"}
                hub.commits[name] = 1
                hub.private[name] = value.get("private") or value.get("visibility") == "private"
                self._say(200, {"url": f"{hub.url}/{name}"})
                return
            name = next((one for one in hub.repositories if f"/{one}" in path), "")
            if not name:
                self._say(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
            elif path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**one, "actions": {"upload": {"href": f"{hub.url}/upload/{one['oid']}"}}}
                    for one in json.loads(body)["objects"]
                ]
                self._say(200, {"transfer": "basic", "objects": objects})
            elif "/preupload/" in path:
                modes = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs" if one["path"].endswith(LARGE) or one["size"] > 50_000 else "regular",
                        "shouldIgnore": False,
                    }
                    for one in json.loads(body)["files"]
                ]
                self._say(200, {"files": modes})
            elif "/commit/" in path:
                self._say(200, hub.commit(name, [json.loads(line) for line in body.splitlines()]))
            elif "/tree/" in path:
                self._say(200, hub.tree(name))
            else:
                self._say(200, {"id": name, "sha": hub.head(name), "siblings": [], "tags": []})

    return Handler


@contextmanager
def upload_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    """A hub that this process's client asks, with a token of its user."""
    hub = UploadHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(huggingface_hub.utils._http, "time", SimpleNamespace(sleep=lambda _: None))  # no backoff
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # a protocol of the hub's own
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    try:
        yield hub
    finally:
        hub.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
