from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import templates_parts
import torch
from architectures import FAMILY_NAMES, loaded_decoder, peer_of, random_config

from spiritsafe.core.errors import CompatibilityError, NumericalError, ProcedureError
from spiritsafe.core.generator import SpreadScoring
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import PackedBatch, pack_documents
from spiritsafe.models.interface.language_model import Head, LanguageModel
from spiritsafe.models.running.generators import local_generator as engine_module
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model
from spiritsafe.rollouts.test_time.budget_forcing import BudgetForcedGenerator, BudgetForcing
from spiritsafe.tasks.answers.extract import extract_answer


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def some_prompts(count: int = 6, num_samples: int = 3) -> list[Prompt]:
    """Of different lengths, with a common beginning, and one twice."""
    texts = ["same" + "x" * (5 * i % 13) for i in range(count - 1)] + ["same"]
    return [
        Prompt(problem_id=f"p{i}", messages=user(text), num_samples=num_samples, seed=i) for i, text in enumerate(texts)
    ]


def collect(generator: LocalGenerator, prompts: list[Prompt], sampling: Sampling) -> dict[tuple[str, int], Attempt]:
    attempts = list(generator.generate(prompts, sampling))
    found = {(a.problem_id, a.sample_index): a for a in attempts}
    assert len(found) == len(attempts)
    return found


class Uncached(LanguageModel):
    """A Decoder that the engine does not recognise, so that it recomputes every sequence at every step."""

    def __init__(self, inner: Decoder) -> None:
        super().__init__()
        self.inner = inner
        self.max_context = inner.max_context

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        return self.inner(batch)

    def forward_with_layers(
        self, batch: PackedBatch, layers: Sequence[int]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return self.inner.forward_with_layers(batch, layers)

    def head(self) -> Head:
        return self.inner.head()

    def save_weights(self, directory: Path) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_cached_and_refilled_equals_recomputed(family: str, tiny_directory: Path) -> None:
    loaded = (
        loaded_decoder(tiny_directory, family, use_sliding_window=True)
        if family in ("qwen2", "qwen3")
        else (loaded_decoder(tiny_directory, family, **({"sliding_window": 5} if family == "mistral" else {})))
    )
    assert isinstance(loaded.model, Decoder)
    sampling = Sampling(max_tokens=9, temperature=0.8, top_p=0.95)
    plain = LocalGenerator(dataclasses.replace(loaded, model=Uncached(loaded.model)))
    expected = collect(plain, some_prompts(), sampling)
    assert len(expected) == 18
    for max_batch in (4, 64):
        found = collect(LocalGenerator(loaded, max_batch=max_batch), some_prompts(), sampling)
        assert found.keys() == expected.keys()
        for key, attempt in expected.items():
            assert found[key].token_ids == attempt.token_ids
            assert found[key].text == attempt.text
            assert found[key].logprobs == pytest.approx(attempt.logprobs, abs=1e-4)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_greedy_tokens_equal_transformers_generate(family: str, tiny_directory: Path) -> None:
    config = random_config(family, 1) | {"vocab_size": 260, "max_position_embeddings": 256}
    peer = peer_of(config, 1)
    loaded = loaded_decoder(tiny_directory, family)
    prompts = some_prompts(4, 1)
    found = collect(LocalGenerator(loaded), prompts, Sampling(max_tokens=10, temperature=0.0))
    for prompt in prompts:
        ids = torch.tensor([loaded.chat.prompt_ids(prompt.messages)])
        theirs = peer.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=list(loaded.chat.eos_ids),
            pad_token_id=loaded.chat.pad_id,
        )
        assert list(found[prompt.problem_id, 0].token_ids) == theirs[0, ids.shape[1] :].tolist()


