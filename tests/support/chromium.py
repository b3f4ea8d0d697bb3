"""A headless Chromium, driven over its DevTools protocol: a tab that is opened, asked, typed into and looked at.

``with running_chromium() as browser``, then ``async with browsing(browser) as tab: await tab.open(address); await
tab.value("document.title")``. What the page logs, throws or is refused by its policy stands in ``tab.complaints``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
_START_S = 120.0
_WAIT_S = 60.0
_LOOK_S = 0.05
_KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Space": (32, " ")}


class Tab:
    """One page; commands go through one socket, and events come back through it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._socket = socket
        self._numbers = count(1)
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._session: str | None = None
        self._context = ""

    async def listen(self) -> None:
        """Hand out what comes, until the browser is gone."""
        async for message in self._socket:
            heard = json.loads(message.data)
            if "id" in heard:
                self._replies.pop(heard["id"]).set_result(heard)
            else:
                self._hear(heard["method"], heard["params"])

    def _hear(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        for waiter in self._waiters.pop(method, []):
            waiter.set_result(None)

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and await what it gives."""
        number = next(self._numbers)
        sent: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            sent["sessionId"] = self._session
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(sent)
        heard = await asyncio.wait_for(reply, _WAIT_S)
        assert "error" not in heard, (method, heard["error"])
        return dict(heard["result"])

    async def attach(self) -> None:
        """Open the tab and hear of all that happens in it."""
        self._context = (await self.command("Target.createBrowserContext"))["browserContextId"]
        target = await self.command("Target.createTarget", url="about:blank", browserContextId=self._context)
        attached = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        await self.command("Emulation.setFocusEmulationEnabled", enabled=True)

    async def detach(self) -> None:
        """Close the tab with all that it kept."""
        self._session = None
        await self.command("Target.disposeBrowserContext", browserContextId=self._context)

    async def open(self, address: str) -> None:
        """Go there and await that all of it is loaded."""
        loaded = asyncio.get_running_loop().create_future()
        self._waiters.setdefault("Page.loadEventFired", []).append(loaded)
        await self.command("Page.navigate", url=address)
        await asyncio.wait_for(loaded, _WAIT_S)

    async def value(self, expression: str) -> Any:
        """What an expression is in the page; a promise is awaited."""
        given = await self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in given, given["exceptionDetails"]
        return given["result"].get("value")

    async def until(self, expression: str) -> None:
        """Await that an expression is true; looked at whenever the page changes."""
        watch = """new Promise((ready) => {
            const look = () => { if (!(%s)) return false; ready(); return true; };
            if (look()) return;
            const eye = new MutationObserver(() => { if (look()) eye.disconnect(); });
            eye.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
        })"""
        try:
            await self.value(watch % expression)
        except TimeoutError:
            raise AssertionError(f"never: {expression}; {await self.value('document.body.innerText')}") from None

    async def press(self, name: str, *, shift: bool = False, control: bool = False) -> None:
        """Press a key and let it go."""
        code, text = _KEYS[name]
        key = " " if name == "Space" else name
        told = {"key": key, "code": name, "windowsVirtualKeyCode": code, "modifiers": 8 * shift + 2 * control}
        down = {"type": "keyDown", "text": text} if text and not control else {"type": "rawKeyDown"}
        await self.command("Input.dispatchKeyEvent", **told, **down)
        await self.command("Input.dispatchKeyEvent", **told, type="keyUp")

    async def type(self, text: str) -> None:
        """Text into what has the focus."""
        await self.command("Input.insertText", text=text)

    async def permit(self, name: str, setting: str) -> None:
        """Answer what the browser would ask its user: "granted" or "denied"."""
        permission = {"name": name, "allowWithoutGesture": True} if name == "clipboard-write" else {"name": name}
        await self.command(
            "Browser.setPermission", permission=permission, setting=setting, browserContextId=self._context
        )

    async def size(self, width: int, height: int = 900) -> None:
        """Of the window."""
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def scheme(self, name: str) -> None:
        """ "light" or "dark"."""
        await self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    async def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        await self.command("Emulation.setScrollbarsHidden", hidden=True)
        size = (await self.command("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def running_chromium() -> Iterator[str]:
    """A browser without a history, which ends with the block; gives the address of its socket."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        line = [
            CHROMIUM, "--headless=new", "--remote-debugging-port=0", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={folder}", "about:blank",
        ]  # fmt: skip
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield _address(Path(folder) / "DevToolsActivePort", process)
        finally:
            process.terminate()
            process.wait(timeout=_WAIT_S)


@asynccontextmanager
async def browsing(browser: str) -> AsyncIterator[Tab]:
    """A tab that shares nothing with others of this browser.

    Args:
        browser: As :func:`running_chromium` gives it.
    """
    async with aiohttp.ClientSession() as client, client.ws_connect(browser, max_msg_size=0) as socket:
        tab = Tab(socket)
        listening = asyncio.create_task(tab.listen())
        try:
            await tab.attach()
            yield tab
            await tab.detach()
        finally:
            listening.cancel()


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    """What the browser writes down once it listens: port and path."""
    for _ in range(round(_START_S / _LOOK_S)):
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        assert process.poll() is None, "the browser ended before it listened"
        time.sleep(_LOOK_S)
    raise AssertionError("the browser does not listen")
