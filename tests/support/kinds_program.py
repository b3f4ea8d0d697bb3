"""Every kind of training, by one process and by two: what tests of FSDP and DDP compare. It forks, so all load once.

``DIRECTORY``: each run leaves its curve and its weights there, under its name and ``one``, ``ddp`` or ``fsdp``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the program is started by its path

import torch
from across_parts import TEXTS, byte_level, chat_of
from parallel_program import exit_code, fork, launch
from reinforce_parts import Arbitrary, config
from tiny_student import sums_problems, sums_task, tiny_student, worked_documents
from tiny_training import tiny_decoder

from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.distil import (
    AcrossMix,
    AcrossTokenizersObjective,
    CachedTeacher,
    CaptureConfig,
    DistilObjective,
    LiveChunkTeacher,
    LiveTeacher,
    LossMix,
    OnPolicyConfig,
    OnPolicyFeed,
    capture,
    make_hidden_match,
    pair_conversations,
)
from spiritsafe.models import (
    Document,
    LanguageModel,
    LoadedModel,
    LoraBase,
    LoraConfig,
    TransformersModel,
    add_lora,
    load_model,
    make_generator,
    merge_lora,
)
from spiritsafe.reinforce import PolicyLoss, ReinforceConfig, RewardConfig, reinforce
from spiritsafe.training import Evaluate, Feed, Objective, TracesObjective, TrainConfig, current_parallel, train

PROBLEMS = sums_problems(8)
LORA = LoraConfig(rank=4, alpha=8.0, seed=3)
STEPS = 2
POLICY = config(
    num_rounds=STEPS,
    steps_per_round=1,
    prompts_per_round=3,
    sampling=Sampling(max_tokens=8),
    reward=RewardConfig(grades_truncated=True),
)
OWN = OnPolicyConfig(
    prompts_per_round=4, steps_per_round=2, num_rounds=1, share=0.5, sampling=Sampling(max_tokens=8), seed=11
)


def settings(mode: str, **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "learning_rate": 5e-3,
            "tokens_per_step": 450,
            "micro_batch_tokens": 250,
            "max_steps": STEPS,
            "compute_dtype": "float32",
            "checkpoint_every_s": None,
            "checkpoint_every_steps": 1,
            "eps": 1e-3,  # a gradient near zero gives a step near zero, not one of its rounding
            "eval_every": 1,
            "parallel": "auto" if mode == "one" else mode,
        }
        | changes
    )


def dev(loaded: LoadedModel) -> Evaluate:
    """What a recipe's ``dev`` does: an engine that was made before training answers, with the weights as they are."""
    generator = make_generator(loaded, max_batch=4)
    prompts = [Prompt(problem_id=p.id, messages=p.messages) for p in PROBLEMS[:2]]

    def evaluate(model: LanguageModel, step: int) -> dict[str, float]:
        assert current_parallel().is_main
        assert model is loaded.model
        answers = generator.generate(prompts, Sampling(max_tokens=6, temperature=0.0))
        return {f"drawn {i}": float(sum(answer.token_ids)) for i, answer in enumerate(answers)}

    return evaluate


Made = tuple[Sequence[Document] | Feed, Objective]


def tune(loaded: LoadedModel, place: Path, train_config: TrainConfig) -> Made:
    return worked_documents(loaded, PROBLEMS), TracesObjective()


def live(loaded: LoadedModel, place: Path, train_config: TrainConfig) -> Made:
    signal = LiveTeacher(tiny_student(place.parent, seed=2).model)
    return worked_documents(loaded, PROBLEMS), DistilObjective(signal, LossMix(ce=0.2, reverse_kl=0.8))


def cached(loaded: LoadedModel, place: Path, train_config: TrainConfig) -> Made:
    teacher, documents, directory = tiny_student(place.parent, seed=2), worked_documents(loaded, PROBLEMS), place / "c"
    current_parallel().on_main(lambda: capture(teacher, documents, CaptureConfig(num_head=8, num_draws=4), directory))
    signal = CachedTeacher(directory, tokenizer=teacher.chat.vocab_fingerprint)
    return documents, DistilObjective(signal, LossMix(forward_kl=1.0))


def hidden(loaded: LoadedModel, place: Path, train_config: TrainConfig) -> Made:
    teacher, documents = tiny_student(place.parent, seed=2).model, worked_documents(loaded, PROBLEMS)
    match = make_hidden_match(loaded.model, teacher, documents, num_pairs=1, weight=0.5, seed=3, method="procrustes")
    return documents, DistilObjective(LiveTeacher(teacher), LossMix(forward_kl=1.0), hidden=match)


