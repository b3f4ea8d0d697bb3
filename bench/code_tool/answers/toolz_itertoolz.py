"""Tests of toolz/itertoolz.py as a good model writes them."""

import itertools
import operator
import random
from itertools import count as counting
from itertools import islice

import pytest
from toolz.itertoolz import (
    accumulate,
    concat,
    concatv,
    cons,
    count,
    diff,
    drop,
    first,
    frequencies,
    get,
    groupby,
    interleave,
    interpose,
    isdistinct,
    isiterable,
    iterate,
    join,
    last,
    mapcat,
    merge_sorted,
    nth,
    partition,
    partition_all,
    peek,
    peekn,
    pluck,
    random_sample,
    reduceby,
    remove,
    rest,
    second,
    sliding_window,
    tail,
    take,
    take_nth,
    topk,
    unique,
)


def is_even(number):
    return number % 2 == 0


class Unsized:
    """Has a length that is not true."""

    def __init__(self, items, length):
        self._items, self._length = items, length

    def __iter__(self):
        return iter(self._items)

    def __len__(self):
        return self._length


def test_remove():
    assert list(remove(is_even, range(5))) == [1, 3]


def test_groupby():
    assert groupby(len, ["a", "bb", "c", ""]) == {1: ["a", "c"], 2: ["bb"], 0: [""]}
    assert groupby(0, ["ab", "ac", "bb"]) == {"a": ["ab", "ac"], "b": ["bb"]}
    assert groupby([0, 1], [(1, 2, 3), (1, 2, 4), (1, 3, 3)]) == {(1, 2): [(1, 2, 3), (1, 2, 4)], (1, 3): [(1, 3, 3)]}
    assert groupby([0], [(1, 2)]) == {(1,): [(1, 2)]}
    assert groupby([], [(1, 2), (3,)]) == {(): [(1, 2), (3,)]}
    assert groupby(is_even, []) == {}


def test_merge_sorted():
    assert list(merge_sorted()) == []
    assert list(merge_sorted([3, 1])) == [3, 1]
    assert list(merge_sorted([1, 3, 5], [2, 4, 6])) == [1, 2, 3, 4, 5, 6]
    assert list(merge_sorted([1, 2], [], [0, 3])) == [0, 1, 2, 3]
    assert list(merge_sorted([], [1])) == [1]
    assert list(merge_sorted([5], [1, 2, 3])) == [1, 2, 3, 5]
    assert list(merge_sorted([5, 6, 7], [1, 2, 3])) == [1, 2, 3, 5, 6, 7]
    assert list(merge_sorted([1, 2, 3], [5, 6, 7])) == [1, 2, 3, 5, 6, 7]


def test_merge_sorted_like_sorted():
    rows = [[0, 3, 6, 9], [1, 1, 4, 7], [2, 5, 8], [], [3, 3]]
    for number in range(2, 6):
        for chosen in itertools.permutations(rows, number):
            assert list(merge_sorted(*chosen)) == sorted(itertools.chain(*chosen))


def test_merge_sorted_by_key():
    def by(word):
        return word.lower()

    rows = ["aCe", "Bdf", "", "xY", "Bb"]
    for number in range(2, 6):
        for chosen in itertools.permutations(rows, number):
            wanted = sorted("".join(chosen).lower())
            assert [letter.lower() for letter in merge_sorted(*chosen, key=by)] == wanted
    assert list(merge_sorted([3, 2, 1], [6, 5, 4], key=operator.neg)) == [6, 5, 4, 3, 2, 1]


def test_merge_sorted_keeps_the_order_of_equals():
    def by(pair):
        return pair[0]

    left, right = [(1, "l"), (2, "l")], [(1, "r"), (2, "r")]
    assert list(merge_sorted(left, right, key=by)) == [(1, "l"), (1, "r"), (2, "l"), (2, "r")]
    assert [type(item) for item in merge_sorted([1, 2], [1.0, 2.0])] == [int, float, int, float]


def test_interleave():
    assert "".join(interleave(("ABC", "123"))) == "A1B2C3"
    assert "".join(interleave(("ABC", "1"))) == "A1BC"
    assert "".join(interleave(("A", "123", "xy"))) == "A1x2y3"
    assert list(interleave([])) == []


def test_unique():
    assert list(unique([1, 2, 1, 3, 2])) == [1, 2, 3]
    assert list(unique(["cat", "mouse", "dog", "hen"], key=len)) == ["cat", "mouse"]
    assert list(unique([])) == []


def test_isiterable():
    assert isiterable("abc") is True
    assert isiterable(iter([])) is True
    assert isiterable(5) is False


def test_isdistinct():
    assert isdistinct([1, 2, 3]) is True
    assert isdistinct([1, 2, 1]) is False
    assert isdistinct(iter([1, 2, 3])) is True
    assert isdistinct(iter([1, 2, 1])) is False
    assert isdistinct("Hello") is False
    assert isdistinct([]) is True


