"""The promises that a certificate makes: each with the steps it stands on, its judge, and what is left to a cheater.

A further promise is one judge in :mod:`spiritsafe.exam.verification.findings` and one :class:`PromiseRule` in its place
in :data:`PROMISE_RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from spiritsafe.exam.verification.findings import (
    Finding,
    View,
    judge_answered,
    judge_asked_once,
    judge_committed,
    judge_complete,
    judge_counted,
    judge_cut,
    judge_decision,
    judge_disputes,
    judge_ended,
    judge_examiner,
    judge_fixed,
    judge_fresh,
    judge_grades,
    judge_history,
    judge_keys,
    judge_limits,
    judge_one_model,
    judge_regraded,
    judge_rerun,
    judge_sealed,
    judge_stayed,
    judge_studying,
    judge_training,
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseRule:
    """One promise and its judge; ``steps`` are named as in ``exam verify``, ``cheat`` may depend on the certificate."""

    name: str
    text: str
    steps: tuple[str, ...]
    judge: Callable[[View], Finding]
    cheat: str
    remote_cheat: str = ""


PROMISE_RULES: tuple[PromiseRule, ...] = (
    PromiseRule(
        name="committed",
        text="The problems were fixed before anybody sat.",
        steps=("paper bank", "ledger proofs", "procedure"),
        judge=judge_committed,
        cheat="Rewrite the ledger with all of its keys; a witness finds that. The times are the signers' clocks; the "
        "order is the ledger's.",
    ),
    PromiseRule(
        name="random cut",
        text="Which problems became public was drawn by lot.",
        steps=("paper bank", "paper split"),
        judge=judge_cut,
        cheat="An examiner can draw many banks in private and publish the one whose cut they like. That changes "
        "which problems are public, not what a model that saw none of them scores.",
    ),
    PromiseRule(
        name="sealed",
        text="Nobody but the parties named here could open the sealed half.",
        steps=("sealed file", "access history", "ledger file"),
        judge=judge_sealed,
        cheat="Get one of these keys, or be told by its holder. Each of them can read the problems without the "
        "ledger knowing; opening only by several together is not offered.",
    ),
    PromiseRule(
        name="fresh",
        text="No sealed problem had been given away, on record, before this sitting.",
        steps=("access history", "paper in force", "ledger file"),
        judge=judge_fresh,
        cheat="Be told the problems by somebody who can open them. An operator that answers in this sitting keeps "
        "what it saw.",
    ),
    PromiseRule(
        name="fixed",
        text="Model, sampler, tries and seed were fixed before the first question.",
        steps=("registration", "protocol", "ledger proofs", "procedure", "difficulties"),
        judge=judge_fixed,
        cheat="Change a weight in the last bit to get another seed, and keep the variant that is luckiest on the "
        "public half: that shows as a public-sealed gap, not as a better sealed score.",
        remote_cheat="Put another model behind the same address: an endpoint's digest is of its URL and name only.",
    ),
    PromiseRule(
        name="limits",
        text="No answer had more than the registered number of tokens.",
        steps=("registration", "numbers"),
        judge=judge_limits,
        cheat="As host, run a model that writes more than it is counted for; a re-run by somebody else finds that.",
        remote_cheat="Think without showing it, or write no more than 8 characters a token: an endpoint's tokens are "
        "its own word, and only the length of its text can be seen.",
    ),
    PromiseRule(
        name="one model",
        text="One model answered all the time.",
        steps=("one model",),
        judge=judge_one_model,
        cheat="As host, run other weights under the registered digest. A re-run of the registered weights by "
        "somebody else finds that.",
        remote_cheat="Know the probes, and answer them with the old model while another one answers the questions.",
    ),
    PromiseRule(
        name="stayed",
        text="No problem left the host.",
        steps=("access history",),
        judge=judge_stayed,
        cheat="As host, copy the problems while they are in the clear. Nothing in a certificate could show it: no "
        "trusted hardware is used.",
    ),
    PromiseRule(
        name="asked once",
        text="Each question was asked once.",
        steps=("access history", "asked once"),
        judge=judge_asked_once,
        cheat="As host, hold the whole sitting on copies of the ledger, and show the luckiest. Weights answer alike "
        "each time; a re-run finds what they do not answer.",
        remote_cheat="As host, hold the whole sitting on copies of the ledger, and show the luckiest: the ledger that "
        "is shown cannot know of it, but the endpoint's operator was asked everything several times.",
    ),
    PromiseRule(
        name="all counted",
        text="Every problem counts, whatever happened to it.",
        steps=("every problem counted", "numbers"),
        judge=judge_counted,
        cheat="Grade wrongly (see grades). No try can be left out: the counts have to add up to the paper.",
    ),
    PromiseRule(
        name="answered",
        text="The model answered.",
        steps=("every problem counted", "numbers"),
        judge=judge_answered,
        cheat="Have answers fail that the model would have given: that lowers the score, never raises it. A reference "
        "is refused where more than a twentieth of its tries failed.",
    ),
    PromiseRule(
        name="ending",
        text="The sitting ended where it had to, not where the score looked good.",
        steps=("ending", "numbers"),
        judge=judge_ended,
        cheat="Nothing is left to choose: rule and budget are registered, and each look is computed again. A limit "
        "of time is the host's clock.",
    ),
    PromiseRule(
        name="nothing left out",
        text="Every sitting that this maker registered for this paper ended on record.",
        steps=("correction", "ledger file"),
        judge=judge_complete,
        cheat="Register under another key, or try in a ledger that nobody is shown; both need an examiner who helps.",
    ),
    PromiseRule(
        name="history",
        text="The ledger shows everybody the same history, and it was not rewritten.",
        steps=("ledger proofs", "ledger file", "witnessed heads"),
        judge=judge_history,
        cheat="Win over every witness as well as all who signed entries.",
    ),
    PromiseRule(
        name="grades",
        text="Grades follow from the answers, as far as answers were opened.",
        steps=("numbers", "result in ledger", "revealed answers"),
        judge=judge_grades,
        cheat="As host, commit to wrong grades and hope that nobody asks for one of those answers. Ask for some of "
        "your own choice (`exam reveal`), and read problem, answer and verdict.",
    ),
    PromiseRule(
        name="graded again",
        text="Once the paper was retired, all answers were published and graded again alike.",
        steps=("opened paper", "published answers"),
        judge=judge_regraded,
        cheat="Have a verifier that grades wrongly both times. Read some answers yourself.",
    ),
    PromiseRule(
        name="disputes",
        text="No grade is disputed without an answer, and this certificate has the last word.",
        steps=("grade edits", "disputes", "ledger file"),
        judge=judge_disputes,
        cheat="As examiner, reject a dispute that is right: the reason given is on record, and whoever reads it can "
        "judge.",
    ),
    PromiseRule(
        name="decision",
        text="What is decided was a prediction, and counts all that this maker claimed on this paper.",
        steps=("correction", "ledger file"),
        judge=judge_decision,
        cheat="Sit without a claim under one address, or before a bit is changed, and claim under another what was "
        "seen: sittings begun before the claim are told. Or claim under another name and key.",
    ),
    PromiseRule(
        name="not studying",
        text="The score is not from studying the public half: a leak of a fifth of it would have shown.",
        steps=("paper split", "numbers"),
        judge=judge_studying,
        cheat="Study less than the size named, or learn the kind of problem instead of the texts, which is what "
        "learning is. Who saw the sealed half itself is not found by this.",
    ),
    PromiseRule(
        name="training files",
        text="No sealed problem stands in the training files that the examiner was shown.",
        steps=("training overlap",),
        judge=judge_training,
        cheat="Show other files than those that were trained on, or have the problems put in other words: a list of "
        "files cannot be proved whole.",
    ),
    PromiseRule(
        name="separate keys",
        text="The maker held no key of this exam.",
        steps=("statements",),
        judge=judge_keys,
        cheat="Play all parts with several keys under several names: no mathematics tells that.",
    ),
    PromiseRule(
        name="examiner",
        text="The examiner is one that you trust.",
        steps=("trusted keys",),
        judge=judge_examiner,
        cheat="Steal the examiner's key, or win your trust. Compare the key's id with its holder by another way.",
    ),
    PromiseRule(
        name="re-run",
        text="Somebody else asked again and agrees.",
        steps=("re-runs",),
        judge=judge_rerun,
        cheat="Sign a re-run of one's own under another name. Re-run it yourself.",
    ),
)
"""In the order in which they are shown: the paper, the sitting, the record, the people."""
