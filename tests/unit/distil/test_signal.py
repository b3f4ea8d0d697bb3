from __future__ import annotations

import pytest
import torch
from tiny_training import counting_documents, tiny_decoder

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.signal import LiveTeacher, TeacherRows, document_key, document_keys
from spiritsafe.models.interface.batch import IGNORED, Document, pack_documents, shared_prefix

PROMPT = (5, 6, 7, 8)
DOCUMENTS = [
    Document(token_ids=(*PROMPT, *d.token_ids), supervised=(*(False for _ in PROMPT), *d.supervised))
    for d in counting_documents(4, seed=2)
]


def test_a_document_is_called_alike_however_it_is_packed() -> None:
    keys = [document_key(d.token_ids) for d in DOCUMENTS]
    assert document_keys(pack_documents(DOCUMENTS)) == keys
    prefix = shared_prefix(DOCUMENTS)
    assert prefix >= len(PROMPT)
    assert document_keys(pack_documents(DOCUMENTS, prefix_length=prefix)) == keys
    assert len(set(keys)) == len(keys)
    assert document_key((1, 2)) != document_key((1, 2, 0))


@pytest.mark.parametrize("prefix_length", [0, len(PROMPT)])
def test_a_live_teacher_gives_its_own_logits_and_streams(prefix_length: int) -> None:
    teacher = tiny_decoder(seed=3, layers=3, logits_scaling=4.0)
    batch = pack_documents(DOCUMENTS, prefix_length=prefix_length)
    rows = torch.nonzero(batch.targets_N != IGNORED).squeeze(1)
    signal = LiveTeacher(teacher).read(batch, rows, layers=(2, 0))
    (part,) = signal.parts
    assert part.index_S is None
    assert isinstance(part.rows, TeacherRows)
    with torch.no_grad():
        hidden, streams = teacher.forward_with_layers(batch, (2, 0))
        expected = teacher.logits(hidden)[rows]
    logits = part.rows.hidden_RG @ part.rows.weight_UG.T * part.rows.scale
    torch.testing.assert_close(logits, expected)
    for mine, theirs in zip(signal.layers_RG, streams, strict=True):
        torch.testing.assert_close(mine, theirs[rows])


def test_it_is_described_by_its_weights_and_refuses_layers_it_lacks() -> None:
    teacher = tiny_decoder(seed=3)
    assert LiveTeacher(teacher).describe() == LiveTeacher(tiny_decoder(seed=3)).describe()
    assert LiveTeacher(teacher).describe() != LiveTeacher(tiny_decoder(seed=4)).describe()
    batch = pack_documents(DOCUMENTS)
    with pytest.raises(CompatibilityError, match="Layers"):
        LiveTeacher(teacher).read(batch, torch.tensor([5]), layers=(2,))
