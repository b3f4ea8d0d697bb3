"""Keys of a server's users: a TOML file that holds their SHA-256 only, read again when it changes.

In: the file, and what a request sends as its key. Out: whose it is, and what that key allows. ``spiritsafe serve key
NAME --keys FILE`` makes one. A file that cannot be read any more changes nothing: the keys that were read before stay,
and log and metrics say so.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

from pydantic import Field, ValidationError

from spiritsafe.core.errors import RecipeError, SpiritsafeError
from spiritsafe.core.files.atomic import atomic_path, ensure_directory
from spiritsafe.core.files.lock import locked
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.records import Hex32, Record

_LOG = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,63}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # what TOML takes without quotes
_PREFIX = "sk-spiritsafe-"
_SECRET_BYTES = 32
_MOST_FILE_BYTES = 16 << 20
_LONGEST_KEY = 512
_LOOK_EVERY_S = 1.0
_LOCK_WAIT_S = 20.0
_HEADER = """\
# Keys of `spiritsafe serve`: each key's SHA-256, and what it may do. A key's own text is nowhere in here.
# Limits, each optional: requests_per_minute, tokens_per_minute, tokens_per_day, concurrent_requests, models = ["name"].
"""


class KeyLimits(Record):
    """What a key may do; what is not said is not limited.

    Attributes:
        tokens_per_minute: Of prompts and answers together.
        tokens_per_day: The same within 24 hours.
        concurrent_requests: Requests that are waiting or being answered.
        models: Names of the models that it may ask, and sees.
    """

    requests_per_minute: int | None = Field(default=None, ge=1, le=10**9)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10**12)
    tokens_per_day: int | None = Field(default=None, ge=1, le=10**12)
    concurrent_requests: int | None = Field(default=None, ge=1, le=10**6)
    models: tuple[str, ...] | None = Field(default=None, min_length=1)


class _KeyEntry(KeyLimits):
    sha256: Hex32


@final
@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key that is known.

    Attributes:
        name: Whose it is; in the usage ledger and in logs, never in metrics.
        sha256: Of its text, in hex; "" where the server asks for no keys.
    """

    name: str
    sha256: str = ""
    limits: KeyLimits = field(default_factory=KeyLimits)

    @cached_property
    def cache_key(self) -> str:
        """What keeps prompts of this key apart from those of others: it says nothing of the key itself."""
        return hashlib.sha256(f"spiritsafe/prefix-cache/1\0{self.sha256}".encode()).hexdigest()


ANYBODY = ApiKey(name="anonymous")
"""Who asks a server without keys."""


def parse_keys(data: bytes, path: Path) -> dict[str, ApiKey]:
    """The keys of a file by their names.

    Raises:
        RecipeError: It is not TOML, or a key or a limit is wrong.
    """
    hint = f"Mend {path}; `spiritsafe serve key NAME --keys FILE` writes entries as they should be."
    try:
        value = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise RecipeError(f"{path} is no keys file: {reason}.", hint=hint) from error
    unknown = sorted(value.keys() - {"keys"})
    tables = value.get("keys", {})
    if unknown or not isinstance(tables, dict):
        what = f"it has {unknown[0]!r} at its top" if unknown else "keys is no table"
        raise RecipeError(f"{path} is no keys file: {what}, where tables [keys.NAME] belong.", hint=hint)
    found: dict[str, ApiKey] = {}
    names_by_hash: dict[str, str] = {}
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            raise RecipeError(f"{path}: {name!r} is no name of a key: {_NAME_RULE}", hint=hint)
        entry = _entry_of(name, table, path, hint)
        if (other := names_by_hash.setdefault(entry.sha256, name)) != name:
            raise RecipeError(f"{path}: {other} and {name} are one and the same key.", hint=hint)
        limits = KeyLimits(**{one: getattr(entry, one) for one in KeyLimits.model_fields})
        found[name] = ApiKey(name=name, sha256=entry.sha256, limits=limits)
    return found


_NAME_RULE = "1 to 64 letters, digits and @._-, a letter or digit first."


def _entry_of(name: str, table: Any, path: Path, hint: str) -> _KeyEntry:
    try:
        return _KeyEntry.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("keys", name, *first["loc"]))
        said = first["msg"]
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), _KeyEntry.model_fields, n=1)
            said = f"there is no such limit{f' (did you mean {near[0]!r}?)' if near else ''}"
        raise RecipeError(f"{path}: {where}: {said}.", hint=hint) from error


