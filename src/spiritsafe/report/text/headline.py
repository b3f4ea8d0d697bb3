"""What the numbers say, in sentences: the headline, the public-against-sealed finding, who held the keys.

In: :class:`ReportData`. Out: plain text. A sentence never claims more than its interval does.
"""

from __future__ import annotations

from spiritsafe.exam.records import Separation
from spiritsafe.report.data.exam import Role, Rung, VerificationSummary
from spiritsafe.report.data.learning import Arm, Reinforced
from spiritsafe.report.data.run import ReportData, RunInfo
from spiritsafe.report.html.markup import shorten
from spiritsafe.report.numbers import change_range, change_text, change_value, score_text, share_text
from spiritsafe.stats import Estimate

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


def confidence_text(data: ReportData) -> str:
    """``95 %``, or the range where intervals of several levels are shown."""
    levels = sorted({estimate.confidence for estimate in data.estimates()})
    return " to ".join(f"{100 * level:g}\u00a0%" for level in dict.fromkeys((levels[0], levels[-1]))) if levels else ""


def best_student(data: ReportData) -> Rung | None:
    """What was made with the highest sealed score, the smaller one on a tie; any such model when none sat.

    That is a student, or a model that a step made; controls are none.
    """
    students = [rung for rung in data.ladder if rung.role in ("student", "reinforced", "tuned")]
    sat = [rung for rung in students if rung.sealed is not None]
    if sat:
        return max(sat, key=lambda rung: (rung.sealed.value if rung.sealed else 0.0, -rung.weight_bytes))
    return students[0] if students else None


def _subject(data: ReportData) -> Rung | None:
    return best_student(data) or data.rung_of("teacher") or data.rung_of("base")


def _digits(value: float) -> int:
    """Whole points in a headline, except where that would hide a small change."""
    return 0 if abs(value) >= 0.1 else 1


def headline(data: ReportData) -> str:
    """One sentence: what was gained, with its interval."""
    rung = _subject(data)
    if rung is None:
        return "This run made no model."
    name = shorten(rung.name, 60)
    if rung.sealed is None:
        return f"{name} sat no sealed exam, so this run shows no gain."
    if rung.role == "base":
        return f"The base model scored {score_text(rung.sealed)} on the sealed exam; nothing was trained."
    if rung.change is None:
        scored = score_text(rung.sealed)
        return f"{name} scored {scored} on the sealed exam; without a base there is no gain to state."
    seeds = seeds_of(data, rung)
    if seeds is not None:
        step, arm = seeds
        where = f"over {shorten(step.start, 60)} on the sealed exam, {arm.num_seeds} seeds together"
        return _gained(shorten(step.name, 60), arm.gain, where)
    if rung.change.low > 0:
        return _gained(name, rung.change, f"on the sealed exam{_size_words(data, rung)}")
    return _gained(name, rung.change, "on the sealed exam")


def seeds_of(data: ReportData, rung: Rung) -> tuple[Reinforced, Arm] | None:
    """The step that a model is one of several seeds of, and all of them together: the best of some is no finding."""
    for step in data.reinforced:
        arm = next((arm for arm in step.arms if arm.kind == "reinforced"), None)
        if arm is not None and arm.num_seeds > 1 and any(run.name == rung.name for run in step.runs):
            return step, arm
    return None


def _gained(name: str, gain: Estimate, where: str) -> str:
    digits = _digits(gain.value)
    interval, points = f"({change_range(gain, digits)})", change_value(gain, digits).lstrip("+−")
    if gain.low > 0:
        return f"{name} gained {points} points {interval} {where}."
    if gain.high < 0:
        return f"{name} lost {points} points {interval} {where}."
    return f"No gain shown: {name} changed by {change_value(gain, digits)} points {interval} {where}."


def _size_words(data: ReportData, rung: Rung) -> str:
    teacher = data.rung_of("teacher")
    if rung.role != "student" or teacher is None:
        return ""
    return f", in {share_text(rung.weight_bytes, teacher.weight_bytes)} of the teacher’s bytes"


def headline_support(data: ReportData) -> str:
    """The second sentence: what the comparison rests on."""
    missing: dict[Role, str] = {
        "teacher": "No teacher was trained in this run.",
        "base": "The base model did not sit, so changes cannot be stated.",
    }
    sentences = ["No student was made in this run."] if data.ladder and best_student(data) is None else []
    sentences += [text for role, text in missing.items() if data.ladder and data.rung_of(role) is None]
    if data.exam is None:
        sentences.append("No exam was sat.")
    else:
        who = "Every model" if all(rung.sealed for rung in data.ladder) else "Every model that sat"
        sentences.append(
            f"{who} answered the same {data.exam.num_sealed} sealed problems, from a bucket that training never "
            f"draws on. Brackets hold {confidence_text(data)} intervals; comparisons are paired, problem by problem."
        )
    return " ".join(sentences)


def gap_sentence(rung: Rung) -> str:
    """What the public-against-sealed test says about one model."""
    if rung.sealed is None:
        return "did not sit."
    if rung.public is None:
        return "sat no public half, so the test cannot be made."
    public = rung.public
    words = f"public minus sealed is {change_text(public.gap.gap)}. {public.statement}"
    return f"{words} On the gain over the base: {public.gain_statement}" if public.gain_statement else words
