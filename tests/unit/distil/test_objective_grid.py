"""Distilling a model into what a file of it holds: it then says more of what the model says than rounding alone."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from tiny_training import counting_documents, one_thread, tiny_decoder

from spiritsafe.distil import DistilObjective, LiveTeacher, LossMix
from spiritsafe.models import Document, GridType, pack_documents, round_to_grid
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.training import TracesObjective, TrainConfig, train

CONFIG = TrainConfig(
    learning_rate=3e-3,
    tokens_per_step=600,
    micro_batch_tokens=600,
    max_steps=60,
    checkpoint_every_s=None,
    compute_dtype="float32",
)
HELD_OUT = counting_documents(40, seed=99)


def grid_of(model: Decoder) -> dict[str, GridType]:
    matrices = [name for name, parameter in model.named_parameters() if parameter.dim() == 2]
    return {name: "q8_0" if name.startswith("embedding") else "q4_0" for name in matrices}


def stored(model: Decoder) -> Decoder:
    """What a file of it would hold."""
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for name, kind in grid_of(rounded).items():
            parameter = rounded.get_parameter(name)
            round_to_grid(parameter.clone(), kind, out_OI=parameter)
    return rounded


@torch.no_grad()
def divergence(teacher: Decoder, student: Decoder, documents: list[Document]) -> float:
    """Mean forward KL at the supervised places, by dense logits in float64."""
    batch = pack_documents(documents)
    logs = [(model(batch) @ model.head().weight_VH.T).double().log_softmax(-1) for model in (teacher, student)]
    rows = (logs[0].exp() * (logs[0] - logs[1])).sum(-1)
    places, start = [], 0
    for document in documents:
        places += [start + place - 1 for place, learnt in enumerate(document.supervised) if learnt]
        start += len(document.token_ids)
    return float(rows[places].mean())


def test_a_file_that_was_learnt_for_says_more_of_what_the_model_says(tmp_path: Path) -> None:
    with one_thread():
        teacher = tiny_decoder(hidden=64, intermediate_size=96)
        documents = counting_documents(200, seed=1)
        train(teacher, documents, TracesObjective(), CONFIG, directory=tmp_path / "teacher")
        teacher.requires_grad_(False)
        student = copy.deepcopy(teacher).requires_grad_(True)
        objective = DistilObjective(LiveTeacher(teacher), LossMix(forward_kl=1.0), same_tokenizer=True)
        config = CONFIG.model_copy(update={"learning_rate": 3e-4})
        train(student, documents, objective, config, directory=tmp_path / "student", grid=grid_of(student))
        rounded, learnt = (divergence(teacher, stored(one), HELD_OUT) for one in (teacher, student))
    assert rounded > 0.01  # there is something to regain
    assert learnt < 0.6 * rounded
