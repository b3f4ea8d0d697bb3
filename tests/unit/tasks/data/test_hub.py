"""Sets of the hub, with the real client against a hub on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from fake_hub import FakeHub, fake_hub

from spiritsafe.core.errors import SourceError
from spiritsafe.tasks.data.hub import HubSet

FILES = {
    "README.md": b"# A set\n",
    "train.jsonl": b'{"a": 1}\n',
    "big.parquet": b"PAR1 in truth it is none",
    "photo.png": b"x",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub(tmp_path, monkeypatch) as served:
        yield served


def test_a_revision_is_pinned_by_its_commit(hub: FakeHub) -> None:
    commit = hub.put("org/set", FILES)
    found = HubSet("org/set")
    assert found.commit == commit
    assert found.names() == ["README.md", "train.jsonl", "big.parquet"]
    assert found.digests["train.jsonl"] == ""
    assert len(found.digests["big.parquet"]) == len("sha256:") + 64
    hub.put("org/set", {"train.jsonl": b"other"})
    assert HubSet("org/set").commit == commit  # a second day, a second run: the same data
    assert found.path("train.jsonl").read_bytes() == FILES["train.jsonl"]


def test_a_second_run_asks_nobody(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put("org/set", FILES)
    path = HubSet("org/set").path("train.jsonl")
    hub.fault = "drop"
    hub.asked.clear()
    assert HubSet("org/set").path("train.jsonl") == path
    assert not [asked for asked in hub.asked if "org/set" in asked]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert HubSet("org/set").path("train.jsonl") == path
    with pytest.raises(SourceError, match="is not on this machine"):
        HubSet("org/set").path("README.md")


@pytest.mark.parametrize(
    ("fault", "said"),
    [("drop", "org/set cannot be fetched: Server disconnected"), ("gate", "is gated"), ("500", "500 Internal Server")],
)
def test_what_goes_wrong_is_said_and_nothing_is_kept(hub: FakeHub, fault: str, said: str) -> None:
    hub.put("org/set", FILES)
    hub.fault = fault
    with pytest.raises(SourceError, match=said) as caught:
        HubSet("org/set")
    assert "org/set" in caught.value.hint if fault == "gate" else "run the same command again" in caught.value.hint
    hub.fault = None
    assert HubSet("org/set").names()


def test_names_that_are_not_there(hub: FakeHub) -> None:
    hub.put("org/set", FILES)
    with pytest.raises(SourceError, match="no revision 'v9'"):
        HubSet("org/set", "v9")
    with pytest.raises(SourceError, match="no repository 'org/sett'"):
        HubSet("org/sett")


def test_a_commit_that_is_gone(hub: FakeHub) -> None:
    hub.put("org/set", FILES)
    found = HubSet("org/set")
    hub.sets.clear()
    hub.put("org/set", {"train.jsonl": b"other"})
    with pytest.raises(SourceError, match=r"no commit .* any more") as caught:
        found.path("train.jsonl")
    assert str(Path("data") / "org--set" / "default.json") in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[]", '{"commit": "x", "files": {}}', '{"commit": 1}'])
def test_what_is_kept_may_be_damaged(hub: FakeHub, tmp_path: Path, text: str) -> None:
    hub.put("org/set", FILES)
    HubSet("org/set")
    kept = tmp_path / "own" / "data" / "org--set" / "default.json"
    kept.write_text(text)
    with pytest.raises(SourceError, match=r"default\.json") as caught:
        HubSet("org/set")
    assert "Delete it" in caught.value.hint


def test_a_hub_that_names_files_outside(hub: FakeHub, tmp_path: Path) -> None:
    hub.put("org/set", {"../../evil.jsonl": b"{}"})
    assert HubSet("org/set").names() == []
    hub.put("org/third", {"/etc/evil.jsonl": b"{}"})
    with pytest.raises(SourceError, match="makes no sense"):
        HubSet("org/third")
    hub.put("org/other", FILES)
    HubSet("org/other", "main")
    kept = tmp_path / "own" / "data" / "org--other" / "main.json"
    value = json.loads(kept.read_text())
    value["files"]["/etc/x.csv"] = ""
    kept.write_text(json.dumps(value))
    with pytest.raises(SourceError, match="is damaged"):
        HubSet("org/other", "main")
