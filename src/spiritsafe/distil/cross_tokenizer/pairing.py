"""The same completion in two models' tokens, cut into common chunks: what is prepared once before training.

In: conversations and the two models' chat formats, or ready documents of both. Out: :class:`PairedDocument`, found
again by the tokens of the student's document. Prompts may differ as they like (other headers, another system prompt);
only what is supervised is aligned. Shapes: S and T supervised tokens of student and teacher, K chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from spiritsafe.core.errors import CompatibilityError, SpiritsafeError
from spiritsafe.core.records import Message
from spiritsafe.distil.cross_tokenizer.alignment import Alignment, align
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes
from spiritsafe.distil.signal import document_key
from spiritsafe.models import ChatFormat, Document
from spiritsafe.training import DocumentStore, document_arrays, document_writer


def _key_with_flags(document: Document) -> str:
    return sha256(bytes.fromhex(document_key(document.token_ids)) + bytes(document.supervised)).hexdigest()


@final
@dataclass(frozen=True, kw_only=True)
class PairedDocument:
    """One completion as both models see it.

    Attributes:
        student: In the student's tokens.
        teacher: The same completion in the teacher's tokens, behind the teacher's own prompt.
        alignment: Of the supervised tokens; its first side is the student.
    """

    student: Document
    teacher: Document
    alignment: Alignment

    @cached_property
    def key(self) -> str:
        """What the student's document is called."""
        return document_key(self.student.token_ids)

    @cached_property
    def teacher_key(self) -> str:
        """What the teacher's document is called: the digest of its tokens and of which are supervised."""
        return _key_with_flags(self.teacher)

    @property
    def num_bytes(self) -> int:
        """Bytes of text in the completion."""
        return int(self.alignment.bytes_K.sum())


@final
class StoredPairs(Mapping[str, PairedDocument]):
    """Pairs on disk, by the student's key: each is made when it is asked for, 16 bytes of each are held.

    Args:
        directory: For three files of documents, the third with each alignment's numbers as if they were tokens.
        pairs: Read once, one at a time. Of two with the same key the second counts.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """

    def __init__(self, directory: Path, pairs: Iterable[PairedDocument]) -> None:
        newest: dict[bytes, int] = {}
        paths = [directory / name for name in ("student.bin", "teacher.bin", "alignment.bin")]
        with ExitStack() as stack:
            writers = [stack.enter_context(document_writer(path)) for path in paths]
            for place, pair in enumerate(pairs):
                parts = (pair.alignment.chunk_A, pair.alignment.chunk_B, pair.alignment.bytes_K)
                numbers = np.concatenate(parts).tolist()
                alignment = Document(token_ids=tuple(numbers), supervised=(False,) * len(numbers))
                for writer, document in zip(writers, (pair.student, pair.teacher, alignment), strict=True):
                    writer.add(document)
                newest[bytes.fromhex(pair.key)[:16]] = place  # stays where the first was
        places = np.fromiter(newest.values(), dtype=np.int64, count=len(newest))
        stores = [DocumentStore.open(path).select(places) for path in paths]
        self.students, self._teachers, self._alignments = stores
        names = np.frombuffer(b"".join(newest), dtype=">u8").reshape(-1, 2)
        self._order = np.argsort(names[:, 0], kind="stable")
        self._names = names[self._order]

    def __len__(self) -> int:
        return len(self.students)

    def __iter__(self) -> Iterator[str]:
        return (document_key(ids) for ids, *_ in document_arrays(self.students))

    def __getitem__(self, key: str) -> PairedDocument:
        high, low = int(key[:16], 16), int(key[16:32], 16)
        at = int(np.searchsorted(self._names[:, 0], np.uint64(high)))
        while at < len(self._names) and int(self._names[at, 0]) == high:
            if int(self._names[at, 1]) == low:
                return self._pair(int(self._order[at]))
            at += 1
        raise KeyError(key)

    def _pair(self, place: int) -> PairedDocument:
        student, teacher = self.students[place], self._teachers[place]
        numbers = self._alignments.arrays(place).ids.astype(np.int32)
        ends = np.cumsum([sum(student.supervised), sum(teacher.supervised)])
        chunk_A, chunk_B, bytes_K = np.split(numbers, ends)
        return PairedDocument(
            student=student, teacher=teacher, alignment=Alignment(chunk_A=chunk_A, chunk_B=chunk_B, bytes_K=bytes_K)
        )


