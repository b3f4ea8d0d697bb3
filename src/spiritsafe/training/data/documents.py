"""Training documents by the million: four bytes a token in one file that every process maps, not Python tuples.

In: documents, one after the other, however many. Out: a :class:`DocumentStore`: a sequence of
:class:`~spiritsafe.models.Document` that makes a document when it is asked for one, and knows lengths and counts
of all of them without that. Whatever takes ``Sequence[Document]`` takes a store, a part of one, or a list.

::

    header    magic, number of documents, number of tokens, checksum of the table (32 bytes)
    words     4 bytes a token: its id, and in the highest bit whether it is supervised
    table     32 bytes a document: where it starts, its weight, tokens, supervised tokens, largest id, checksum

Checksums guard against accidents, not against forgery; a document's own is checked each time it is read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self, final, overload

import numpy as np
from numpy.typing import NDArray

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.files.atomic import atomic_path
from spiritsafe.models import Document, DrawnCompletion

_HEADER = struct.Struct("<8sQQI4x")
_MAGIC = b"SSDOCS01"
_SUPERVISED = np.uint32(1 << 31)
_ID = np.uint32((1 << 31) - 1)
_ENTRY: Any = np.dtype(
    [("start", "<u8"), ("weight", "<f8"), ("length", "<u4"), ("learnt", "<u4"), ("largest", "<u4"), ("crc", "<u4")]
)
_ROW = struct.Struct("<QdIIII")  # the same
_BUFFER_BYTES = 1 << 20
_NO_IDS = np.zeros(0, dtype=np.int64)
_HINT = "Delete it and run the same command again: it is made anew."


class DocumentArrays(NamedTuple):
    """A document as arrays."""

    ids: NDArray[np.int64]
    flags: NDArray[np.bool_]
    weight: float
    drawn: DrawnCompletion | None = None


def _words_of(index: int, document: Document) -> NDArray[np.uint32]:
    if document.drawn is not None:
        raise ValueError("a document that a policy drew is kept with its round, not in a store")
    if len(document.supervised) != len(document.token_ids):
        raise CompatibilityError(
            f"Document {index} has {len(document.token_ids)} tokens and {len(document.supervised)} flags.",
            hint="Give one flag for each token.",
        )
    try:
        ids = np.asarray(document.token_ids if len(document.token_ids) else _NO_IDS)
    except (ValueError, OverflowError):  # lists of several lengths in the place of numbers
        ids = np.array([None])
    # what is beyond 64 bits, or no whole number, has another kind
    if ids.dtype.kind not in "iu" or ids.ndim != 1 or (len(ids) and (ids.min() < 0 or ids.max() > _ID)):
        raise CompatibilityError(
            f"Document {index} holds a token id that no vocabulary has.",
            hint="Tokenize the documents with the model's own tokenizer.",
        )
    flags = np.asarray(document.supervised, dtype=np.bool_)
    return np.asarray(ids.astype(np.uint32) | (flags.astype(np.uint32) << np.uint32(31)), dtype="<u4")


@final
class DocumentWriter:
    """Takes documents one by one; hands on the words of each and keeps its row."""

    def __init__(self, put: Callable[[NDArray[np.uint32]], object]) -> None:
        self._put = put
        self._rows = bytearray()
        self.num_tokens = 0

    def __len__(self) -> int:
        return len(self._rows) // int(_ENTRY.itemsize)

    def add(self, document: Document) -> None:
        """Take one.

        Raises:
            CompatibilityError: It has another number of flags than tokens, or an id that no vocabulary has.
        """
        words = _words_of(len(self), document)
        self._put(words)
        ids = words & _ID
        self._rows += _ROW.pack(
            self.num_tokens,
            document.weight,
            len(words),
            np.count_nonzero(words[1:] & _SUPERVISED),
            int(ids.max(initial=0)),
            zlib.crc32(words.data),
        )
        self.num_tokens += len(words)

    @property
    def table(self) -> NDArray[Any]:
        """One row for each taken so far."""
        return np.frombuffer(bytes(self._rows), dtype=_ENTRY)


@final
class DocumentStore(Sequence[Document]):
    """Documents in flat arrays, in memory or mapped from a file.

    A slice is a store too, of the same memory.

    Args:
        words: All tokens, see the module.
        table: One row a document, see the module.
        path: The file, for errors.
    """

    def __init__(self, words: NDArray[np.uint32], table: NDArray[Any], *, path: Path | None = None) -> None:
        self._words = words
        self._table = table
        self._path = path
        self._starts, self._lengths, self._crcs, self._weights = (
            table[name] for name in ("start", "length", "crc", "weight")
        )

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map what :func:`write_documents` wrote; nothing but the table is read.

        Raises:
            SourceError: It is missing.
            IntegrityError: It is damaged, or no file of documents.
        """
        if not path.is_file():
            raise SourceError(f"{path} is missing.", hint="Write the documents first.")
        size = path.stat().st_size
        if size < _HEADER.size:
            raise IntegrityError(f"{path} is cut off.", hint=_HINT)
        data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        magic, num_documents, num_tokens, crc = _HEADER.unpack(data[: _HEADER.size].tobytes())
        end = _HEADER.size + 4 * num_tokens
        if magic != _MAGIC or size != end + _ENTRY.itemsize * num_documents:
            raise IntegrityError(f"{path} is cut off, or is no file of documents.", hint=_HINT)
        if zlib.crc32(data[end:].data) != crc:
            raise IntegrityError(f"{path} is damaged: its table is not what was written.", hint=_HINT)
        return cls(data[_HEADER.size : end].view("<u4"), data[end:].view(_ENTRY), path=path)

    @classmethod
    def of(cls, documents: Iterable[Document]) -> Self:
        """A store in memory.

        Raises:
            CompatibilityError: A token id is negative or beyond 31 bits.
        """
        parts: list[NDArray[np.uint32]] = [np.zeros(0, dtype=np.uint32)]
        writer = DocumentWriter(parts.append)
        for document in documents:
            writer.add(document)
        return cls(np.concatenate(parts), writer.table)

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Document: ...

    @overload
    def __getitem__(self, index: slice) -> DocumentStore: ...

    def __getitem__(self, index: int | slice) -> Document | DocumentStore:
        if isinstance(index, slice):
            return DocumentStore(self._words, self._table[index], path=self._path)
        ids, flags, weight, _ = self.arrays(index)
        return Document(token_ids=tuple(ids.tolist()), supervised=tuple(flags.tolist()), weight=weight)

    def __iter__(self) -> Iterator[Document]:
        return (self[index] for index in range(len(self)))

    def select(self, places: NDArray[np.int64]) -> DocumentStore:
        """Some of the documents, in this order."""
        return DocumentStore(self._words, self._table[places], path=self._path)

    def arrays(self, index: int) -> DocumentArrays:
        """One document as arrays of its own.

        Raises:
            IntegrityError: It is damaged.
        """
        start, length = int(self._starts[index]), int(self._lengths[index])
        words = self._words[start : start + length]
        if len(words) != length or zlib.crc32(words.data) != self._crcs[index]:
            raise IntegrityError(
                f"{self._path or 'A store in memory'} is damaged: a document of it is not what was written.", hint=_HINT
            )
        return DocumentArrays((words & _ID).astype(np.int64), (words & _SUPERVISED) != 0, float(self._weights[index]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each document."""
        return np.asarray(self._table["length"].astype(np.int64))

    @property
    def supervised_counts(self) -> NDArray[np.int64]:
        """Tokens of each document that the model is trained to produce (the first is never one)."""
        return np.asarray(self._table["learnt"].astype(np.int64))

    @property
    def largest_ids(self) -> NDArray[np.int64]:
        """The largest token id of each document; 0 where it has none."""
        return np.asarray(self._table["largest"].astype(np.int64))

    @property
    def num_tokens(self) -> int:
        """Of all documents."""
        return int(self.lengths.sum())

    @property
    def num_supervised(self) -> int:
        """Of all documents."""
        return int(self.supervised_counts.sum())


@contextmanager
def document_writer(path: Path) -> Iterator[DocumentWriter]:
    """A file of documents, whole when the block ends and absent when it fails; 32 bytes a document are held meanwhile.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb", buffering=_BUFFER_BYTES) as file:
        file.write(bytes(_HEADER.size))
        writer = DocumentWriter(lambda words: file.write(words.data))
        yield writer
        rows = writer.table.tobytes()
        file.write(rows)
        file.seek(0)
        file.write(_HEADER.pack(_MAGIC, len(writer), writer.num_tokens, zlib.crc32(rows)))


def write_documents(path: Path, documents: Iterable[Document]) -> DocumentStore:
    """Write documents to a file, whole or not at all, and map it.

    Args:
        path: The file. Processes that train together open it each (:meth:`DocumentStore.open`) and share its memory.
        documents: Read once, one at a time; none of them drawn by a policy.

    Raises:
        CompatibilityError: A document has another number of flags than tokens, or an id that no vocabulary has.
        StorageError: The disk is full, or the folder cannot be written.
    """
    with document_writer(path) as writer:
        for document in documents:
            writer.add(document)
    return DocumentStore.open(path)


def document_arrays(documents: Iterable[Document]) -> Iterator[DocumentArrays]:
    """Each document as arrays, made one at a time.

    Raises:
        IntegrityError: A document of a store is damaged.
    """
    if isinstance(documents, DocumentStore):
        yield from (documents.arrays(index) for index in range(len(documents)))
        return
    for document in documents:
        yield DocumentArrays(
            np.asarray(document.token_ids, dtype=np.int64),
            np.asarray(document.supervised, dtype=np.bool_),
            document.weight,
            document.drawn,
        )


def document_lengths(documents: Sequence[Document]) -> NDArray[np.int64]:
    """Tokens of each document."""
    if isinstance(documents, DocumentStore):
        return documents.lengths
    return np.array([len(document.token_ids) for document in documents], dtype=np.int64)


def supervised_counts(documents: Sequence[Document]) -> NDArray[np.int64]:
    """Tokens of each document that the model is trained to produce (the first is never one)."""
    if isinstance(documents, DocumentStore):
        return documents.supervised_counts
    return np.array([sum(document.supervised[1:]) for document in documents], dtype=np.int64)


def document_digests(documents: Iterable[Document]) -> NDArray[np.void]:
    """16 bytes of a digest of each document's tokens, ``V16``: which sequences are the same, without keeping any."""
    digests = b"".join(sha256(ids.astype("<i4").tobytes()).digest()[:16] for ids, *_ in document_arrays(documents))
    return np.frombuffer(digests, dtype="V16")
