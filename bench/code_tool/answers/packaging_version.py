"""Tests of packaging/version.py as a good model writes them."""

import copy
import itertools
import pickle
import random

import pytest
from packaging.version import InvalidVersion, Version, _BaseVersion, normalize_pre, parse

ORDERED = [
    "1.0.dev1",
    "1.0a1.dev1",
    "1.0a1",
    "1.0a1.post1",
    "1.0a2",
    "1.0b1",
    "1.0rc1",
    "1.0rc2",
    "1.0",
    "1.0+abc.5",
    "1.0+abc.7",
    "1.0+abd",
    "1.0+5",
    "1.0+5.1",
    "1.0.post1.dev1",
    "1.0.post1",
    "1.0.post2",
    "1.0.1",
    "1.1",
    "1.10",
    "2.0",
    "1!0.1",
]


class Other(_BaseVersion):
    """A kind of version of its own."""

    def __init__(self, key):
        self._other = key

    @property
    def _key(self):
        return self._other


def test_parse_simple():
    version = parse("1.2.3")
    assert isinstance(version, Version)
    assert version.release == (1, 2, 3)
    assert (version.major, version.minor, version.micro) == (1, 2, 3)
    assert version.epoch == 0
    assert version.pre is None
    assert version.post is None
    assert version.dev is None
    assert version.local is None
    assert str(version) == "1.2.3"


def test_parts_of_a_full_version():
    version = Version("2!1.2.3rc4.post5.dev6+ubuntu.7")
    assert version.epoch == 2
    assert version.release == (1, 2, 3)
    assert version.pre == ("rc", 4)
    assert version.post == 5
    assert version.dev == 6
    assert version.local == "ubuntu.7"
    assert version.public == "2!1.2.3rc4.post5.dev6"
    assert version.base_version == "2!1.2.3"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("v1.0", "1.0"),
        (" 1.0\n", "1.0"),
        ("1.0.Alpha.1", "1.0a1"),
        ("1.0-beta2", "1.0b2"),
        ("1.0c3", "1.0rc3"),
        ("1.0_preview_4", "1.0rc4"),
        ("1.0pre", "1.0rc0"),
        ("1.0-1", "1.0.post1"),
        ("1.0-r4", "1.0.post4"),
        ("1.0.rev", "1.0.post0"),
        ("1.0-POST2", "1.0.post2"),
        ("1.0dev", "1.0.dev0"),
        ("1.0_dev_3", "1.0.dev3"),
        ("1.0+UBUNTU-1_2", "1.0+ubuntu.1.2"),
        ("01.002", "1.2"),
        ("0!1.0", "1.0"),
        ("3!1.0", "3!1.0"),
    ],
)
def test_spellings_are_normalised(given, normal):
    assert str(Version(given)) == normal


@pytest.mark.parametrize(
    "text", ["", "abc", "1.0+", "1.0+a+b", "1..2", ".1", "1.", "1.0-", "1.0a-1-", "1.0 1", "1.0+_foo"]
)
def test_invalid_versions(text):
    with pytest.raises(InvalidVersion, match="Invalid version"):
        Version(text)


@pytest.mark.parametrize("value", [None, 1, 1.0, ["1"], ("1", "."), {"1": 2}])
def test_no_text_is_no_version(value):
    with pytest.raises(InvalidVersion):
        Version(value)


def test_order():
    versions = [Version(text) for text in ORDERED]
    for (i, left), (j, right) in itertools.product(enumerate(versions), repeat=2):
        assert (left < right) == (i < j), (left, right)
        assert (left <= right) == (i <= j), (left, right)
        assert (left > right) == (i > j), (left, right)
        assert (left >= right) == (i >= j), (left, right)
        assert (left == right) == (i == j), (left, right)
        assert (left != right) == (i != j), (left, right)


@pytest.mark.parametrize(
    ("check", "other"),
    [
        (lambda a, b: a < b, "2.0"),
        (lambda a, b: a <= b, "1.0"),
        (lambda a, b: a == b, "1.0"),
        (lambda a, b: a >= b, "1.0"),
        (lambda a, b: a > b, "0.9"),
        (lambda a, b: a != b, "0.9"),
    ],
)
def test_comparison_of_fresh_versions(check, other):
    assert check(Version("1.0"), Version(other))
    assert check(Version("1.0.0"), Version(other))


def test_zeros_at_the_end_do_not_matter():
    assert Version("1.0.0") == Version("1") == Version("1.0")
    assert hash(Version("1.0.0")) == hash(Version("1"))
    assert Version("0.0") == Version("0")
    assert Version("1.0.1") != Version("1.1")
    assert len({Version("1"), Version("1.0"), Version("1.0.0")}) == 1


