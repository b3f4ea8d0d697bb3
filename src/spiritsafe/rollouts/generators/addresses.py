"""One spelling of each endpoint's address, so that another spelling is not another model.

In: the root of an API, as somebody wrote it. Out: the same with its host in lower case, IP addresses in their usual
form, one name for this machine, no default port, and a path without detours (RFC 3986 §6.2). Two names of one server
that only the name service knows remain two.
"""

from __future__ import annotations

import posixpath
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, urlsplit

_PORTS = {"http": 80, "https": 443}
_THIS_MACHINE = "127.0.0.1"
_PATH_CHARACTERS = "/!$&'()*+,;=:@~%"  # what a path holds as it is (RFC 3986 §3.3), and what is escaped already


def canonical_address(root: str) -> str:
    """The address that ``root`` is a spelling of.

    Args:
        root: A URL with host and without user, query and fragment.
    """
    parts = urlsplit(root)
    port = parts.port if parts.port not in (None, _PORTS.get(parts.scheme)) else None
    path = re.sub("%(?![0-9a-fA-F]{2})", "%25", parts.path)
    path = quote(re.sub("%[0-9a-fA-F]{2}", _escape, path), safe=_PATH_CHARACTERS)
    path = posixpath.normpath(f"/{path.lstrip('/')}").rstrip("/")
    return f"{parts.scheme}://{_host(parts.hostname or '')}{f':{port}' if port else ''}{path}"


def _escape(found: re.Match[str]) -> str:
    """An escape in capitals, or the character itself where it needs none (RFC 3986 §6.2.2)."""
    character = chr(int(found[0][1:], 16))
    return character if re.fullmatch(r"[A-Za-z0-9._~-]", character) else found[0].upper()


def _host(name: str) -> str:
    name = name.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return _THIS_MACHINE
    address = _numbers(name)
    if address is None:
        try:
            return name.encode("idna").decode("ascii")
        except UnicodeError:
            return name
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback or address.is_unspecified:
        return _THIS_MACHINE
    return str(address) if isinstance(address, IPv4Address) else f"[{address}]"


def _numbers(name: str) -> IPv4Address | IPv6Address | None:
    """The IP address that a host is, also in short, octal or hexadecimal numbers, as resolvers read it."""
    try:
        return ip_address(name)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(name))
    except (OSError, ValueError):
        return None
