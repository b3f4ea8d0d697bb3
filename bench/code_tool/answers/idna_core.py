"""Tests of idna/core.py as a good model writes them."""

import random
import unicodedata

import pytest
from idna.core import (
    IDNABidiError,
    IDNAError,
    InvalidCodepoint,
    InvalidCodepointContext,
    alabel,
    check_bidi,
    check_hyphen_ok,
    check_initial_combiner,
    check_label,
    check_nfc,
    decode,
    encode,
    ulabel,
    uts46_remap,
    valid_contextj,
    valid_contexto,
    valid_label_length,
    valid_string_length,
)

ZWNJ, ZWJ, VIRAMA = "\u200c", "\u200d", "\u094d"


def code_of(call, *args, **options):
    with pytest.raises(IDNAError) as caught:
        call(*args, **options)
    return caught.value.code


def test_encode():
    assert encode("example.com") == b"example.com"
    assert encode("bücher.example") == b"xn--bcher-kva.example"
    assert encode("königsgäßchen") == b"xn--knigsgchen-b4a3dun"
    assert encode("παράδειγμα.δοκιμή") == b"xn--hxajbheg2az3al.xn--jxalpdlp"
    assert encode("example.com.") == b"example.com."
    assert encode(b"example.com") == b"example.com"


def test_decode():
    assert decode("xn--bcher-kva.example") == "bücher.example"
    assert decode(b"xn--hxajbheg2az3al.xn--jxalpdlp") == "παράδειγμα.δοκιμή"
    assert decode("example.com.") == "example.com."
    assert decode("bücher") == "bücher"
    assert decode("XN--BCHER-KVA") == "bücher"


def test_other_full_stops():
    assert encode("a\u3002b\uff0ec\uff61d") == b"a.b.c.d"
    assert decode("a\u3002b\uff0ec\uff61d") == "a.b.c.d"
    assert code_of(encode, "a\u3002b", strict=True) == "disallowed_codepoint"
    assert code_of(decode, "a\u3002b", strict=True) == "disallowed_codepoint"
    assert encode("a.b", strict=True) == b"a.b"
    assert decode("a.b", strict=True) == "a.b"


@pytest.mark.parametrize("call", [encode, decode])
def test_empty(call):
    assert code_of(call, "") == "empty_domain"
    assert code_of(call, "a..b") in ("empty_label",)
    assert code_of(call, ".a") == "empty_label"
    with pytest.raises(IDNAError, match="Empty"):
        call(".")


def test_labels_may_have_63_octets():
    assert encode("a" * 63) == b"a" * 63
    assert code_of(encode, "a" * 64) == "label_too_long"
    assert code_of(encode, "ü" + "a" * 60) == "label_too_long"
    assert valid_label_length("a" * 63)
    assert not valid_label_length("a" * 64)


def test_domains_may_have_253_octets():
    label = "a" * 62
    fits = ".".join([label] * 4)[:251] + ".a"
    assert len(fits) == 253
    assert encode(fits) == fits.encode()
    assert encode(fits + ".") == fits.encode() + b"."
    assert decode(fits) == fits
    assert code_of(encode, fits + "b.c") == "domain_too_long"
    assert code_of(decode, fits + "b.c") == "domain_too_long"
    assert code_of(encode, fits + "b") == "domain_too_long"
    assert valid_string_length("a" * 253, False)
    assert not valid_string_length("a" * 254, False)
    assert valid_string_length("a" * 254, True)
    assert not valid_string_length("a" * 255, True)


@pytest.mark.parametrize("call", [encode, decode, alabel, ulabel, check_label, check_nfc, check_bidi, uts46_remap])
def test_very_long_input(call):
    assert code_of(call, "a" * 1025) == "input_too_long"


def test_longest_input_is_looked_at():
    assert check_nfc("a" * 1024) is None
    assert check_bidi("a" * 1024) is True
    assert uts46_remap("a" * 1024) == "a" * 1024
    assert code_of(check_label, "a" * 1024) == "label_too_long"
    assert code_of(alabel, "a" * 1024) == "label_too_long"
    assert code_of(ulabel, "a" * 1024) == "label_too_long"
    assert code_of(encode, "a" * 1024) == "domain_too_long"
    assert code_of(decode, "a" * 1024) == "domain_too_long"
    assert code_of(valid_contextj, "a" * 1025, 0) == "input_too_long"
    assert code_of(valid_contexto, "a" * 1025, 0) == "input_too_long"
    assert valid_contextj("a" * 1024, 0) is False
    assert valid_contexto("a" * 1024, 0) is False