def test_a_turn_that_is_begun_goes_on_as_transformers_would(tiny_directory: Path) -> None:
    config = random_config("llama", 1) | {"vocab_size": 260, "max_position_embeddings": 256}
    peer = peer_of(config, 1)
    loaded = loaded_decoder(tiny_directory, "llama")
    prompts = [
        Prompt(problem_id=f"p{number}", messages=user("same"), prefix=prefix, max_tokens=limit)
        for number, (prefix, limit) in enumerate(
            [("", None), ("Let me think", 4), ("<|im_end|> é\nWait", 7), ("L", 99)]
        )
    ]
    found = collect(LocalGenerator(loaded), prompts, Sampling(max_tokens=10, temperature=0.0))
    for prompt, limit in zip(prompts, (10, 4, 7, 10), strict=True):
        begun = loaded.chat.prompt_ids(prompt.messages) + loaded.chat.completion_ids(prompt.prefix)
        assert len(begun) == len(loaded.chat.prompt_ids(prompt.messages)) + len(prompt.prefix.encode())
        ids = torch.tensor([begun])
        theirs = peer.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=list(loaded.chat.eos_ids),
            pad_token_id=loaded.chat.pad_id,
        )
        attempt = found[prompt.problem_id, 0]
        assert list(attempt.token_ids) == theirs[0, ids.shape[1] :].tolist()
        assert attempt.num_prompt_tokens == len(begun)
        assert len(attempt.token_ids) <= limit


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_engine_logprobs_are_the_trainers(temperature: float, tiny_directory: Path) -> None:
    loaded = loaded_decoder(tiny_directory, "qwen3")
    prompts = {p.problem_id: p for p in some_prompts()}
    sampling = Sampling(max_tokens=15, temperature=temperature, top_k=20)
    found = collect(LocalGenerator(loaded, max_batch=5), list(prompts.values()), sampling)
    for (problem_id, _), attempt in found.items():
        document = loaded.chat.document_from_tokens(prompts[problem_id].messages, attempt.token_ids)
        batch = pack_documents([document])
        logits = head_logits(loaded.model.head(), loaded.model(batch)) / (temperature or 1.0)
        start = attempt.num_prompt_tokens - 1
        rows = logits.log_softmax(-1)[start:-1]
        expected = rows.gather(1, torch.tensor(attempt.token_ids)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(attempt.logprobs), expected, atol=1e-4, rtol=0)


def test_the_same_call_gives_the_same_tokens(tiny_directory: Path) -> None:
    generator = LocalGenerator(loaded_decoder(tiny_directory), max_batch=4)
    sampling = Sampling(max_tokens=10)
    first, second = (collect(generator, some_prompts(), sampling) for _ in range(2))
    assert {k: (a.token_ids, a.logprobs) for k, a in first.items()} == {
        k: (a.token_ids, a.logprobs) for k, a in second.items()
    }


def test_samples_depend_on_seed_problem_and_index_only(tiny_directory: Path) -> None:
    generator = LocalGenerator(loaded_decoder(tiny_directory))
    sampling = Sampling(max_tokens=12)
    all_of_them = collect(generator, some_prompts(), sampling)
    wanted = some_prompts()[2].model_copy(update={"num_samples": 1, "first_sample": 2})
    alone = collect(generator, [wanted], sampling)
    assert list(alone) == [("p2", 2)]
    assert alone["p2", 2].token_ids == all_of_them["p2", 2].token_ids
    other = collect(generator, [wanted.model_copy(update={"seed": 99})], sampling)
    assert other["p2", 2].token_ids != alone["p2", 2].token_ids
    assert len({a.token_ids for (p, _), a in all_of_them.items() if p == "p2"}) == 3


def test_records_are_complete(tiny_directory: Path) -> None:
    loaded = loaded_decoder(tiny_directory)
    generator = LocalGenerator(loaded)
    sampling = Sampling(max_tokens=9)
    for attempt in collect(generator, some_prompts(), sampling).values():
        assert attempt.model == loaded.checkpoint.digest == generator.describe().digest
        assert attempt.sampling == sampling
        assert attempt.num_tokens == len(attempt.token_ids) == len(attempt.logprobs)
        assert attempt.num_prompt_tokens > 0
        assert attempt.seconds > 0
        ended = attempt.token_ids[-1] in loaded.chat.eos_ids
        assert attempt.finish_reason == ("stop" if ended else "length")
        assert ended or attempt.num_tokens == 9
        assert attempt.text == loaded.chat.decode(attempt.token_ids[:-1] if ended else attempt.token_ids)


