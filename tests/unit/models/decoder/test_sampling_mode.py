from __future__ import annotations

import threading

import torch
from tiny_training import counting_documents, tiny_decoder

from spiritsafe.models.decoder.sampling_mode import is_sampling, sampling_mode
from spiritsafe.models.interface.batch import pack_documents


def test_it_holds_inside_and_for_its_own_thread_only() -> None:
    seen: list[bool] = []
    assert not is_sampling()
    with sampling_mode():
        assert not is_sampling(), "gradients may be asked for"
        with torch.inference_mode():
            assert is_sampling()
            thread = threading.Thread(target=lambda: seen.append(is_sampling()))
            thread.start()
            thread.join()
    with torch.inference_mode():
        assert not is_sampling()
    assert seen == [False]


def test_only_samplers_round_in_their_own_way() -> None:
    model, batch = tiny_decoder(layers=3), pack_documents(counting_documents(4))
    trained = model(batch).detach()
    with torch.inference_mode():
        assert torch.equal(model(batch), trained)
        with sampling_mode():
            torch.testing.assert_close(model(batch), trained, atol=1e-5, rtol=1e-5)
