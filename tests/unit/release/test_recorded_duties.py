"""Duties of a real lineage as a release records them; what they ask for is then looked for in the directory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.release import Release, duties_of, notice_text, record_duties, verify_release, write_release


def lineage(own: Checkpoint) -> Checkpoint:
    base = Parent(name="meta-llama/Llama-3.2-1B", digest="b", license="LicenseRef-llama3.2", used_as=("weights",))
    teacher = Parent(name="deepseek-ai/DeepSeek-R1", digest="t", license="MIT", used_as=("outputs",))
    return own.model_copy(update={"parents": (base, teacher)})


def test_a_release_with_what_a_llama_asks_for(released: Any, tmp_path: Path) -> None:
    parts = released.parts
    models = (*released.record.lineage[:2], lineage(released.record.lineage[2]))
    duties = duties_of((models[2],))
    copies = {duty.licence: "licences/llama3.2.txt" for duty in duties.of("copy")}
    recorded = record_duties(duties, "Llama-toy", copies)
    kinds = {duty.kind for duty in recorded}
    assert {"name_prefix", "banner", "notice", "copy"} <= kinds
    banner = next(duty for duty in recorded if duty.kind == "banner")
    assert banner.text == "Built with Llama"
    assert banner.models == ("meta-llama/Llama-3.2-1B",)
    assert banner.date.startswith("20")
    assert "{model}" not in "".join(duty.text for duty in recorded)
    record = parts.changed(duties=[duty.to_json() for duty in recorded], lineage=[one.to_json() for one in models])
    plan = dataclasses.replace(
        record, sources={**parts.plan.sources, "NOTICE": notice_text(duties, "Llama-toy").encode()}
    )
    write_release(tmp_path / "out", plan, parts.key)
    assert all(step.ok for step in verify_release(tmp_path / "out"))

    without = record_duties(duties, "Llama-toy", {})
    bare = dataclasses.replace(
        plan, release=Release.from_json({**plan.release.to_json(), "duties": [one.to_json() for one in without]})
    )
    with pytest.raises(IntegrityError, match="There is no copy of"):
        write_release(tmp_path / "bare", bare, parts.key)


def test_a_name_with_hyphens_is_one_with_spaces(released: Any, tmp_path: Path) -> None:
    """Llama 3 asks for "Llama 3", and a hub's names have no spaces."""
    parts = released.parts
    duty = {**released.record.to_json()["duties"][0], "text": "Llama 3"}
    good = parts.changed(name="Llama-3-toy", repository=None, duties=[duty])
    write_release(tmp_path / "good", good, parts.key)
    with pytest.raises(IntegrityError, match="does not begin with 'Llama 3'"):
        write_release(tmp_path / "bad", parts.changed(name="Llama-toy", repository=None, duties=[duty]), parts.key)
