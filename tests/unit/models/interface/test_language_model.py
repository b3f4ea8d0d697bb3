from __future__ import annotations

import pytest

from spiritsafe.models.interface.language_model import LanguageModel


def test_a_model_must_implement_all_of_it() -> None:
    class Half(LanguageModel):
        def head(self):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    with pytest.raises(TypeError, match="forward"):
        Half()
    assert not LanguageModel.shares_prefixes
