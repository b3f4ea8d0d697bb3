"""A text that follows given instructions: shows that a prompt can be met, and that the checks accept what meets them.

In: instructions with their arguments. Out: a text, or None where none was found, as with instructions that contradict
each other. It follows the form and says nothing: IFEval has no answers of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spiritsafe.tasks.families.ifeval.instructions import OPTIONS, RELATIONS, TextReading, followed
from spiritsafe.tasks.families.ifeval.words import num_capital_words, num_words

_SENTENCES: Mapping[str, tuple[str, ...]] = {
    "en": (
        "The old town lies by a wide river and many people walk there in the evening.",
        "We sat down.",
        "Our big dog ran along.",
        "I go by bus.",
        "Now you know.",
        "Good work.",
        "Go on.",
    ),
    "de": ("Die alte Stadt liegt an einem breiten Fluss und viele Leute gehen dort abends spazieren.",),
    "es": ("La ciudad antigua está junto a un río ancho y mucha gente pasea por allí por la tarde.",),
    "fr": ("La vieille ville se trouve au bord d'une large rivière et beaucoup de gens s'y promènent le soir.",),
    "it": ("La vecchia città si trova vicino a un grande fiume e molte persone passeggiano lì la sera.",),
    "pt": ("A cidade velha fica perto de um rio largo e muitas pessoas passeiam ali durante a tarde.",),
    "fi": ("Vanha kaupunki sijaitsee leveän joen varrella ja monet ihmiset kävelevät siellä iltaisin.",),
    "vi": ("Thành phố cổ nằm bên một con sông rộng và nhiều người đi dạo ở đó vào buổi tối.",),
    "sw": ("Mji wa zamani uko karibu na mto mkubwa na watu wengi hutembea huko wakati wa jioni.",),
    "ru": ("Старый город стоит на берегу широкой реки и многие люди гуляют там по вечерам.",),
    "bg": ("Старият град се намира до широка река и много хора се разхождат там вечерта.",),
    "ar": ("تقع المدينة القديمة بجانب نهر واسع ويمشي هناك كثير من الناس في المساء.",),
    "fa": ("شهر قدیمی در کنار یک رودخانه پهن قرار دارد و مردم زیادی عصرها در آنجا قدم می‌زنند.",),
    "ur": ("پرانا شہر ایک چوڑے دریا کے کنارے واقع ہے اور بہت سے لوگ شام کو وہاں چہل قدمی کرتے ہیں۔",),
    "hi": ("पुराना शहर एक चौड़ी नदी के किनारे है और बहुत से लोग शाम को वहाँ टहलते हैं।",),
    "mr": ("जुने शहर एका रुंद नदीच्या काठावर आहे आणि बरेच लोक संध्याकाळी तिथे फिरतात.",),
    "ne": ("पुरानो सहर ठूलो नदीको किनारमा छ र धेरै मानिसहरू साँझमा त्यहाँ हिँड्छन्।",),
    "bn": ("পুরানো শহরটি একটি চওড়া নদীর ধারে এবং অনেক মানুষ সন্ধ্যায় সেখানে হাঁটেন।",),
    "gu": ("જૂનું શહેર એક પહોળી નદીના કિનારે છે અને ઘણા લોકો સાંજે ત્યાં ચાલે છે.",),
    "pa": ("ਪੁਰਾਣਾ ਸ਼ਹਿਰ ਇੱਕ ਚੌੜੇ ਦਰਿਆ ਦੇ ਕੰਢੇ ਹੈ ਅਤੇ ਬਹੁਤ ਸਾਰੇ ਲੋਕ ਸ਼ਾਮ ਨੂੰ ਉੱਥੇ ਸੈਰ ਕਰਦੇ ਹਨ।",),
    "ta": ("பழைய நகரம் ஒரு அகலமான ஆற்றின் அருகில் உள்ளது மேலும் பலர் மாலையில் அங்கு நடக்கிறார்கள்.",),
    "te": ("పాత నగరం ఒక వెడల్పైన నది పక్కన ఉంది మరియు చాలా మంది సాయంత్రం అక్కడ నడుస్తారు.",),
    "kn": ("ಹಳೆಯ ನಗರವು ಅಗಲವಾದ ನದಿಯ ಬಳಿ ಇದೆ ಮತ್ತು ಅನೇಕ ಜನರು ಸಂಜೆ ಅಲ್ಲಿ ನಡೆಯುತ್ತಾರೆ.",),
    "th": ("เมืองเก่าตั้งอยู่ริมแม่น้ำกว้างและผู้คนมากมายเดินเล่นที่นั่นในตอนเย็น",),
    "ko": ("오래된 도시는 넓은 강 옆에 있고 많은 사람들이 저녁에 그곳을 산책합니다.",),
    "ja": ("古い町は広い川のそばにあり、夕方には多くの人がそこを歩きます。",),
    "zh-cn": ("这座古老的城市坐落在一条宽阔的河边，傍晚有许多人在那里散步。",),
}
_MOST_UNITS = 20_000
_Given = Mapping[str, Any]


def composed(instructions: Sequence[Any], reading: TextReading) -> str | None:
    """A text that follows the instructions, strictly; None where none was found.

    Args:
        instructions: Each ``{"id": …, "arguments": {…}}``.
        reading: The libraries.
    """
    asked: dict[str, list[_Given]] = {}
    for one in instructions:
        asked.setdefault(one["id"], []).append(one["arguments"])
    for text in _attempts(asked, reading):
        if all(followed(list(instructions), text, reading, loose=False)):
            return text
    return None


def _attempts(asked: Mapping[str, list[_Given]], reading: TextReading) -> Iterator[str]:
    language = next((one["language"] for one in asked.get("language:response_language", ())), "en")
    pool = _SENTENCES.get(language, ())
    for filler in (*pool, ""):
        for end in (".", "!", ""):  # Punkt sees no end in a full stop before a small letter
            for repeats in (1, 12):  # where much of another language must stand in it
                yield _text(asked, " ".join([filler] * repeats).strip(), reading, end=end)


def _least(asked: Mapping[str, list[_Given]], name: str, number: str, relation: str) -> int:
    """What "at least" asks for; 0 where only "less than" does."""
    return max((one[number] for one in asked.get(name, ()) if one[relation] == RELATIONS[1]), default=0)


def _wanted_words(asked: Mapping[str, list[_Given]]) -> list[str]:
    """Words that must stand somewhere."""
    words = [word for one in asked.get("keywords:existence", ()) for word in one["keywords"]]
    for one in asked.get("keywords:frequency", ()):
        words += [one["keyword"]] * (one["frequency"] if one["relation"] == RELATIONS[1] else 0)
    for one in asked.get("keywords:letter_frequency", ()):
        words += [one["letter"] * one["let_frequency"]] if one["let_relation"] == RELATIONS[1] else []
    return words


def _text(asked: Mapping[str, list[_Given]], filler: str, reading: TextReading, *, end: str) -> str:
    """One attempt: the parts that are asked for, around sentences that fill the length.

    Args:
        asked: Arguments by instruction.
        filler: Sentences to repeat.
        reading: The libraries.
        end: How sentences end.
    """
    units = _units(asked, filler or "Yes.", reading, end=end)
    body = _laid_out(asked, units)
    if "detectable_format:json_format" in asked:
        body = json.dumps({"text": body}, ensure_ascii=False)
    if "combination:two_responses" in asked:
        body = f"{body}\n******\n{body} {units[-1]}"
    for one in asked.get("combination:repeat_prompt", ()):
        body = f"{one['prompt_to_repeat'].strip()}\n{body}"
    for one in asked.get("detectable_content:postscript", ()):
        body += f"\n{one['postscript_marker']} Bye."
    for one in asked.get("startend:end_checker", ()):
        body += f"\n{one['end_phrase']}"
    if "punctuation:no_comma" in asked:
        body = body.replace(",", "")
    if "change_case:english_capital" in asked:
        body = body.upper()
    if "change_case:english_lowercase" in asked:
        body = body.lower()
    return f'"{body}"' if "startend:quotation" in asked else body


def _units(asked: Mapping[str, list[_Given]], filler: str, reading: TextReading, *, end: str) -> list[str]:
    """Sentences, as many as the length asks for."""
    more = filler if end == "." else re.sub(r"[.。।۔]", end, filler)
    units = [f"{' '.join(words)}{end}" for words in [_wanted_words(asked)] if words]
    if "detectable_format:constrained_response" in asked:
        units.insert(0, OPTIONS[0])
    marks = {
        "detectable_content:number_placeholders": ("num_placeholders", "[name]"),
        "detectable_format:number_highlighted_sections": ("num_highlights", "and *good*"),
    }
    for name, (number, mark) in marks.items():
        units += [" ".join([mark] * one[number]) + end for one in asked.get(name, ())]
    units.append(more)
    capitals = _least(asked, "change_case:capital_word_frequency", "capital_frequency", "capital_relation")
    if (missing := capitals - num_capital_words("\n".join(units))) > 0:
        units.append(" ".join(["OK"] * missing) + end)
    words = _least(asked, "length_constraints:number_words", "num_words", "relation")
    lacking = max(0, words - num_words(" ".join(units)))
    units += [more] * min(_MOST_UNITS, -(-lacking // max(1, num_words(more))))
    sentences = _least(asked, "length_constraints:number_sentences", "num_sentences", "relation")
    lacking = max(0, sentences - reading.num_sentences(" ".join(units), sentences))
    return units + [more] * min(_MOST_UNITS, lacking)


def _laid_out(asked: Mapping[str, list[_Given]], units: Sequence[str]) -> str:
    """The sentences as title, bullets, sections and paragraphs."""
    head = ["<<Title>>"] if "detectable_format:title" in asked else []
    for one in asked.get("detectable_format:number_bullet_lists", ()):
        units = [*units, *["* Good"] * one["num_bullets"]]
    for one in asked.get("detectable_format:multiple_sections", ()):
        units = [*units, *[f"{one['section_spliter']} {number + 1}" for number in range(one["num_sections"])]]
    flat = "\n".join([*head, _lines(units)])
    for one in asked.get("length_constraints:number_paragraphs", ()):
        flat = "\n***\n".join([flat, *[units[0]] * (one["num_paragraphs"] - 1)])
    for one in asked.get("length_constraints:nth_paragraph_first_word", ()):
        rest = [flat, *[units[0]] * (one["num_paragraphs"] - 1)]
        nth = one["nth_paragraph"] - 1
        rest[nth : nth + 1] = [f"{one['first_word']} {part}" for part in rest[nth : nth + 1]]
        flat = "\n\n".join(rest)
    return flat


def _lines(units: Sequence[str]) -> str:
    """Sentences in a row, and what begins a line on its own line."""
    return re.sub(r" (?=\* Good)|(?<=\* Good) ", "\n", " ".join(units))
