from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_training import counting_documents, tiny_decoder

from spiritsafe.core.errors import CompatibilityError, NumericalError
from spiritsafe.distil.hidden.streams import ChannelMoments, StreamMoments, calibration_batches, supervised_streams
from spiritsafe.models.interface.batch import IGNORED, Document, pack_documents

CPU = torch.device("cpu")


def test_batches_hold_every_document_once_and_no_more_tokens_than_asked() -> None:
    documents = counting_documents(40)
    batches = list(calibration_batches(documents, tokens_per_batch=64, device=CPU))
    assert len(batches) > 5
    assert all(batch.num_tokens <= 64 for batch in batches)
    tokens = torch.cat([batch.token_ids_N for batch in batches])
    assert tokens.tolist() == [token for document in documents for token in document.token_ids]


def test_a_document_longer_than_a_batch_stands_alone() -> None:
    documents = counting_documents(3, shortest=20, longest=24)
    lengths = [batch.lengths for batch in calibration_batches(documents, tokens_per_batch=8, device=CPU)]
    assert lengths == [(len(document.token_ids),) for document in documents]


def test_documents_that_supervise_nothing_are_left_out_or_refused() -> None:
    silent = Document(token_ids=(1, 2, 3), supervised=(True, False, False))  # the first token is predicted by nothing
    (batch,) = calibration_batches([silent, *counting_documents(1)], tokens_per_batch=999, device=CPU)
    assert len(batch.lengths) == 1
    with pytest.raises(CompatibilityError, match="no token"):
        next(calibration_batches([silent], tokens_per_batch=8, device=CPU))


def test_streams_are_those_of_the_supervised_rows_in_float64() -> None:
    model, batch = tiny_decoder(layers=3), pack_documents(counting_documents(4))
    found = supervised_streams(model, batch, (2, 0))
    expected = model.forward_with_layers(batch, (2, 0))[1]
    for one, two in zip(found, expected, strict=True):
        assert one.dtype == torch.float64
        assert not one.requires_grad
        assert torch.equal(one, two.detach()[batch.targets_N != IGNORED].double())


def test_a_stream_that_is_not_finite_is_named() -> None:
    model = tiny_decoder()
    with torch.no_grad():
        model.blocks[1].down.weight.fill_(float("nan"))
    with pytest.raises(NumericalError, match="layer 1"):
        supervised_streams(model, pack_documents(counting_documents(2)), (0, 1))


def test_moments_of_chunks_equal_numpys_of_all_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    # One channel with a mean of a million: sums of raw squares would lose its variance altogether in float32.
    teacher = torch.randn(301, 7, generator=generator) * torch.tensor([1.0, 1, 1, 50, 1, 0.01, 1])
    teacher[:, 4] += 1e6
    student = torch.randn(301, 5, generator=generator) + teacher[:, :5]
    moments, channels = StreamMoments(7, 5), ChannelMoments(7)
    for rows in torch.arange(301).split((100, 1, 57, 143)):
        moments.add(student[rows], teacher[rows])
        channels.add(teacher[rows])
    joint = np.cov(torch.cat((teacher, student), 1).double().numpy().T, bias=True)
    scale = np.sqrt(np.outer(joint.diagonal(), joint.diagonal()))
    close = {"rtol": 0, "atol": 1e-9}
    covariance, cross = moments.teacher_covariance_GG.numpy(), moments.cross_covariance_GH.numpy()
    np.testing.assert_allclose(covariance / scale[:7, :7], (joint / scale)[:7, :7], **close)
    np.testing.assert_allclose(cross / scale[:7, 7:], (joint / scale)[:7, 7:], **close)
    np.testing.assert_allclose(moments.student_variance_H, joint.diagonal()[7:], rtol=1e-9)
    np.testing.assert_allclose(moments.teacher_mean_G, teacher.double().numpy().mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.student_mean_H, student.double().numpy().mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(channels.variance, joint.diagonal()[:7], rtol=1e-9)
    np.testing.assert_allclose(channels.mean, moments.teacher_mean_G, rtol=1e-12)
    assert moments.num_rows == channels.num_rows == 301
