"""What the numbers say, in sentences: the headline, the public-against-sealed finding, who held the keys.

In: :class:`ReportData`. Out: plain text. A sentence never claims more than its interval does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from spiritsafe.exam.records import Separation
from spiritsafe.report.data.exam import ExamPart, ExamScore, VerificationSummary
from spiritsafe.report.data.models import Role, Rung
from spiritsafe.report.data.run import ReportData, RunInfo
from spiritsafe.report.html.markup import shorten
from spiritsafe.report.numbers import change_range, change_text, change_value, score_text, share_text
from spiritsafe.stats import Estimate

NO_EXAM = "no exam in this recipe: nothing here is certified"

_PRODUCTS: tuple[Role, ...] = ("student", "reinforced", "tuned", "merged", "routed")
_MOST_NAMES = 3

_SEPARATION_WORDS: dict[Separation, str] = {
    "self-examined": "Self-examined: one person held all keys, the maker’s and the examiner’s. The records show that "
    "nothing was changed afterwards; that the maker did not look at the paper beforehand rests on the maker’s word.",
    "separate key": "Separate key: the examiner’s key is not the maker’s, but the maker hosted the sitting. That two "
    "people held the two keys rests on their word.",
    "third party": "Third party: the maker’s key took no part in sealing, opening or hosting. That the keys belong to "
    "different people rests on their word.",
}


def platform_words(run: RunInfo) -> str:
    """On what the run was begun and continued; empty where one platform computed all of it."""
    if len(run.platforms) < 2:
        return ""
    begun, *later = run.platforms
    mixed = f" Computed by more than one: {', '.join(run.mixed_stages)}." if run.mixed_stages else ""
    return f"Begun on {begun}; continued on {'; then on '.join(later)}: figures may differ in their last bits.{mixed}"


def separation_text(checks: VerificationSummary) -> str:
    """Who held which keys, and who repeated the sitting."""
    words = _SEPARATION_WORDS[checks.separation]
    if checks.counter_signers:
        signers = ", ".join(checks.counter_signers)
        words += f" Counter-signed by {signers}: they repeated a sitting and signed that the results agree."
    return words


def separations_of(data: ReportData) -> list[Separation]:
    """Which parts different keys played, each kind once."""
    return list(dict.fromkeys(exam.verification.separation for exam in data.exams if exam.verification))


def confidence_text(estimates: Iterable[Estimate]) -> str:
    """``95 %``, or the range where intervals of several levels are shown."""
    levels = sorted({estimate.confidence for estimate in estimates})
    return " to ".join(f"{100 * level:g}\u00a0%" for level in dict.fromkeys((levels[0], levels[-1]))) if levels else ""


def exam_words(data: ReportData, exam: ExamPart) -> str:
    """``the sealed exam``, with its name where the run has several."""
    return f"the sealed exam {shorten(exam.name, 60)}" if len(data.exams) > 1 else "the sealed exam"


def base_name(data: ReportData, name: str | None) -> str:
    """``the base`` where a run has one; its name where several models are the root of others."""
    bases = [rung.name for rung in data.ladder if rung.role == "base"]
    return "the base" if name is None or bases == [name] else shorten(name, 60)


def bases_of(exam: ExamPart) -> list[str]:
    """The given models that changes of an exam are against."""
    return list(dict.fromkeys(score.against for score in exam.scores if score.against))


def best_student(data: ReportData, exam: ExamPart) -> tuple[Rung, ExamScore] | None:
    """What was made with the highest score of an exam, the smaller one on a tie; None when none sat it.

    That is a student, or a model that a step made; controls and models that were only cut are none.
    """
    sat = [(rung, score) for rung, score in data.sat(exam) if rung.role in _PRODUCTS]
    return max(sat, key=lambda one: (one[1].sealed.value, -(one[0].weight_bytes or 0)), default=None)


def _subject(data: ReportData, exam: ExamPart) -> tuple[Rung, ExamScore] | None:
    """Whom an exam's sentence is about, where anything that was made sat it."""
    made = [one for one in data.sat(exam) if not data.is_given(one[0])]
    others = [one for role in ("teacher", "cut", "quantised") for one in made if one[0].role == role]
    return best_student(data, exam) or next(iter(others), None)


def _digits(value: float) -> int:
    """Whole points in a headline, except where that would hide a small change."""
    return 0 if abs(value) >= 0.1 else 1


def headline(data: ReportData) -> str:
    """One sentence: what was gained in the first exam, with its interval; without an exam, what was made."""
    if data.exams:
        return _exam_headline(data, data.exams[0])
    names = [shorten(rung.name, 60) for rung in data.ladder if rung.role != "control" and not data.is_given(rung)]
    return f"This run made {_listed(names)}; {NO_EXAM}." if names else f"This run made no model; {NO_EXAM}."


def further_headlines(data: ReportData) -> list[str]:
    """The same sentence of every exam after the first."""
    return [_exam_headline(data, exam) for exam in data.exams[1:]]


