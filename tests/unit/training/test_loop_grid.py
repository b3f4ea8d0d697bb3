"""Training on a file's grid: the passes see what a file would hold, the masters learn, and a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from tiny_training import counting_documents, one_thread, tiny_decoder
from torch.func import functional_call

from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.models import GridType, fake_quantise, pack_documents, round_to_grid
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.training import TracesObjective, TrainConfig, train
from spiritsafe.training.config import learning_rate_at

CONFIG = TrainConfig(
    learning_rate=1e-2,
    tokens_per_step=10_000,  # all documents in every step
    micro_batch_tokens=60,
    max_steps=6,
    max_grad_norm=None,
    weight_decay=0.0,
    checkpoint_every_steps=2,
    checkpoint_every_s=None,
    eps=1e-3,
    compute_dtype="float32",
)
DOCUMENTS = counting_documents(12)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def decoder() -> Decoder:
    return tiny_decoder(hidden=64, intermediate_size=96, tie_word_embeddings=True)


def grid_of(model: LanguageModel) -> dict[str, GridType]:
    """Four bits in the layers, eight in the tied head."""
    matrices = [name for name, parameter in model.named_parameters() if parameter.dim() == 2]
    return {name: "q8_0" if name.startswith("embedding") else "q4_0" for name in matrices}


def run(directory: Path, **more: object) -> Decoder:
    model = decoder()
    train(model, DOCUMENTS, TracesObjective(), CONFIG, directory=directory, grid=grid_of(model), **more)  # type: ignore[arg-type]
    return model


def by_hand() -> Decoder:
    """The same by autograd through :func:`fake_quantise`, dense logits and torch's own optimiser."""
    model = decoder()
    grid = grid_of(model)
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), eps=1e-3, weight_decay=0.0)
    batch = pack_documents(DOCUMENTS)
    for step in range(6):
        seen = {n: fake_quantise(p, grid[n]) if n in grid else p for n, p in model.named_parameters()}
        hidden = functional_call(model, seen, (batch,))
        logits = hidden @ seen["embedding.weight"].T
        losses = []
        start = 0
        for document in DOCUMENTS:
            own = logits[start : start + len(document.token_ids)].log_softmax(-1)
            losses += [
                -own[place - 1, token]
                for place, token in enumerate(document.token_ids)
                if place and document.supervised[place]
            ]
            start += len(document.token_ids)
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(CONFIG, step, 6)
        optimiser.step()
    return model.requires_grad_(False)


def test_updates_are_those_of_autograd_through_the_grid(tmp_path: Path) -> None:
    model, expected = run(tmp_path), by_hand()
    start = dict(decoder().requires_grad_(False).named_parameters())
    for (name, ours), theirs in zip(model.named_parameters(), expected.parameters(), strict=True):
        moved = (theirs - start[name]).abs().max()
        assert float((ours.detach() - theirs).abs().max()) < 2e-3 * float(moved), name
        assert ours.grad is None


def test_an_evaluation_sees_the_file_and_the_model_ends_in_the_weights_behind_it(tmp_path: Path) -> None:
    seen: list[Mapping[str, torch.Tensor]] = []

    def evaluate(model: LanguageModel, step: int) -> dict[str, float]:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return {}

    model = run(tmp_path, evaluate=evaluate)
    grid = grid_of(model)
    for name, parameter in model.named_parameters():
        held = round_to_grid(parameter, grid[name]) if name in grid else parameter
        assert torch.equal(seen[-1][name], held), name
        assert (name in grid) == (not torch.equal(held, parameter))  # what is left is not on the grid


def test_killed_and_resumed_equals_unbroken_and_another_grid_is_another_run(tmp_path: Path) -> None:
    class Killed(TracesObjective):
        def at_step(self, step: int, num_steps: int) -> None:
            if step == 3:
                raise KeyboardInterrupt

    model = decoder()
    with pytest.raises(KeyboardInterrupt):
        train(model, DOCUMENTS, Killed(), CONFIG, directory=tmp_path / "a", grid=grid_of(model))
    with pytest.raises(IntegrityError):
        train(decoder(), DOCUMENTS, TracesObjective(), CONFIG, directory=tmp_path / "a")
    resumed, unbroken = run(tmp_path / "a"), run(tmp_path / "b")
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), unbroken.parameters(), strict=True))


def test_recomputed_activations_see_the_same_numbers_and_half_precision_rounds_them(tmp_path: Path) -> None:
    plain, recomputed = run(tmp_path / "a"), decoder()
    recomputed.activation_checkpointing = True
    train(recomputed, DOCUMENTS, TracesObjective(), CONFIG, directory=tmp_path / "b", grid=grid_of(recomputed))
    for ours, theirs in zip(plain.parameters(), recomputed.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    seen = {}

    def evaluate(model: LanguageModel, step: int) -> dict[str, float]:
        seen.update({name: p.detach().clone() for name, p in model.named_parameters()})
        return {}

    half = decoder()
    config = CONFIG.model_copy(update={"compute_dtype": "bfloat16"})
    train(half, DOCUMENTS, TracesObjective(), config, directory=tmp_path / "c", grid=grid_of(half), evaluate=evaluate)
    assert all(p.dtype == torch.float32 for p in half.parameters())
    for name, kind in grid_of(half).items():
        assert torch.equal(seen[name], round_to_grid(half.get_parameter(name), kind).bfloat16()), name


def test_what_does_not_learn_has_no_place_on_a_grid(tmp_path: Path) -> None:
    model = decoder()
    grid = grid_of(model)
    model.embedding.requires_grad_(False)
    with pytest.raises(CompatibilityError, match=r"embedding.weight \(1 in all\)"):
        train(model, DOCUMENTS, TracesObjective(), CONFIG, directory=tmp_path, grid=grid)
