"""What holds for every on-policy schedule: nothing lost, no empty step, the share exact, the cap growing."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spiritsafe.core.records import Sampling
from spiritsafe.distil.on_policy.config import Cursor, OnPolicyConfig, endless_shuffle, mix_of_round

EXAMPLES = settings(max_examples=100, deadline=None)
SHARES = st.integers(1, 100).map(lambda percent: percent / 100)


@given(st.data(), SHARES, st.integers(1, 30), st.integers(1, 8), st.integers(1, 6))
@EXAMPLES
def test_every_answer_is_used_once_and_no_step_is_empty(
    data: st.DataObject, share: float, drawn: int, steps: int, rounds: int
) -> None:
    assume(steps <= drawn)
    config = OnPolicyConfig(prompts_per_round=drawn, steps_per_round=steps, num_rounds=rounds, share=share)
    ratio = (1 - Fraction(str(share))) / Fraction(str(share))
    cursor, fell_back = Cursor(), False
    for _ in range(rounds):
        kept = data.draw(st.integers(0, drawn))
        mixes, after = mix_of_round(config, kept, cursor)
        own = [place for mix in mixes for place in range(mix.first_own, mix.first_own + mix.num_own)]
        off = [place for mix in mixes for place in range(mix.first_off, mix.first_off + mix.num_off)]
        assert own == list(range(kept))
        assert off == list(range(cursor.num_off, after.num_off))
        assert after.num_own == cursor.num_own + kept
        assert all(mix.num_own + mix.num_off for mix in mixes)
        assert max(mix.num_own for mix in mixes) - min(mix.num_own for mix in mixes) <= 1
        assert all(mix.num_fallback in (0, mix.num_off) and not (mix.num_fallback and mix.num_own) for mix in mixes)
        fell_back |= any(mix.num_fallback for mix in mixes)
        if not fell_back:
            assert abs(after.num_off - after.num_own * ratio) <= Fraction(1, 2)
        cursor = after


@given(st.integers(1, 500), st.integers(2, 1000), st.integers(2, 60), st.integers(1, 100))
@EXAMPLES
def test_the_cap_never_falls_and_ends_full(start: int, full: int, rounds: int, percent: int) -> None:
    assume(start < full)
    config = OnPolicyConfig(
        prompts_per_round=1,
        steps_per_round=1,
        num_rounds=rounds,
        sampling=Sampling(max_tokens=full),
        cap_start=start,
        cap_share=percent / 100,
    )
    caps = [config.cap_of(index) for index in range(rounds)]
    assert caps[0] == start
    assert caps[-1] == full
    assert caps == sorted(caps)


@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
@EXAMPLES
def test_a_stretch_of_shuffles_does_not_depend_on_where_it_is_cut(size: int, first: int, count: int, seed: int) -> None:
    whole = endless_shuffle(size, first=0, count=first + count, seed=(seed,))
    assert endless_shuffle(size, first=first, count=count, seed=(seed,)) == whole[first:]
    assert all(sorted(whole[at : at + size]) == list(range(size)) for at in range(0, len(whole) - size + 1, size))
