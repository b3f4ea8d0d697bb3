from __future__ import annotations

from itertools import product
from typing import get_args

from lineages import given, made

from spiritsafe.core.records import ModelUse, Parent
from spiritsafe.release.duties.ancestry import Ancestor, Ancestry, compose

USES: tuple[ModelUse, ...] = get_args(ModelUse)


def by_name(ancestry: Ancestry) -> dict[str, Ancestor]:
    return {one.name: one for one in ancestry.ancestors()}


def test_uses_compose_in_any_grouping_and_weights_change_nothing() -> None:
    for first, second, third in product(USES, repeat=3):
        assert compose(compose(first, second), third) == compose(first, compose(second, third))
    for use in USES:
        assert compose("weights", use) == compose(use, "weights") == use


def test_each_way_to_an_ancestor_counts() -> None:
    root = given("root", "MIT")
    left, right = made("left", (root, "weights")), made("right", (root, "logits"))
    model = made("model", (left, ("weights", "outputs")), (right, "weights"))
    found = by_name(Ancestry([model, left, right, root]))
    assert {name: set(one.learners) for name, one in found.items()} == {
        "model": {"weights"},
        "left": {"weights", "outputs"},
        "right": {"weights"},
        "root": {"weights", "outputs", "logits"},
    }
    # who learnt: the model itself from left's outputs, and so from root's; right from root's logits
    assert found["root"].learners["outputs"] == (model.digest,)
    assert found["root"].learners["logits"] == (right.digest,)


def test_what_a_made_model_says_of_its_licence_is_what_it_began_with() -> None:
    root = given("root", "LicenseRef-llama3.1")
    child = made("child", (root, "weights"))
    found = by_name(Ancestry([made("model", (child, "weights")), child, root]))
    assert {name: one.statements for name, one in found.items()} == {
        "model": (),
        "child": (),
        "root": ("LicenseRef-llama3.1",),
    }
    other = child.model_copy(update={"license": "CC-BY-NC-4.0"})  # its maker put one of their own on it
    found = by_name(Ancestry([made("model", (other, "weights")), other, root]))
    assert found["child"].statements == ("CC-BY-NC-4.0",)
    assert found["root"].statements == ("LicenseRef-llama3.1",)


def test_a_model_of_which_only_its_child_tells_counts_too() -> None:
    model = made("model", (given("base", "MIT"), "weights"), (given("far", "LicenseRef-x"), ("logits", "outputs")))
    found = by_name(Ancestry([model]))
    assert found["far"].statements == ("LicenseRef-x",)
    assert found["far"].names == ("far",)
    assert set(found["far"].learners) == {"logits", "outputs"}


def test_contradictions_are_both_heard_and_circles_end() -> None:
    first = given("first", "MIT")
    second = made("second", (first.model_copy(update={"license": "Apache-2.0"}), "weights"))
    found = by_name(Ancestry([second, first]))
    assert set(found["first"].statements) == {"MIT", "Apache-2.0"}
    loop = Parent(name="second", digest=second.digest, license="MIT", used_as=("weights", "outputs"))
    forged = by_name(Ancestry([second, first.model_copy(update={"parents": (loop,)})]))
    assert {said for one in forged.values() for said in one.statements} == {"MIT", "Apache-2.0"}


def test_a_copy_under_another_name_is_still_what_it_was() -> None:
    source = given("Qwen/Qwen2.5-3B", "LicenseRef-other")
    copy = made("mine", (source, "weights")).model_copy(update={"digest": source.digest})
    assert by_name(Ancestry([copy]))["mine"].names == ("mine", "Qwen/Qwen2.5-3B")
    # training that changed nothing: the same bytes twice, and what the first was made from is not lost
    first = made("first", (source, "weights"), (given("far", "MIT"), "outputs"))
    second = made("second", (first, "weights")).model_copy(update={"digest": first.digest})
    assert {"far", source.name} <= by_name(Ancestry([second, first, source])).keys()


def test_an_origin_of_which_no_use_is_told_is_inside() -> None:
    """Whoever writes a lineage by hand and leaves the uses out escapes nothing."""
    root = given("root", "LicenseRef-llama3.1")
    parent = Parent(name="root", digest=root.digest, license=root.license, used_as=())
    model = made("model", (root, "weights")).model_copy(update={"parents": (parent,)})
    ancestry = Ancestry([model, root])
    assert set(by_name(ancestry)["root"].learners) == {"weights"}
    assert ancestry.inside(model.digest) == (model.digest, root.digest)