def across(loaded: LoadedModel, place: Path, train_config: TrainConfig) -> Made:
    chat = chat_of(place / f"chat-{current_parallel().rank}", byte_level(380))
    pairs = [((Message(role="user", content=f"{n}?"),), text[:30]) for n, text in enumerate(TEXTS[:4] * 3)]
    table = pair_conversations(pairs, student=loaded.chat, teacher=chat)
    teacher = LiveChunkTeacher(tiny_decoder(vocab=380, seed=2))
    return table.documents(), AcrossTokenizersObjective(teacher, table, AcrossMix(chunk=0.8, ce=0.2))


def on_policy(loaded: LoadedModel, place: Path, train_config: TrainConfig) -> Made:
    teacher = tiny_student(place.parent, seed=2).model
    feed = OnPolicyFeed(
        loaded, PROBLEMS, OWN, train_config, directory=place / "rounds", task=sums_task(),
        off_policy=worked_documents(loaded, PROBLEMS[:4]),
    )  # fmt: skip
    return feed, DistilObjective(LiveTeacher(teacher), LossMix(reverse_kl=1.0))


KINDS: dict[str, Callable[[LoadedModel, Path, TrainConfig], Made]] = {
    "tune": tune,
    "live": live,
    "cached": cached,
    "hidden": hidden,
    "across": across,
    "on-policy": on_policy,
}
WAYS = ("whole", "lora")
FOREIGN = ("tune-foreign", "tune-foreignadapters")
NAMES = (*(f"{kind}-{way}" for kind in (*KINDS, "reinforce") for way in WAYS), "tune-qlora", *FOREIGN)


def learner(place: Path, way: str) -> LoadedModel:
    loaded = tiny_student(place.parent)
    if way == "qlora":
        loaded = load_model(loaded.directory, dtype=torch.float32, weights="4bit")
    if way in ("lora", "qlora"):
        add_lora(loaded.model, LORA)
    return loaded


def by_reward(loaded: LoadedModel, place: Path, mode: str, way: str) -> Sequence[Any]:
    """With adapters a penalty keeps near the base under them, and several updates a round need old probabilities."""
    of: ReinforceConfig = POLICY
    reference = None
    if way == "lora":
        of = config(**{
            **{name: getattr(POLICY, name) for name in POLICY.model_fields_set},
            "num_rounds": 1, "steps_per_round": 2, "loss": PolicyLoss(method="grpo", kl_weight=0.1),
        })  # fmt: skip
        reference = LoraBase(loaded.model)
    result = reinforce(
        loaded, Arbitrary(("correct", "wrong")), PROBLEMS, of, settings(mode, tokens_per_step=1), directory=place,
        reference=reference, evaluate=dev(loaded),
    )  # fmt: skip
    return result.training.curve


def one_run(root: Path, name: str, mode: str) -> None:
    kind, _, way = name.rpartition("-")
    place = root / f"{name}-{mode}"
    place.mkdir(exist_ok=True)
    loaded = learner(place, way)
    if kind == "reinforce":
        curve = by_reward(loaded, place, mode, way)
    elif name in FOREIGN:
        model = TransformersModel(loaded.directory, dtype=torch.float32, device="cpu")
        if way == "foreignadapters":
            add_lora(model, LORA)
        documents = worked_documents(loaded, PROBLEMS)
        curve = train(model, documents, TracesObjective(), settings(mode, eval_every=None), directory=place).curve
        if way == "foreignadapters":
            merge_lora(model)
        loaded.model.load_state_dict_hf({k: v for k, v in model.model.state_dict().items() if k != "lm_head.weight"})
    else:
        train_config = settings(mode)
        documents, objective = KINDS[kind](loaded, place, train_config)
        curve = train(loaded.model, documents, objective, train_config, directory=place, evaluate=dev(loaded)).curve
    weights = {key: value.detach() for key, value in loaded.model.named_parameters()}
    for key, value in weights.items():
        others = current_parallel().gather(value)
        assert all(torch.equal(others[0], other) for other in others), (name, mode, key)
    if current_parallel().is_main:
        torch.save(weights, place / "weights.pt")
        (place / "curve.json").write_text(json.dumps(list(curve)))


def alone(root: Path) -> None:
    torch.set_num_threads(1)
    for name in NAMES:
        one_run(root, name, "one")


def pairs(root: Path) -> None:
    torch.set_num_threads(1)
    for name in NAMES:
        for mode in ("ddp", "fsdp"):
            one_run(root, name, mode)


def models(root: Path) -> None:
    """Student and teacher, written before the processes are two; and the student's weights."""
    start = [tiny_student(root, seed=seed).model.state_dict() for seed in (1, 2)]
    torch.save(start[0], root / "start.pt")


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    assert exit_code(fork(models, directory)) == 0
    assert exit_code(fork(alone, directory)) == 0
    launch(pairs, directory)