def test_bytes_that_are_no_ascii():
    with pytest.raises(IDNAError, match="unicode string") as caught:
        encode("ü".encode())
    assert caught.value.code == "invalid_ascii"
    assert code_of(decode, "ü".encode()) == "invalid_ascii"
    assert code_of(ulabel, "ü".encode()) == "invalid_ascii"
    assert code_of(check_label, b"\xff") == "invalid_utf8"
    assert check_label("ü".encode()) is None
    assert check_label(bytearray(b"abc")) is None


def test_alabel():
    assert alabel("bücher") == b"xn--bcher-kva"
    assert alabel("abc") == b"abc"
    assert alabel("xn--bcher-kva") == b"xn--bcher-kva"
    assert code_of(alabel, "") == "empty_label"


def test_ulabel():
    assert ulabel("xn--bcher-kva") == "bücher"
    assert ulabel(b"xn--bcher-kva") == "bücher"
    assert ulabel(bytearray(b"xn--BCHER-kva")) == "bücher"
    assert ulabel("bücher") == "bücher"
    assert ulabel(b"abc") == "abc"
    assert ulabel("ABC".lower()) == "abc"
    assert code_of(ulabel, "xn--") == "invalid_alabel"
    assert code_of(ulabel, "xn--a-") == "invalid_alabel"
    assert code_of(ulabel, "xn--\u0660".encode("ascii", "ignore") + b"999999999") == "invalid_alabel"
    assert code_of(ulabel, "xn---bbk") == "non_canonical_alabel"
    assert code_of(ulabel, "Ü") == "disallowed_codepoint"


def test_hyphens():
    assert check_hyphen_ok("a-b") is True
    assert check_hyphen_ok("a--b") is True
    assert code_of(check_hyphen_ok, "ab--c") == "hyphen_3_4"
    assert code_of(check_hyphen_ok, "-ab") == "hyphen_start_end"
    assert code_of(check_hyphen_ok, "ab-") == "hyphen_start_end"
    assert check_hyphen_ok("abc--d") is True


def test_initial_combiner():
    assert check_initial_combiner("a\u0301") is True
    assert check_initial_combiner("") is True
    with pytest.raises(IDNAError, match="combining") as caught:
        check_initial_combiner("\u0301a")
    assert (caught.value.code, caught.value.codepoint, caught.value.position) == ("leading_combiner", 0x301, 1)
    assert caught.value.text == "\u0301a"


def test_normal_form():
    assert check_nfc("\u00e9") is None
    assert code_of(check_nfc, "e\u0301") == "not_nfc"
    assert code_of(check_label, "e\u0301") == "not_nfc"


def test_disallowed_codepoint():
    with pytest.raises(InvalidCodepoint, match=r"U\+0041 at position 3 of 'abA' not allowed") as caught:
        check_label("abA")
    error = caught.value
    assert (error.code, error.text, error.codepoint, error.position) == ("disallowed_codepoint", "abA", 0x41, 3)
    assert isinstance(error, UnicodeError)


@pytest.mark.parametrize(
    ("label", "code", "position"),
    [
        ("0\u05d0", "bidi_rule_1", 1),
        ("\u05d0a", "bidi_rule_2", 2),
        ("\u05d0-", "bidi_rule_3", 2),
        ("\u05d00\u0660", "bidi_rule_4", 3),
        ("\u06600", "bidi_rule_1", 1),
        ("a\u05d0", "bidi_rule_5", 2),
        ("\u05d0\u0378", "bidi_unknown_direction", 2),
    ],
)
def test_direction(label, code, position):
    with pytest.raises(IDNABidiError) as caught:
        check_bidi(label)
    assert (caught.value.code, caught.value.position) == (code, position)
    assert caught.value.codepoint == ord(label[position - 1])
    assert caught.value.text == label