def test_take_drop_tail():
    assert list(take(2, [1, 2, 3])) == [1, 2]
    assert list(drop(2, [1, 2, 3])) == [3]
    assert tail(2, [1, 2, 3]) == [2, 3]
    assert tail(2, iter([1, 2, 3])) == (2, 3)
    assert tail(2, {"a": 1, "b": 2, "c": 3}) == ("b", "c")
    assert list(take_nth(2, [10, 20, 30, 40, 50])) == [10, 30, 50]


def test_first_second_nth_last_rest():
    assert first("ABC") == "A"
    assert second("ABC") == "B"
    assert second(iter([1, 2, 3])) == 2
    assert nth(1, "ABC") == "B"
    assert nth(-1, [1, 2, 3]) == 3
    assert nth(-1, (1, 2, 3)) == 3
    assert nth(2, iter([1, 2, 3])) == 3
    assert last("ABC") == "C"
    assert last(iter([1, 2, 3])) == 3
    assert list(rest("ABC")) == ["B", "C"]
    with pytest.raises(StopIteration):
        first([])
    with pytest.raises(IndexError):
        nth(5, "ABC")


def test_get():
    assert get(1, "ABC") == "B"
    assert get([1, 2], "ABC") == ("B", "C")
    assert get([1], "ABC") == ("B",)
    assert get([], "ABC") == ()
    assert get("a", {"a": 1}) == 1
    assert get(["a", "b"], {"a": 1, "b": 2}) == (1, 2)


def test_get_default():
    assert get(9, "ABC", "z") == "z"
    assert get("x", {"a": 1}, 0) == 0
    assert get(["a", "x"], {"a": 1}, 0) == (1, 0)
    assert get([0, 9], "ABC", None) == ("A", None)
    assert get("a", "ABC", 7) == 7
    with pytest.raises(IndexError):
        get(9, "ABC")
    with pytest.raises(KeyError):
        get("x", {})
    with pytest.raises(TypeError):
        get("a", "ABC")
    with pytest.raises(IndexError):
        get([0, 9], "ABC")


def test_concat():
    assert list(concat([[], [1], [2, 3]])) == [1, 2, 3]
    assert list(concatv([], ["a"], ["b", "c"])) == ["a", "b", "c"]
    assert list(mapcat(lambda s: [c.upper() for c in s], [["a", "b"], ["c"]])) == ["A", "B", "C"]
    assert list(cons(1, [2, 3])) == [1, 2, 3]


def test_interpose():
    assert list(interpose("a", [1, 2, 3])) == [1, "a", 2, "a", 3]
    assert list(interpose("a", [1])) == [1]
    assert list(interpose("a", [])) == []


def test_frequencies():
    result = frequencies(["cat", "pig", "cat"])
    assert result == {"cat": 2, "pig": 1}
    assert type(result) is dict


def test_reduceby():
    assert reduceby(is_even, operator.add, range(5)) == {True: 6, False: 4}
    assert reduceby(is_even, operator.mul, [1, 2, 3, 4], 1) == {True: 8, False: 3}
    assert reduceby(is_even, operator.add, [1, 2, 3], 10) == {True: 12, False: 14}
    grouped = reduceby(is_even, lambda group, item: group | {item}, [1, 2, 3], set)
    assert grouped == {True: {2}, False: {1, 3}}
    assert reduceby(0, lambda so_far, row: so_far + row[1], [("a", 1), ("b", 2), ("a", 3)], 0) == {"a": 4, "b": 2}


def test_accumulate():
    assert list(accumulate(operator.add, [1, 2, 3, 4])) == [1, 3, 6, 10]
    assert list(accumulate(operator.mul, [1, 2, 3], 10)) == [10, 10, 20, 60]
    assert list(accumulate(operator.add, [])) == []
    assert list(accumulate(operator.add, [], 5)) == [5]
    assert list(accumulate(operator.sub, [10, 1, 2])) == [10, 9, 7]


def test_iterate():
    assert list(islice(iterate(lambda x: x * 2, 1), 5)) == [1, 2, 4, 8, 16]


def test_sliding_window():
    assert list(sliding_window(2, [1, 2, 3, 4])) == [(1, 2), (2, 3), (3, 4)]
    assert list(sliding_window(3, iter(range(5)))) == [(0, 1, 2), (1, 2, 3), (2, 3, 4)]
    assert list(sliding_window(1, "ab")) == [("a",), ("b",)]
    assert list(sliding_window(3, [1, 2])) == []


def test_partition():
    assert list(partition(2, [1, 2, 3, 4])) == [(1, 2), (3, 4)]
    assert list(partition(2, [1, 2, 3])) == [(1, 2)]
    assert list(partition(2, [1, 2, 3], pad=None)) == [(1, 2), (3, None)]
    assert list(partition(3, [], pad=0)) == []


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("length", range(12))
def test_partition_all(size, length):
    items = list(range(length))
    wanted = [tuple(items[at : at + size]) for at in range(0, length, size)]
    assert list(partition_all(size, items)) == wanted
    assert list(partition_all(size, iter(items))) == wanted


