from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

import pytest

STYLE = resources.files("spiritsafe.report").joinpath("style.css").read_text("utf-8")


def test_the_policy_admits_this_style_only(page: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    (style,) = re.findall("<style>(.*?)</style>", page, flags=re.DOTALL)
    expected = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.replace("&#x27;", "'").startswith(f"default-src 'none'; style-src 'sha256-{expected}'")
    assert style == STYLE
    assert "<" not in style


def _schemes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0]))
    dark = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[1]))
    return {"light": light, "dark": dark}


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_meets_wcag_aa(scheme: str) -> None:
    colours = _schemes()[scheme]
    text = [("ink", "paper"), ("ink", "surface"), ("ink", "code"), ("ink", "copper-soft"), ("ink", "slate-soft")]
    text += [(name, ground) for name in ("muted", "copper", "verdigris", "slate") for ground in ("paper", "surface")]
    text += [("copper", "copper-soft"), ("verdigris", "verdigris-soft")]
    for name, ground in text:
        assert _contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for name in ("copper", "verdigris", "slate"):  # marks and bars
        assert _contrast(colours[name], colours["grid"]) >= 3, name


def test_both_schemes_name_the_same_colours_and_every_width_is_styled() -> None:
    schemes = _schemes()
    assert schemes["light"].keys() == schemes["dark"].keys()
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE))
    assert used <= schemes["light"].keys()
    for needed in ("prefers-color-scheme: dark", "@media print", "@media (max-width", "@container (min-width"):
        assert needed in STYLE
