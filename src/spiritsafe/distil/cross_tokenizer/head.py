"""Chunk likelihoods through the head: loss and gradient over the student's rows, memory bound by a byte budget.

In: the student's hidden states of supervised rows, which chunk each row's target belongs to, and what the teacher says
of the chunks. Out: the loss and its gradient, made while a piece's logits are at hand. With l_k the sum of the
student's log-probabilities of the tokens of chunk k, D the divergence of
:mod:`spiritsafe.distil.cross_tokenizer.divergence`, p and q the next-token distributions where chunk k starts,
coarsened to the tokens that both vocabularies have and one bucket "other" (:class:`OneToOne`), a batch's loss is

    chunk · Σ_k w_k D(teacher_k, l_k)  +  ce · Σ_r w_r (-log q_r[y_r])  +  one_to_one · Σ_k w_k KL(p_k ‖ q_k)

The derivative by a row's logits needs the whole chunk's l_k, so pieces end where chunks end and one pass is enough:
three matrix products a row. A single chunk larger than the budget is read twice (first its likelihood, then its
gradient), which is a fourth product for those rows; memory stays what it is.

Under a tokenizer that would have merged a chunk with its continuation, the bare product of token probabilities is that
of another event than under one that would not: the token ``ab`` says that no ``aba`` follows, ``a`` and ``b`` do not.
``debias="outcome"`` adds to l_k the log-probability that a boundary token follows, read from the row behind the chunk
(ALM's outcome debiasing); what the tokens before the chunk have ruled out stays. ``"both"`` also takes off that of a
boundary before the chunk, where it begins with a boundary token: then l_k is about bytes between two boundaries, given
the bytes before, and the same number under every tokenizer that merges across no boundary.

Shapes: R rows, C rows of a piece, K chunks, J chunks of a group, M common tokens, H student and G teacher hidden width,
V student and U teacher vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final, get_args

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distil.cross_tokenizer.divergence import ChunkDistance, chunk_divergence
from spiritsafe.distil.cross_tokenizer.vocabulary import VocabularyMap
from spiritsafe.distil.signal import TeacherRows
from spiritsafe.models import logits_dtype
from spiritsafe.training import ChunkedHead, ChunkLogits, check_head_shapes, logits_bytes_per_row, rows_of_chunk

Debias = Literal["none", "outcome", "both"]


@final
@dataclass(frozen=True, kw_only=True)
class AcrossMix:
    """What the loss is made of; weights are not negative and not all zero.

    Attributes:
        chunk: Weight of the chunks' divergence.
        ce: Weight of the cross-entropy on the student's own tokens.
        one_to_one: Weight of the term over common tokens; it needs a live teacher.
        divergence: Of a chunk's likelihoods.
        temperature: τ of the divergence; ALM takes 100.
        debias: Whether a chunk's likelihood includes that a boundary follows it ("outcome"), and is also taken given
            the boundary before it ("both").
        least_boundary: Chunks after which the teacher finds a boundary less probable than this are joined with the
            next; 0 joins none, ALM takes 0.1. It needs ``debias``.

    Raises:
        RecipeError: A value is out of range, or an option could have no effect.
    """

    chunk: float = 1.0
    ce: float = 0.0
    one_to_one: float = 0.0
    divergence: ChunkDistance = "forward_kl"
    temperature: float = 100.0
    debias: Debias = "none"
    least_boundary: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.chunk, self.ce, self.one_to_one)
        if not all(0.0 <= weight < float("inf") for weight in weights) or self.chunk + self.one_to_one <= 0.0:
            raise RecipeError(
                f"The weights chunk {self.chunk}, ce {self.ce}, one_to_one {self.one_to_one} give no teacher a say.",
                hint="Use weights of at least 0 with chunk or one_to_one above 0; without a teacher train on traces.",
            )
        if self.divergence not in get_args(ChunkDistance) or self.debias not in get_args(Debias):
            raise RecipeError(
                f"divergence {self.divergence!r} or debias {self.debias!r} is unknown.",
                hint=f"Divergences are {', '.join(get_args(ChunkDistance))}; debias is {', '.join(get_args(Debias))}.",
            )
        if not 0.0 < self.temperature < float("inf"):
            raise RecipeError(f"temperature {self.temperature} is not positive.", hint="Use 100, as ALM does, or 1.")
        if not 0.0 <= self.least_boundary < 1.0 or (self.least_boundary > 0.0 and self.debias == "none"):
            raise RecipeError(
                f"least_boundary {self.least_boundary} is out of range or has no effect.",
                hint="Give a probability below 1, and set debias with it.",
            )


@final
@dataclass(frozen=True, kw_only=True)
class ChunkRows:
    """Which chunk each row belongs to, and the teacher's view of the chunks.

    Attributes:
        chunk_R: int64, ascending from 0 to K - 1 without gaps.
        teacher_K: float64, log-likelihood of each chunk (debiased as the mix says); NaN where it is unknown.
        follows_K: Whether the row behind the chunk's last is of the same document, so that it predicts what follows.
        boundary_V: bool, the student's boundary tokens; None when not debiased.
        given_K: Whether the chunk's likelihood is taken given the boundary before it; None: of none.
    """

    chunk_R: Tensor
    teacher_K: Tensor
    follows_K: Tensor
    boundary_V: Tensor | None = None
    given_K: Tensor | None = None


@final
@dataclass(frozen=True, kw_only=True)
class OneToOne:
    """The teacher's next-token distributions where chunks start.

    Attributes:
        teacher: K rows, one for the start of each chunk.
        common: Tokens of both vocabularies.
    """

    teacher: TeacherRows
    common: VocabularyMap


@final
@dataclass(frozen=True, kw_only=True)
class AcrossResult:
    """Loss and gradient over R rows.

    Attributes:
        loss: Weighted sum.
        grad_hidden_RH: Its gradient, in the hidden states' dtype.
        sums: Unweighted sums with the number they are over: ``chunk_divergence`` and ``chunk_gap`` (absolute difference
            of the log-likelihoods) over chunks, ``ce`` over rows, ``one_to_one_kl`` over chunk starts.
    """

    loss: Tensor
    grad_hidden_RH: Tensor
    sums: Mapping[str, tuple[Tensor, int]]


@final
@dataclass(frozen=True, kw_only=True)
class _Group:
    """Whole chunks ``first`` to ``last`` (not included), and the rows that must be read for them.

    ``pieces`` hold the group's own rows; when the row behind the last chunk is needed, the last piece holds it too.
    """

    first: int
    last: int
    start: int
    stop: int
    pieces: tuple[slice, ...]


def _groups(starts: Sequence[int], follows: Sequence[bool], most_rows: int, *, debiased: bool) -> list[_Group]:
    """Chunks in groups of at most so many rows; a chunk that is larger is a group of several pieces."""
    groups: list[_Group] = []
    num_chunks, first = len(follows), 0
    while first < num_chunks:
        last = first + 1
        while last < num_chunks and starts[last + 1] - starts[first] + (debiased and follows[last]) <= most_rows:
            last += 1
        start, stop = starts[first], starts[last]
        end = stop + 1 if debiased and follows[last - 1] else stop
        cuts = [*range(start, end, most_rows), end] if end - start > most_rows else [start, end]
        pieces = tuple(slice(a, b) for a, b in pairwise(cuts))
        groups.append(_Group(first=first, last=last, start=start, stop=stop, pieces=pieces))
        first = last
    return groups


@final
@dataclass(frozen=True, kw_only=True)
class _Read:
    """What a piece's logits say; ``probs_CV`` lies where they were, ``log_common_JM`` is of rows where chunks start."""

    probs_CV: Tensor
    log_target_C: Tensor
    log_boundary_C: Tensor | None
    log_common_JM: Tensor | None


