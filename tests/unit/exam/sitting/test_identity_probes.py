from __future__ import annotations

import math
from collections import Counter

import pytest
from exam_parts import ToyModel

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.records import Attempt
from spiritsafe.exam.records.result import ProbeRound
from spiritsafe.exam.sitting.identity_probes import PROBE_SET, PROBES, ask_probes, check_identity, probe_places


class Talker(ToyModel):
    """Says something of its own to each prompt."""

    voice = "one"
    logprob: float | None = None
    broken = False

    def generate(self, prompts, sampling):
        assert sampling.temperature == 0.0
        for prompt in prompts:
            yield Attempt(
                problem_id=prompt.problem_id,
                sample_index=0,
                model="m",
                sampling=sampling,
                seed=prompt.seed,
                text=f"{self.voice} says {prompt.messages[0].content}",
                finish_reason="error" if self.broken else "stop",
                logprobs=() if self.logprob is None else (self.logprob, self.logprob),
                error="broken" if self.broken else None,
            )


def round_of(voice="one", at=0, **changes) -> ProbeRound:
    model = Talker()
    model.voice = voice
    for name, value in changes.items():
        setattr(model, name, value)
    if changes.get("broken"):  # as rounds of older sittings may be
        return ProbeRound(num_answers=at, replies=(None,) * len(PROBES))
    return ask_probes(model, num_answers=at)


def test_a_round_asks_each_probe_once():
    found = round_of(at=7)
    assert found.num_answers == 7
    assert found.replies == tuple(f"one says {text}" for text in PROBES)
    assert found.logprobs == ()
    assert ask_probes(Talker(), num_answers=0, count=1).replies == (f"one says {PROBES[0]}",)


def test_one_model_is_one_model():
    check = check_identity([round_of(at=0), round_of(at=5), round_of(at=9)])
    assert (check.same, check.agreement, check.probes) == (True, 1.0, PROBE_SET)
    assert "One model" in check.statement


@pytest.mark.parametrize("at", [1, 2])
def test_a_swap_in_the_middle_or_at_the_end_is_found(at):
    rounds = [round_of(at=k) for k in range(3)]
    rounds[at] = round_of("another", at=at)
    check = check_identity(rounds)
    assert check.same is False
    assert check.agreement == 0.0
    assert "changed during the sitting" in check.statement


def test_rounding_noise_is_no_swap():
    first = round_of()
    few = first.model_copy(update={"replies": ("slightly else", *first.replies[1:])})
    check = check_identity([first, few])
    assert check.same
    assert check.agreement == pytest.approx(7 / 8)


@pytest.mark.parametrize(("other", "same"), [(-1.03, True), (-1.5, False)])
def test_equal_texts_with_other_probabilities_are_another_model(other, same):
    check = check_identity([round_of(logprob=-1.0), round_of(logprob=other)])
    assert check.same is same


def test_too_little_to_tell():
    for rounds in ([], [round_of()], [round_of(), round_of(broken=True)]):
        check = check_identity(rounds)
        assert check.same is None
        assert check.agreement is None
        assert "cannot be told" in check.statement
    # a dead first round is not what the others are held against
    assert check_identity([round_of(broken=True), round_of(), round_of("another")]).same is False


def test_rounds_between_are_due_at_places_that_only_the_secret_gives():
    places = probe_places("ab" * 32, "sha256:x", num_rounds=5, num_units=100)
    assert len(places) == 3
    assert places == sorted(set(places))
    assert places == probe_places("ab" * 32, "sha256:x", num_rounds=5, num_units=100)
    assert places != probe_places("cd" * 32, "sha256:x", num_rounds=5, num_units=100)
    assert places != probe_places("ab" * 32, "sha256:y", num_rounds=5, num_units=100)
    assert probe_places("ab" * 32, "x", num_rounds=2, num_units=100) == []
    assert probe_places("ab" * 32, "x", num_rounds=9, num_units=4) == [1, 2, 3]
    assert probe_places("ab" * 32, "x", num_rounds=9, num_units=1) == []


def test_places_are_spread_evenly():
    counts = Counter(probe_places(f"{n:064x}", "sha256:x", num_rounds=3, num_units=11)[0] for n in range(1000))
    assert set(counts) == set(range(1, 11))
    assert all(abs(count - 100) < 5 * math.sqrt(100 * 0.9) for count in counts.values())


def test_who_answers_none_is_not_reached():
    model = Talker()
    model.broken = True
    with pytest.raises(EndpointError, match=r"does not answer harmless questions \(broken\)"):
        ask_probes(model, num_answers=0)