def scripted(directory: Path, text: str, *, then_end: bool) -> LoadedModel:
    """A Decoder that says a text whatever it is asked: its logits depend on the last token alone."""
    loaded = loaded_decoder(directory, tie_word_embeddings=False, hidden_size=288, intermediate_size=8)
    model, chat = loaded.model, loaded.chat
    assert isinstance(model, Decoder)
    assert model.lm_head is not None
    script = chat.completion_ids(text)
    assert len(set(script)) == len(script)
    before = chat.prompt_ids(user("x"))[-1]
    with torch.no_grad():
        for block in model.blocks:
            block.out.weight.zero_()
            block.down.weight.zero_()
            for projection in (block.out, block.down):
                if projection.bias is not None:
                    projection.bias.zero_()
        model.norm.weight.fill_(1.0)
        model.embedding.weight.copy_(torch.eye(260, 288))
        model.lm_head.weight.zero_()
        tokens = [before, *script, *([chat.end_id] if then_end else [])]
        for now, following in pairwise(tokens):
            model.lm_head.weight[following, now] = 50.0
    return loaded


@pytest.mark.parametrize(
    ("stop", "text", "num_tokens"),
    [
        (("fg",), "abcde", 7),
        (("z", "cd", "fg"), "ab", 4),
        (("nothing",), "abcdefgh", 9),
        ((), "abcdefgh", 9),
        (("h",), "abcdefg", 8),
    ],
)
def test_stop_strings_and_end_token(stop: tuple[str, ...], text: str, num_tokens: int, tiny_directory: Path) -> None:
    generator = LocalGenerator(scripted(tiny_directory, "abcdefgh", then_end=True))
    prompt = Prompt(problem_id="p", messages=user("x"))
    attempt = next(generator.generate([prompt], Sampling(max_tokens=20, temperature=0.0, stop=stop)))
    assert (attempt.text, attempt.num_tokens, attempt.finish_reason) == (text, num_tokens, "stop")
    assert len(attempt.token_ids) == num_tokens


def test_the_limit_of_tokens(tiny_directory: Path) -> None:
    generator = LocalGenerator(scripted(tiny_directory, "abcdefgh", then_end=True))
    prompt = Prompt(problem_id="p", messages=user("x"))
    attempt = next(generator.generate([prompt], Sampling(max_tokens=3, temperature=0.0)))
    assert (attempt.text, attempt.finish_reason) == ("abc", "length")


def test_the_context_is_a_limit_too(tiny_directory: Path) -> None:
    loaded = loaded_decoder(tiny_directory)
    prompt = Prompt(problem_id="p", messages=user("x" * 10))
    length = len(loaded.chat.prompt_ids(prompt.messages))
    generator = LocalGenerator(loaded, max_context=length + 4)
    attempt = next(generator.generate([prompt], Sampling(max_tokens=50, top_k=5)))
    assert attempt.finish_reason == "length"
    assert attempt.num_tokens == 4


def test_a_prompt_without_room_is_an_error_attempt(tiny_directory: Path) -> None:
    generator = LocalGenerator(loaded_decoder(tiny_directory), max_context=60)
    long = Prompt(problem_id="long", messages=user("x" * 80), num_samples=2, first_sample=3)
    short = Prompt(problem_id="short", messages=user("x"))
    found = collect(generator, [long, short], Sampling(max_tokens=4))
    assert found["short", 0].finish_reason != "error"
    for index in (3, 4):
        attempt = found["long", index]
        assert attempt.finish_reason == "error"
        assert attempt.error is not None
        assert "context of 60" in attempt.error
        assert "Shorten" in attempt.error


