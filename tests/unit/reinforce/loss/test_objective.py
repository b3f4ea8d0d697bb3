from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from policy_reference import LOSSES, cut_rows, drawn_documents, reference_term, sequence_loss
from tiny_training import counting_documents, one_thread, tiny_decoder
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import (
    IGNORED,
    Document,
    DrawnCompletion,
    PackedBatch,
    pack_documents,
    shared_prefix,
)
from spiritsafe.reinforce.loss.objective import PolicyObjective
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.training import TracesObjective, TrainConfig, train

WITHOUT_REFERENCE = sorted(name for name, loss in LOSSES.items() if not loss.kl_weight)
CONFIG = TrainConfig(
    learning_rate=1e-3,
    tokens_per_step=300,
    micro_batch_tokens=120,
    max_steps=4,
    checkpoint_every_s=None,
    compute_dtype="float32",
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def logprobs_of(model: Decoder, batch: PackedBatch, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the targets and entropies, from all logits."""
    rows = torch.nonzero(batch.targets_N != IGNORED).squeeze(1)
    log_p = torch.log_softmax(model.logits(model(batch))[rows] / temperature, 1)
    return log_p.gather(1, batch.targets_N[rows, None]).squeeze(1), -(log_p.exp() * log_p).sum(1)


def naive(
    model: Decoder, documents: Sequence[Document], config: PolicyLoss, normaliser: float, reference: Decoder | None
) -> dict[str, float]:
    """Forward and backward, each document by itself; the metrics as they are described."""
    batch = pack_documents(documents)
    now, entropy = logprobs_of(model, batch, config.temperature)
    kept = now if reference is None else logprobs_of(reference, batch, config.temperature)[0].detach()
    loss, sums = torch.zeros(()), dict.fromkeys(("policy_loss", "kl_sampler", "gap", "kl_reference"), 0.0)
    for document, own, other in zip(documents, cut_rows(now, documents), cut_rows(kept, documents), strict=True):
        assert document.drawn is not None
        drawn = torch.tensor(document.drawn.logprobs) if document.drawn.logprobs else own.detach()
        compared = torch.tensor(document.drawn.old) if document.drawn.old and not config.truncation else drawn
        costs = sequence_loss(config, own, compared, document.drawn.advantage)
        penalty = reference_term(own, other)
        loss = loss + document.weight / normaliser * (costs + config.kl_weight * penalty).sum()
        ratio = torch.exp(own - drawn)
        sums["policy_loss"] += document.weight * float(costs.detach().sum())
        sums["kl_sampler"] += float((ratio - 1 - ratio.log()).detach().sum())
        sums["gap"] += float((own - drawn).abs().detach().sum())
        sums["kl_reference"] += float(penalty.detach().sum())
    loss.backward()
    means = {name: total / now.numel() for name, total in sums.items()}
    return {"loss": float(loss.detach()), "entropy": float(entropy.detach().mean()), **means}


@pytest.mark.parametrize("has_old", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_and_metrics_equal_the_naive_loss_over_all_logits(name: str, shared: bool, has_old: bool) -> None:
    config = LOSSES[name]
    documents = drawn_documents(1 if shared else 3, 5, seed=1)
    if has_old:
        documents = [replace(document, drawn=with_old(document)) for document in documents]
    batch = pack_documents(documents, prefix_length=shared_prefix(documents) if shared else 0)
    assert (batch.prefix_length > 0) == shared
    reference = tiny_decoder(seed=7) if config.kl_weight else None
    ours, theirs = tiny_decoder(logits_scaling=2.0), tiny_decoder(logits_scaling=2.0)
    result = PolicyObjective(config, reference=reference, logits_bytes=4 * 61 * 7)(ours, batch, 50.0)
    expected = naive(theirs, documents, config, 50.0, reference)
    assert float(result.loss) == pytest.approx(expected["loss"], rel=1e-4)
    for (key, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=5e-4, atol=2e-6, msg=lambda m, n=key: f"{n}: {m}")
    found = {key: float(total) / count for key, (total, count) in result.means.items()}
    for key in ("policy_loss", "entropy", "kl_sampler", "gap", *(["kl_reference"] if reference else [])):
        assert found[key] == pytest.approx(expected[key], rel=2e-4), key
    assert ("kl_reference" in found) == (reference is not None)
    assert ("ratio" in found) == ("clipped_share" in found) == (name not in ("rloo", "rft"))
    assert reference is None or all(p.grad is None for p in reference.parameters())


def with_old(document: Document) -> DrawnCompletion:
    """What a trainer would have computed: near what was drawn, and not the same."""
    assert document.drawn is not None
    return replace(
        document.drawn, old=tuple(value - 0.3 + 0.1 * (i % 5) for i, value in enumerate(document.drawn.logprobs))
    )


def counted(name: str, *, on_policy: bool = False) -> dict[str, tuple[float, int]]:
    """Two sequences of 1 and 3 tokens whose ratios are 2 and 1/2, with a positive advantage."""
    documents = [
        Document(token_ids=(1, 2), supervised=(False, True)),
        Document(token_ids=(3, 4, 5, 6), supervised=(False, True, True, True)),
    ]
    model = tiny_decoder()
    with torch.no_grad():
        now = cut_rows(logprobs_of(model, pack_documents(documents), 1.0)[0], documents)
    shift = torch.tensor(2.0).log()
    documents = [
        replace(document, drawn=DrawnCompletion(logprobs=tuple((own - by).tolist()), advantage=1.0, group=0))
        for document, own, by in zip(documents, now, (shift, -shift), strict=True)
    ]
    result = PolicyObjective(LOSSES[name], on_policy=on_policy)(model, pack_documents(documents), 4.0)
    return {key: (float(total), count) for key, (total, count) in result.means.items()}


def test_ratios_are_counted_by_token_or_by_sequence() -> None:
    by_token, by_sequence = counted("grpo"), counted("gspo")
    assert by_token["ratio"] == (pytest.approx(2.0 + 3 * 0.5, rel=1e-5), 4)
    assert by_token["clipped_share"] == (1.0, 4)
    assert by_sequence["ratio"] == (pytest.approx(2.0 + 0.5, rel=1e-5), 2)
    assert by_sequence["clipped_share"] == (pytest.approx(1.0), 2)
    # k3 of ratios 2 and 1/2: 2 - 1 - log 2, and three times 1/2 - 1 + log 2
    assert by_token["kl_sampler"] == (pytest.approx(1 - 0.693147 + 3 * (0.693147 - 0.5), rel=1e-4), 4)
    assert by_token["gap"] == (pytest.approx(4 * 0.693147, rel=1e-4), 4)


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_on_policy_the_ratio_is_one_and_the_gap_is_still_seen(name: str) -> None:
    found = counted(name, on_policy=True)
    assert set(found) == {"policy_loss", "entropy", "kl_sampler", "gap"}
    assert found["gap"] == (pytest.approx(4 * 0.693147, rel=1e-4), 4)
    unknown = [replace(d, drawn=DrawnCompletion(advantage=0.5, group=0)) for d in drawn_documents(2, 3)]
    known = [
        replace(d, drawn=DrawnCompletion(logprobs=(-3.0,) * sum(d.supervised), advantage=0.5, group=0)) for d in unknown
    ]
    models = [tiny_decoder(), tiny_decoder()]
    first = PolicyObjective(LOSSES[name])(models[0], pack_documents(unknown), 9.0)
    second = PolicyObjective(LOSSES[name], on_policy=True)(models[1], pack_documents(known), 9.0)
    assert torch.equal(first.loss, second.loss)
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(*(m.parameters() for m in models), strict=True))  # type: ignore[arg-type]
    assert "gap" not in first.means


def test_fine_tuning_on_right_answers_is_cross_entropy_on_them() -> None:
    documents = counting_documents(6)
    rewarded = [replace(d, drawn=DrawnCompletion(advantage=1.0, group=0)) for d in documents]
    ours, theirs = tiny_decoder(), tiny_decoder()
    result = PolicyObjective(LOSSES["rft"])(ours, pack_documents(rewarded), 31.0)
    expected = TracesObjective()(theirs, pack_documents(documents), 31.0)
    assert float(result.loss) == pytest.approx(float(expected.loss), rel=1e-6)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["dapo wide", "gspo wide"])
def test_the_update_is_the_same_however_groups_are_split(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = drawn_documents(6, 8, prompt=(30, 40), answer=(1, 12), system=8)
    curves, sizes, weights = [], [], []
    for shares, budget in ((False, 4000), (False, 120), (True, 4000), (True, 80), (True, 60)):
        monkeypatch.setattr(Decoder, "shares_prefixes", shares)
        model = tiny_decoder()
        seen: list[int] = []
        model.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].num_tokens))
        config = CONFIG.model_copy(update={"micro_batch_tokens": budget, "tokens_per_step": 10_000, "max_steps": 2})
        result = train(
            model, documents, PolicyObjective(LOSSES[name]), config, directory=tmp_path / f"{shares}{budget}"
        )
        assert max(seen) <= budget
        curves.append(result.curve)
        sizes.append(sum(seen))
        weights.append([p.detach().clone() for p in model.parameters()])
    whole = sum(len(d.token_ids) for d in documents)
    assert sizes[0] == sizes[1] == 2 * whole
    # about 43 of 50 tokens are prompt, computed once for eight completions where they are together
    assert sizes[2] < 0.4 * sizes[0]
    assert sizes[2] < sizes[3] < sizes[4] < sizes[0]
    for curve, own in zip(curves[1:], weights[1:], strict=True):
        for row, other in zip(curve, curves[0], strict=True):
            for key in ("loss", "grad_norm", "entropy", "ratio", "clipped_share", "gap", "kl_sampler", "policy_loss"):
                assert row[key] == pytest.approx(other[key], rel=2e-4, abs=2e-6), key
        for mine, first in zip(own, weights[0], strict=True):
            torch.testing.assert_close(mine, first, rtol=0.0, atol=5e-5)


def test_good_completions_become_likelier_and_bad_ones_less(tmp_path: Path) -> None:
    prompt = (1, 2, 3)
    documents = [
        Document(
            token_ids=(*prompt, 10 + place, 20),
            supervised=(False, False, False, True, True),
            drawn=DrawnCompletion(advantage=1.0 if place == 0 else -1.0 / 3, group=0),
        )
        for place in range(4)
    ]
    model = tiny_decoder()

    def first_tokens() -> list[float]:
        with torch.no_grad():
            batch = pack_documents([Document(token_ids=prompt, supervised=(False,) * 3)])
            return torch.softmax(model.logits(model(batch))[-1], 0)[10:14].tolist()

    before = first_tokens()
    train(model, documents, PolicyObjective(PolicyLoss(method="dapo")), CONFIG, directory=tmp_path)
    after = first_tokens()
    assert after[0] > 1.02 * before[0]
    assert sum(after[1:]) < sum(before[1:])


def test_a_document_of_no_weight_changes_nothing() -> None:
    (document,) = drawn_documents(1, 1)
    model = tiny_decoder()
    result = PolicyObjective(LOSSES["gspo"])(model, pack_documents([replace(document, weight=0.0)]), 10.0)
    assert float(result.loss) == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_what_cannot_be_learnt_from_is_refused() -> None:
    objective = PolicyObjective(LOSSES["grpo"])
    with pytest.raises(CompatibilityError, match="how its documents were drawn"):
        objective(tiny_decoder(), pack_documents(counting_documents(2)), 1.0)
    with pytest.raises(RecipeError, match="no reference"):
        PolicyObjective(LOSSES["penalised"])
    with pytest.raises(RecipeError, match="a reference"):
        PolicyObjective(LOSSES["grpo"], reference=tiny_decoder())
    with pytest.raises(RecipeError, match="Truncation"):
        PolicyObjective(LOSSES["truncated"], on_policy=True)
    small = PolicyObjective(LOSSES["penalised"], reference=tiny_decoder(vocab=70))
    with pytest.raises(CompatibilityError, match="61 tokens in its vocabulary, its reference 70"):
        small(tiny_decoder(), pack_documents(drawn_documents(1, 2)), 1.0)


def test_all_that_changes_the_gradient_is_described() -> None:
    described = [
        PolicyObjective(LOSSES["grpo"]).describe(),
        PolicyObjective(LOSSES["dapo"]).describe(),
        PolicyObjective(LOSSES["grpo"], on_policy=True).describe(),
        PolicyObjective(LOSSES["penalised"], reference=tiny_decoder()).describe(),
        PolicyObjective(LOSSES["penalised"], reference=tiny_decoder(seed=1)).describe(),
    ]
    assert all(one != other for place, one in enumerate(described) for other in described[:place])
    assert PolicyObjective(LOSSES["grpo"], logits_bytes=1000).describe() == described[0]


def test_a_prefix_is_shared_only_where_the_reference_can() -> None:
    assert PolicyObjective(LOSSES["grpo"]).shares_prefixes
    reference = tiny_decoder()
    reference.shares_prefixes = False
    assert not PolicyObjective(LOSSES["penalised"], reference=reference).shares_prefixes


@pytest.mark.parametrize("name", WITHOUT_REFERENCE)
def test_two_micro_batches_add_up_to_one(name: str) -> None:
    documents = drawn_documents(2, 4)
    ours, theirs = tiny_decoder(), tiny_decoder()
    objective = PolicyObjective(LOSSES[name])
    parts = [objective(ours, pack_documents(part), 60.0) for part in (documents[:3], documents[3:])]
    whole = objective(theirs, pack_documents(documents), 60.0)
    assert sum(float(part.loss) for part in parts) == pytest.approx(float(whole.loss), rel=1e-4)
    for key, (total, count) in whole.means.items():
        assert sum(part.means[key][1] for part in parts) == count
        assert sum(float(part.means[key][0]) for part in parts) == pytest.approx(float(total), rel=1e-4, abs=1e-5)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=5e-4, atol=2e-6)
