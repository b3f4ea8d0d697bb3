"""The exams of a run, for its report: scores, changes, outcomes, comparisons, and how a stranger checks them.

In: certificates and the public files of the run. Out: one :class:`~spiritsafe.report.ExamPart` an exam of the recipe.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.records import instant
from spiritsafe.exam import compare, right_answers, right_by_stratum
from spiritsafe.exam.records import Certificate, ExamResult, Half, PublicPaper
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.graph import Node, models_of, siblings_of
from spiritsafe.pipeline.recipe.schema import ExamRecipe, Recipe
from spiritsafe.pipeline.stages.exam import certificate_of, certificate_path, ledger_path, paper_path
from spiritsafe.pipeline.step import step_of
from spiritsafe.pipeline.steps.learning.rewards import Certificates, added_answers
from spiritsafe.pipeline.summary.ladder import role_of, root_of, start_of, teachers_of
from spiritsafe.pipeline.summary.promises import promises_of
from spiritsafe.pipeline.summary.steps import comparisons
from spiritsafe.report import (
    CertificateReference,
    ExamPart,
    ExamScore,
    Outcomes,
    PartScore,
    PublicHalf,
    SeedsTogether,
    VerificationStep,
    VerificationSummary,
)
from spiritsafe.stats import Estimate, gain_kept, paired_difference, score_interval

_HALVES: tuple[Half, ...] = ("sealed", "public")


def certificates_of(context: RunContext, exam: ExamRecipe) -> dict[str, Certificate]:
    """Of every model that sat."""
    return {name: certificate_of(context, exam, name) for name in context.recipe.examinees(exam)}


def exam_part(context: RunContext, exam: ExamRecipe, certificates: Certificates) -> ExamPart:
    """Everything about one exam."""
    header = PublicPaper.from_json(read_json(paper_path(context, exam) / "paper.json")).header
    recipe = context.recipe
    return ExamPart(
        name=exam.name,
        task=header.task,
        paper=header.paper_id,
        num_sealed=header.num_sealed,
        num_public=header.num_public,
        scores=tuple(exam_score(recipe, recipe.node(name), certificates) for name in certificates),
        outcomes=tuple(_outcomes(name, c, half) for name, c in certificates.items() for half in _HALVES),
        seeds=seeds_together(recipe, exam, certificates),
        versus=comparisons(context, exam, certificates),
        verification=_verification(context, exam, certificates) if certificates else None,
    )


def exam_score(recipe: Recipe, node: Node, certificates: Certificates) -> ExamScore:
    """What a model scored, against the given model that it comes from and against what it was made from."""
    mine, root, start = certificates[node.name], root_of(recipe, node.name), start_of(node)
    base, before = certificates.get(root or ""), certificates.get(start or "")
    comparison = None if base is None else compare(mine, base)
    result = mine.result
    return ExamScore(
        model=node.name,
        tokens_per_s=speed_of(result),
        sealed=result.sealed.accuracy,
        change=None if comparison is None else comparison.sealed.difference,
        against=None if comparison is None else root,
        gain=None if before is None else compare(mine, before).sealed.difference,
        gain_kept=_kept(recipe, node, certificates),
        public=PublicHalf(
            score=result.public.accuracy,
            gap=result.gap,
            statement=result.gap_statement,
            gain_statement=None if comparison is None else comparison.statement,
        ),
        parts=_parts(mine),
    )


def _parts(certificate: Certificate) -> tuple[PartScore, ...]:
    """Of an exam over several tasks."""
    right = right_by_stratum(certificate.result.outcomes, certificate.paper, "sealed")
    trials, confidence = certificate.registration.num_tries, certificate.result.sealed.accuracy.confidence
    return tuple(
        PartScore(part=name, sealed=score_interval(answers, trials=trials, confidence=confidence))
        for name, answers in right.items()
        if answers
    )


def seeds_together(recipe: Recipe, exam: ExamRecipe, certificates: Certificates) -> tuple[SeedsTogether, ...]:
    """Models of each step that the recipe repeats, added up problem by problem; what learns by reward has arms."""
    found = []
    for nodes in siblings_of(recipe.made):
        names = models_of(nodes, nodes[0].entry)
        roots = {root_of(recipe, name) for name in names}
        root = next(iter(roots), None)
        is_by_reward = step_of(nodes[0]).words(nodes[0]).role == "reinforced"
        if (
            len(names) < 2
            or len(roots) > 1
            or root is None
            or is_by_reward
            or not {root, *names} <= certificates.keys()
        ):
            continue
        right, before = added_answers(certificates, names), added_answers(certificates, [root] * len(names))
        count, confidence = len(names), exam.confidence
        found.append(
            SeedsTogether(
                step=nodes[0].entry,
                models=tuple(names),
                sealed=score_interval(right, trials=count, confidence=confidence),
                change=paired_difference(right, before, trials=count, confidence=confidence).difference,
                against=root,
            )
        )
    return tuple(found)


def _kept(recipe: Recipe, node: Node, certificates: Certificates) -> Estimate | None:
    """The share of its one teacher's gain that a student kept: over the given model that both come from."""
    teachers = teachers_of(recipe, node)
    if role_of(recipe, node) != "student" or len(teachers) != 1:
        return None
    root = root_of(recipe, node.name)
    if root is None or root != root_of(recipe, teachers[0]) or not {root, *teachers} <= certificates.keys():
        return None
    mine = certificates[node.name]
    answers = [
        right_answers(certificate.result.outcomes, "sealed")
        for certificate in (mine, certificates[teachers[0]], certificates[root])
    ]
    return gain_kept(*answers, confidence=mine.result.sealed.accuracy.confidence)


def speed_of(result: ExamResult) -> float | None:
    """Tokens a second over the whole sitting, grading included; None when it was interrupted, or its clock wrong."""
    started, finished = instant(result.started), instant(result.finished)
    seconds = (finished - started).total_seconds() if started and finished else 0.0
    return result.num_tokens / seconds if seconds > 0 and result.openings == 1 else None


def _outcomes(name: str, certificate: Certificate, half: Half) -> Outcomes:
    result = certificate.result.sealed if half == "sealed" else certificate.result.public
    return Outcomes(model=name, half=half, counts=dict(result.counts))


def _verification(context: RunContext, exam: ExamRecipe, certificates: Certificates) -> VerificationSummary:
    def relative(path: Path) -> str:
        return path.relative_to(context.run.path).as_posix()

    files = {name: relative(certificate_path(context, exam, name)) for name in certificates}
    *_, last = files.values()
    paper = relative(paper_path(context, exam) / "paper.json")
    steps = [
        VerificationStep(
            text="Check a certificate: each hash, signature, count and interval is recomputed; no network, no model.",
            command=f"spiritsafe exam verify {last} --paper {paper} --ledger {relative(ledger_path(context))}",
        ),
        VerificationStep(
            text="Repeat the public half with the same model behind any OpenAI-compatible server.",
            command=f"spiritsafe exam rerun {last} --paper {paper} "
            "--endpoint http://127.0.0.1:8000 --endpoint-model NAME --key me.json --out rerun.json",
        ),
        VerificationStep(text="Repeat the whole run.", command=f"spiritsafe run {context.recipe.name}"),
    ]
    *_, newest = certificates.values()
    return VerificationSummary(
        separation=newest.separation,
        steps=tuple(steps),
        certificates=tuple(
            CertificateReference(
                model=name,
                digest=certificate.content_digest,
                path=files[name],
                statements=certificate.statements,
                promises=promises_of(context, exam, name, certificate),
            )
            for name, certificate in certificates.items()
        ),
        ledger_head=newest.head.root,
    )