@final
@dataclass(frozen=True, kw_only=True)
class PairTable:
    """Paired documents, found by the student's tokens.

    Attributes:
        pairs: By :attr:`PairedDocument.key`.
        refused: For each conversation that could not be paired its number and the reason.
        refused_bytes: Bytes of their completions.
    """

    pairs: Mapping[str, PairedDocument]
    refused: Mapping[int, str] = field(default_factory=dict)
    refused_bytes: int = 0

    @classmethod
    def of(cls, pairs: Iterable[PairedDocument]) -> PairTable:
        """A table of ready pairs."""
        return cls(pairs={pair.key: pair for pair in pairs})

    @cached_property
    def fingerprint(self) -> str:
        """Digest of which documents are paired with which, what they supervise and how that is cut into chunks."""
        hasher = sha256()
        for key in sorted(self.pairs):
            pair = self.pairs[key]
            hasher.update(f"{_key_with_flags(pair.student)}:{pair.teacher_key};".encode())
            hasher.update(pair.alignment.chunk_A.tobytes() + pair.alignment.chunk_B.tobytes())
        return f"sha256:{hasher.hexdigest()}"

    def documents(self) -> Sequence[Document]:
        """The student's documents, in the order of the table."""
        if isinstance(self.pairs, StoredPairs):
            return self.pairs.students
        return [pair.student for pair in self.pairs.values()]

    def find(self, key: str, rows: NDArray[np.int64]) -> PairedDocument:
        """The pair of a student's document.

        Args:
            key: Of the student's document.
            rows: Its positions whose successor is supervised, ascending.

        Raises:
            CompatibilityError: It was not prepared, or supervises other tokens than the batch does.
        """
        pair = self.pairs.get(key)
        if pair is None:
            raise CompatibilityError(
                f"The document {key[:12]}… was not paired with the teacher's tokens.",
                hint="Train on the documents of the pair table, and prepare them with this student's tokenizer.",
            )
        if not np.array_equal(rows, np.flatnonzero(np.asarray(pair.student.supervised[1:], dtype=bool))):
            raise CompatibilityError(
                f"The {rows.size} tokens that the document {key[:12]}… supervises are not the "
                f"{pair.alignment.chunk_A.size} of its pair.",
                hint="Train on the pair table's own documents, with their flags unchanged.",
            )
        return pair


def _supervised(document: Document) -> Sequence[int]:
    """The completion's tokens.

    Raises:
        CompatibilityError: There are none, or they are not one run.
    """
    flags: NDArray[np.bool_] = np.asarray(document.supervised, dtype=bool)
    places = np.flatnonzero(flags)
    if not places.size or places[0] == 0 or places[-1] - places[0] + 1 != places.size:
        raise CompatibilityError(
            "A document to pair supervises one run of tokens behind a prompt, and this one does not.",
            hint="Make one document of each of the assistant's turns.",
        )
    return document.token_ids[places[0] : places[-1] + 1]


def pair_documents(
    student: Document, student_bytes: TokenBytes, teacher: Document, teacher_bytes: TokenBytes
) -> PairedDocument:
    """Align the supervised tokens of two documents of one completion.

    Raises:
        CompatibilityError: They spell different texts, or supervise something else than one run behind a prompt.
    """
    alignment = align(_supervised(student), student_bytes, _supervised(teacher), teacher_bytes)
    return PairedDocument(student=student, teacher=teacher, alignment=alignment)


def pair_conversations(
    conversations: Iterable[tuple[Sequence[Message], str]],
    *,
    student: ChatFormat,
    teacher: ChatFormat,
    student_bytes: TokenBytes | None = None,
    teacher_bytes: TokenBytes | None = None,
    directory: Path | None = None,
) -> PairTable:
    """Tokenize each conversation for both models and align its completion; what cannot be aligned is named, not hidden.

    Args:
        conversations: Messages and the completion to learn from.
        student_bytes: The student's vocabulary; read from its directory when None.
        directory: Where the pairs are kept if they are many; None: in memory.

    Raises:
        CompatibilityError: A vocabulary cannot be read as bytes, or not one conversation could be aligned.
        StorageError: The directory cannot be written.
    """
    ours = student_bytes or TokenBytes.of_chat(student)
    theirs = teacher_bytes or TokenBytes.of_chat(teacher)
    refused: dict[int, str] = {}
    refused_bytes = 0

    def paired() -> Iterator[PairedDocument]:
        nonlocal refused_bytes
        for number, (messages, completion) in enumerate(conversations):
            try:
                read = [chat.document(messages, completion, use="align") for chat in (student, teacher)]
                pair = pair_documents(read[0], ours, read[1], theirs)
            except SpiritsafeError as error:
                refused[number] = error.diagnostics()
                refused_bytes += len(completion.encode("utf-8"))
            else:
                yield pair

    pairs: Mapping[str, PairedDocument]
    pairs = {pair.key: pair for pair in paired()} if directory is None else StoredPairs(directory, paired())
    if not pairs:
        reason = next(iter(refused.values()), "There are none.")
        raise CompatibilityError(
            f"None of the {len(refused)} conversations could be aligned between the two tokenizers. {reason}",
            hint="Check that both chat formats leave the completion's text as it is.",
        )
    return PairTable(pairs=pairs, refused=refused, refused_bytes=refused_bytes)
