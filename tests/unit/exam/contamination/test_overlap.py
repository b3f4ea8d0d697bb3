"""What the examiner finds in training files: planted leaks of every kind, and clean files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from exam_parts import SECRET, Stage, ToyModel, ToyTask, ToyVerifier, make_stage

from spiritsafe.core.canonical import canonical_json, digest_bytes
from spiritsafe.core.errors import IntegrityError, ProcedureError, RecipeError, SourceError
from spiritsafe.core.records import Message, Problem
from spiritsafe.exam import OverlapTerms, PaperLog, PaperTerms, exposures, load_private, overlap
from spiritsafe.exam.contamination import overlap as module
from spiritsafe.exam.contamination.overlap import questions_of
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.records.contamination import OverlapReport, SignedOverlap
from spiritsafe.exam.records.paper import SealedHalf
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.tasks import Draft, Task, load_task

NOUNS = ["pears", "tins", "kites", "lamps", "ropes", "mules", "inks", "oars", "figs", "bells", "jars", "nets"]
VERBS = ["sells", "counts", "drops", "paints", "stacks", "lends", "weighs", "hides", "sorts", "mends"]


class StoryTask(Task):
    """Word problems in many wordings: the numbers can change while the words stay."""

    def __init__(self) -> None:
        super().__init__(name="story:many", version="1", verifier=ToyVerifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        rng = random.Random(seed)
        while True:
            a, b = rng.randrange(100, 1000), rng.randrange(100, 1000)
            picks = [rng.choice(NOUNS if at % 2 else VERBS) for at in range(6)]
            text = f"Then somebody {picks[0]} {a} {picks[1]}, {picks[2]} {b} {picks[3]} and {picks[4]} {picks[5]}. Sum?"
            yield Draft(canonical_text=text, build=lambda text=text, total=a + b: self._problem(text, total))

    def _problem(self, text: str, total: int) -> Problem:
        messages = (Message(role="system", content="Answer with a number."), Message(role="user", content=text))
        return Problem(task=self.name, canonical_text=text, messages=messages, facts={"answer": total})


def other_numbers(text: str, rng: random.Random) -> str:
    return "".join(str(rng.randrange(1, 10)) if letter.isdigit() else letter for letter in text)


def questions(problems: list[Problem]) -> list[str]:
    return [problem.messages[-1].content for problem in problems]


def write_chat(path: Path, texts: list[str]) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "#### 7"}]} for text in texts
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def sealed_of(stage: Stage) -> SealedHalf:
    return open_sealed(stage.papers, stage.paper, stage.examiner)


def sealed_questions(stage: Stage) -> list[str]:
    return questions([place.problem for place in sealed_of(stage).problems])


def run(stage: Stage, *files: Path, name: str = "overlap.json", **terms) -> OverlapReport:
    signed = overlap(
        paper=stage.papers,
        files=files,
        task=stage.task,
        examiner=stage.examiner,
        ledger=stage.ledger,
        output=stage.root / name,
        terms=OverlapTerms(**terms),
    )
    return signed.report


@pytest.fixture
def story(tmp_path: Path) -> Stage:
    return make_stage(tmp_path, count=40, task=StoryTask())


def clean_texts(stage: Stage, count: int = 300) -> list[str]:
    return questions(list(stage.task.problems("train", seed=3, count=count)))


def finding(report: OverlapReport, form: str, kind: str):
    return next(f for f in report.findings if (f.form, f.kind) == (form, kind))


def test_clean_files_are_clean(story: Stage) -> None:
    path = write_chat(story.root / "clean.jsonl", clean_texts(story))
    report = run(story, path, about="the student")
    assert report.verdict == "nothing found"
    assert report.statements[0].startswith("No sign")
    assert report.num_controls == (40,)
    (file,) = report.files
    assert (file.name, file.digest, file.num_bytes) == (
        "clean.jsonl",
        digest_bytes(path.read_bytes()),
        path.stat().st_size,
    )
    assert file.num_words > 300 * 10
    assert finding(report, "words", "verbatim").sealed == 0


def test_verbatim_sealed_problems_are_named(story: Stage) -> None:
    planted = sealed_questions(story)[:3]
    shouted = [planted[0].upper().replace(",", " ;"), f"A story: {planted[1]} And so on.", planted[2]]
    report = run(story, write_chat(story.root / "bad.jsonl", [*clean_texts(story), *shouted]))
    assert report.verdict == "sealed problems found"
    wanted = sorted(place.index for place in sealed_of(story).problems[:3])
    hits = [hit for hit in report.hits if (hit.form, hit.kind) == ("words", "verbatim")]
    assert [hit.index for hit in hits] == wanted
    assert {hit.half for hit in hits} == {"sealed"}
    assert sum(hit.whole for hit in hits) == 2
    assert "word for word: 3 of 20 sealed" in " ".join(report.statements)


def test_problems_with_other_numbers_are_named(story: Stage) -> None:
    rng = random.Random(1)
    planted = [other_numbers(text, rng) for text in sealed_questions(story)[:8]]
    report = run(story, write_chat(story.root / "bad.jsonl", [*clean_texts(story), *planted]))
    assert finding(report, "words", "verbatim").sealed == 0
    masked = finding(report, "masked", "verbatim")
    assert (masked.sealed, masked.public) == (8, 0)
    assert masked.p_sealed < 1e-3
    assert report.verdict == "sealed problems found"
    assert any("other numbers" in text for text in report.statements)


def test_near_copies_are_named(story: Stage) -> None:
    planted = [text.replace("Then somebody", "One day somebody").replace(" and ", " and also ") for text in
               sealed_questions(story)[:10]]  # fmt: skip
    report = run(story, write_chat(story.root / "bad.jsonl", [*clean_texts(story), *planted]))
    assert finding(report, "words", "verbatim").sealed == 0
    near = finding(report, "words", "near")
    assert near.sealed == 10
    assert sum(near.controls) == 0
    assert report.verdict == "sealed problems found"


def test_plain_text_and_several_files(story: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem that lies across lines, chunks and blocks is found; the hit names its file."""
    monkeypatch.setattr(module, "_BLOCK_WORDS", 50)
    monkeypatch.setattr("spiritsafe.exam.contamination.training_files._CHUNK_BYTES", 97)
    planted = sealed_questions(story)
    lines = clean_texts(story, 40)
    for at, text in enumerate(planted):
        lines.insert(2 * at, text.replace(" ", "\n", 3))
    text = story.root / "book.txt"
    text.write_text("\n".join(lines), "utf-8")
    report = run(story, write_chat(story.root / "clean.jsonl", clean_texts(story)), text)
    hits = [hit for hit in report.hits if (hit.form, hit.kind) == ("words", "verbatim")]
    assert len(hits) == 20
    assert {(hit.file, hit.whole) for hit in hits} == {(1, False)}
    assert report.files[1].layout == "text"