def test_hash_is_that_of_the_equal():
    version = Version("1.0rc1+local")
    first = hash(version)
    assert hash(version) == first
    assert hash(Version("1.0c1+LOCAL")) == first
    assert hash(Version("1.0rc2+local")) != first
    assert version < Version("1.1")
    assert hash(version) == first


def test_flags():
    assert Version("1.0a1").is_prerelease
    assert Version("1.0.dev0").is_prerelease
    assert not Version("1.0.post1").is_prerelease
    assert Version("1.0.post0").is_postrelease
    assert not Version("1.0").is_postrelease
    assert Version("1.0.dev0").is_devrelease
    assert not Version("1.0a1").is_devrelease


def test_short_releases_have_zeros():
    version = Version("7")
    assert (version.major, version.minor, version.micro) == (7, 0, 0)
    assert Version("7.8").minor == 8
    assert Version("7.8").micro == 0
    assert Version("7.8.9.10").micro == 9


def test_repr_and_match():
    assert repr(Version("1.0a1")) == "<Version('1.0a1')>"
    match Version("1.0a1"):
        case Version(text):
            assert text == "1.0a1"


def test_public_and_local():
    assert Version("1.0+abc").public == "1.0"
    assert Version("1.0+abc").base_version == "1.0"
    assert Version("1.0+1.a").local == "1.a"
    assert Version("1.0").local is None
    assert Version("1.0.post0").public == "1.0.post0"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("alpha", "a"),
        ("BETA", "b"),
        ("c", "rc"),
        ("pre", "rc"),
        ("preview", "rc"),
        ("rev", "post"),
        ("r", "post"),
        ("X", "x"),
    ],
)
def test_normalize_pre(given, wanted):
    assert normalize_pre(given) == wanted


def test_from_parts():
    version = Version.from_parts(epoch=1, release=(1, 2), pre=("alpha", 3), post=4, dev=5, local="A-6")
    assert str(version) == "1!1.2a3.post4.dev5+a.6"
    assert version == Version("1!1.2a3.post4.dev5+a.6")
    assert str(Version.from_parts(release=(1, 0))) == "1.0"
    assert Version.from_parts(release=(0,), pre=("c", 0), post=0, dev=0) == Version("0rc0.post0.dev0")
    assert hash(Version.from_parts(release=(1,))) == hash(Version("1"))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"epoch": -1}, "epoch must be non-negative integer, got -1"),
        ({"epoch": "1"}, "epoch must be"),
        ({"release": ()}, "release must be a non-empty tuple"),
        ({"release": [1, 2]}, "release must be"),
        ({"release": (1, -1)}, "release must be"),
        ({"release": (1, "2")}, "release must be"),
        ({"pre": ("x", 1)}, "pre must be"),
        ({"pre": ("a", -1)}, "pre must be"),
        ({"pre": ("a", "1")}, "pre must be"),
        ({"pre": ("a",)}, "pre must be"),
        ({"pre": (1, 1)}, "pre must be"),
        ({"pre": "a1"}, "pre must be"),
        ({"post": -1}, "post must be non-negative integer, got -1"),
        ({"post": "1"}, "post must be"),
        ({"dev": -1}, "dev must be non-negative integer, got -1"),
        ({"dev": 1.5}, "dev must be"),
        ({"local": "a+b"}, "local must be a valid version string, got 'a\\+b'"),
        ({"local": 1}, "local must be"),
    ],
)
def test_parts_that_cannot_be(parts, says):
    with pytest.raises(InvalidVersion, match=says):
        Version.from_parts(**{"release": (1,), **parts})
    with pytest.raises(InvalidVersion, match=says):
        Version("1.0").__replace__(**parts)


def test_replace():
    version = Version("1!1.2a3.post4.dev5+six")
    assert str(version.__replace__(epoch=0)) == "1.2a3.post4.dev5+six"
    assert str(version.__replace__(epoch=None)) == "1.2a3.post4.dev5+six"
    assert str(version.__replace__(release=(2,))) == "1!2a3.post4.dev5+six"
    assert str(version.__replace__(release=None)) == "1!0a3.post4.dev5+six"
    assert str(version.__replace__(pre=None)) == "1!1.2.post4.dev5+six"
    assert str(version.__replace__(pre=("rc", 0))) == "1!1.2rc0.post4.dev5+six"
    assert str(version.__replace__(post=None)) == "1!1.2a3.dev5+six"
    assert str(version.__replace__(post=0)) == "1!1.2a3.post0.dev5+six"
    assert str(version.__replace__(dev=None)) == "1!1.2a3.post4+six"
    assert str(version.__replace__(dev=0)) == "1!1.2a3.post4.dev0+six"
    assert str(version.__replace__(local=None)) == "1!1.2a3.post4.dev5"
    assert str(version.__replace__(local="Se.7")) == "1!1.2a3.post4.dev5+se.7"
    assert str(version) == "1!1.2a3.post4.dev5+six"


