"""How near a file's next-token distributions are to its parent's, and whether greedy answers are the same.

In: the parent, a process that runs the file, documents or prompts as token ids. Out: the records. One document is
computed at a time; the parent computes in the format that it was opened in. Shapes: T tokens of a document, R rows of
a slice, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch

from spiritsafe.core.errors import CompatibilityError, NumericalError
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.llama_cpp.fidelity.records import GreedyDifference, GreedyFidelity, LogitFidelity
from spiritsafe.models.llama_cpp.process import LlamaProcess, chunks
from spiritsafe.stats import korn_graubard_interval, ratio_interval

_SLICE_ROWS = 64
_MOST_SHOWN = 5
_LEAST_DOCUMENTS = 2

Logits32 = npt.NDArray[np.float32]


@torch.no_grad()
def parent_logits(model: LanguageModel, token_ids: Sequence[int]) -> Logits32:
    """Float32 logits ``[T, V]`` after each token of a document."""
    document = Document(token_ids=tuple(token_ids), supervised=(False,) * len(token_ids))
    head = model.head()
    hidden_TH = model(pack_documents([document]).to(head.weight_VH.device))
    logits_TV: Logits32 = head_logits(head, hidden_TH).cpu().numpy()
    return logits_TV


def compare_logits(
    model: LanguageModel,
    process: LlamaProcess,
    documents: Sequence[Sequence[int]],
    *,
    seed: int = 0,
    advance: Callable[[], None],
) -> LogitFidelity:
    """KL(parent ‖ file) and agreement over documents, with 95 % intervals over documents.

    Args:
        seed: Of the bootstrap's redraws.
        advance: Called behind each document.

    Raises:
        CompatibilityError: There are fewer than two documents, or the vocabularies have different sizes.
        NumericalError: A logit is not finite.
        EndpointError: llama.cpp's process broke down.
    """
    documents = [token_ids for token_ids in documents if token_ids]
    if len(documents) < _LEAST_DOCUMENTS:
        raise CompatibilityError(
            f"{len(documents)} documents give a mean over documents no interval.", hint="Give two or more."
        )
    _check_vocabulary(model, process)
    sums, largest, agreeing = [], 0.0, []
    for token_ids in documents:
        kl_T, same_T = kl_divergences(parent_logits(model, token_ids), process.logits(token_ids))
        sums.append(float(kl_T.sum()))
        largest = max(largest, float(kl_T.max()))
        agreeing.append(int(same_T.sum()))
        advance()
    lengths = [len(token_ids) for token_ids in documents]
    return LogitFidelity(
        num_documents=len(documents),
        num_tokens=sum(lengths),
        kl=ratio_interval(sums, lengths, seed=seed, least=0.0),
        largest_kl=largest,
        agreement=korn_graubard_interval(agreeing, lengths),
    )


def _check_vocabulary(model: LanguageModel, process: LlamaProcess) -> None:
    if process.facts.vocab_size != model.vocab_size:
        raise CompatibilityError(
            f"The file has {process.facts.vocab_size} tokens, its parent {model.vocab_size}.",
            hint="Name the directory that the file was made of.",
        )


def kl_divergences(parent_TV: Logits32, file_TV: Logits32) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """KL(parent ‖ file) in nats at each place, and whether both find the same token likeliest."""
    kl, same = [], []
    for start in range(0, len(parent_TV), _SLICE_ROWS):
        p_RV, q_RV = (_log_softmax(whole[start : start + _SLICE_ROWS]) for whole in (parent_TV, file_TV))
        kl.append(np.maximum((np.exp(p_RV) * (p_RV - q_RV)).sum(axis=1), 0.0))
        same.append(p_RV.argmax(axis=1) == q_RV.argmax(axis=1))
    return np.concatenate(kl), np.concatenate(same)


def _log_softmax(logits_RV: Logits32) -> npt.NDArray[np.float64]:
    wide_RV = logits_RV.astype(np.float64)
    if not np.isfinite(wide_RV).all():
        raise NumericalError("A logit is not finite.", hint="Look for NaN or infinity in the weights.")
    wide_RV -= wide_RV.max(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = wide_RV - np.log(np.exp(wide_RV).sum(axis=1, keepdims=True))
    return found


def compare_greedy(
    model: LanguageModel,
    process: LlamaProcess,
    prompts: Sequence[Sequence[int]],
    ends: Collection[int],
    *,
    num_tokens: int,
    tolerance: float,
    advance: Callable[[], None],
) -> GreedyFidelity:
    """Greedy answers of the file, token by token, and what the parent would take at each of their places.

    They are the parent's own answers as far as no token differs; behind a tie both go on with the file's token.

    Args:
        prompts: Token ids, with the header of the answer.
        ends: Tokens that end an answer.
        num_tokens: Most tokens of an answer.
        tolerance: Of ties, in the parent's logits.
        advance: Called behind each prompt.

    Raises:
        CompatibilityError: The vocabularies have different sizes.
        EndpointError: llama.cpp's process broke down.
    """
    _check_vocabulary(model, process)
    compared = num_ties = 0
    found: list[GreedyDifference] = []
    for place, prompt in enumerate(prompts):
        answer = _greedy_answer(process, prompt, ends, num_tokens)
        logits_TV = parent_logits(model, [*prompt, *answer[:-1]])[len(prompt) - 1 :]
        for position, (token, logits_V) in enumerate(zip(answer, logits_TV, strict=True)):
            compared += 1
            best = int(logits_V.argmax())
            margin = float(logits_V[best] - logits_V[token])
            if token != best and margin <= tolerance:
                num_ties += 1
            elif token != best:
                found.append(GreedyDifference(prompt=place, position=position, parent=best, file=token, margin=margin))
        advance()
    return GreedyFidelity(
        num_prompts=len(prompts),
        num_tokens=compared,
        tolerance=tolerance,
        num_ties=num_ties,
        num_different=len(found),
        first=tuple(found[:_MOST_SHOWN]),
    )


def _greedy_answer(process: LlamaProcess, prompt: Sequence[int], ends: Collection[int], num_tokens: int) -> list[int]:
    """The file's own answer, computed as a server does: the prompt at once, then a token at a time."""
    process.clear(0)
    answer: list[int] = []
    for start, end in chunks(len(prompt), process.num_rows):
        count = end - start
        logits_RV = process.decode(prompt[start:end], range(start, end), [0] * count, [count - 1])
    answer.append(int(logits_RV[0].argmax()))
    while len(answer) < num_tokens and answer[-1] not in ends:
        place = len(prompt) + len(answer) - 1
        answer.append(int(process.decode(answer[-1:], [place], [0], [0])[0].argmax()))
    process.clear(0)
    return answer