def test_direction_of_good_labels():
    for label in ("abc", "\u05d0\u05d1", "\u05d0\u0300", "\u05d01", "\u05d0-1", "\u0627\u0660", "-", "1"):
        assert check_bidi(label) is True
    assert check_bidi("a1", check_ltr=True) is True
    assert check_bidi("a\u0300", check_ltr=True) is True
    assert check_bidi("\u05d0-\u05d1") is True
    assert check_bidi("\u05d011") is True


def test_direction_of_left_to_right_labels():
    assert code_of(check_bidi, "a-", check_ltr=True) == "bidi_rule_6"
    assert code_of(check_bidi, "1a", check_ltr=True) == "bidi_rule_1"
    with pytest.raises(IDNABidiError) as caught:
        check_bidi("ab-\u0300", check_ltr=True)
    assert (caught.value.code, caught.value.position) == ("bidi_rule_6", 3)
    with pytest.raises(IDNABidiError) as caught:
        check_bidi("\u05d0\u05d1-\u0300")
    assert (caught.value.code, caught.value.position) == ("bidi_rule_3", 3)


def test_zero_width_joiner():
    assert valid_contextj("क" + VIRAMA + ZWJ, 2)
    assert not valid_contextj(ZWJ + "क", 0)
    assert not valid_contextj("क" + ZWJ, 1)
    assert not valid_contextj("a", 0)
    assert valid_contextj(VIRAMA + ZWJ, 1)


def test_zero_width_non_joiner():
    assert valid_contextj("क" + VIRAMA + ZWNJ, 2)
    assert valid_contextj(VIRAMA + ZWNJ, 1)
    beh, alef, mark = "\u0628", "\u0627", "\u064e"
    assert valid_contextj(beh + ZWNJ + beh, 1)
    assert valid_contextj(beh + ZWNJ + alef, 1)
    assert valid_contextj(beh + mark + ZWNJ + mark + beh, 2)
    assert not valid_contextj(alef + ZWNJ + beh, 1)
    assert not valid_contextj(beh + ZWNJ + "a", 1)
    assert not valid_contextj("a" + ZWNJ + beh, 1)
    assert not valid_contextj(beh + ZWNJ, 1)
    assert not valid_contextj(ZWNJ + beh, 0)
    assert not valid_contextj(beh + "a" + ZWNJ + beh, 2)
    assert not valid_contextj(beh + ZWNJ + "a" + beh, 1)


def test_middle_dot():
    assert valid_contexto("l·l", 1)
    assert not valid_contexto("l·a", 1)
    assert not valid_contexto("a·l", 1)
    assert not valid_contexto("·l", 0)
    assert not valid_contexto("l·", 1)
    assert valid_contexto("al·la", 2)


def test_greek_and_hebrew_signs():
    assert valid_contexto("\u0375α", 0)
    assert not valid_contexto("\u0375a", 0)
    assert not valid_contexto("\u0375", 0)
    assert not valid_contexto("α\u0375", 1)
    for sign in "\u05f3\u05f4":
        assert valid_contexto("\u05d0" + sign, 1)
        assert not valid_contexto("a" + sign, 1)
        assert not valid_contexto(sign + "\u05d0", 0)


def test_katakana_middle_dot():
    for letter in "ひカ漢":
        assert valid_contexto(letter + "\u30fb", 1)
        assert valid_contexto("a\u30fb" + letter, 1)
    assert not valid_contexto("a\u30fba", 1)
    assert not valid_contexto("\u30fb", 0)


def test_arabic_digits_are_not_mixed():
    for first, other in (("\u0660", "\u06f0"), ("\u0669", "\u06f9"), ("\u0660", "\u06f9"), ("\u0669", "\u06f0")):
        assert valid_contexto("\u0628" + first, 1)
        assert valid_contexto("\u0628" + other, 1)
        assert not valid_contexto(first + other, 0)
        assert not valid_contexto(first + other, 1)
    assert not valid_contexto("a", 0)
    assert code_of(check_label, "\u0628\u0660\u06f0") == "contexto"


