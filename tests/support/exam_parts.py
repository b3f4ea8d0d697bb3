"""What the tests of the exam room share: a toy task, a toy model, and a stage with keys, ledger and paper."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.errors import EndpointError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Attempt, FinishReason, Message, Problem, Prompt, Sampling, Verdict
from spiritsafe.core.seeds import SEED_BITS, derive_seed
from spiritsafe.exam import PaperTerms, RegistrationTerms, StepResult, register, seal, sit, verify
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PublicPaper
from spiritsafe.exam.records.registration import Registration
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.tasks import Draft, Task, Verifier

SAMPLING = Sampling(temperature=0.7, max_tokens=16)
SECRET = bytes(range(32))


class ToyVerifier(Verifier):
    name = "toy"
    version = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        if text == "break the verifier":
            raise RuntimeError("broken")
        found = re.search(r"-?\d+", text)
        if not found:
            return self.verdict("unparsed", reason="no number")
        right = int(found[0]) == problem.facts["answer"]
        return self.verdict("correct" if right else "wrong", answer=found[0])


class ToyTask(Task):
    """Sums of two numbers below ``limit``; the messages carry a marker to look for on disk."""

    patience = 3_000
    has_twins = False

    def __init__(self, limit: int = 1000, version: str = "1") -> None:
        super().__init__(name=f"toy:sums?limit={limit}", version=version, verifier=ToyVerifier())
        self.limit = limit

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        rng = random.Random(seed)
        while True:
            a, b = rng.randrange(self.limit), rng.randrange(self.limit)
            text = f"{a}+{b}"
            yield Draft(canonical_text=text, build=lambda a=a, b=b, text=text: self._problem(a, b, text))

    def _twins(self, problem: Problem, seed: int) -> Iterator[Draft]:
        return self._candidates(derive_seed(seed, problem.id), exam=True) if self.has_twins else iter(())

    def _problem(self, a: int, b: int, text: str) -> Problem:
        return Problem(
            task=self.name,
            canonical_text=text,
            messages=(Message(role="user", content=f"Plaintext marker: what is {text}?"),),
            facts={"answer": a + b},
        )


@dataclass
class ToyModel:
    """Right with probability ``skill``; always right on what it studied. Remembers what it was asked."""

    skill: float = 0.5
    name: str = "toy-model"
    kind: str = "local"
    studied: frozenset[str] = frozenset()
    reply: Callable[[Prompt, int], tuple[str, FinishReason] | None] = lambda prompt, index: None
    asked: list[tuple[str, int]] = field(default_factory=list)
    on_ask: Callable[[], None] = lambda: None

    def describe(self) -> GeneratorInfo:
        return GeneratorInfo(name=self.name, digest=digest({"toy": self.name}), kind=self.kind)

    def answer(self, prompt: Prompt, index: int) -> tuple[str, FinishReason]:
        special = self.reply(prompt, index)
        if special is not None:
            return special
        found = re.search(r"(\d+)\+(\d+)", prompt.messages[-1].content)
        total = int(found[1]) + int(found[2]) if found else 0
        luck = derive_seed(prompt.seed, prompt.problem_id, index) / 2**SEED_BITS
        right = prompt.problem_id in self.studied or luck < self.skill
        return (f"The answer is {total if right else total + 1}.", "stop")

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        for prompt in prompts:
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples):
                self.on_ask()
                self.asked.append((prompt.problem_id, index))
                text, finish = self.answer(prompt, index)
                yield Attempt(
                    problem_id=prompt.problem_id,
                    sample_index=index,
                    model=self.describe().digest,
                    sampling=sampling,
                    seed=derive_seed(prompt.seed, prompt.problem_id, index),
                    text=text,
                    finish_reason=finish,
                    num_prompt_tokens=7,
                    num_tokens=5,
                    seconds=0.25,
                    error="out of order" if finish == "error" else None,
                )

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        raise NotImplementedError

    def close(self) -> None:
        pass


@dataclass
class Remote(ToyModel):
    """An endpoint: says when it sends, answers probes with its voice, may die in the middle of a question.

    ``refuses``: whether a question is turned away before anything is answered. ``silent``: probes are not answered.
    """

    kind: str = "remote"
    voice: str = "one"
    dies_at: int | None = None
    refuses: Callable[[Prompt, int], bool] = lambda prompt, index: False
    silent: bool = False
    sent: list[tuple[str, int]] = field(default_factory=list)
    probed: list[int] = field(default_factory=list)

    def generate_announced(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        before: Callable[[str, int], None],
        not_asked: Callable[[str, int], None],
    ) -> Iterator[Attempt]:
        for prompt in prompts:
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples):
                before(prompt.problem_id, index)
                self.sent.append((prompt.problem_id, index))
                if self.dies_at is not None and len(self.sent) > self.dies_at:
                    raise EndpointError("The line went dead.", hint="Wait.")
                one = prompt.model_copy(update={"first_sample": index, "num_samples": 1})
                if self.refuses(prompt, index):
                    not_asked(prompt.problem_id, index)
                    yield self._failure(prompt, index, sampling)
                    continue
                yield from super().generate([one], sampling)

    def _failure(self, prompt: Prompt, index: int, sampling: Sampling) -> Attempt:
        return Attempt(
            problem_id=prompt.problem_id, sample_index=index, model="m", sampling=sampling, seed=0, text="",
            finish_reason="error", error="HTTP 500: out of memory",
        )  # fmt: skip

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        if not prompts[0].problem_id.startswith("probe-"):
            raise AssertionError("a sealed question that was not announced")
        self.probed.append(len(self.sent))
        for prompt in prompts:
            if self.silent:
                yield self._failure(prompt, 0, sampling)
                continue
            yield Attempt(
                problem_id=prompt.problem_id, sample_index=0, model="m", sampling=sampling, seed=0,
                text=f"{self.voice}: {prompt.messages[0].content}", finish_reason="stop",
            )  # fmt: skip


@dataclass
class Stage:
    """Keys, ledger, paper."""

    root: Path
    task: Task
    maker: KeyPair
    examiner: KeyPair
    ledger: Ledger
    paper: PublicPaper

    @property
    def papers(self) -> Path:
        return self.root / "paper"

    def register(
        self,
        model: ToyModel,
        *,
        num_tries: int | None = 1,
        hypothesis: str = "better than chance",
        sampling: Sampling | None = SAMPLING,
        **terms: Any,
    ) -> Registration:
        info = model.describe()
        return register(
            ledger=self.ledger,
            paper=self.paper,
            maker=self.maker,
            model_name=info.name,
            model_digest=info.digest,
            sampling=sampling,
            num_tries=num_tries,
            hypothesis=hypothesis,
            terms=RegistrationTerms(**terms),
        )

    def sit(
        self,
        model: ToyModel,
        registration: Registration,
        name: str = "sitting",
        host: KeyPair | None = None,
        reference: Certificate | None = None,
    ) -> Certificate:
        return sit(
            paper=self.papers,
            registration=registration,
            generator=model,
            task=self.task,
            ledger=self.ledger,
            examiner=self.examiner,
            directory=self.root / name,
            host=host,
            reference=reference,
        )

    def certificate(
        self,
        model: ToyModel,
        *,
        num_tries: int | None = 1,
        name: str = "sitting",
        reference: Certificate | None = None,
        **terms: Any,
    ) -> Certificate:
        return self.sit(model, self.register(model, num_tries=num_tries, **terms), name, reference=reference)

    def verify(self, name: str = "sitting", **options: Any) -> list[StepResult]:
        """Everything that is there, checked."""
        given = {
            "paper": self.papers,
            "ledger": self.ledger.path,
            "result": self.root / name / "result.json",
            "sealed": self.papers / "sealed.age",
        }
        return verify(self.root / name / "certificate.json", **{**given, **options})

    def check(self, name: str = "sitting", **options: Any) -> None:
        """Nothing is found wrong."""
        assert [step for step in self.verify(name, **options) if not step.ok] == []

    def public_ids(self) -> frozenset[str]:
        return frozenset(problem.problem.id for problem in self.paper.problems)


@dataclass
class Forger:
    """Holds the examiner's key and re-signs whatever was changed."""

    stage: Stage
    certificate: Certificate
    name: str = "sitting"

    @property
    def value(self) -> dict[str, Any]:
        return self.certificate.to_json()

    def write(self, value: dict[str, Any], *, sign: bool = True) -> None:
        value = {**value, "signatures": self.certificate.to_json()["signatures"]}
        if sign:
            unsigned = canonical_json({key: item for key, item in value.items() if key != "signatures"})
            value["signatures"] = [self.stage.examiner.sign("certificate", unsigned).to_json()]
        (self.stage.root / self.name / "certificate.json").write_bytes(canonical_json(value))

    def verify(self, **options: Any) -> list[StepResult]:
        return verify(
            self.stage.root / self.name / "certificate.json",
            **{"paper": self.stage.papers, "ledger": self.stage.ledger.path, **options},
        )

    def failed(self, **options: Any) -> str:
        steps = self.verify(**options)
        bad = [step for step in steps if not step.ok]
        assert bad, "the forgery went through"
        assert bad[0].checked
        assert all(step.detail == f"not reached: step {bad[0].number} failed" for step in bad[1:])
        return bad[0].name


def make_stage(
    root: Path,
    *,
    count: int = 20,
    one_key: bool = False,
    task: Task | None = None,
    terms: PaperTerms | None = None,
    secret: bytes = SECRET,
) -> Stage:
    task = task or ToyTask()
    maker = KeyPair.generate("Mary Maker")
    examiner = maker if one_key else KeyPair.generate("Eve Examiner")
    ledger = Ledger(root / "ledger.jsonl")
    paper = seal(
        task, count=count, ledger=ledger, directory=root / "paper", examiner=examiner, terms=terms, secret=secret
    )
    return Stage(root=root, task=task, maker=maker, examiner=examiner, ledger=ledger, paper=paper)
