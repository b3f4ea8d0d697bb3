"""Tests of sortedcontainers/sortedlist.py as a good model writes them."""

import copy
import operator
import pickle
import random

import pytest
from sortedcontainers.sortedlist import SortedKeyList, SortedList, identity, recursive_repr


def small(values=(), load=4, key=None):
    """A sorted list of many short rows, so that its index has work."""
    made = SortedList(key=key) if key else SortedList()
    made._reset(load)
    for value in values:
        made.add(value)
    made._check()
    return made


def modulo(value):
    return value % 10


MAKERS = {"plain": lambda values=(): small(values), "keyed": lambda values=(): small(values, key=operator.neg)}
ORDERS = {"plain": sorted, "keyed": lambda values: sorted(values, key=operator.neg)}


@pytest.fixture(params=["plain", "keyed"])
def kind(request):
    return MAKERS[request.param], ORDERS[request.param]


def scattered(number):
    return [(7 * i) % number for i in range(number)]


def test_new_list():
    plain = SortedList([3, 1, 2])
    assert list(plain) == [1, 2, 3]
    assert plain.key is None
    assert type(plain) is SortedList
    assert len(plain) == 3
    assert list(SortedList()) == []
    assert len(SortedList()) == 0
    assert SortedList.DEFAULT_LOAD_FACTOR == 1000


def test_new_list_with_key():
    keyed = SortedList([3, 1, 2], key=operator.neg)
    assert type(keyed) is SortedKeyList
    assert list(keyed) == [3, 2, 1]
    assert keyed.key is operator.neg
    assert SortedKeyList([2, 1]).key is identity
    assert list(SortedKeyList([2, 1])) == [1, 2]

    class Special(SortedList):
        pass

    assert type(Special([1])) is Special
    with pytest.raises(TypeError, match="inherit SortedKeyList"):
        Special([1], key=operator.neg)


def test_add(kind):
    make, order = kind
    made = make()
    values = scattered(101)
    for done, value in enumerate(values, 1):
        made.add(value)
        assert len(made) == done
        made._check()
    assert list(made) == order(values)
    assert list(reversed(made)) == order(values)[::-1]
    assert len(made._lists) > 8


def test_add_with_an_index(kind):
    make, order = kind
    made = make(scattered(60))
    for value in (5, 30, 59, 100, -1):
        assert made[17] == list(made)[17]
        made.add(value)
        made._check()
        assert [made[at] for at in range(len(made))] == list(made)
    assert list(made) == order([*scattered(60), 5, 30, 59, 100, -1])


def test_equal_values_keep_their_order():
    made = small(key=modulo)
    for value in (11, 1, 21, 12, 31, 2):
        made.add(value)
    assert list(made) == [11, 1, 21, 31, 12, 2]
    made.update([41, 51])
    assert list(made) == [11, 1, 21, 31, 41, 51, 12, 2]


def test_update(kind):
    make, order = kind
    made = make()
    made.update(scattered(40))
    made._check()
    assert list(made) == order(range(40))
    made.update(range(100, 130))
    made._check()
    assert list(made) == order([*range(40), *range(100, 130)])
    assert made[50] == order([*range(40), *range(100, 130)])[50]
    made.update([50, 60])
    made._check()
    assert list(made) == order([*range(40), 50, 60, *range(100, 130)])
    made.update([])
    assert len(made) == 72
    made += [1, 2]
    made._check()
    assert len(made) == 74


def test_clear(kind):
    make, _ = kind
    made = make(range(50))
    assert made[30] is not None
    made.clear()
    made._check()
    assert len(made) == 0
    assert list(made) == []
    made.add(1)
    made._check()
    assert list(made) == [1]


def test_contains(kind):
    make, _ = kind
    assert 1 not in make()
    made = make(range(0, 100, 2))
    for value in range(-3, 104):
        assert (value in made) == (value % 2 == 0 and 0 <= value < 100)


def test_contains_with_equal_keys():
    made = small([1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 5], key=modulo)
    assert 91 in made
    assert 1 in made
    assert 101 not in made
    assert 15 not in made
    assert 7 not in made
    assert 2 not in made
    assert made.count(91) == 1
    assert made.count(101) == 0
    assert made.count(15) == 0