@final
class _Head:
    """One call's tensors and what has been summed so far."""

    def __init__(
        self,
        hidden_RH: Tensor,
        weight_VH: Tensor,
        targets_R: Tensor,
        weights_R: Tensor,
        chunks: ChunkRows,
        mix: AcrossMix,
        one_to_one: OneToOne | None,
        scale: float,
        grad_weight_VH: Tensor | None,
        logits_bytes: int | None,
    ) -> None:
        self.hidden_RH, self.weight_VH, self.targets_R = hidden_RH, weight_VH, targets_R
        self.chunks, self.mix, self.scale = chunks, mix, scale
        self.one_to_one = one_to_one if mix.one_to_one > 0.0 else None
        dtype = logits_dtype(hidden_RH)
        num_chunks = chunks.teacher_K.numel()
        counts_K = torch.bincount(chunks.chunk_R, minlength=num_chunks)
        starts: list[int] = [0, *counts_K.cumsum(0).tolist()]
        self.starts_K = counts_K.cumsum(0) - counts_K
        self.row_weights_R = weights_R.to(dtype)
        self.known_K = ~chunks.teacher_K.isnan()
        self.chunk_weights_K = weights_R[self.starts_K].double() * self.known_K
        self.boundary_V = None if chunks.boundary_V is None else chunks.boundary_V.to(dtype)
        most = self._most_rows(logits_bytes)
        self.groups = _groups(starts, chunks.follows_K.tolist(), most, debiased=self.boundary_V is not None)
        largest = max(piece.stop - piece.start for group in self.groups for piece in group.pieces)
        self.head = ChunkedHead(hidden_RH, weight_VH, scale=scale, grad_weight_VH=grad_weight_VH, most_rows=largest)
        self.student_K = hidden_RH.new_zeros(num_chunks, dtype=torch.float64)
        self.log_target_R = hidden_RH.new_zeros(hidden_RH.shape[0], dtype=dtype)
        self.coarse_kl_K = hidden_RH.new_zeros(num_chunks, dtype=torch.float64)
        if self.one_to_one is not None:
            common, device = self.one_to_one.common.to(hidden_RH.device), hidden_RH.device
            self.student_M, self.teacher_M = common.student_M, common.teacher_M
            self.other_V = torch.ones(weight_VH.shape[0], dtype=dtype, device=device)
            self.other_V[self.student_M] = 0.0
            self.other_U = self.other_V.new_ones(self.one_to_one.teacher.weight_UG.shape[0])
            self.other_U[self.teacher_M] = 0.0

    def _most_rows(self, logits_bytes: int | None) -> int:
        """Rows of a piece: logits, one more copy for the coefficients of boundaries, and the one-to-one term's."""
        row_bytes: int = logits_bytes_per_row(self.hidden_RH, self.weight_VH.shape[0])
        itemsize = logits_dtype(self.hidden_RH).itemsize
        if self.boundary_V is not None:
            row_bytes += self.weight_VH.shape[0] * itemsize
        if self.one_to_one is not None:
            teacher, common = self.one_to_one.teacher, self.one_to_one.common.num_tokens
            row_bytes += 2 * logits_bytes_per_row(teacher.hidden_RG, teacher.weight_UG.shape[0])
            row_bytes += itemsize * (self.weight_VH.shape[0] + 3 * common)
        return rows_of_chunk(self.hidden_RH, row_bytes, logits_bytes)

    def run(self) -> None:
        """Each group: likelihoods of its chunks, their derivatives, the gradient of its rows."""
        for group in self.groups:
            read: _Read | None = None
            for piece in group.pieces:
                read = self._read(group, piece)
                own = slice(piece.start, min(piece.stop, group.stop))
                log_target_C = read.log_target_C[: own.stop - own.start]
                self.log_target_R[own] = log_target_C
                self.student_K.index_add_(0, self.chunks.chunk_R[own], log_target_C.double())
                if read.log_boundary_C is not None:
                    for chunks, rows, sign in self._boundaries(group, piece):
                        self.student_K[chunks] += sign * read.log_boundary_C[rows].double()
            slope_J = self._slopes(group)
            for piece in group.pieces:
                if len(group.pieces) > 1 or read is None:
                    read = self._read(group, piece)
                self._gradient(group, piece, read, slope_J)

    def _read(self, group: _Group, piece: slice) -> _Read:
        logits_CV = self.head.logits(piece)
        wanted_C = logits_CV.gather(1, self.targets_R[piece, None]).squeeze(1)
        largest_C = logits_CV.amax(1)
        _, rows_J = self._starting(group, piece)
        common_JM = logits_CV[rows_J][:, self.student_M] if self.one_to_one is not None else None
        probs_CV = torch.softmax(logits_CV, 1, out=logits_CV)
        # The largest probability is exp(0) / Z, so -log of it is log Z of the shifted logits: no second exponential.
        log_z_C = largest_C - probs_CV.amax(1).log()
        boundary_C = None
        if self.boundary_V is not None:
            boundary_C = torch.mv(probs_CV, self.boundary_V).clamp_(min=torch.finfo(probs_CV.dtype).tiny).log_()
        return _Read(
            probs_CV=probs_CV,
            log_target_C=wanted_C - log_z_C,
            log_boundary_C=boundary_C,
            log_common_JM=None if common_JM is None else common_JM.sub_(log_z_C[rows_J, None]),
        )

    def _starting(self, group: _Group, piece: slice) -> tuple[Tensor, Tensor]:
        """Chunks of the group that start in the piece, and their rows in it."""
        starts_J = self.starts_K[group.first : group.last]
        inside = ((starts_J >= piece.start) & (starts_J < piece.stop)).nonzero().squeeze(1)
        return inside + group.first, starts_J[inside] - piece.start

    def _boundaries(self, group: _Group, piece: slice) -> list[tuple[Tensor, Tensor, float]]:
        """Chunks of the group whose likelihood takes a boundary from the piece: chunks, rows in it, sign."""
        if self.boundary_V is None:
            return []
        own = slice(group.first, group.last)
        ends_J = torch.cat((self.starts_K[group.first + 1 : group.last], self.starts_K.new_tensor([group.stop])))
        inside_J = (ends_J >= piece.start) & (ends_J < piece.stop) & self.chunks.follows_K[own]
        after = inside_J.nonzero().squeeze(1)
        found = [(after + group.first, ends_J[after] - piece.start, 1.0)]
        if self.chunks.given_K is not None:
            which, rows = self._starting(group, piece)
            given = self.chunks.given_K[which]
            found.append((which[given], rows[given], -1.0))
        return found

    def _slopes(self, group: _Group) -> Tensor:
        """Derivative of the loss by the log-likelihood of each chunk of a group."""
        which = slice(group.first, group.last)
        _, slope_J = chunk_divergence(
            self.student_K[which],
            self.chunks.teacher_K[which].nan_to_num(0.0, neginf=-torch.inf),
            temperature=self.mix.temperature,
            divergence=self.mix.divergence,
        )
        return slope_J * self.chunk_weights_K[which] * self.mix.chunk

    def _gradient(self, group: _Group, piece: slice, read: _Read, slope_J: Tensor) -> None:
        """Turn a piece's probabilities into the gradient of its logits, and that into the hidden states' and head's."""
        probs_CV, dtype = read.probs_CV, read.probs_CV.dtype
        own = min(piece.stop, group.stop) - piece.start  # the row behind the group is only read for its boundary
        target_C = probs_CV.new_zeros(probs_CV.shape[0])
        target_C[:own] = slope_J[self.chunks.chunk_R[piece.start : piece.start + own] - group.first].to(dtype)
        target_C[:own] -= self.mix.ce * self.row_weights_R[piece.start : piece.start + own]
        # d log q[y] / d logits = onehot(y) - q, and d log Σ_B q / d logits = q restricted to B, renormalised, - q.
        factor_C = -target_C
        other_CV = self._one_to_one_gradient(group, piece, read, factor_C)
        if self.boundary_V is not None and read.log_boundary_C is not None:
            bound_C = torch.zeros_like(factor_C)
            for chunks, rows, sign in self._boundaries(group, piece):
                slope = sign * slope_J[chunks - group.first].to(dtype)
                bound_C[rows] += slope * (-read.log_boundary_C[rows]).exp()
                factor_C[rows] -= slope
            probs_CV.mul_(torch.outer(bound_C, self.boundary_V).add_(factor_C[:, None]))
        else:
            probs_CV.mul_(factor_C[:, None])
        if other_CV is not None:
            probs_CV.index_add_(0, *other_CV)
        probs_CV.scatter_add_(1, self.targets_R[piece, None], target_C[:, None])
        self.head.add_gradient(piece, probs_CV.mul_(self.scale))

    def _one_to_one_gradient(
        self, group: _Group, piece: slice, read: _Read, factor_C: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Of KL(p ‖ q) over common tokens and "other": q itself goes to ``factor_C``, the rest is returned.

        By a common token's logit the derivative is q - p; by another's, q - p_other · (q / q_other).
        """
        if self.one_to_one is None or read.log_common_JM is None:
            return None
        which, rows = self._starting(group, piece)
        teacher, probs_CV = self.one_to_one.teacher, read.probs_CV
        hidden_JG = teacher.hidden_RG[which]
        num_starts = hidden_JG.shape[0]
        logits = ChunkLogits(hidden_JG, teacher.weight_UG, most_rows=num_starts, scale=teacher.scale)
        logits_JU = logits(slice(0, num_starts)).to(probs_CV.dtype)
        logits_JU.sub_(logits_JU.logsumexp(1, keepdim=True))
        log_p_JM = logits_JU[:, self.teacher_M]
        p_JM, tiny = log_p_JM.exp(), torch.finfo(probs_CV.dtype).tiny
        p_other_J = torch.mv(logits_JU.exp_(), self.other_U).double()
        q_JV = probs_CV[rows]
        q_other_J = torch.mv(q_JV, self.other_V).clamp_(min=tiny)
        kl_J = (p_JM * (log_p_JM - read.log_common_JM)).sum(1, dtype=torch.float64)
        self.coarse_kl_K[which] = kl_J + torch.xlogy(p_other_J, p_other_J / q_other_J.double())
        weight_J1 = (self.mix.one_to_one * self.row_weights_R[piece.start + rows])[:, None]
        factor_C[rows] += weight_J1.squeeze(1)
        rest_JV = q_JV.mul_(weight_J1 * (-p_other_J.to(probs_CV.dtype) / q_other_J)[:, None])
        rest_JV[:, self.student_M] = -weight_J1 * p_JM
        return rows, rest_JV

    def result(self) -> AcrossResult:
        """Loss and sums of all groups."""
        value_K, _ = chunk_divergence(
            self.student_K,
            self.chunks.teacher_K.nan_to_num(0.0, neginf=-torch.inf),
            temperature=self.mix.temperature,
            divergence=self.mix.divergence,
        )
        num_known = int(self.known_K.sum())
        gap_K = (self.student_K - self.chunks.teacher_K).abs()
        weights_R = self.row_weights_R.double()
        ce_R = -self.log_target_R.double()
        loss = self.mix.chunk * torch.dot(value_K, self.chunk_weights_K) + self.mix.ce * torch.dot(ce_R, weights_R)
        sums = {
            "chunk_divergence": (value_K[self.known_K].sum(), num_known),
            "chunk_gap": (gap_K[self.known_K].sum(), num_known),
            "ce": (ce_R.sum(), ce_R.numel()),
        }
        if self.one_to_one is not None:
            loss = loss + self.mix.one_to_one * torch.dot(self.coarse_kl_K, weights_R[self.starts_K])
            sums["one_to_one_kl"] = (self.coarse_kl_K.sum(), self.coarse_kl_K.numel())
        return AcrossResult(loss=loss, grad_hidden_RH=self.head.grad_hidden_RH, sums=sums)


def _check(
    hidden_RH: Tensor, weight_VH: Tensor, chunks: ChunkRows, mix: AcrossMix, one_to_one: OneToOne | None
) -> None:
    num_chunks = chunks.teacher_K.numel()
    steps = chunks.chunk_R.diff()
    gaps = bool(((steps < 0) | (steps > 1)).any()) if steps.numel() else False
    last = int(chunks.chunk_R[-1]) if chunks.chunk_R.numel() else -1
    if chunks.chunk_R.shape[0] != hidden_RH.shape[0] or gaps or int(chunks.chunk_R[0]) != 0 or last != num_chunks - 1:
        raise CompatibilityError(
            f"{chunks.chunk_R.shape[0]} rows in {num_chunks} chunks do not fit {hidden_RH.shape[0]} hidden states.",
            hint="Give each supervised row its chunk, ascending from 0 without gaps.",
        )
    flags = (chunks.boundary_V is not None, chunks.given_K is not None)
    if flags != (mix.debias != "none", mix.debias == "both"):
        raise CompatibilityError(
            f'Boundary flags do not belong to debias = "{mix.debias}".',
            hint="Give boundary_V exactly when the mix debiases, and given_K exactly when it debiases both.",
        )
    if chunks.boundary_V is not None and chunks.boundary_V.shape[0] != weight_VH.shape[0]:
        raise CompatibilityError(
            f"Boundary flags of {chunks.boundary_V.shape[0]} tokens for a vocabulary of {weight_VH.shape[0]}.",
            hint="Make the flags for the student model's (padded) vocabulary.",
        )
    if mix.one_to_one > 0.0 and one_to_one is None:
        raise CompatibilityError(
            "The one-to-one term needs the teacher's distributions, and there are none.",
            hint="Use a live teacher, or set one_to_one to 0 with a cached one.",
        )
    if mix.one_to_one > 0.0 and one_to_one is not None and one_to_one.teacher.hidden_RG.shape[0] != num_chunks:
        raise CompatibilityError(
            f"{one_to_one.teacher.hidden_RG.shape[0]} teacher rows for {num_chunks} chunk starts.",
            hint="Keep exactly the teacher's rows where chunks start.",
        )


@torch.no_grad()
def across_head(
    hidden_RH: Tensor,
    weight_VH: Tensor,
    targets_R: Tensor,
    weights_R: Tensor,
    chunks: ChunkRows,
    *,
    mix: AcrossMix,
    one_to_one: OneToOne | None = None,
    scale: float = 1.0,
    grad_weight_VH: Tensor | None,
    logits_bytes: int | None = None,
) -> AcrossResult:
    """Loss of the module's formula and its gradients.

    Args as of :func:`~spiritsafe.training.cross_entropy_head`, all of the student; a chunk has the weight of its first
    row, ``one_to_one`` is used when the mix asks for it.

    Raises:
        CompatibilityError: Shapes or options do not fit together, or a target is outside the student's vocabulary.
    """
    check_head_shapes(hidden_RH, weight_VH, targets_R)
    _check(hidden_RH, weight_VH, chunks, mix, one_to_one)
    head = _Head(
        hidden_RH, weight_VH, targets_R, weights_R, chunks, mix, one_to_one, scale, grad_weight_VH, logits_bytes
    )
    head.run()
    return head.result()
