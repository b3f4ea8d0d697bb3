"""Each promise flips when its evidence is removed or broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exam_parts import SAMPLING, Stage, ToyModel, make_stage
from stranger_parts import IMPOSSIBLE, append_at

from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam import (
    file_dispute,
    load_rerun,
    open_paper,
    overlap,
    publish_answers,
    reject_dispute,
    rerun,
    trust_page,
)
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.contamination import SignedOverlap
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.records.review import Dispute
from spiritsafe.exam.records.trust import Promise, TrustPage
from spiritsafe.exam.results.correction import correction_of
from spiritsafe.exam.review.reveal import reveal
from spiritsafe.exam.verification.case import Facts
from spiritsafe.exam.verification.findings import View, judge_decision, judge_history
from spiritsafe.exam.verification.verify import StepResult
from spiritsafe.ledger import KeyPair, Ledger, NoteKey, witness

OTHER_WORDS = (
    "",
    "SUPERSEDED unanswered: not yet in a certificate; they cannot be graded again; saw its first 99 entries",
)
SAM, WANDA = KeyPair.generate("Sam Stranger"), KeyPair.generate("Wanda Witness")


class Scene:
    """A third-party exam with all that can be given to its verification."""

    def __init__(self, root: Path, model: ToyModel | None = None, *, count: int = 40, **terms: Any) -> None:
        self.stage: Stage = make_stage(root, count=count)
        self.model = model or ToyModel(name="pupil")  # whose luck happens to leave no gap
        self.certificate: Certificate = self.stage.certificate(self.model, **terms)

    def page(self, name: str = "sitting", **options: Any) -> TrustPage:
        """All that is there is given, but for what ``options`` say."""
        stage = self.stage
        paths = options.get("reruns", [p for p in (stage.root / "rerun.json",) if p.exists()])
        opened, seen = stage.root / "opened.json", stage.root / "wanda.jsonl"
        retired = stage.root / "retired"
        given = {
            "revealed": [p for p in (opened,) if p.exists()],
            "witnesses": [p for p in (seen,) if p.exists()],
            "witness_keys": [str(NoteKey.of_witness(WANDA.public.signing))],
            "trusted_keys": [stage.examiner.public.key_id],
            **options,
            "reruns": paths,
            "opened": options.get("opened", retired if retired.exists() else None),
            "task": options.get("task", stage.task),
            "overlaps": options.get("overlaps", [p for p in (stage.root / "overlap.json",) if p.exists()]),
        }
        steps = stage.verify(name, **given)
        certificate = Certificate.from_json(read_json(stage.root / name / "certificate.json"))
        with_ledger = given.get("ledger", stage.ledger.path) is not None
        page, *reworded = (
            trust_page(
                certificate,
                said,
                entries=stage.ledger.entries() if with_ledger else None,
                reruns=[load_rerun(path, certificate=certificate) for path in paths],
                overlaps=[SignedOverlap.from_json(read_json(path)) for path in given["overlaps"]],
            )
            for said in (steps, *([replace(step, detail=words) for step in steps] for words in OTHER_WORDS))
        )
        for other in reworded:  # whatever the sentences are, no promise flips by them
            assert [promise.state for promise in other.promises] == [promise.state for promise in page.promises]
        return page

    def of(self, promise: str, name: str = "sitting", **options: Any) -> Promise:
        return self.page(name, **options).of(promise)

    def rerun(self, runner: KeyPair = SAM, model: ToyModel | None = None) -> None:
        stage = self.stage
        rerun(
            stage.root / "sitting" / "certificate.json",
            paper=stage.papers,
            generator=model or self.model,
            task=stage.task,
            runner=runner,
            output=stage.root / "rerun.json",
        )

    def overlap(self, *texts: str) -> None:
        stage = self.stage
        trained_on = stage.root / "train.jsonl"  # a short problem counts where it is a field of its own
        trained_on.write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in ("Some other text.", *texts)), "utf-8"
        )
        overlap(
            paper=stage.papers,
            files=[trained_on],
            task=stage.task,
            examiner=stage.examiner,
            ledger=stage.ledger,
            output=stage.root / "overlap.json",
        )

    def reveal(self, index: int = 0) -> None:
        stage = self.stage
        reveal(
            paper=stage.papers,
            registration=self.certificate.registration,
            journal=stage.root / "sitting" / "answers.jsonl",
            examiner=stage.examiner,
            ledger=stage.ledger,
            index=index,
            sample_index=0,
            reason="a look",
            output=stage.root / "opened.json",
        )

    def open(self) -> None:
        stage = self.stage
        places: dict[str, Any] = {
            "paper": stage.papers,
            "examiner": stage.examiner,
            "ledger": stage.ledger,
            "directory": stage.root / "retired",
        }
        open_paper(reason="long enough in use", **places)
        publish_answers(certificate=self.certificate, journal=stage.root / "sitting" / "answers.jsonl", **places)

    def dispute(self) -> Dispute:
        wrong = next(outcome.index for outcome in self.certificate.result.outcomes if outcome.status == "wrong")
        return file_dispute(
            certificate=self.certificate,
            ledger=self.stage.ledger,
            author=SAM,
            index=wrong,
            proposed="correct",
            reason="It is right.",
        )

    def witness(self) -> None:
        witness(Ledger(self.stage.ledger.path), own=Ledger(self.stage.root / "wanda.jsonl"), key=WANDA, name="exams")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_with_all_evidence_every_promise_of_a_good_exam_holds_but_for_power(scene: Scene) -> None:
    scene.rerun()
    scene.reveal()
    scene.overlap()
    scene.open()
    scene.witness()
    page = scene.page()
    assert page.verified
    states = {promise.name: promise.state for promise in page.promises}
    assert states.pop("not studying") == "cannot be told"  # 40 problems are too few
    assert set(states.values()) == {"holds"}, states


@pytest.mark.parametrize(
    ("promise", "missing", "give"),
    [
        ("sealed", {"sealed": None}, "--sealed"),
        ("sealed", {"ledger": None, "witnesses": []}, "--ledger"),
        ("fresh", {"ledger": None, "witnesses": []}, "--ledger"),
        ("nothing left out", {"ledger": None, "witnesses": []}, "--ledger"),
        ("decision", {"ledger": None, "witnesses": []}, "--ledger"),
        ("history", {"witnesses": []}, "--witness"),
        ("history", {"witness_keys": []}, "--witness-key"),
        ("grades", {"revealed": []}, "--revealed"),
        ("examiner", {"trusted_keys": []}, "--trust"),
        ("re-run", {"reruns": []}, "--rerun"),
        ("graded again", {"opened": None}, "--opened"),
        ("disputes", {"ledger": None, "witnesses": []}, "--ledger"),
        ("training files", {"overlaps": []}, "--overlap"),
        ("one model", {"reruns": []}, "--rerun"),
    ],
)
def test_without_its_evidence_a_promise_is_not_checked_and_says_what_to_give(
    scene: Scene, promise: str, missing: dict[str, Any], give: str
) -> None:
    scene.rerun()
    scene.reveal()
    scene.overlap()
    scene.open()
    scene.witness()
    assert scene.of(promise).state == "holds"
    found = scene.of(promise, **missing)
    assert found.state == "not checked here"
    assert give in found.give


def break_paper(scene: Scene) -> None:
    """The public problems are swapped for easier ones."""
    paper = scene.stage.paper
    first = paper.problems[0]
    easier = first.model_copy(update={"problem": first.problem.model_copy(update={"facts": {"answer": 0}})})
    changed = paper.model_copy(update={"problems": (easier, *paper.problems[1:])})
    (scene.stage.papers / "paper.json").write_bytes(changed.canonical())


def break_split(scene: Scene) -> None:
    """The examiner publishes one problem fewer than the lot drew."""
    paper = scene.stage.paper
    changed = paper.model_copy(update={"problems": paper.problems[1:]})
    (scene.stage.papers / "paper.json").write_bytes(changed.canonical())


def break_sealed(scene: Scene) -> None:
    (scene.stage.papers / "sealed.age").write_bytes(b"another half")


def break_ledger(scene: Scene) -> None:
    path = scene.stage.ledger.path
    path.write_bytes(path.read_bytes().replace(b"third", b"fourth").replace(b"pupil", b"pupae"))
    scene.stage.ledger = Ledger(scene.stage.root / "unused.jsonl")


@pytest.mark.parametrize(
    ("breaks", "fails"),
    [
        (break_paper, {"committed", "random cut"}),
        (break_split, {"random cut", "not studying"}),
        (break_sealed, {"sealed"}),
        (break_ledger, {"sealed", "fresh", "nothing left out", "history", "disputes", "decision"}),
    ],
)
def test_broken_evidence_fails_the_promises_that_stand_on_it(
    scene: Scene, breaks: Callable[[Scene], None], fails: set[str]
) -> None:
    ledger = scene.stage.ledger.path
    breaks(scene)
    page = scene.page(ledger=ledger)
    assert not page.verified
    assert {promise.name for promise in page.promises if promise.state == "does not hold"} == fails
    assert all("failed" in promise.finding for promise in page.promises if promise.state == "does not hold")


def test_a_bad_signature_leaves_nothing_to_rely_on(scene: Scene) -> None:
    path = scene.stage.root / "sitting" / "certificate.json"
    path.write_bytes(path.read_bytes().replace(b'"third party"', b'"self-examined"'))
    assert {promise.state for promise in scene.page().promises} == {"not checked here"}


def test_one_key_for_all_parts(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8, one_key=True)
    certificate = stage.certificate(ToyModel())
    found = trust_page(certificate, stage.verify()).of("separate keys")
    assert found.state == "does not hold"
    assert found.finding.startswith("self-examined: maker Mary Maker (key ")


def test_a_maker_who_hosts(scene: Scene) -> None:
    stage = scene.stage
    model = ToyModel(name="at home")
    certificate = stage.sit(model, stage.register(model), "home", host=stage.maker)
    found = trust_page(certificate, stage.verify("home")).of("separate keys")
    assert found.state == "does not hold"
    assert found.finding.startswith("separate key: ")


def test_an_endpoint_exposes_the_paper_and_later_sittings_are_not_fresh(scene: Scene) -> None:
    assert (scene.of("stayed").state, scene.of("fresh").state) == ("holds", "holds")
    scene.stage.certificate(ToyModel(name="far away", kind="remote"), name="remote")
    own = scene.page("remote")
    assert own.of("stayed").state == "does not hold"
    assert "exposed to far away (remote)" in own.of("stayed").finding
    assert own.of("fresh").state == "holds"  # it was, when this sitting began
    assert own.of("fixed").cheat.startswith("Put another model behind the same address")
    scene.stage.certificate(ToyModel(name="later"), name="later")
    later = scene.page("later")
    assert later.of("fresh").state == "does not hold"
    assert later.of("fresh").finding.startswith("before this sitting sealed problems went to far away (remote)")
    assert later.of("stayed").state == "does not hold"
    assert scene.page("later", ledger=None).of("fresh").state == "does not hold"  # the certificate itself admits it
    assert scene.of("fresh").state == "holds"


def test_problems_opened_in_a_dispute_are_fresh_no_more(scene: Scene) -> None:
    places = {problem.index for problem in scene.stage.paper.problems}
    sealed = next(place for place in range(40) if place not in places)
    scene.reveal(min(places))
    assert "opened to everybody" not in scene.of("sealed").finding  # a public one is everybody's anyway
    scene.stage.certificate(ToyModel(name="before"), name="before")
    assert scene.of("fresh", "before", revealed=[]).state == "holds"
    scene.reveal(sealed)
    scene.stage.ledger.append("reveal", {"paper_id": scene.stage.paper.header.paper_id, "places": [1, 2, 3]}, SAM)
    assert "1 sealed problems opened to everybody" in scene.of("sealed").finding  # Sam cannot open any
    scene.stage.certificate(ToyModel(name="after"), name="after")
    found = scene.of("fresh", "after", revealed=[])
    assert found.state == "does not hold"
    assert found.finding == "before this sitting 1 sealed problems were opened to everybody"
    assert scene.of("fresh", "before", revealed=[]).state == "holds"


class Probed(ToyModel):
    """Answers probes with what ``voice`` says next."""

    def __init__(self, *voices: str) -> None:
        said = iter([voice for voice in voices for _ in range(8)])

        def reply(prompt: Any, index: int) -> Any:
            return (next(said), "stop") if prompt.problem_id.startswith("probe-") else None

        super().__init__(kind="remote", reply=reply)


def test_one_model_by_probes(tmp_path: Path) -> None:
    same = Scene(tmp_path / "same", Probed("one", "one"), count=8, num_probes=2)
    assert same.of("one model").state == "holds"
    swapped = Scene(tmp_path / "swapped", Probed("one", "two"), count=8, num_probes=2)
    assert swapped.of("one model").state == "does not hold"
    probes = iter(range(16))  # of the first round only the first four are answered, of the second only the others

    def reply(prompt: Any, _: int) -> Any:
        if not prompt.problem_id.startswith("probe-"):
            return None
        number = next(probes)
        return ("grey", "stop") if (number % 8 < 4) == (number < 8) else ("", "error")

    silent = Scene(tmp_path / "silent", ToyModel(kind="remote", reply=reply), count=8, num_probes=2)
    assert silent.of("one model").state == "cannot be told"
    assert Scene(tmp_path / "none", ToyModel(kind="remote"), count=8).of("one model").state == "cannot be told"


def test_an_open_registration_is_owed_a_result(scene: Scene) -> None:
    assert scene.of("nothing left out").state == "holds"
    scene.stage.register(ToyModel(name="a secret"))
    found = scene.of("nothing left out")  # the certificate is older; the ledger knows
    assert found.state == "does not hold"
    assert found.finding.endswith('1 still open and owed a result: "a secret"')
    scene.stage.certificate(ToyModel(name="next"), name="next")
    assert scene.of("nothing left out", "next", ledger=None).state == "does not hold"


def test_a_claim_after_its_result(tmp_path: Path) -> None:
    claim = Claim(kind="score at least", score=0.3)
    scene = Scene(tmp_path, ToyModel(skill=0.9))
    assert "no claim" in scene.of("decision").finding
    scene.stage.certificate(ToyModel(skill=0.9), name="late", claim=claim)
    late = scene.of("decision", "late")
    assert late.state == "does not hold"
    assert "no prediction" in late.finding
    scene.stage.certificate(ToyModel(name="other", skill=0.9), name="other", claim=claim)
    good = scene.of("decision", "other")
    assert good.state == "cannot be told"  # this maker had sat before
    assert "corrected for all of them" in good.finding
    first = Scene(tmp_path / "first", ToyModel(skill=0.9), claim=claim)
    assert first.of("decision").state == "holds"


def test_studying(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=60)
    certificate = stage.certificate(ToyModel(skill=0.1, studied=stage.public_ids()))
    found = trust_page(certificate, stage.verify()).of("not studying")
    assert found.state == "does not hold"
    assert found.finding.startswith("A sign of studying")


def test_power_decides_between_holds_and_cannot_be_told(tmp_path: Path) -> None:
    small = Scene(tmp_path / "small", ToyModel(skill=0.05), count=60)
    assert small.of("not studying").finding.startswith("Cannot rule out studying")
    large = Scene(tmp_path / "large", ToyModel(skill=0.05), count=400)
    assert large.of("not studying").state == "holds"
    assert large.of("not studying").finding.startswith("No sign of studying")


def test_a_sealed_problem_in_training_files(scene: Scene) -> None:
    sealed = open_sealed(scene.stage.papers, scene.stage.paper, scene.stage.examiner)
    scene.overlap(sealed.problems[0].problem.messages[-1].content)
    found = scene.of("training files")
    assert found.state == "does not hold"
    assert "hold problems of the sealed half" in found.finding


def test_an_open_dispute_and_one_that_was_answered(scene: Scene) -> None:
    dispute = scene.dispute()
    assert scene.of("disputes").state == "does not hold"
    assert "unanswered: problem" in scene.of("disputes").finding
    reject_dispute(
        certificate=scene.certificate,
        ledger=scene.stage.ledger,
        examiner=scene.stage.examiner,
        dispute=dispute.content_digest,
        reason="The sum is another.",
    )
    assert scene.of("disputes").state == "holds"
    assert "1 rejected" in scene.of("disputes").finding


def test_answers_of_a_task_that_cannot_be_loaded_are_not_graded_again(scene: Scene) -> None:
    scene.open()
    assert scene.of("graded again").state == "holds"
    assert scene.of("graded again", task=None).state == "cannot be told"


def test_reruns(scene: Scene) -> None:
    scene.rerun(scene.stage.maker)
    found = scene.of("re-run")
    assert found.state == "not checked here"
    assert "only a party to this exam asked again: Mary Maker" in found.finding
    scene.rerun(KeyPair.generate("  mary MAKER"))  # the same name is the same person until shown otherwise
    assert scene.of("re-run").state == "not checked here"
    scene.rerun(SAM)
    assert scene.of("re-run").state == "holds"
    assert scene.of("re-run").finding.startswith(f"{SAM.public.label}, public half: Agrees within error")
    scene.rerun(SAM, ToyModel(name="another", skill=0.0))
    assert scene.of("re-run").state == "does not hold"
    assert "Does not agree" in scene.of("re-run").finding


def test_a_witness_who_looked_too_early_says_nothing_of_the_result(scene: Scene) -> None:
    stage = scene.stage
    scene.witness()
    assert scene.of("history").state == "holds"
    stage.certificate(ToyModel(name="later"), name="later")
    early = scene.of("history", "later")
    assert early.state == "not checked here"
    assert early.finding == "witnesses saw the ledger's first 4 entries, and this certificate needs 7"
    assert "--witness" in early.give
    scene.witness()
    assert scene.of("history", "later").state == "holds"


def test_the_name_of_a_witnesss_file_says_nothing_of_what_it_saw(scene: Scene) -> None:
    told = "witness 00 saw its first 1 entries; not counted: it saw its first 99999 entries.jsonl is this ledger itself"
    steps = {
        "witnessed heads": StepResult(31, "witnessed heads", True, told, facts=Facts(num_witnessed=1)),
        "ledger file": StepResult(23, "ledger file", True, "whole"),
    }
    assert judge_history(View(certificate=scene.certificate, steps=steps)).state == "not checked here"


def test_the_same_address_asked_again_is_not_the_same_weights(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ToyModel(kind="remote"), count=8)
    scene.rerun()
    assert scene.of("re-run").finding.endswith("asked of the registered address, whose weights nobody sees.")
    assert scene.of("one model").state == "cannot be told"


def test_what_was_fixed_is_named(scene: Scene) -> None:
    registration = scene.certificate.registration
    found = scene.of("fixed").finding
    assert f"seed {registration.seed}" in found
    assert f"temperature {SAMPLING.temperature:g}" in found
    assert "40 problems were committed to at " in scene.of("committed").finding
    assert "20 of 40 are public" in scene.of("random cut").finding
    assert "Eve Examiner (key " in scene.of("sealed").finding
    assert scene.of("all counted").finding.startswith("40 tries: ")
    assert scene.of("ending").finding.startswith("complete: 40 of 40")


def test_order_is_the_ledgers_whatever_the_clocks_say(tmp_path: Path) -> None:
    """Sittings by an endpoint before and after, under lines of 2099 and of no time: only the order counts."""
    scene = Scene(tmp_path, ToyModel(kind="remote"), count=8)
    for time in ("2099-01-01T00:00:00.000Z", *IMPOSSIBLE, "1970-01-01T00:00:00.000Z"):
        append_at(scene.stage.ledger, time, SAM)
    scene.stage.certificate(ToyModel(name="later", kind="remote"), name="later")
    assert scene.of("fresh").state == "holds"
    found = scene.of("fresh", "later")
    assert (found.state, "went to toy-model (remote)" in found.finding) == ("does not hold", True)


def test_a_problem_opened_under_a_wrong_clock_is_fresh_no_more(scene: Scene) -> None:
    places = {problem.index for problem in scene.stage.paper.problems}
    body = {"paper_id": scene.stage.paper.header.paper_id, "places": [p for p in range(40) if p not in places][:1]}
    scene.stage.certificate(ToyModel(name="before"), name="before")
    append_at(scene.stage.ledger, "2099-01-01T00:00:00.000Z", scene.stage.examiner, "reveal", body)
    scene.stage.certificate(ToyModel(name="after"), name="after")
    assert scene.of("fresh", "after", revealed=[]).state == "does not hold"
    assert scene.of("fresh", "before", revealed=[]).state == "holds"


def test_a_date_by_a_clock_that_is_wrong_is_told_as_one(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)
    draft = replace(stage, ledger=Ledger(tmp_path / "draft.jsonl"))
    shutil.copy(stage.ledger.path, draft.ledger.path)
    registration = draft.register(ToyModel())
    append_at(
        stage.ledger, "1999-01-01T00:00:00.000Z", stage.maker, "registration", dict(draft.ledger.entries()[-1].body)
    )
    certificate = stage.sit(ToyModel(), registration)
    page = trust_page(certificate, stage.verify())
    doubted = "registered 1999-01-01T00:00:00.000Z (the clock of ledger entry 1 is wrong)"
    assert doubted in page.of("fixed").finding
    assert page.of("fixed").state == "holds"  # the order is the ledger's
    details = {step.name: step.detail for step in stage.verify()}
    for name in ("procedure", "ledger file"):
        assert "the clock of entry 1 is wrong (1999-01-01T00:00:00.000Z)" in details[name]


def test_a_claim_after_other_sittings_and_one_at_a_weak_level(tmp_path: Path) -> None:
    claim = Claim(kind="score at least", score=0.3)
    scene = Scene(tmp_path, ToyModel(skill=0.9))
    certificate = scene.stage.certificate(ToyModel(name="alias", skill=0.9), name="alias", claim=claim)
    found = scene.of("decision", "alias")
    assert found.state == "cannot be told"
    assert "had begun 1 other sitting" in found.finding
    view = View(certificate=certificate, steps={})
    silent = correction_of(  # as older certificates say it
        certificate.registration, certificate.result.decision, certificate.registrations, known_before=False
    )
    older = certificate.model_copy(update={"correction": silent})
    assert judge_decision(replace(view, certificate=older)) == judge_decision(view)
    assert silent is not None
    weak = certificate.model_copy(update={"correction": silent.model_copy(update={"level": 0.49})})
    told = judge_decision(replace(view, certificate=weak))
    assert told.state == "cannot be told"
    assert told.text.endswith("That level is a weak one: claims are registered at 0.05 or less.")


def test_a_model_that_often_failed_to_answer_did_not_answer(tmp_path: Path) -> None:
    def failing(every: int) -> ToyModel:
        count = iter(range(1000))
        return ToyModel(name="weak", reply=lambda p, i: ("", "error") if next(count) % every == 0 else None)

    rare = Scene(tmp_path / "rare", failing(20)).of("answered")
    assert (rare.state, rare.finding) == ("holds", "2 of 40 tries failed; they count as wrong")
    often = Scene(tmp_path / "often", failing(13)).of("answered")
    assert often.state == "does not hold"
    assert often.finding == "4 of 40 tries failed, more than 5%: they count as wrong, so this is no score of the model"
    assert Scene(tmp_path / "never").of("answered").finding == "0 of 40 tries failed"