def make_key(name: str, path: Path) -> str:
    """Make a key, append its SHA-256 to the file, and return its text, which is kept nowhere.

    Args:
        name: Of its holder.
        path: The keys file; made if missing.

    Raises:
        RecipeError: The name cannot be, or is taken; or the file is no keys file.
        StorageError: It cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(f"{name!r} is no name of a key: {_NAME_RULE}", hint="Give it another name.")
    path = Path(os.path.realpath(path))  # a link stays one
    ensure_directory(path.parent)
    with locked(path.parent / f".{path.name}.lock", wait_s=_LOCK_WAIT_S):
        before = _read(path) if os.path.lexists(path) else _HEADER.encode()
        if name in parse_keys(before, path):
            raise RecipeError(
                f"{path} has a key of {name} already.", hint="Take another name, or remove its table from the file."
            )
        text = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        quoted = name if _BARE.fullmatch(name) else json.dumps(name)
        entry = f"\n[keys.{quoted}]\nsha256 = {json.dumps(_hash(text))}\n"
        after = before + (b"" if before.endswith(b"\n") or not before else b"\n") + entry.encode()
        parse_keys(after, path)  # `keys = {…}` on one line is TOML that nothing can be appended to
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        with atomic_path(path) as temporary:
            temporary.chmod(mode)
            temporary.write_bytes(after)
    return text


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> bytes:
    return read_bytes(path, most_bytes=_MOST_FILE_BYTES)


@final
class KeyRing:
    """The keys of a file, as it is now.

    Args:
        path: The file.
        clock: Seconds that only grow; how often the file is looked at follows it.

    Attributes:
        is_current: The file, as it was when it was last looked at, is what the keys are from.

    Raises:
        SpiritsafeError: It cannot be read, or is no keys file, or has no keys.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._stamp = self._stamp_now()
        self._keys = self._load()
        self._next_look = clock() + _LOOK_EVERY_S
        self.is_current = True

    def __len__(self) -> int:
        return len(self._keys)

    def named(self, name: str) -> ApiKey | None:
        """The key of this name; None: it is gone."""
        return self._keys.get(name)

    def find(self, offered: str) -> ApiKey | None:
        """Whose key this is; None: nobody's. It takes as long whichever key is asked for."""
        self.look()
        if len(offered) > _LONGEST_KEY:
            return None
        wanted, found = _hash(offered), None
        for key in self._keys.values():
            if hmac.compare_digest(key.sha256, wanted):
                found = key
        return found

    def look(self, *, now: bool = False) -> None:
        """Read the file again if it changed; it is looked at once a second at most.

        Args:
            now: Read it whatever it looks like (SIGHUP).
        """
        if not now and self._clock() < self._next_look:
            return
        self._next_look = self._clock() + _LOOK_EVERY_S
        stamp = self._stamp_now()
        if stamp == self._stamp and not now:
            return
        self._stamp = stamp
        try:
            keys = self._load()
        except SpiritsafeError as error:
            self.is_current = False
            _LOG.error(
                "the keys file changed and cannot be used; the %d keys that were read before stay in force: %s",
                len(self._keys),
                error.diagnostics(),
            )
            return
        self._say_changes(keys)
        self._keys, self.is_current = keys, True

    def _say_changes(self, keys: dict[str, ApiKey]) -> None:
        gone, new = sorted(self._keys.keys() - keys.keys()), sorted(keys.keys() - self._keys.keys())
        changed = sorted(name for name in keys.keys() & self._keys.keys() if keys[name] != self._keys[name])
        _LOG.info("keys read again: %d; new %s, gone %s, changed %s", len(keys), new, gone, changed)

    def _load(self) -> dict[str, ApiKey]:
        keys = parse_keys(_read(self._path), self._path)
        if not keys:  # a file that an editor has emptied and not yet written is no wish to lock everybody out
            raise RecipeError(
                f"{self._path} has no keys, so nobody could ask anything.",
                hint=f"Make one: spiritsafe serve key NAME --keys {self._path}",
            )
        return keys

    def _stamp_now(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns


def key_of_headers(headers: Mapping[str, str]) -> str | None:
    """What a request sends as its key: ``Authorization: Bearer …`` or ``x-api-key``; None: neither, or both and two."""
    scheme, _, bearer = headers.get("Authorization", "").strip().partition(" ")
    offered = {bearer.strip()} if scheme.lower() == "bearer" else set()
    offered |= {headers.get("x-api-key", "").strip()}
    offered -= {""}
    return offered.pop() if len(offered) == 1 else None
