"""The files of the page as they go over the wire."""

from __future__ import annotations

import asyncio
import re
from importlib import resources

import aiohttp
import pytest
from page_checker import PageChecker
from served_app import Reply, serving
from served_engine import FakeEngine

from spiritsafe.serve.page.files import page_routes

PATHS = {"/": "text/html", "/page/page.js": "text/javascript", "/page/style.css": "text/css"}


def fetch(path: str, known: str = "") -> Reply:
    async def scenario() -> Reply:
        async with serving(FakeEngine()) as server:
            headers = {"If-None-Match": known} if known else {}
            async with server.client.get(server.address + path, headers=headers) as response:
                return Reply(response.status, response.headers, await response.read())

    return asyncio.run(scenario())


@pytest.mark.parametrize(("path", "kind"), PATHS.items())
def test_each_file_is_kept_and_asked_about(path: str, kind: str) -> None:
    whole = fetch(path)
    assert (whole.status, whole.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
    assert whole.headers["Cache-Control"] == "no-cache"
    tag = whole.headers["ETag"]
    for known, status in ((tag, 304), (f'W/{tag}, "other"', 304), ("*", 304), ('"other"', 200)):
        again = fetch(path, known)
        assert (again.status, again.headers["ETag"]) == (status, tag)
        assert again.raw == (b"" if status == 304 else whole.raw)


@pytest.mark.parametrize("path", PATHS)
def test_the_policy_lets_in_nothing_but_these_files(path: str) -> None:
    headers = fetch(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_no_file_names_another_place_or_makes_markup_of_text() -> None:
    for path in PATHS:
        text = fetch(path).raw.decode()
        assert not re.search(r"https?:|//[\w-]+\.\w|@import|url\(", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|localStorage", text), (
            path
        )


def test_the_page_is_sound_html_without_script_or_style_inside() -> None:
    page = PageChecker(fetch("/").raw.decode().replace("<input", "<meta"))  # both have no end tag
    assert page.problems == []
    named = [(tag, key, value) for tag, key, value in page.attributes if key in ("src", "href")]
    assert ("script", "src", "page/page.js") in named
    assert ("link", "href", "page/style.css") in named
    assert not {key for _, key, _ in page.attributes if key.startswith("on") or key == "style"}
    assert "style" not in page.tags
    ids = {value for _, key, value in page.attributes if key == "id"}
    labelled = {value for tag, key, value in page.attributes if (tag, key) == ("label", "for")}
    fields = {"key", "prompt", "system", "temperature", "max-tokens", "seed"}
    assert labelled == fields
    assert fields <= ids


def test_colours_are_the_reports() -> None:
    def colours(sheet: str) -> list[dict[str, str]]:
        return [
            dict(re.findall(r"(--[\w-]+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", sheet, re.S)
        ]

    report = colours(resources.files("spiritsafe.report").joinpath("style.css").read_text("utf-8"))
    for own, theirs in zip(colours(fetch("/page/style.css").raw.decode()), report, strict=False):
        assert own
        assert own.items() <= theirs.items()


def test_the_page_needs_no_key_and_takes_no_body() -> None:
    async def scenario() -> list[int]:
        async with serving(FakeEngine()) as server, aiohttp.ClientSession() as client:
            statuses = []
            for method in ("HEAD", "POST", "PUT"):
                async with client.request(method, server.address + "/") as response:
                    statuses.append(response.status)
            return statuses

    assert asyncio.run(scenario()) == [200, 405, 405]
    assert {route.path for route in page_routes()} == set(PATHS)