def test_context_errors_say_where():
    with pytest.raises(InvalidCodepointContext, match=r"Joiner U\+200D not allowed at position 2 in") as caught:
        check_label("a" + ZWJ)
    assert (caught.value.code, caught.value.codepoint, caught.value.position) == ("contextj", 0x200D, 2)
    with pytest.raises(InvalidCodepointContext, match=r"Codepoint U\+00B7 not allowed at position 2 in") as caught:
        check_label("a·a")
    assert (caught.value.code, caught.value.codepoint, caught.value.position) == ("contexto", 0xB7, 2)
    assert caught.value.text == "a·a"
    assert check_label("क" + VIRAMA + ZWJ + "क") is None
    assert check_label("l·l") is None


def test_remap():
    assert uts46_remap("BÜCHER") == "bücher"
    assert uts46_remap("EXAMPLE") == "example"
    assert uts46_remap("a\u00adb") == "ab"
    assert uts46_remap("Königsgäßchen") == "königsgäßchen"
    assert uts46_remap("ａｂｃ") == "abc"
    assert uts46_remap("e\u0301") == "\u00e9"
    assert uts46_remap("ü\u2460x") == "ü1x"
    assert uts46_remap("\u00adü") == "ü"
    assert uts46_remap("\ufb01n") == "fin"
    assert uts46_remap("xyÜzÄ") == "xyüzä"


def test_remap_of_what_is_not_allowed():
    with pytest.raises(InvalidCodepoint, match=r"U\+0080 not allowed at position 2") as caught:
        uts46_remap("a\u0080")
    assert (caught.value.code, caught.value.codepoint, caught.value.position) == ("uts46_disallowed", 0x80, 2)
    for text, position in (("a_b", 2), ("ü_b", 2), ("_ü", 1), ("üÜ_", 3), ("a_Ü", 2)):
        with pytest.raises(InvalidCodepoint) as caught:
            uts46_remap(text)
        assert (caught.value.code, caught.value.codepoint, caught.value.position) == ("uts46_std3", 0x5F, position)
        assert uts46_remap(text, std3_rules=False) == text.lower()
    with pytest.raises(InvalidCodepoint) as caught:
        uts46_remap("ab\uff01")
    assert (caught.value.code, caught.value.codepoint, caught.value.position) == ("uts46_std3", 0xFF01, 3)
    assert uts46_remap("ab\uff01", std3_rules=False) == "ab!"


def test_transitional_warns():
    with pytest.warns(DeprecationWarning, match="[Tt]ransitional"):
        assert uts46_remap("ß", transitional=True) == "ß"
    with pytest.warns(DeprecationWarning, match="[Tt]ransitional"):
        assert encode("faß", transitional=True) == b"xn--fa-hia"


def test_encode_and_decode_with_remap():
    assert encode("BÜCHER.example", uts46=True) == b"xn--bcher-kva.example"
    assert decode("BÜCHER.example", uts46=True) == "bücher.example"
    assert code_of(encode, "BÜCHER") == "disallowed_codepoint"
    assert code_of(encode, "a_b", uts46=True, std3_rules=True) == "uts46_std3"
    assert code_of(encode, "a_b", uts46=True) == "disallowed_codepoint"
    assert code_of(decode, "a_b", uts46=True, std3_rules=True) == "uts46_std3"
    assert code_of(decode, "a_b", uts46=True) == "disallowed_codepoint"


def test_decode_for_display():
    assert decode("xn--A-.xn--bcher-kva", display=True) == "xn--a-.bücher"
    assert code_of(decode, "xn--a-.b") == "invalid_alabel"
    assert code_of(decode, "A_.b", display=True) == "disallowed_codepoint"
    assert decode("XN---BBK.", display=True) == "xn---bbk."


def test_round_trip():
    for name in ("bücher", "faß", "παράδειγμα", "правда", "例え", "x1-y", "तस्वीर"):
        assert decode(encode(name)) == unicodedata.normalize("NFC", name)


# beside: repeats others
def test_ascii_label_is_itself():
    assert alabel("abc") == b"abc"


# beside: repeats others
def test_single_umlaut_domain():
    assert encode("bücher.example") == b"xn--bcher-kva.example"


# beside: wrong
def test_capital_letters_are_lowered():
    assert encode("BÜCHER") == b"xn--bcher-kva"


# beside: flaky
def test_a_random_label_is_valid():
    assert check_label(random.choice(["abc", "abcd", "abcde", "abc-"])) is None
