from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spiritsafe.core.canonical import digest
from spiritsafe.rollouts import RemoteGenerator
from spiritsafe.rollouts.generators.addresses import canonical_address
from spiritsafe.rollouts.generators.remote import api_root


def known_as(url: str, registered: str | None = None) -> str:
    with RemoteGenerator(url, "m", registered=registered) as generator:
        return generator.describe().digest


SPELLINGS = {
    "http://127.0.0.1:8026/v1": (
        "http://localhost:8026", "HTTP://LocalHost:8026/v1/", "http://[::1]:8026", "http://127.1:8026/v1",
        "http://0x7f000001:08026/v1", "http://2130706433:8026/v1", "http://[::ffff:127.0.0.1]:8026", "http://0:8026",
        "http://a.localhost:8026", "http://127.0.0.2:8026/x/../v1", "http://0.0.0.0:8026//v1",
    ),
    "https://api.example.com/v1": (
        "https://API.example.com", "https://api.example.com.:443/v1", "https://api.example.com:/./v1",
    ),
    "http://xn--bcher-kva.de/a~b/%2F/v1": ("http://B\u00fccher.de:80/a%7Eb/%2f/v1",),
    "http://[2001:db8::1]:81/v1": ("http://[2001:DB8:0:0:0:0:0:1]:81",),
}  # fmt: skip


@pytest.mark.parametrize("canonical", SPELLINGS)
def test_every_spelling_of_an_address_is_one_model(canonical: str) -> None:
    own = digest({"url": canonical, "model": "m"})
    assert known_as(canonical) == own  # what was registered so keeps its digest
    for spelling in SPELLINGS[canonical]:
        assert canonical_address(api_root(spelling)) == canonical
        assert known_as(spelling) == own


def test_other_places_stay_other_models() -> None:
    roots = ["http://h/v1", "https://h/v1", "http://h:8080/v1", "http://h/x/v1", "http://g/v1", "http://h/X/v1",
             "http://10.0.0.1/v1", "http://127.0.0.1/v1", "http://h/a%2Fb/v1", "http://h/a/b/v1"]  # fmt: skip
    assert len({canonical_address(root) for root in roots}) == len(roots)


def test_what_was_registered_under_another_spelling_stays_valid_for_it_alone() -> None:
    old = digest({"url": "http://localhost:8026/v1", "model": "m"})
    assert known_as("http://localhost:8026", old) == old
    with RemoteGenerator("http://localhost:8026", "m", registered=old) as generator:
        assert generator.describe().name == "m at http://localhost:8026/v1"
    assert known_as("http://127.0.0.1:8026", old) != old
    assert known_as("http://localhost:8026") == known_as("http://localhost:8026", "sha256:other") != old


@given(st.from_regex(r"https?://[a-zA-Z0-9.-]{1,30}(:[0-9]{0,4})?(/[a-zA-Z0-9%~_.]{0,9}){0,4}", fullmatch=True))
@example("http://0/.")
@example("http://a/%%32e")
def test_the_canonical_spelling_of_one_is_itself(text: str) -> None:
    try:
        once = canonical_address(text)
    except ValueError:  # no address at all
        return
    assert canonical_address(once) == once