def test_discard_and_remove(kind):
    make, order = kind
    made, left = make(range(60)), list(range(60))
    for value in scattered(60)[:55]:
        assert made[len(made) // 2] == order(left)[len(left) // 2]
        (made.remove if value % 2 else made.discard)(value)
        left.remove(value)
        made._check()
        assert list(made) == order(left)
    for value in (1000, -1000, 7, 2.5):
        made.discard(value)
        with pytest.raises(ValueError, match="not in list"):
            made.remove(value)
    assert list(made) == order(left)
    for value in left:
        made.remove(value)
        made._check()
    assert list(made) == []
    made.discard(1)
    with pytest.raises(ValueError, match="1 not in list"):
        made.remove(1)


def test_remove_with_equal_keys():
    made = small([1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 2], key=modulo)
    made.remove(71)
    made.discard(91)
    made.discard(101)
    made.discard(12)
    made._check()
    assert list(made) == [1, 11, 21, 31, 41, 51, 61, 81, 2]
    for value in (101, 12):
        with pytest.raises(ValueError, match=f"{value} not in list"):
            made.remove(value)


def test_items(kind):
    make, order = kind
    for length in (1, 2, 7, 8, 9, 20, 33, 64, 100):
        made, wanted = make(range(length)), order(range(length))
        for at in range(-length, length):
            assert made[at] == wanted[at]
        for at in (length, length + 5, -length - 1, -length - 9):
            with pytest.raises(IndexError):
                made[at]
    for at in (0, -1, 3):
        with pytest.raises(IndexError):
            make()[at]


def test_slices(kind):
    make, order = kind
    made, wanted = make(range(50)), order(range(50))
    places = [None, -60, -50, -49, -20, -1, 0, 1, 3, 4, 7, 25, 48, 49, 50, 70]
    for start in places:
        for stop in places:
            for step in (None, 1, -1, 2, -3):
                assert made[start:stop:step] == wanted[start:stop:step], (start, stop, step)


def test_delete_items(kind):
    make, order = kind
    made, wanted = make(range(60)), order(range(60))
    for at in (0, -1, 20, -20, 5, 31, 50, -50):
        assert made[25] == wanted[25]
        del made[at]
        del wanted[at]
        made._check()
        assert list(made) == wanted
    with pytest.raises(IndexError):
        del made[100]


def test_delete_slices(kind):
    make, order = kind
    places = [None, -60, -20, -3, 0, 2, 5, 25, 47, 50]
    for start in places:
        for stop in places:
            for step in (None, 2, -1, -4):
                made, wanted = make(range(50)), order(range(50))
                del made[start:stop:step]
                del wanted[start:stop:step]
                made._check()
                assert list(made) == wanted, (start, stop, step)


def test_what_is_refused():
    made = SortedList([1, 2])
    with pytest.raises(NotImplementedError, match=r"sl\.add"):
        made[0] = 5
    with pytest.raises(NotImplementedError, match="reversed"):
        made.reverse()
    with pytest.raises(NotImplementedError, match=r"sl\.add"):
        made.append(1)
    with pytest.raises(NotImplementedError, match=r"sl\.update"):
        made.extend([1])
    with pytest.raises(NotImplementedError, match=r"sl\.add"):
        made.insert(0, 1)


def test_islice(kind):
    make, order = kind
    assert list(make().islice()) == []
    made, wanted = make(range(40)), order(range(40))
    for start in (None, -50, -10, 0, 1, 4, 8, 17, 39, 40, 45):
        for stop in (None, -50, -10, 0, 2, 4, 9, 18, 39, 40, 45):
            assert list(made.islice(start, stop)) == wanted[start:stop]
            assert list(made.islice(start, stop, reverse=True)) == wanted[start:stop][::-1]


def test_irange():
    assert list(small().irange(1, 5)) == []
    made = small([*range(0, 40, 2), 10, 10])
    values = list(made)
    for low in (None, -1, 0, 3, 4, 10, 37, 38, 39):
        for high in (None, -1, 0, 3, 4, 10, 37, 38, 39):
            for inclusive in ((True, True), (True, False), (False, True), (False, False)):
                wanted = [
                    value
                    for value in values
                    if (low is None or value > low or (inclusive[0] and value == low))
                    and (high is None or value < high or (inclusive[1] and value == high))
                ]
                assert list(made.irange(low, high, inclusive)) == wanted, (low, high, inclusive)
                assert list(made.irange(low, high, inclusive, reverse=True)) == wanted[::-1]


def test_irange_by_key():
    assert list(small(key=operator.neg).irange_key(1, 5)) == []
    assert list(small(key=operator.neg).irange(1, 5)) == []
    made = small([*range(0, 40, 2), 10, 10], key=operator.neg)
    keys = [-value for value in made]
    for low in (None, -39, -38, -20, -10, -3, 0, 1):
        for high in (None, -39, -38, -20, -10, -3, 0, 1):
            for inclusive in ((True, True), (True, False), (False, True), (False, False)):
                wanted = [
                    -key
                    for key in keys
                    if (low is None or key > low or (inclusive[0] and key == low))
                    and (high is None or key < high or (inclusive[1] and key == high))
                ]
                assert list(made.irange_key(low, high, inclusive)) == wanted
                assert list(made.irange_key(low, high, inclusive, True)) == wanted[::-1]
                first, last = (None if key is None else -key for key in (low, high))
                assert list(made.irange(first, last, inclusive)) == wanted
                assert list(made.irange(first, last, inclusive, reverse=True)) == wanted[::-1]


def test_bisect():
    empty = small()
    assert (empty.bisect_left(1), empty.bisect_right(1), empty.bisect(1)) == (0, 0, 0)
    made = small([*range(0, 40, 2), 10, 10])
    values = list(made)
    for value in range(-1, 42):
        left = sum(other < value for other in values)
        right = sum(other <= value for other in values)
        assert made.bisect_left(value) == left
        assert made.bisect_right(value) == right
        assert made.bisect(value) == right


def test_bisect_by_key():
    empty = small(key=modulo)
    assert (empty.bisect_left(1), empty.bisect_right(1), empty.bisect(1)) == (0, 0, 0)
    assert (empty.bisect_key_left(1), empty.bisect_key_right(1), empty.bisect_key(1)) == (0, 0, 0)
    made = small(range(45), key=modulo)
    keys = [value % 10 for value in made]
    for key in range(10):
        left = sum(other < key for other in keys)
        right = sum(other <= key for other in keys)
        assert made.bisect_key_left(key) == made.bisect_left(key + 70) == left
        assert made.bisect_key_right(key) == made.bisect_key(key) == right
        assert made.bisect_right(key + 70) == made.bisect(key + 70) == right
    assert made.bisect_key_left(11) == made.bisect_key_right(11) == 45


def test_count():
    assert small().count(1) == 0
    assert small(key=operator.neg).count(1) == 0
    for key in (None, operator.neg):
        made = small([1, 2, 2, 3, *[5] * 20, 7, 8, 8], key=key)
        assert [made.count(value) for value in range(10)] == [0, 1, 2, 1, 0, 20, 0, 1, 2, 0]


def test_copies(kind):
    make, order = kind
    made = make(range(20))
    for other in (made.copy(), copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other == made
        assert other is not made
        assert type(other) is type(made)
        assert other.key == made.key
        other.add(100)
        assert len(made) == 20
        assert list(other) == order([*range(20), 100])


def test_pop(kind):
    make, order = kind
    made, wanted = make(range(60)), order(range(60))
    for at in (0, -1, 3, -3, 25, -25, 40, -40, 1, -2, 20):
        assert made.pop(at) == wanted.pop(at)
        made._check()
        assert list(made) == wanted
    assert made.pop() == wanted.pop()
    for at in (100, -100):
        with pytest.raises(IndexError):
            made.pop(at)
    while wanted:
        assert made.pop() == wanted.pop()
        made._check()
    for at in (0, -1):
        with pytest.raises(IndexError, match="pop index out of range"):
            made.pop(at)


def index_in(values, *args):
    try:
        return values.index(*args)
    except ValueError:
        return None


def test_index(kind):
    make, order = kind
    values = [0, 2, 2, 2, *[4] * 12, 6, 8, 10, 10]
    made, wanted = make(values), order(values)
    places = [-30, -20, -10, -1, 0, 1, 3, 5, 9, 19, 20, 30]
    for value in range(-1, 12):
        assert index_in(made, value) == index_in(wanted, value)
        for start in places:
            assert index_in(made, value, start) == index_in(wanted, value, start)
            for stop in places:
                assert index_in(made, value, start, stop) == index_in(wanted, value, start, stop)
    with pytest.raises(ValueError, match="1 is not in list"):
        make().index(1)


def test_index_with_equal_keys():
    values = [1, 11, 21, 31, 41, 51, 61, 71, 11, 81]
    made = small(values, key=modulo)
    for value in values:
        assert made.index(value) == values.index(value)
        for start in range(10):
            for stop in range(11):
                assert index_in(made, value, start, stop) == index_in(values, value, start, stop)
    assert index_in(made, 101) is None
    assert index_in(small([*values, 5], key=modulo), 101) is None


def test_sums_and_products(kind):
    make, order = kind
    made = make([3, 1, 2])
    for result, wanted in (
        (operator.add(made, [5, 0]), [3, 1, 2, 5, 0]),
        (operator.add([5, 0], made), [3, 1, 2, 5, 0]),
        (made * 3, [3, 1, 2] * 3),
    ):
        assert list(result) == order(wanted)
        assert type(result) is type(made)
        assert result.key == made.key
    assert list(made) == order([1, 2, 3])
    made *= 2
    made._check()
    assert list(made) == order([1, 2, 3] * 2)


def test_product_from_the_left():
    assert list(3 * SortedList([2, 1])) == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
def test_comparisons(compare):
    rows = [[], [1], [1, 2], [1, 3], [2], [1, 2, 3], [0, 5, 6]]
    for left in rows:
        for right in rows:
            assert compare(SortedList(left), right) is compare(left, right)
            assert compare(SortedList(left), SortedList(right)) is compare(left, right)
    assert (SortedList([1]) == {1}) is False
    assert (SortedList([1]) != {1}) is True
    assert SortedList.__lt__(SortedList([1]), {1}) is NotImplemented


def test_repr():
    assert repr(SortedList([2, 1])) == "SortedList([1, 2])"
    assert repr(SortedKeyList([2, 1], key=abs)) == "SortedKeyList([1, 2], key=<built-in function abs>)"
    itself = SortedList()
    itself.add(itself)
    assert repr(itself) == "SortedList([...])"
    itself = SortedKeyList(key=id)
    itself.add(itself)
    assert repr(itself) == "SortedKeyList([...], key=<built-in function id>)"


def test_recursive_repr_may_be_called_again():
    class Box:
        inner = None

        @recursive_repr("<more>")
        def __repr__(self):
            return f"Box({self.inner!r})"

    box = Box()
    box.inner = box
    assert repr(box) == "Box(<more>)"
    assert repr(box) == "Box(<more>)"
    assert recursive_repr()(lambda self: "x")(box) == "x"


def test_load(kind):
    make, order = kind
    made = make(range(100))
    made._reset(10)
    made._check()
    assert list(made) == order(range(100))
    assert [len(row) for row in made._lists] == [10] * 10
    made._reset(1000)
    assert len(made._lists) == 1
    made._check()


def test_split_of_a_full_row(kind):
    make, _ = kind
    made = make()
    for value in range(8):
        made.add(value)
        assert len(made._lists) == 1
    made.add(8)
    assert sorted(len(row) for row in made._lists) == [4, 5]
    made._check()


def test_broken_lists_are_noticed(kind, capsys):
    make, _ = kind

    def broken(name, value):
        made = make(range(30))
        assert made[15] is not None
        made._check()
        setattr(made, name, value(made))
        with pytest.raises(AssertionError):
            made._check()
        assert "len 3" in capsys.readouterr().out

    broken("_load", lambda made: 3)
    broken("_load", lambda made: 40)
    broken("_load", lambda made: 2)
    broken("_maxes", lambda made: made._maxes[:-1])
    broken("_maxes", lambda made: [value + 1 for value in made._maxes])
    broken("_index", lambda made: [31, *made._index[1:]])
    broken("_index", lambda made: made._index[:-1])
    broken("_index", lambda made: [*made._index[:-1], 99])
    broken("_len", lambda made: 31)


def test_swapped_values_are_noticed(kind, capsys):
    make, _ = kind
    made = make(range(30))
    row = made._lists[1]
    row[0], row[1] = row[1], row[0]
    with pytest.raises(AssertionError):
        made._check()
    assert "lists" in capsys.readouterr().out


# beside: repeats others
def test_length_of_three():
    assert len(SortedList([3, 1, 2])) == 3


# beside: repeats others
def test_sorted_numbers():
    assert list(SortedList([3, 1, 2])) == [1, 2, 3]


# beside: wrong
def test_pop_takes_the_first():
    assert SortedList([3, 1, 2]).pop() == 1


# beside: flaky
def test_a_random_number_is_there():
    assert random.randrange(4) in SortedList([1, 2, 3])
