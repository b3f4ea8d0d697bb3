"""What a router may learn from: dev attempts of several rungs at the same problems, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from routing_parts import TASK, collections

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.records import Sampling
from spiritsafe.rollouts import FakeGenerator, FakeReply, collect, read_attempts
from spiritsafe.serve.routing.evidence import confidence_of, evidence_of, read_evidence
from spiritsafe.serve.routing.features import features_of
from spiritsafe.tasks import load_task, split_of
from spiritsafe.tasks.exam_bucket import exam_problems


def test_attempts_become_tables_with_the_cheapest_rung_first(tmp_path: Path) -> None:
    small, large = collections(tmp_path, num_samples=2)
    found = read_evidence([large, small], cost="bytes", sizes=[900, 100])
    assert found.names == ("small", "large")
    assert found.right_RPS.shape == (2, 120, 2)
    assert found.right_RPS[1].all()
    task = load_task(TASK)
    problems = {one.id: one for one in task.problems("dev", seed=5, count=120)}
    wanted = [float(len(problems[name].canonical_text) % 2) for name in found.problems]
    assert found.right_RPS[0, :, 0].tolist() == wanted
    assert {split_of(problems[name]) for name in found.problems} == {"dev"}
    assert found.confidence_RPSC[..., 0] == pytest.approx(-np.log(257.0))
    tokens = read_evidence([large, small], cost="tokens", sizes=[1, 1])
    assert tokens.costs_RPS.shape == (2, 120, 2)
    assert tokens.costs_RPS.min() > 1.0


def test_attempts_at_an_exam_are_refused(tmp_path: Path) -> None:
    task = load_task(TASK)
    problems = list(exam_problems(task, seed=5, count=60))
    folders = []
    for name in ("a", "b"):
        generator = FakeGenerator(lambda *_: "#### 4", name=name)
        sampling = Sampling(temperature=0.0)
        collect(task, problems, generator, sampling, num_samples=1, seed=5, directory=tmp_path / name)
        folders.append(tmp_path / name)
    with pytest.raises(CompatibilityError, match="60 of 60 problems are not among the dev problems") as caught:
        read_evidence(folders, cost="bytes", sizes=[1, 2])
    assert "never from an exam" in caught.value.hint


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    small, large = collections(tmp_path / "dev")
    with pytest.raises(CompatibilityError, match="1 collection"):
        read_evidence([small])
    with pytest.raises(CompatibilityError, match="of one model"):
        read_evidence([small, small])
    with pytest.raises(CompatibilityError, match="3 sizes"):
        read_evidence([small, large], cost="bytes", sizes=[1, 2, 3])
    with pytest.raises(CompatibilityError, match="needs the rungs' bytes"):
        read_evidence([small, large], cost="tokens")
    with pytest.raises(CompatibilityError, match="not among the dev"):
        read_evidence(collections(tmp_path / "train", split="train"))
    with pytest.raises(CompatibilityError, match="different problems"):
        read_evidence([small, collections(tmp_path / "more", num=119)[1]])
    with pytest.raises(CompatibilityError, match="numbers of samples"):
        read_evidence([small, collections(tmp_path / "twice", num_samples=2)[1]])
    with pytest.raises(CompatibilityError, match="30 problems have graded"):
        read_evidence(collections(tmp_path / "few", num=30), cost="bytes", sizes=[1, 2])
    with pytest.raises(SourceError):
        read_evidence([tmp_path, small])


def test_failed_attempts_are_left_out_with_their_problem(tmp_path: Path) -> None:
    small, _ = collections(tmp_path)
    task = load_task(TASK)
    problems = list(task.problems("dev", seed=5, count=120))
    bad = {one.id for one in problems[:7]}
    generator = FakeGenerator(
        lambda problem, _: FakeReply(finish_reason="error", error="broke") if problem in bad else "#### 1", name="x"
    )
    sampling = Sampling(temperature=0.0)
    collect(task, problems, generator, sampling, num_samples=1, seed=5, directory=tmp_path / "x")
    found = read_evidence([small, tmp_path / "x"], cost="bytes", sizes=[1, 2])
    assert len(found.problems) == 113
    assert not bad & set(found.problems)


def test_confidence_of_no_and_of_impossible_tokens() -> None:
    assert np.isnan(confidence_of([], has_ended=True)).all()
    assert np.isfinite(confidence_of([-1e9, 0.0], has_ended=False)).all()
    assert confidence_of([-1.0, -3.0], has_ended=True).tolist() == [-2.0, -3.0, pytest.approx(np.log(3)), 1.0]


def test_of_problems_that_are_known_the_prompts_are_given(tmp_path: Path) -> None:
    folders = collections(tmp_path, split="train", num=60)
    problems = list(load_task(TASK).problems("train", seed=5, count=60))
    prompts = {one.id: one.messages for one in problems}
    found = evidence_of(folders, prompts, cost="tokens", sizes=[1, 7], names=["a", "b"])
    assert (found.names, found.problems) == (("a", "b"), tuple(prompts))
    assert found.features_PX.tolist() == [features_of(one.messages).tolist() for one in problems]
    drawn = [[attempt.num_tokens for attempt, _ in read_attempts(folder)] for folder in folders]
    assert found.costs_RPS[..., 0].tolist() == [[1.0 * n for n in drawn[0]], [7.0 * n for n in drawn[1]]]
    with pytest.raises(CompatibilityError, match="not among the dev problems"):
        read_evidence(folders, cost="tokens", sizes=[5, 7])
    with pytest.raises(CompatibilityError, match="of different problems"):
        evidence_of(folders, dict(list(prompts.items())[1:]), cost="tokens", sizes=[5, 7], names=["a", "b"])