def test_a_refused_conversation_is_an_error_attempt(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_decoder(tiny_directory)

    def refuse(self: ChatFormat, messages: object) -> list[int]:
        raise CompatibilityError("No system turns here.", hint="Leave it out.")

    monkeypatch.setattr(ChatFormat, "prompt_ids", refuse)
    attempt = next(LocalGenerator(loaded).generate(some_prompts(1, 1), Sampling()))
    assert (attempt.finish_reason, attempt.error) == ("error", "No system turns here. Leave it out.")


def test_attempts_come_as_they_finish(tiny_directory: Path) -> None:
    loaded = loaded_decoder(tiny_directory)
    length = len(loaded.chat.prompt_ids(user("x")))
    prompts = [Prompt(problem_id=text, messages=user(text)) for text in ("x", "x" * 9)]
    generator = LocalGenerator(loaded, max_context=length + 10).generate(prompts, Sampling(max_tokens=40, top_k=3))
    assert next(generator).problem_id == "x" * 9
    assert next(generator).problem_id == "x"


def test_two_calls_read_in_turns_do_not_disturb_each_other(tiny_directory: Path) -> None:
    generator = LocalGenerator(loaded_decoder(tiny_directory), max_batch=2)
    sampling = Sampling(max_tokens=6)
    expected = collect(generator, some_prompts(), sampling)
    turns = [generator.generate(some_prompts(), sampling) for _ in range(2)]
    for pair in zip(*turns, strict=True):
        for attempt in pair:
            assert attempt.token_ids == expected[attempt.problem_id, attempt.sample_index].token_ids


def test_a_call_left_early_leaves_no_trace(tiny_directory: Path) -> None:
    loaded = loaded_decoder(tiny_directory)
    assert isinstance(loaded.model, Decoder)
    generator = LocalGenerator(loaded, max_batch=2)
    calls = generator.generate(some_prompts(), Sampling(max_tokens=6))
    next(calls)
    assert not torch.is_inference_mode_enabled()
    calls.close()  # type: ignore[attr-defined]  # it is a Python generator
    assert all(p.packed is None for block in loaded.model.blocks for p in block.projections())
    assert len(collect(generator, some_prompts(), Sampling(max_tokens=6))) == 18


def test_changed_weights_are_sampled_from(tiny_directory: Path) -> None:
    loaded = loaded_decoder(tiny_directory)
    generator = LocalGenerator(loaded)
    greedy = Sampling(max_tokens=8, temperature=0.0)
    before = collect(generator, some_prompts(), greedy)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    after = collect(generator, some_prompts(), greedy)
    fresh = collect(LocalGenerator(loaded), some_prompts(), greedy)
    assert {k: a.token_ids for k, a in after.items()} == {k: a.token_ids for k, a in fresh.items()}
    assert {k: a.token_ids for k, a in after.items()} != {k: a.token_ids for k, a in before.items()}


def test_bfloat16_weights_work(tiny_directory: Path) -> None:
    loaded = loaded_decoder(tiny_directory)
    loaded.model.to(torch.bfloat16)
    found = collect(LocalGenerator(loaded, max_batch=4), some_prompts(), Sampling(max_tokens=5))
    assert len(found) == 18
    assert all(math.isfinite(sum(a.logprobs)) for a in found.values())


def test_broken_weights_are_a_numerical_error(tiny_directory: Path) -> None:
    loaded = loaded_decoder(tiny_directory)
    assert isinstance(loaded.model, Decoder)
    with torch.no_grad():
        loaded.model.norm.weight[0] = float("nan")
    generator = LocalGenerator(loaded)
    with pytest.raises(NumericalError, match="not finite"):
        list(generator.generate(some_prompts(), Sampling()))
    with pytest.raises(NumericalError, match="not finite"):
        generator.score([user("a")], ["b"])


def test_nothing_asked_nothing_given(tiny_directory: Path) -> None:
    generator = LocalGenerator(loaded_decoder(tiny_directory))
    assert list(generator.generate([], Sampling())) == []
    assert generator.score([], []) == []


def test_closed_is_closed(tiny_directory: Path) -> None:
    generator = LocalGenerator(loaded_decoder(tiny_directory))
    list(generator.generate(some_prompts(2, 1), Sampling(max_tokens=2)))
    generator.close()
    generator.close()
    with pytest.raises(ProcedureError, match="closed"):
        next(generator.generate(some_prompts(), Sampling()))
    with pytest.raises(ProcedureError, match="closed"):
        generator.score([user("a")], ["b"])


@pytest.mark.parametrize("arguments", [{"max_batch": 0}, {"max_context": 1}])
def test_nonsense_sizes_are_refused(arguments: dict[str, int], tiny_directory: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        LocalGenerator(loaded_decoder(tiny_directory), **arguments)


def test_scores_are_the_models_logprobs(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.models.running.generators.local_generator._SCORE_TOKENS", 60)
    monkeypatch.setattr("spiritsafe.models.running.generators.local_generator._SCORE_ROWS", 4)
    loaded = loaded_decoder(tiny_directory, "granite")
    conversations = [user("a"), user("bb" * 10), user("c")]
    completions = ["hello", "", "you there"]
    scores = LocalGenerator(loaded).score(conversations, completions)
    for messages, completion, found in zip(conversations, completions, scores, strict=True):
        ids = loaded.chat.completion_ids(completion)
        assert len(found) == len(ids)
        document = loaded.chat.document_from_tokens(messages, ids)
        start = len(document.token_ids) - len(ids) - 1
        hidden = loaded.model(pack_documents([document]))
        rows = head_logits(loaded.model.head(), hidden).log_softmax(-1)[start : start + len(ids)]
        expected = rows.gather(1, torch.tensor(ids, dtype=torch.int64)[:, None]).squeeze(1).tolist()
        assert found == pytest.approx(expected, abs=1e-5)


def test_spreads_are_moments_of_the_models_own_distribution(
    tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean and standard deviation of log p over p, in float64; an impossible token takes no part."""
    monkeypatch.setattr("spiritsafe.models.running.generators.local_generator._SPREAD_ROWS", 3)
    loaded = loaded_decoder(tiny_directory, "granite")
    generator = LocalGenerator(loaded)
    assert isinstance(generator, SpreadScoring)
    conversations, completions = [user("a"), user("bb")], ["hello", "you there"]
    spreads = generator.score_spread(conversations, completions)
    scores = generator.score(conversations, completions)
    assert [tuple(own for own, _, _ in row) for row in spreads] == [pytest.approx(row) for row in scores]
    for messages, completion, found in zip(conversations, completions, spreads, strict=True):
        ids = loaded.chat.completion_ids(completion)
        document = loaded.chat.document_from_tokens(messages, ids)
        start = len(document.token_ids) - len(ids) - 1
        hidden = loaded.model(pack_documents([document]))
        logs = head_logits(loaded.model.head(), hidden).double().log_softmax(-1)[start : start + len(ids)]
        mean = (logs.exp() * logs).sum(-1)
        deviation = (logs.exp() * logs.square()).sum(-1).sub(mean.square()).sqrt()
        assert [row[1] for row in found] == pytest.approx(mean.tolist(), abs=1e-4)
        assert [row[2] for row in found] == pytest.approx(deviation.tolist(), abs=1e-4)


def test_impossible_tokens_take_no_part_in_the_spread() -> None:
    logprobs = torch.tensor([[0.0, 0.0, -torch.inf], [0.0, -torch.inf, -torch.inf]]).log_softmax(-1)
    mean, deviation = engine_module._expected(logprobs)
    assert mean.tolist() == pytest.approx([-math.log(2), 0.0])
    assert deviation.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


# ---- models that mark their thoughts


@pytest.fixture(scope="module", params=["r1", "qwq", "harmony", "qwen3"])
def thinker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    directory = tmp_path_factory.mktemp(request.param)
    source = templates_parts.ALL[request.param](directory / "model")
    return load_model(resolve_source(str(source), cache=directory / "cache"), dtype=torch.float32)


def test_what_is_drawn_is_read_in_the_one_form_of_a_thought(thinker: LoadedModel) -> None:
    chat = thinker.chat
    for attempt in collect(LocalGenerator(thinker), some_prompts(3), Sampling(max_tokens=12)).values():
        visible = attempt.token_ids[:-1] if attempt.token_ids[-1] in chat.eos_ids else attempt.token_ids
        assert attempt.text == chat.completion_text(visible)
        if chat.render(user("?")).endswith("<think>\n"):
            assert attempt.text.startswith("<think>\n")
            assert extract_answer(f"{attempt.text}\n#### 4", "number") is None or "</think>" in attempt.text


def test_a_beginning_that_was_drawn_is_gone_on_with_by_the_same_tokens(thinker: LoadedModel) -> None:
    chat, sampling = thinker.chat, Sampling(temperature=0.0, max_tokens=1)
    text = "<think>\nhm" if chat.render(user("?")).endswith("<think>\n") else "<think>hm"
    whole = chat.going_on_ids(user("?"), text)
    assert chat.spell(whole).count("<think>") <= 1
    (attempt,) = LocalGenerator(thinker).generate([Prompt(problem_id="p", messages=user("?"), prefix=text)], sampling)
    batch = pack_documents([chat.document_from_tokens(user("?"), whole[len(chat.prompt_ids(user("?"))) :])])
    with torch.inference_mode():
        likeliest = head_logits(thinker.model.head(), thinker.model(batch)[-1:]).argmax(-1).item()
    assert attempt.token_ids == (likeliest,)
    assert attempt.num_prompt_tokens == len(whole)


def test_a_thought_is_forced_to_end_and_is_one_thought(thinker: LoadedModel) -> None:
    forced = BudgetForcedGenerator(LocalGenerator(thinker), BudgetForcing(cap=6, num_waits=1))
    for attempt in forced.generate(some_prompts(2), Sampling(max_tokens=12)):
        assert attempt.error is None
        if thinker.chat.render(user("?")).endswith("<think>\n"):
            assert attempt.text.startswith("<think>\n")
            assert "</think>" in attempt.text
            assert thinker.chat.completion_text((), prefix=attempt.text) == ""


def test_a_stop_string_that_markers_stand_for_is_found(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.harmony(tmp_path))
    ids = chat.text_ids("<|channel|>analysis<|message|>two</t<|end|><|start|>assistant<|channel|>final<|message|>4")
    for stride in (1, 3, len(ids)):
        finder = chat.stop_finder(("</think>",))
        for end in range(stride, len(ids) + stride, stride):
            found = finder.find(ids[:end], stride, chat.completion_text)
            if found is not None:
                break
        assert found == (ids.index(chat._added["<|end|>"]) + 1, "<think>two</t")
    assert chat.stop_finder(("4",)).find(ids, 1, chat.completion_text) == (len(ids), "<think>two</t</think>")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it loads its compiler
@pytest.mark.parametrize(
    "backend",
    ["eager", pytest.param("inductor", marks=pytest.mark.skipif(which("cc") is None, reason="there is no C compiler"))],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_model_samples_as_ever_and_compiles_nothing_for_it(
    tiny_directory: Path, dtype: torch.dtype, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampling on a CPU multiplies with packed weights, which no compiler can read."""
    # What torch compiled under another ATEN_CPU_CAPABILITY it takes for its own, and computes what is no number.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, compiled = loaded_decoder(tiny_directory), loaded_decoder(tiny_directory)
    plain.model.to(dtype)
    compiled.model.to(dtype)
    calls: list[int] = []

    def counting(graph: Any, inputs: Any) -> Any:
        calls.append(1)
        return graph.forward

    compiled.model.compile_blocks(backend=counting if backend == "eager" else backend)  # type: ignore[arg-type]
    prompts = [Prompt(problem_id="p", messages=(Message(role="user", content="3+4"),), num_samples=3, seed=0)]
    ours, theirs = LocalGenerator(compiled, max_batch=2), LocalGenerator(plain, max_batch=2)
    drawing = ours.generate(prompts, Sampling(max_tokens=6))
    first = next(drawing)
    assert not calls
    conversations, texts = [prompts[0].messages], ["so 7"]
    scored = ours.score(conversations, texts)  # between two attempts, while weights are packed
    assert bool(calls) == (backend == "eager")  # training's pass is compiled
    torch.testing.assert_close(
        torch.tensor(scored), torch.tensor(theirs.score(conversations, texts)), atol=0.05, rtol=0
    )
    found = {a.sample_index: a.token_ids for a in (first, *drawing)}
    assert found == {a.sample_index: a.token_ids for a in theirs.generate(prompts, Sampling(max_tokens=6))}
