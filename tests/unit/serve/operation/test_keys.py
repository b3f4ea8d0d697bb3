"""Keys: a file that holds hashes only, read again when it changes, and never one that locks out or lets in silently."""

from __future__ import annotations

import hashlib
import logging
import os
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spiritsafe.core.errors import RecipeError, SourceError
from spiritsafe.serve.operation.keys import ANYBODY, KeyRing, key_of_headers, make_key, parse_keys


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_made_key_is_found_and_its_text_is_kept_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    texts = {name: make_key(name, file) for name in ("ada", "ben.b@c")}
    content = file.read_text()
    ring = KeyRing(file)
    for name, text in texts.items():
        assert text.startswith("sk-spiritsafe-")
        assert len(text) > 50
        found = ring.find(text)
        assert found is not None
        assert found.name == name
        assert (
            hashlib.sha256(text.encode()).hexdigest() == found.sha256
        )  # what `sha256sum` says, for keys from elsewhere
        assert found.sha256 in content
        assert text.removeprefix("sk-spiritsafe-") not in content
    assert [ring.find(bad) for bad in ("", texts["ada"][:-1], texts["ada"] + "x", "x" * 10**6, "\udcff")] == [None] * 5
    assert file.stat().st_mode & 0o777 == 0o600


def test_appending_keeps_what_the_owner_wrote(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    make_key("ada", file)
    file.write_text(file.read_text() + "requests_per_minute = 3  # she asks a lot\n# end without a newline")
    file.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    make_key("ben", link)
    assert "# she asks a lot\n" in file.read_text()
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert parse_keys(file.read_bytes(), file)["ada"].limits.requests_per_minute == 3
    with pytest.raises(RecipeError, match="already"):
        make_key("ada", file)
    with pytest.raises(RecipeError, match="no name of a key"):
        make_key('x"]\n[keys.evil', file)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_keys_made_at_once_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    with ThreadPoolExecutor(8) as pool:
        texts = dict(zip("abcdefgh", pool.map(lambda name: make_key(name, file), "abcdefgh"), strict=True))
    assert tomllib.loads(file.read_text())["keys"].keys() == texts.keys()
    ring = KeyRing(file)
    assert all(found.name == name for name, text in texts.items() if (found := ring.find(text)) or True)


HASH = "0" * 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keys = 3", "no table"),
        ("[[[", "no keys file"),
        ("\xff", "not UTF-8"),
        (f'[keys.ada]\nsha256 = "{HASH}"\n[kyes.ben]\nsha256 = "{HASH}"', "'kyes' at its top"),
        (f'[keys.ada]\nsha256 = "{HASH}"\ntokens_per_minut = 3', "did you mean 'tokens_per_minute'"),
        (f'[keys.ada]\nsha256 = "{HASH}"\ntokens_per_day = 0', "greater than or equal to 1"),
        (f'[keys.ada]\nsha256 = "{HASH}"\nmodels = []', "keys.ada.models"),
        (f'[keys.ada]\nsha256 = "{HASH}"\n[keys.ben]\nsha256 = "{HASH}"', "ada and ben are one"),
        ('[keys.ada]\nkey = "secret"', "keys.ada.sha256"),
        (f'[keys."a b"]\nsha256 = "{HASH}"', "'a b' is no name"),
        ("", "has no keys"),
    ],
)
def test_a_bad_file_is_refused_at_the_start_and_changes_nothing_later(
    text: str, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError, match=words):
        KeyRing(bad)
    file, clock = tmp_path / "keys.toml", Clock()
    ada = make_key("ada", file)
    ring = KeyRing(file, clock=clock)
    os.replace(bad, file)
    clock.now += 2
    with caplog.at_level(logging.INFO):
        assert [ring.find(ada) is not None for _ in range(3)] == [True] * 3
    assert not ring.is_current
    (record,) = caplog.records  # once, however often it is asked
    assert record.levelno == logging.ERROR
    assert "stay in force" in record.getMessage()


def test_changes_count_within_a_second_or_at_once_when_told(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys.toml", Clock()
    ada = make_key("ada", file)
    ring = KeyRing(file, clock=clock)
    ben = make_key("ben", file)
    assert ring.find(ben) is None  # the file is not looked at for each request
    ring.look(now=True)
    assert ring.find(ben) is not None
    only_ben = file.read_text().split("[keys.")
    file.write_text(only_ben[0] + "[keys." + only_ben[2])
    clock.now += 1.5
    assert ring.find(ada) is None
    file.unlink()
    clock.now += 1.5
    assert ring.find(ben) is not None
    assert not ring.is_current
    make_key("ada", file)
    clock.now += 1.5
    assert ring.find(ben) is None
    assert ring.is_current


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        KeyRing(tmp_path / "none.toml")


def test_prompts_of_one_key_are_kept_apart_from_those_of_another(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    for name in ("ada", "ben"):
        make_key(name, file)
    found = parse_keys(file.read_bytes(), file)
    keys = [key.cache_key for key in (*found.values(), ANYBODY)]
    assert len(set(keys)) == 3
    assert found["ada"].sha256 not in keys


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "bearer  k "}, "k"),
        ({"x-api-key": "k"}, "k"),
        ({"x-api-key": "k", "Authorization": "Bearer k"}, "k"),
        ({"x-api-key": "k", "Authorization": "Bearer j"}, None),
        ({"Authorization": "Basic azo="}, None),
        ({"Authorization": "k"}, None),
        ({}, None),
    ],
)
def test_the_key_of_a_request(headers: dict[str, str], key: str | None) -> None:
    assert key_of_headers(headers) == key
