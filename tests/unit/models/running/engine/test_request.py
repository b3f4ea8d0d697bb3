from __future__ import annotations

from spiritsafe.core.records import Sampling
from spiritsafe.models.running.engine.request import SequenceRequest
from spiritsafe.models.running.engine.sampler import RowSampling


def test_a_request_and_a_sampling_say_alike_how_to_draw() -> None:
    how = {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "min_p": 0.1}
    request = SequenceRequest(prompt_ids=(1,), max_tokens=1, seed=0, **how)  # type: ignore[arg-type]  # of many types
    assert RowSampling.uniform(request) == RowSampling.uniform(Sampling.from_json(how))
