"""The files of the page, as the server gives them: with a policy that lets nothing else load, and with an ETag.

In: requests for ``/`` and what it names. Out: the files beside this module. They need no key: a page that is to ask for
one has to come first; all that it shows of models comes from ``/v1``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import final

from aiohttp import web

_NAMES = {
    "/": ("index.html", "text/html"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/style.css": ("style.css", "text/css"),
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",  # the empty icon, so that none is asked for
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # with 'none' below, no text ever becomes markup
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked about each time: a new version of the server shows at once
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[web.RouteDef]:
    """The page's paths."""
    folder = resources.files(__package__)
    return [
        web.get(path, _PageFile(folder.joinpath(name).read_bytes(), kind).show) for path, (name, kind) in _NAMES.items()
    ]


@final
@dataclass(frozen=True)
class _PageFile:
    body: bytes
    kind: str

    async def show(self, request: web.Request) -> web.Response:
        """The file, or 304 where the reader has it."""
        tag = hashlib.sha256(self.body).hexdigest()[:32]
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            response = web.Response(status=304, headers=_HEADERS)
        else:
            response = web.Response(body=self.body, content_type=self.kind, charset="utf-8", headers=_HEADERS)
        response.etag = tag
        return response
