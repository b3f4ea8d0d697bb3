from __future__ import annotations

import json
from pathlib import Path


def test_all_models_are_registered_before_the_first_sits(tiny_run: Path) -> None:
    kinds = [json.loads(line)["kind"] for line in (tiny_run / "ledger.jsonl").read_bytes().splitlines()]
    assert kinds[0] == "paper"
    assert kinds[1:10] == ["registration"] * 9
    assert kinds.count("result") == 9


def test_certificates_say_that_one_person_held_all_keys(tiny_run: Path) -> None:
    for path in tiny_run.glob("stages/*-exam/*.certificate.json"):
        certificate = json.loads(path.read_text("utf-8"))
        assert certificate["separation"] == "self-examined"
        assert any("Self-examined" in statement for statement in certificate["statements"])


def test_the_models_that_sat_are_the_models_on_disk(tiny_run: Path) -> None:
    for name, stage in (("teacher", "teacher"), ("rl", "rl"), ("rl-rft", "rl-rft"), ("tuned", "tuned"),
                        ("student", "student"), ("on-policy", "on-policy")):  # fmt: skip
        certificate = json.loads(next(tiny_run.glob(f"stages/*-exam/{name}.certificate.json")).read_text("utf-8"))
        path = next(tiny_run.glob(f"stages/[0-9][0-9]-{stage}/model/lineage.json"))
        lineage = json.loads(path.read_text("utf-8"))
        assert certificate["registration"]["model_digest"] == lineage["digest"]
