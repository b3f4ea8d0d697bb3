"""The operator of an endpoint: logs prompts, swaps models, lies on the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attack_parts import caught, passes
from exam_parts import SAMPLING, Stage, ToyModel, make_stage
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body, error_body

from spiritsafe.core.errors import EndpointError
from spiritsafe.exam import PaperLog, RegistrationTerms, exposures, register, sit, trust_page
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.registration import Budget
from spiritsafe.exam.sitting.identity_probes import PROBES
from spiritsafe.rollouts import RemoteConfig, RemoteGenerator

Start = Callable[[Answer], FakeEndpoint]


class Voices(ToyModel):
    """Answers probes with one voice after the other, a round each."""

    def __init__(self, *voices: str) -> None:
        said = iter([voice for voice in voices for _ in PROBES])
        super().__init__(
            kind="remote",
            reply=lambda prompt, _: (next(said), "stop") if prompt.problem_id.startswith("probe-") else None,
        )


def test_another_model_during_the_sitting(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)
    certificate = stage.certificate(Voices("one", "two", "two"), num_probes=3)
    caught(stage.verify(), "one model", "The model behind the endpoint changed during the sitting")
    assert any("These scores are of no one model" in statement for statement in certificate.statements)


def test_another_model_that_spares_the_probes_passes_and_the_page_says_so(tmp_path: Path) -> None:
    """Whoever knows the probes answers them with the old model, and the questions with a better one."""
    stage = make_stage(tmp_path, count=8)
    certificate = stage.certificate(Voices("old", "old", "old"), num_probes=3)
    passes(stage.verify())
    found = trust_page(certificate, stage.verify()).of("one model")
    assert found.state == "holds"
    assert "could answer them with another model" in found.finding
    assert found.cheat.startswith("Know the probes")


def test_prompts_that_are_logged_are_on_record_as_exposed(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)
    kept: list[str] = []
    spy = ToyModel(name="spy", kind="remote", reply=lambda p, _: kept.append(p.messages[-1].content))
    certificate = stage.certificate(spy)
    assert len(kept) == 9  # each problem, and one probe
    assert [record.exposed for record in certificate.access] == [False, True]
    assert any(statement.startswith("Class B: ") for statement in certificate.statements)
    records = [r for r in exposures(PaperLog(stage.ledger.entries(), stage.paper.header)) if r.party == "spy (remote)"]
    assert len(records) == 8
    assert all(record.has for record in records)
    assert trust_page(certificate, stage.verify()).of("stayed").state == "does not hold"
    later = stage.certificate(ToyModel(name="later"), name="later")
    assert any(statement == "Sealed problems are exposed to: spy (remote)." for statement in later.statements)
    page = trust_page(later, stage.verify("later"), entries=stage.ledger.entries())
    assert page.of("fresh").state == "does not hold"


def lie(body: bytes, **more: Any) -> Answer:
    """Honest to probes, so that the sitting begins; then this."""

    def answer(request: dict[str, Any]) -> str | HttpReply:
        if request["messages"][-1]["content"] in PROBES:
            return "Yes."
        return HttpReply(body=body, **more)

    return answer


def usage(**counts: Any) -> bytes:
    return chat_body("The answer is 1.", usage=counts)


LIES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "garbage": (b"\x00\xff<html>", {}),
    "empty": (b"", {}),
    "deep": (b"[" * 100_000, {}),
    "wrong type": (json.dumps({"choices": "many"}).encode(), {}),
    "no choice": (json.dumps({"choices": []}).encode(), {}),
    "cut": (b'{"choices": [', {"promised_bytes": 5000}),
    "huge": (chat_body("9" * 30_000_000), {}),
    "negative counts": (usage(prompt_tokens=-5, completion_tokens=-1_000_000), {}),
    "huge counts": (usage(prompt_tokens=10**18, completion_tokens=10**18), {}),
    "counts of a wrong type": (usage(prompt_tokens="7", completion_tokens=[1]), {}),
}


@pytest.mark.parametrize("what", LIES)
def test_lies_on_the_wire_end_as_wrong_answers_with_believable_counts(
    tmp_path: Path, fake_endpoint: Start, what: str
) -> None:
    body, more = LIES[what]
    stage = make_stage(tmp_path, count=2)
    config = RemoteConfig(timeout_s=20.0, max_tries=1)
    with RemoteGenerator(fake_endpoint(lie(body, **more)).url, "liar", config=config) as generator:
        registration = register(
            ledger=stage.ledger,
            paper=stage.paper,
            maker=stage.maker,
            model_name="liar",
            model_digest=generator.describe().digest,
            sampling=SAMPLING,
            hypothesis="none",
            terms=RegistrationTerms(budget=Budget(max_tokens=100_000)),
        )
        certificate = sit(
            paper=stage.papers,
            registration=registration,
            generator=generator,
            task=stage.task,
            ledger=stage.ledger,
            examiner=stage.examiner,
            directory=tmp_path / "sitting",
        )
    passes(stage.verify())
    result = certificate.result
    assert len(result.outcomes) == 2
    if "counts" not in what:
        assert {outcome.status for outcome in result.outcomes} == {"error"}
    assert result.sealed.accuracy.n == 1
    for outcome in result.outcomes:
        assert 0 <= outcome.num_tokens <= SAMPLING.max_tokens
        assert 0 <= outcome.num_prompt_tokens < 10_000


def aloud(size: int) -> Answer:
    """Honest to probes; to a question, so many characters of thinking, and then its answer, as 16 tokens."""

    def answer(request: dict[str, Any]) -> str | HttpReply:
        asked = request["messages"][-1]["content"]
        found = re.search(r"(\d+)\+(\d+)", asked)
        if found is None:
            return "Yes."
        text = "Let me think. " * (size // 14) + f"{int(found[1]) + int(found[2])}"
        return HttpReply(body=chat_body(text, usage={"prompt_tokens": 20, "completion_tokens": 16}))

    return answer


def sit_endpoint(stage: Stage, url: str, **terms: Any) -> Certificate:
    with RemoteGenerator(url, "talker") as generator:
        registration = register(
            ledger=stage.ledger,
            paper=stage.paper,
            maker=stage.maker,
            model_name="talker",
            model_digest=generator.describe().digest,
            sampling=SAMPLING,
            hypothesis="none",
            terms=RegistrationTerms(**terms),
        )
        return sit(
            paper=stage.papers,
            registration=registration,
            generator=generator,
            task=stage.task,
            ledger=stage.ledger,
            examiner=stage.examiner,
            directory=stage.root / "sitting",
        )


def test_an_endpoint_that_ignores_the_limit_of_tokens_wins_nothing(tmp_path: Path, fake_endpoint: Start) -> None:
    stage = make_stage(tmp_path, count=8)
    certificate = sit_endpoint(stage, fake_endpoint(aloud(54_000)).url, budget=Budget(max_tokens=200_000))
    passes(stage.verify())
    assert {outcome.status for outcome in certificate.result.outcomes} == {"truncated"}
    assert all(outcome.num_tokens > 13_000 for outcome in certificate.result.outcomes)
    assert any(words.startswith("8 of 8 answers are longer than 16 tokens") for words in certificate.statements)
    assert trust_page(certificate, stage.verify()).of("limits").state == "does not hold"
    assert (tmp_path / "sitting" / "answers.jsonl").stat().st_size < 8 * 5_000


def test_a_budget_that_long_answers_passed_is_not_called_kept(tmp_path: Path, fake_endpoint: Start) -> None:
    stage = make_stage(tmp_path, count=8)
    certificate = sit_endpoint(stage, fake_endpoint(aloud(54_000)).url, budget=Budget(max_tokens=6_000))
    passes(stage.verify())
    ending = next(step.detail for step in stage.verify() if step.name == "ending")
    assert "MORE THAN THE BUDGET, through 8 answers longer than their limit" in ending
    assert certificate.result.num_tokens > 6_000


def test_a_little_more_than_the_limit_gives_is_said(tmp_path: Path, fake_endpoint: Start) -> None:
    """Five hundred characters may be sixteen tokens of no language, but nobody can prove it: graded, and told."""
    stage = make_stage(tmp_path, count=8)
    certificate = sit_endpoint(stage, fake_endpoint(aloud(500)).url)
    passes(stage.verify())
    assert certificate.result.sealed.accuracy.value == 1.0
    assert trust_page(certificate, stage.verify()).of("limits").state == "does not hold"


class Doubling(ToyModel):
    def generate(self, prompts, sampling):
        for attempt in super().generate(prompts, sampling):
            yield attempt
            if not attempt.problem_id.startswith("probe-"):
                yield attempt


class Renaming(ToyModel):
    def generate(self, prompts, sampling):
        for attempt in super().generate(prompts, sampling):
            probe = attempt.problem_id.startswith("probe-")
            yield attempt if probe else attempt.model_copy(update={"problem_id": "another"})


class Silent(ToyModel):
    def generate(self, prompts, sampling):
        attempts = list(super().generate(prompts, sampling))
        yield from attempts if prompts[0].problem_id.startswith("probe-") else attempts[:-1]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Doubling, "that was not asked"), (Renaming, "that was not asked"), (Silent, "left . of . tries open")],
)
def test_answers_that_nobody_asked_for_or_that_are_missing(tmp_path: Path, kind: type[ToyModel], words: str) -> None:
    stage = make_stage(tmp_path, count=8)
    with pytest.raises(EndpointError, match=words):
        stage.certificate(kind(kind="remote"))
    assert [entry.kind for entry in stage.ledger.entries()] == ["paper", "registration", "access"]


@pytest.mark.parametrize("probes", ["dead", "answered"])
def test_a_server_that_answers_no_question_gets_no_score(tmp_path: Path, fake_endpoint: Start, probes: str) -> None:
    def answer(request: dict[str, Any]) -> str | HttpReply:
        if probes == "answered" and request["messages"][-1]["content"] in PROBES:
            return "Yes."
        return HttpReply(status=500, body=error_body("CUDA out of memory"))

    stage = make_stage(tmp_path, count=20)
    config = RemoteConfig(max_tries=2, backoff_base_s=0.0)
    with RemoteGenerator(fake_endpoint(answer).url, "dead", config=config) as generator:
        registration = register(
            ledger=stage.ledger,
            paper=stage.paper,
            maker=stage.maker,
            model_name="dead",
            model_digest=generator.describe().digest,
            sampling=SAMPLING,
            hypothesis="none",
            terms=RegistrationTerms(num_probes=4),
        )
        for _ in range(2):  # however often it is tried
            with pytest.raises(EndpointError, match="CUDA out of memory"):
                sit(
                    paper=stage.papers,
                    registration=registration,
                    generator=generator,
                    task=stage.task,
                    ledger=stage.ledger,
                    examiner=stage.examiner,
                    directory=tmp_path / "sitting",
                )
    assert stage.ledger.find("result") == []
    assert bool(stage.ledger.find("access")) == (probes == "answered")


def test_failures_make_no_score_that_looks_like_the_models(tmp_path: Path) -> None:
    """A tenth of the tries failed: the certificate verifies, and its page says that the model did not answer."""
    stage = make_stage(tmp_path, count=20)
    count = iter(range(100))
    model = ToyModel(kind="remote", reply=lambda p, _: ("", "error") if next(count) in (5, 9) else None)
    certificate = stage.certificate(model)
    passes(stage.verify())
    found = trust_page(certificate, stage.verify()).of("answered")
    assert (found.state, found.finding.split(":")[0]) == ("does not hold", "2 of 20 tries failed, more than 5%")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_beside_an_empty_answer_is_no_answer(tmp_path: Path, fake_endpoint: Start, field: str) -> None:
    """Every question's right answer stands in a thought that the limit cut off."""

    def answer(request: dict[str, Any]) -> HttpReply:
        question = re.search(r"(\d+)\+(\d+)", request["messages"][-1]["content"])
        thought = f"That is {int(question[1]) + int(question[2])}." if question else "Hm."
        return HttpReply(body=chat_body(None, finish_reason="length", **{field: thought}))

    stage = make_stage(tmp_path, count=8)
    certificate = sit_endpoint(stage, fake_endpoint(answer).url)
    passes(stage.verify())
    assert {outcome.status for outcome in certificate.result.outcomes} == {"truncated"}
    assert certificate.result.sealed.accuracy.value == 0.0