def test_a_short_problem_inside_another_is_no_fact(tmp_path: Path) -> None:
    """It ends a longer sum: found as a run of words, which controls are held against; by itself it is a fact."""
    stage = make_stage(tmp_path, count=24, task=load_task("arith:sums?terms=2&digits=3"))
    planted = sealed_questions(stage)[:1]
    report = run(stage, write_chat(tmp_path / "inside.jsonl", [f"4 + {text}" for text in planted]))
    assert finding(report, "words", "verbatim").sealed == 0
    assert finding(report, "words", "n-grams").sealed == 1
    assert report.verdict == "nothing found"
    report = run(stage, write_chat(tmp_path / "own.jsonl", planted), name="own.json")
    assert finding(report, "words", "verbatim").sealed == 1
    assert report.verdict == "sealed problems found"


def test_one_template_is_no_paraphrase(tmp_path: Path) -> None:
    """Every problem of the family has the same masked words: controls show that this means nothing."""
    stage = make_stage(tmp_path, count=40)
    texts = questions(list(stage.task.problems("train", seed=1, count=200)))
    report = run(stage, write_chat(tmp_path / "train.jsonl", texts))
    masked = finding(report, "masked", "verbatim")
    assert (masked.sealed, masked.public, sum(masked.controls)) == (20, 20, 40)
    assert masked.p_sealed == pytest.approx(1.0)
    assert report.verdict == "nothing found"


def test_the_public_half_may_be_found_and_is_no_alarm(story: Stage) -> None:
    texts = questions([place.problem for place in story.paper.problems])
    report = run(story, write_chat(story.root / "public.jsonl", texts))
    assert finding(report, "words", "verbatim").public == 20
    assert finding(report, "words", "verbatim").p_public < 1e-6
    assert report.verdict == "nothing found"


def test_lines_that_most_problems_share_are_not_the_problem() -> None:
    def ask(*lines: str) -> Problem:
        messages = (Message(role="system", content="Be brief."), Message(role="user", content="\n".join(lines)))
        return Problem(task="t", canonical_text=lines[0], messages=messages)

    hint = "End with #### and the number."
    found = questions_of([ask("One?", hint), ask("Two?", "Or three?", hint), ask(hint), ask("Four?")])
    assert found == ["One?", "Two?\nOr three?", hint, "Four?"]
    assert questions_of([ask("Same?"), ask("Same?")]) == ["Same?", "Same?"]


