"""Text on its ground: contrast of at least 4.5 in both themes, from the style sheet's own tokens."""

import re

import pytest

from reports.render import ASSETS

SHEET = (ASSETS / "site.css").read_text()
PAIRS = [
    (text, ground)
    for ground in ("bg", "panel", "raise")
    for text in ("text", "muted", "accent", "critical", "high", "medium", "ok", "up", "down", "hot", "axis")
] + [(name, f"{name}-soft") for name in ("critical", "high", "medium", "info", "ok")] + [("text", "accent-soft"), ("text", "critical-soft")]  # fmt: skip


def tokens(theme):
    start = SHEET.index(":root {" if theme == "light" else ':root[data-theme="dark"] {')
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", SHEET[start : SHEET.index("}", start)]))


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def mixed(colour, ground, share):
    return "#" + "".join(
        f"{round(int(colour[i : i + 2], 16) * share + int(ground[i : i + 2], 16) * (1 - share)):02x}"
        for i in (1, 3, 5)
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read_on_its_ground(theme):
    known = tokens(theme)
    poor = {
        f"{a} on {b}": round(contrast(known[a], known[b]), 2)
        for a, b in PAIRS
        if contrast(known[a], known[b]) < 4.5
    }
    assert poor == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tone", ["heat-pos", "heat-neg"])
def test_numbers_on_the_darkest_cell_of_a_heatmap_can_be_read(theme, tone):
    known = tokens(theme)
    assert contrast(known["text"], mixed(known[tone], known["panel"], 0.62)) >= 4.5


def test_the_dark_theme_without_javascript_is_the_dark_theme():
    start = SHEET.index(":root:not([data-theme])")
    plain = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", SHEET[start : SHEET.index("}", start)]))
    assert plain.items() <= tokens("dark").items()
