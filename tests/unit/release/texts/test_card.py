"""The card: what a reader needs stands in it, and nobody's name changes it."""

from __future__ import annotations

import re
from typing import Any

from markdown_it import MarkdownIt
from release_parts import BANNER

from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.exam import load_certificate
from spiritsafe.release.texts.card import card_text

EVIL = 'x|<img src=x onerror=alert(1)>](javascript:1)\n# Title\n**b** `c` www.evil.example &lt; \u202e"'


def _certificates(released: Any) -> dict[str, Any]:
    record = released.record
    paths = [one.path for file in record.files for one in file.certificates] + list(record.exams[0].others)
    return {path: load_certificate(released.directory / path) for path in paths}


def _tags(card: str) -> list[str]:
    body = card.split("\n---\n", 1)[1]
    return re.findall(r"<(\w+)", MarkdownIt("commonmark").enable("table").render(body))


def test_what_it_says(released: Any) -> None:
    card = (released.directory / "README.md").read_text("utf-8")
    assert f"\n**{BANNER}**\n" in card
    for part in (
        "hf download ada/Llama-toy --local-dir Llama-toy",
        'pipeline("text-generation", "./hf")',
        "llama-server -m toy-q8_0.gguf",
        "ollama create llama-toy -f toy-q8_0.Modelfile",
        "spiritsafe release verify .",
        "model_signing verify key . --signature model.sig --public_key signing-key.pem",
        released.parts.key.public.fingerprint,
        "Cannot rule out studying",
        "not legal advice",
        "meta-llama/Llama-3.2-1B (weights); teacher (outputs, logits)",
        "is *dominated* when another one here is no larger",
    ):
        assert part in card, part
    assert len(card.split()) < 900


def test_hostile_names_change_nothing_but_words(released: Any) -> None:
    record, certificates = released.record, _certificates(released)
    parent = Parent(name=EVIL, digest=EVIL, license=EVIL, used_as=("outputs",))
    hostile = record.model_copy(
        update={
            "about": EVIL,
            "license": EVIL,
            "languages": (EVIL,),
            "lineage": (
                *(one.model_copy(update={"parents": (parent,)}) for one in record.lineage[:1]),
                *record.lineage[1:],
                Checkpoint(name=EVIL, digest=EVIL, license=EVIL, num_parameters=1, weight_bytes=1),
            ),
            "duties": tuple(one.model_copy(update={"text": EVIL, "source": EVIL}) for one in record.duties),
            "files": tuple(one.model_copy(update={"file_type": EVIL, "measured_on": EVIL}) for one in record.files),
            "exams": (record.exams[0].model_copy(update={"task": EVIL}),),
        }
    )
    named = {
        path: one.model_copy(
            update={"result": one.result.model_copy(update={"model_name": EVIL, "gap_statement": EVIL})}
        )
        for path, one in certificates.items()
    }
    plain, evil = (card_text(*args, fingerprint="f" * 64) for args in ((record, certificates), (hostile, named)))
    before, after = _tags(plain), _tags(evil)
    assert set(after) == set(before)
    assert after.count("td") == before.count("td") + 4  # the row of one more model in the lineage
    assert [after.count(tag) for tag in ("h1", "h2", "h3", "li", "strong", "p")] == [
        before.count(tag) for tag in ("h1", "h2", "h3", "li", "strong", "p")
    ]
    assert "\u202e" not in evil


def test_without_an_exam_and_without_duties(released: Any) -> None:
    files = tuple(file.model_copy(update={"certificates": ()}) for file in released.record.files)
    bare = released.record.model_copy(update={"exams": (), "duties": (), "files": files, "repository": None})
    card = card_text(bare, {}, fingerprint="f" * 64)
    assert "Score" not in card.split("## Use")[0]
    assert "hf download" not in card
    assert "Exams" not in card