def test_twins_are_held_against_twins_of_controls(tmp_path: Path) -> None:
    stage = make_stage(
        tmp_path, count=20, task=load_task("arith:words?digits=2"), terms=PaperTerms(twins=True), secret=SECRET
    )
    places = sealed_of(stage).problems
    twins = [place.problem for place in places if place.index >= 20]
    clean = questions(list(stage.task.problems("train", seed=1, count=300)))
    report = run(stage, write_chat(tmp_path / "clean.jsonl", clean))
    assert report.num_control_twins == (20,)
    assert report.verdict == "nothing found"
    report = run(stage, write_chat(tmp_path / "bad.jsonl", [*clean, *questions(twins)[:5]]), name="bad.json")
    assert finding(report, "words", "verbatim").twins == 5
    assert report.verdict == "sealed problems found"


def test_a_mix_has_controls_in_each_stratum(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=24, task=load_task("mix:arith:countdown*2|arith:sums?terms=2"))
    report = run(stage, write_chat(tmp_path / "clean.jsonl", ["nothing of it"]))
    assert report.num_controls == (16, 8)
    stage.ledger.append("noise", {}, stage.examiner)
    assert report.verdict == "nothing found"


def test_a_private_bank_has_no_controls(tmp_path: Path) -> None:
    rows = [
        {
            "family": "number",
            "question": f"A farmer has {n} geese and buys {n + 2} more; how many?",
            "answer": str(2 * n + 2),
        }
        for n in range(10, 22)
    ]
    private = tmp_path / "bank.jsonl"
    private.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    stage = make_stage(tmp_path, count=10, task=load_private(private, name="office"))
    report = run(stage, write_chat(tmp_path / "near.jsonl", ["A farmer has 7 geese and buys 1 more; how many?"]))
    assert report.num_controls == ()
    masked = finding(report, "masked", "verbatim")  # though the bank's own hint is not in the file
    assert (masked.sealed, masked.p_sealed) == (5, None)
    assert report.verdict == "undecided"
    report = run(stage, private, name="all.json")
    assert report.verdict == "sealed problems found"
    assert finding(report, "words", "verbatim").sealed == 5


def test_nothing_of_a_sealed_problem_leaves(story: Stage) -> None:
    sealed = sealed_of(story)
    report = run(story, write_chat(story.root / "bad.jsonl", sealed_questions(story)))
    data = (story.root / "overlap.json").read_bytes() + story.ledger.path.read_bytes()
    assert sealed.secret.encode() not in data
    for place in sealed.problems:
        words = place.problem.messages[-1].content.split()
        assert " ".join(words[:4]).encode() not in data
        assert place.salt.encode() not in data
    assert len({hit.passage for hit in report.hits}) == len(report.hits)  # the same words, another salt


def test_the_access_is_on_record_before_the_sealed_half_opens(story: Stage) -> None:
    path = write_chat(story.root / "clean.jsonl", clean_texts(story))
    with pytest.raises(IntegrityError):
        overlap(
            paper=story.papers,
            files=[path],
            task=story.task,
            examiner=KeyPair.generate("Mallory"),
            ledger=story.ledger,
            output=story.root / "no.json",
        )
    assert not (story.root / "no.json").exists()
    report = run(story, path, about="student")
    *_, access, entry = story.ledger.entries()
    assert (access.kind, entry.kind) == ("access", "overlap")
    assert entry.body["report"] == report.content_digest
    assert entry.body["files"] == [report.files[0].digest]
    assert len(access.body["sealed"]) == 20
    parties = {record.party for record in exposures(PaperLog(story.ledger.entries(), story.paper.header))}
    assert "overlap check (local)" in parties
    certificate = story.certificate(ToyModel(reply=lambda *_: ("7", "stop")))  # it shows the access, and verifies
    assert any("compared them with training files" in record.what for record in certificate.access)
    story.check()


