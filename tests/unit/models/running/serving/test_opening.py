"""Directories become sessions: the engine's, transformers' own code, options that a file cannot have."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from file_models import file_model_of
from foreign_models import write_foreign
from llama_cpp import llama_children
from tiny_gguf import KV_HEADS, LAYERS, WIDTH

from spiritsafe.core.errors import BudgetError, CompatibilityError, EndpointError
from spiritsafe.models.running.engine.request import Drawn, SequenceRequest, Session
from spiritsafe.models.running.serving.opening import open_served
from spiritsafe.models.sources.resolve import resolve_source


def drawn(session: Session, count: int) -> list[int]:
    session.submit(SequenceRequest(prompt_ids=(5, 6, 7), max_tokens=count, seed=1, temperature=0.0))
    out: list[Drawn] = []
    while not out or out[-1].end is None:
        out += session.step()
    return [token for one in out for token in one.token_ids]


def test_a_session_is_opened_anew_where_one_has_failed(tiny_directory: Path) -> None:
    served = open_served(tiny_directory, dtype=torch.float32, device="cpu", max_batch=2, max_context=700)
    assert served.described.context == 700
    first = served.open_session()
    tokens = drawn(first, 650)  # longer than the slots are at first
    assert len(tokens) == 650
    first.submit(SequenceRequest(prompt_ids=(5, 6), max_tokens=100, seed=1))
    first.step()
    second = served.open_session()
    assert (second.num_busy, second.num_waiting) == (0, 0)
    assert drawn(second, 20) == tokens[:20]
    served.close()


def test_a_model_of_transformers_is_served_and_said_to_be_slow(tmp_path: Path) -> None:
    source = resolve_source(str(write_foreign(tmp_path / "m", "gpt_neox")), cache=tmp_path / "cache")
    served = open_served(source, dtype=torch.float32, device="cpu")
    assert any("transformers" in note for note in served.described.notes)
    assert len(drawn(served.open_session(), 4)) == 4
    served.close()


def test_a_context_that_the_model_does_not_have_is_refused(tiny_directory: Path) -> None:
    own = open_served(tiny_directory, device="cpu").described.context
    with pytest.raises(CompatibilityError, match=f"made for {own} tokens"):
        open_served(tiny_directory, device="cpu", max_context=own + 1)


def test_a_device_that_is_not_there_is_refused(tiny_directory: Path) -> None:
    place = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(CompatibilityError, match=f"no device {place}"):
        open_served(tiny_directory, device=place)


@pytest.mark.parametrize("option", [{"dtype": torch.float32}, {"device": "cuda"}])
def test_a_file_has_its_own_numbers_and_place(option: dict[str, object], tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")
    with pytest.raises(CompatibilityError, match="would change nothing"):
        open_served(file_model_of(tmp_path / "file"), **option)  # type: ignore[arg-type]


def test_a_crash_of_llama_cpp_costs_what_was_under_way(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")
    served = open_served(file_model_of(tmp_path / "file"), max_batch=2, max_context=128)
    try:
        session = served.open_session()
        tokens = drawn(session, 8)
        (child,) = llama_children(tmp_path / "file")
        assert "--rounded" in child.cmdline(), "as llama.cpp keeps keys and values by itself"
        session.submit(SequenceRequest(prompt_ids=(5, 6, 7), max_tokens=50, seed=1))
        session.step()
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(EndpointError):
            session.step()
        assert drawn(served.open_session(), 8) == tokens
    finally:
        served.close()


def test_the_context_of_a_file_is_what_memory_allows_and_a_wish_is_kept_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")
    file = file_model_of(tmp_path / "file", extra={"llama.context_length": 1024})
    token_bytes = 4 * LAYERS * KV_HEADS * WIDTH

    def opened(num_sequences: float, max_context: int | None = None) -> tuple[int, tuple[str, ...], int]:
        """Context, notes and answers at once, where a quarter of free memory holds so many sequences of 256 tokens."""
        free = int(4 * num_sequences * 256 * token_bytes)
        monkeypatch.setattr("spiritsafe.models.running.generators.file_generator.free_bytes", lambda: free)
        served = open_served(file, max_batch=64, max_context=max_context)
        try:
            session = served.open_session()
            for seed in range(9):
                session.submit(SequenceRequest(prompt_ids=(5, 6, 7), max_tokens=20, seed=seed))
            session.step()
            return served.described.context, served.described.notes, session.num_busy
        finally:
            served.close()

    assert opened(40) == (1024, (), 6)
    note = "Its own context is 1024; memory allows {}. --max-context asks for more."
    assert opened(20) == (1024, (), 1), "fewer at once, rather than less than what is useful"
    assert opened(19) == (768, (note.format(768),), 2)
    assert opened(5) == (256, (note.format(256),), 1)
    assert opened(1.25, 200) == (200, (), 1)
    with pytest.raises(BudgetError, match="One answer of 200 tokens from x needs"):
        opened(1.2, 200)
    with pytest.raises(BudgetError, match="are free"):
        opened(4.9)