def _exam_headline(data: ReportData, exam: ExamPart) -> str:
    found, where = _subject(data, exam), f"on {exam_words(data, exam)}"
    if found is None:
        return _given_headline(data, exam, where)
    rung, score = found
    name = shorten(rung.name, 60)
    if score.change is None:
        return f"{name} scored {score_text(score.sealed)} {where}; without a base there is no gain to state."
    seeds = seeds_of(data, exam, rung)
    if seeds is not None:
        together = f"{where}, {seeds.num_seeds} seeds together"
        return _gained(shorten(seeds.step, 60), seeds.gain, "" if seeds.over == "the base" else seeds.over, together)
    base = base_name(data, score.against)
    size = _size_words(data, rung) if score.change.low > 0 else ""
    return _gained(name, score.change, "" if base == "the base" else base, f"{where}{size}")


def _given_headline(data: ReportData, exam: ExamPart, where: str) -> str:
    """Of an exam that nothing sat that the run made."""
    made = any(not data.is_given(rung) for rung in data.ladder)
    sat = [(rung, score) for rung, score in data.sat(exam) if data.is_given(rung)]
    if not sat:
        return f"No model of this run sat {exam_words(data, exam)}, so this run shows no gain."
    named = [
        f"{'The base model' if rung.role == 'base' else shorten(rung.name, 60)} scored {score_text(score.sealed)}"
        for rung, score in sat
    ]
    end = "nothing that was made sat it" if made else "nothing was trained"
    return f"{_listed(named)} {where}; {end}."


def _listed(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b, c and 4 more``."""
    shown, left = names[:_MOST_NAMES], len(names) - _MOST_NAMES
    if left > 0:
        return f"{', '.join(shown)} and {left} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


class Together(NamedTuple):
    """All seeds of a step: what they scored, and what they gained over what."""

    step: str
    num_seeds: int
    sealed: Estimate
    gain: Estimate
    over: str


def seeds_of(data: ReportData, exam: ExamPart, rung: Rung) -> Together | None:
    """All models of a step that one is one of several seeds of: the best of some is no finding."""
    for step in data.reinforced:
        arm = next((arm for arm in step.arms_of(exam.name) if arm.kind == "reinforced"), None)
        if arm is not None and arm.num_seeds > 1 and any(run.name == rung.name for run in step.runs):
            return Together(step.name, arm.num_seeds, arm.sealed, arm.gain, shorten(step.start, 60))
    for group in exam.seeds:
        if rung.name in group.models:
            base = base_name(data, group.against)
            return Together(group.step, len(group.models), group.sealed, group.change, base)
    return None


def _gained(name: str, gain: Estimate, base: str, where: str) -> str:
    """A sentence that claims no more than the interval; ``base`` is "" where it goes without saying."""
    digits = _digits(gain.value)
    interval, points = f"({change_range(gain, digits)})", change_value(gain, digits).lstrip("+−")
    if gain.low > 0:
        return f"{name} gained {points} points {interval} {f'over {base} ' if base else ''}{where}."
    against = f"against {base} " if base else ""
    if gain.high < 0:
        return f"{name} lost {points} points {interval} {against}{where}."
    return f"No gain shown: {name} changed by {change_value(gain, digits)} points {interval} {against}{where}."


def _size_words(data: ReportData, rung: Rung) -> str:
    teacher = data.teacher
    if rung.role != "student" or teacher is None or not teacher.weight_bytes or not rung.weight_bytes:
        return ""
    return f", in {share_text(rung.weight_bytes, teacher.weight_bytes)} of the teacher’s bytes"


def headline_support(data: ReportData) -> str:
    """The second sentence: what the comparison rests on."""
    if not data.exams:
        practice = " What was measured is practice and rests on the maker’s word." if data.measured else ""
        return f"Whoever wants a score that a stranger can check adds [[exams]] to the recipe.{practice}"
    sentences = []
    for exam in data.exams:
        who = "Every model" if len(exam.scores) == len(data.ladder) else "Every model that sat"
        named = f" of {shorten(exam.name, 60)}" if len(data.exams) > 1 else ""
        sentences.append(
            f"{who} answered the same {exam.num_sealed} sealed problems{named}, from a bucket that training never "
            "draws on."
        )
        rootless = [rung.name for rung, score in data.sat(exam) if not data.is_given(rung) and score.change is None]
        if rootless:
            sentences.append(
                f"Of {_listed([shorten(name, 60) for name in rootless])} no change can be stated: "
                "the given model that it comes from did not sit."
            )
    sentences.append(
        f"Brackets hold {confidence_text(data.estimates())} intervals; comparisons are paired, problem by problem."
    )
    return " ".join(sentences)


def gap_sentence(score: ExamScore, base: str) -> str:
    """What the public-against-sealed test says about one model.

    Args:
        base: What its gain is over.
    """
    if score.public is None:
        return "sat no public half, so the test cannot be made."
    public = score.public
    words = f"public minus sealed is {change_text(public.gap.gap)}. {public.statement}"
    return f"{words} On the gain over {base}: {public.gain_statement}" if public.gain_statement else words