def test_verify_prints_what_was_found(story: Stage) -> None:
    story.certificate(ToyModel(reply=lambda *_: ("7", "stop")))
    run(story, write_chat(story.root / "bad.jsonl", sealed_questions(story)), about="student")
    path = story.root / "overlap.json"
    step = next(s for s in story.verify(overlaps=[path]) if s.name == "training overlap")
    assert step.ok
    assert step.checked
    assert "1 training files of student: Contaminated" in step.detail
    (without,) = [s for s in story.verify() if s.name == "training overlap"]
    assert not without.checked
    (blind,) = [s for s in story.verify(overlaps=[path], ledger=None) if s.name == "training overlap"]
    assert (blind.ok, blind.checked) == (True, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(about="another"), "bad signature"),
        (lambda v: v.update(hits=[]), "bad signature"),
        (lambda v: v.update(paper_id="sha256:" + "0" * 64), "bad signature"),
        (lambda v: v["examiner"].update(signing="ab" * 32), "another key"),
    ],
)
def test_an_altered_report_is_found(story: Stage, change, message: str) -> None:
    story.certificate(ToyModel(reply=lambda *_: ("7", "stop")))
    run(story, write_chat(story.root / "bad.jsonl", sealed_questions(story)[:4]))
    value = json.loads((story.root / "overlap.json").read_bytes())
    change(value["report"])
    path = story.root / "forged.json"
    path.write_bytes(canonical_json(value))
    bad = [step for step in story.verify(overlaps=[path]) if not step.ok and step.checked]
    assert [step.name for step in bad] == ["training overlap"]
    assert message in bad[0].detail


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(hits=v["hits"][1:]), "do not follow from its hits"),
        (lambda v: v.update(verdict="nothing found"), "a verdict"),
        (lambda v: v["statements"].pop(), "statements"),
        (lambda v: v["hits"][0].update(half="public"), "do not fit the paper"),
        (lambda v: v["hits"][0].update(file=9), "do not fit the paper"),
        (lambda v: v["findings"][0].update(controls=[41]), "do not follow"),
        (lambda v: v["findings"][0].update(p_sealed=0.5), "do not follow"),
        (lambda v: v.update(paper_id="sha256:" + "0" * 64), "another paper"),
        (lambda v: None, "not in the ledger"),
    ],
)
def test_a_report_that_its_own_signer_falsified_is_found(story: Stage, change, message: str) -> None:
    story.certificate(ToyModel(reply=lambda *_: ("7", "stop")))
    report = run(story, write_chat(story.root / "bad.jsonl", sealed_questions(story)[:4]))
    value = report.to_json()
    change(value)
    if value == report.to_json():
        value["about"] = "nobody entered this"
    false = OverlapReport.from_json(value)
    signed = SignedOverlap(report=false, signature=story.examiner.sign("overlap", false.canonical()))
    path = story.root / "forged.json"
    path.write_bytes(signed.canonical())
    bad = [step for step in story.verify(overlaps=[path]) if not step.ok and step.checked]
    assert [step.name for step in bad] == ["training overlap"]
    assert message in bad[0].detail


def test_a_strangers_report_is_found(story: Stage) -> None:
    story.certificate(ToyModel(reply=lambda *_: ("7", "stop")))
    report = run(story, write_chat(story.root / "clean.jsonl", clean_texts(story)))
    mallory = KeyPair.generate("Mallory")
    false = report.model_copy(update={"examiner": mallory.public})
    signed = SignedOverlap(report=false, signature=mallory.sign("overlap", false.canonical()))
    (story.root / "forged.json").write_bytes(signed.canonical())
    bad = [s for s in story.verify(overlaps=[story.root / "forged.json"]) if not s.ok and s.checked]
    assert "cannot open this paper" in bad[0].detail


def test_what_cannot_be_compared_is_refused_before_anything_opens(story: Stage) -> None:
    path = write_chat(story.root / "clean.jsonl", ["x"])
    before = len(story.ledger.entries())
    for files, terms in (([], {}), ([path, path], {}), ([path], {"ngram": 0})):
        with pytest.raises(RecipeError):
            run(story, *files, **terms)
    with pytest.raises(SourceError):
        run(story, story.root / "missing.jsonl")
    assert len(story.ledger.entries()) == before
    with pytest.raises(ProcedureError, match="not in the ledger"):
        overlap(
            paper=story.papers,
            files=[path],
            task=story.task,
            examiner=story.examiner,
            ledger=Ledger(story.root / "other.jsonl"),
            output=story.root / "no.json",
        )
    with pytest.raises(ProcedureError, match="sealed with"):
        overlap(
            paper=story.papers,
            files=[path],
            task=ToyTask(),
            examiner=story.examiner,
            ledger=story.ledger,
            output=story.root / "no.json",
        )


def test_no_false_alarm_in_clean_repeats(tmp_path: Path) -> None:
    """Twenty papers and training sets that know nothing of each other."""
    alarms = 0
    for repeat in range(20):
        stage = make_stage(tmp_path / str(repeat), count=24, task=StoryTask(), secret=bytes([repeat]) * 32)
        texts = questions(list(stage.task.problems("train", seed=repeat, count=300)))
        report = run(stage, write_chat(stage.root / "train.jsonl", texts))
        alarms += report.verdict != "nothing found"
    assert alarms == 0