def test_partition_all_of_a_false_length():
    for length in (4, 6, 8):
        with pytest.raises(LookupError):
            list(partition_all(4, Unsized(range(5), length)))
    assert list(partition_all(4, Unsized(range(5), 9))) == [(0, 1, 2, 3), (4,)]
    with pytest.raises(LookupError):
        list(partition_all(5, Unsized([1, 2, 3], 4)))
    with pytest.raises(LookupError):
        list(partition_all(5, Unsized([1, 2, 3], 2)))


def test_count():
    assert count([1, 2, 3]) == 3
    assert count(iter("ab")) == 2
    assert count(x for x in ()) == 0


def test_pluck():
    rows = [{"id": 1, "name": "Cheese"}, {"id": 2, "name": "Pies"}]
    assert list(pluck("name", rows)) == ["Cheese", "Pies"]
    assert list(pluck(["id", "name"], rows)) == [(1, "Cheese"), (2, "Pies")]
    assert list(pluck(["id"], rows)) == [(1,), (2,)]
    assert list(pluck([], rows)) == [(), ()]
    assert list(pluck("age", rows, 0)) == [0, 0]
    assert list(pluck(["id", "age"], rows, None)) == [(1, None), (2, None)]
    with pytest.raises(KeyError):
        list(pluck("age", rows))


LEFT = [("a", 1), ("b", 2), ("b", 3), ("c", 4)]
RIGHT = [("x", "b"), ("y", "a"), ("z", "d"), ("w", "b")]


def test_inner_join():
    assert list(join(0, LEFT, 1, RIGHT)) == [
        (("b", 2), ("x", "b")),
        (("b", 3), ("x", "b")),
        (("a", 1), ("y", "a")),
        (("b", 2), ("w", "b")),
        (("b", 3), ("w", "b")),
    ]
    assert list(join(first, LEFT, second, RIGHT)) == list(join(0, LEFT, 1, RIGHT))


def test_outer_joins():
    inner = list(join(0, LEFT, 1, RIGHT))
    right = list(join(0, LEFT, 1, RIGHT, left_default=None))
    assert right == [*inner[:3], (None, ("z", "d")), *inner[3:]]
    left = list(join(0, LEFT, 1, RIGHT, right_default=None))
    assert left == [*inner, (("c", 4), None)]
    full = list(join(0, LEFT, 1, RIGHT, left_default=None, right_default=0))
    assert full == [*right, (("c", 4), 0)]


def test_diff():
    assert list(diff([1, 2, 3], [1, 2, 10, 100])) == [(3, 10)]
    assert list(diff([1, 2, 3], [1, 2, 10, 100], default=None)) == [(3, 10), (None, 100)]
    assert list(diff(["apples"], ["Apples"], key=str.lower)) == []
    assert list(diff(["apples", "b"], ["Apples", "c"], key=str.lower)) == [("b", "c")]
    assert list(diff([[1, 2], [1, 3]])) == [(2, 3)]
    assert list(diff([1, 2], [1, 2], [1, 3])) == [(2, 2, 3)]
    for wrong in ((), ([1],), ([[1]],), ((1, 2),)):
        with pytest.raises(TypeError, match="Too few"):
            list(diff(*wrong))


def test_topk():
    assert topk(2, [1, 100, 10, 1000]) == (1000, 100)
    assert topk(2, ["Alice", "Bob", "Charlie", "Dan"], key=len) == ("Charlie", "Alice")
    assert topk(1, [{"a": 1}, {"a": 5}], key="a") == ({"a": 5},)
    assert topk(0, [1, 2]) == ()


def test_peek():
    head, sequence = peek(iter([0, 1, 2]))
    assert head == 0
    assert list(sequence) == [0, 1, 2]
    with pytest.raises(StopIteration):
        peek([])
    heads, sequence = peekn(2, counting())
    assert heads == (0, 1)
    assert list(islice(sequence, 4)) == [0, 1, 2, 3]
    assert peekn(3, [1])[0] == (1,)


def test_random_sample_is_reproducible():
    taken = list(random_sample(0.5, range(100), random_state=2016))
    generator = random.Random(2016)
    assert taken == [number for number in range(100) if generator.random() < 0.5]
    assert list(random_sample(0.5, range(100), random_state=random.Random(2016))) == taken
    assert list(random_sample(0, range(9))) == []
    assert list(random_sample(1, range(9))) == list(range(9))


# beside: repeats others
def test_count_of_a_list():
    assert count([1, 2, 3]) == 3


# beside: repeats others
def test_take_two():
    assert list(take(2, [1, 2, 3])) == [1, 2]


# beside: wrong
def test_partition_pads_by_itself():
    assert list(partition(2, [1, 2, 3])) == [(1, 2), (3, None)]


# beside: flaky
def test_sample_has_some_items():
    assert len(list(random_sample(0.5, range(2)))) > 0
