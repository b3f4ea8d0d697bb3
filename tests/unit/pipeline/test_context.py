from __future__ import annotations

import json
import random
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finished_run import make_context

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.records import Message, Problem
from spiritsafe.pipeline.context import Trace, Traces, as_text, in_vocabulary, read_traces, write_traces
from spiritsafe.pipeline.plan.memory import planned_device


def test_seeds_are_named(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    assert context.seed("a") == context.seed("a") != context.seed("b")
    assert make_context(tmp_path, "seed=8").seed("a") != context.seed("a")


def test_traces_survive_the_disk(tmp_path: Path) -> None:
    problem = Problem(task="t", canonical_text="1+1", messages=(Message(role="user", content="1+1?"),))
    traces = [Trace(problem=problem, text="2 \u2028 'ü'"), Trace(problem=problem, text="3", token_ids=(1, 2))]
    assert write_traces(tmp_path / "traces.jsonl", iter(traces)) == 2
    assert list(read_traces(tmp_path / "traces.jsonl")) == traces


def numbered(path: Path, first: int, count: int) -> list[Trace]:
    traces = [
        Trace(
            problem=Problem(task="t", canonical_text=f"p{n}", messages=(Message(role="user", content="?"),)),
            text=f"ü {n}\n",
            token_ids=(n, 2**31),
            vocabulary="v" if n % 2 else "w",
        )
        for n in range(first, first + count)
    ]
    write_traces(path, traces)
    return traces


def test_traces_on_disk_are_cut_shuffled_and_joined_as_lists_are(tmp_path: Path) -> None:
    one, two = numbered(tmp_path / "1.jsonl", 0, 7), numbered(tmp_path / "2.jsonl", 7, 12)
    read = Traces.joined([read_traces(tmp_path / "1.jsonl"), read_traces(tmp_path / "2.jsonl")])
    listed = one + two
    assert (len(read), list(read)) == (19, listed)
    random.Random(5).shuffle(listed)
    mixed = read.shuffled(5)
    assert list(mixed) == listed
    assert list(mixed[3:9]) == listed[3:9]
    assert mixed[-1] == listed[-1]
    twice = Traces.joined([mixed[:3], mixed[10:]]).shuffled(2)
    wanted = listed[:3] + listed[10:]
    random.Random(2).shuffle(wanted)
    assert list(twice) == wanted
    assert list(Traces.joined([])) == []
    with pytest.raises(IndexError):
        read[19]


def test_tokens_of_another_vocabulary_are_left_out_when_they_are_read(tmp_path: Path) -> None:
    traces = numbered(tmp_path / "1.jsonl", 0, 4)
    seen = in_vocabulary(read_traces(tmp_path / "1.jsonl"), "v")
    assert list(seen) == [traces[1] if n == 1 else traces[3] if n == 3 else as_text(traces[n]) for n in range(4)]
    assert as_text(traces[0]).token_ids == ()


def test_a_file_of_no_traces_and_one_without_a_last_newline_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    assert write_traces(path, []) == 0
    assert list(read_traces(path)) == []
    traces = numbered(path, 0, 3)
    path.write_bytes(b"\n" + path.read_bytes().replace(b"\n", b"\n\n").rstrip(b"\n"))
    assert list(read_traces(path)) == traces


def test_traces_are_not_held(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    problem = Problem(task="t", canonical_text="p", messages=())
    tracemalloc.start()
    trace = Trace(problem=problem, text="long " * 1000, token_ids=tuple(range(10**6, 10**6 + 1000)), vocabulary="v")
    write_traces(path, (trace for _ in range(300)))
    traces = read_traces(path).shuffled(1)
    assert sum(len(trace.token_ids) for trace in traces) == 300_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # held as objects they are 12,000,000


def test_damaged_traces_are_named(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    with pytest.raises(SourceError, match="traces"):
        read_traces(path)
    for line in ('{"text": "no problem"}', "[]", "{", '{"problem": {"task": 1}}'):
        path.write_text(f"{line}\n")
        with pytest.raises(SourceError, match="traces"):
            list(read_traces(path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error of a machine without CUDA")
def test_asking_for_cuda_without_a_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError):
        _ = make_context(tmp_path, 'engine.device="cuda"').device


def test_an_apple_gpu_is_taken_where_it_is_named_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for is_there, expected in ((False, "cpu"), (True, "mps")):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda is_there=is_there: is_there)
        named = make_context(tmp_path, 'engine.device="mps"')
        assert planned_device(named.recipe).type == expected
        assert make_context(tmp_path, 'engine.device="auto"').device.type == "cpu"
    assert named.device.type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(CompatibilityError, match="mps"):
        _ = named.device


@pytest.mark.parametrize(
    ("name", "value"),
    [("text", "5"), ("text", "null"), ("vocabulary", "[]"), ("token_ids", '"ab"'), ("token_ids", "[1.5]")],
)
def test_a_trace_of_other_types_is_named(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "traces.jsonl"
    numbered(path, 0, 1)
    row = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**row, name: json.loads(value)}), "utf-8")
    with pytest.raises(SourceError, match=r"traces.jsonl cannot be read"):
        read_traces(path)[0]


@pytest.mark.parametrize("line", ["[" * 100_000, '{"problem": {}, "text": "", "token_ids": [], "vocabulary": ""}'])
def test_a_line_that_is_no_trace_names_its_file(tmp_path: Path, line: str) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(line, "utf-8")
    with pytest.raises(SourceError, match=r"traces.jsonl cannot be read"):
        read_traces(path)[0]


def test_half_a_surrogate_pair_of_a_server_survives_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    (one,) = numbered(path, 0, 1)
    odd = replace(one, text="\ud83d and \u2028")
    write_traces(path, [odd, one])
    assert list(read_traces(path)) == [odd, one]