def test_replace_with_the_same_is_the_same():
    version = Version("1!1.2a3.post4.dev5+six")
    assert version.__replace__() is version
    same = version.__replace__(epoch=1, release=(1, 2), pre=("a", 3), post=4, dev=5, local="six")
    assert same is version
    newer = version.__replace__(dev=6)
    assert newer is not version
    assert newer > version
    assert hash(newer) == hash(Version("1!1.2a3.post4.dev6+six"))


def test_pickle_and_copy():
    version = Version("1!1.2a3.post4.dev5+six")
    hash(version)
    again = pickle.loads(pickle.dumps(version))
    assert again == version
    assert str(again) == str(version)
    assert copy.deepcopy(version) == version
    assert version.__getstate__() == (1, (1, 2), ("a", 3), ("post", 4), ("dev", 5), ("six",))


def test_old_states_are_read():
    version = Version.__new__(Version)
    version.__setstate__((None, {"_epoch": 1, "_release": (2,), "_pre": ("a", 3), "_local": ("x",)}))
    assert str(version) == "1!2a3+x"
    whole = {"_epoch": 0, "_release": (2,), "_post": ("post", 4), "_dev": ("dev", 5)}
    version.__setstate__((None, whole))
    assert str(version) == "2.post4.dev5"
    with pytest.warns(DeprecationWarning, match="private"):
        named = Version("1!2a3.post4.dev5+x")._version
    assert named == (1, (2,), ("dev", 5), ("a", 3), ("post", 4), ("x",))
    version.__setstate__({"_version": named})
    assert str(version) == "1!2a3.post4.dev5+x"
    assert version == Version("1!2a3.post4.dev5+x")
    for state in (None, {}, (1, 2), (1, 2, 3), {"_version": None}):
        with pytest.raises(TypeError, match="Cannot restore Version from"):
            version.__setstate__(state)


def test_named_parts_can_be_set():
    version = Version("1.0")
    hash(version)
    with pytest.warns(DeprecationWarning, match="private"):
        parts = Version("2!3rc4.post5.dev6+y")._version
    with pytest.warns(DeprecationWarning, match="private"):
        version._version = parts
    assert str(version) == "2!3rc4.post5.dev6+y"
    assert version == Version("2!3rc4.post5.dev6+y")
    assert hash(version) == hash(Version("2!3rc4.post5.dev6+y"))


def test_other_kinds_of_versions():
    version, key = Version("1.0"), Version("1.0")._key
    assert version == Other(key)
    assert version <= Other(key)
    assert version >= Other(key)
    assert (version != Other(key)) is False
    assert not version < Other(key)
    assert not version > Other(key)
    later = Other(Version("2.0")._key)
    assert version < later
    assert version != later
    assert later > version
    assert later >= version
    assert not later <= version
    assert (later == version) is False
    assert hash(Other(key)) == hash(key)
    assert Other(1) < Other(2)
    assert Other(1) <= Other(1)
    assert Other(1) == Other(1)
    assert Other(1) != Other(2)


@pytest.mark.parametrize("maker", [lambda: Version("1.0"), lambda: Other(1)])
def test_other_things_are_not_compared(maker):
    version = maker()
    assert version != "1.0"
    assert (version == 1) is False
    for compare in ("__lt__", "__le__", "__eq__", "__ge__", "__gt__", "__ne__"):
        assert getattr(version, compare)("1.0") is NotImplemented
    with pytest.raises(TypeError):
        assert version < "1.0"


def test_trim_release():
    version = Version("1!1.2.0.0a1.post2.dev3+x")
    trimmed = version._trim_release()
    assert str(trimmed) == "1!1.2a1.post2.dev3+x"
    assert trimmed == version
    assert hash(trimmed) == hash(version)
    short = Version("1.2")
    assert short._trim_release() is short
    assert str(Version("0.0.0")._trim_release()) == "0"


# beside: repeats others
def test_major_minor_micro():
    version = Version("1.2.3")
    assert version.major == 1
    assert version.minor == 2
    assert version.micro == 3


# beside: repeats others
def test_str_of_simple_version():
    assert str(Version("1.0")) == "1.0"


# beside: wrong
def test_local_is_part_of_public():
    assert Version("1.0+abc").public == "1.0+abc"


# beside: flaky
def test_a_random_version_is_newer():
    assert Version(f"1.{random.randrange(4)}") > Version("1.0")
