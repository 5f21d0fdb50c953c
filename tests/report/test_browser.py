"""The report in a real browser: three widths, light and dark, and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qatprep.report.page import html
from tests import tools
from tests.report.chromium import SCHEMES, WIDTHS, Browser
from tests.report.pages import hostile, shown

pytestmark = pytest.mark.skipif(not tools.made("chromium"), reason="no browser: python3 -m tests.tools chromium")
PAGES = ("spr-2s", "vf-held", "spr-8s", "vm-vfs", "k8s-as-the-paper-says")
TOO_WIDE = """
[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.tagName)
"""
PALE = """
(() => {
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()) || e.closest("svg")) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) found.push(`${e.className} ${e.textContent.slice(0, 40)}`);
  }
  return found;
})()
"""
"""Texts with less contrast than 4.5 to 1 (WCAG 2.2, 1.4.3)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    for name in PAGES:
        (made / f"{name}.html").write_text(html.page(shown(name)))
    long = "<img src=http://127.0.0.1/x onerror=alert(1)>" + "a" * 300
    (made / "hostile.html").write_text(html.page(hostile(long)))
    return made


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [*PAGES, "hostile"])
def test_a_screen(browser: Browser, folder: Path, name: str, width: int, scheme: str) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(folder / f"{name}.html", width, scheme)
    assert browser.value("innerWidth") == width
    assert browser.value(TOO_WIDE) == []
    assert browser.value(PALE) == []
    red = browser.value("Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])")
    assert (red < 64) == (scheme == "dark")
    assert browser.requests == [(folder / f"{name}.html").as_uri()]
    assert browser.complaints == []


@pytest.mark.parametrize("name", [*PAGES, "hostile"])
def test_on_paper(browser: Browser, folder: Path, name: str) -> None:
    """Black on white whatever the screen prefers, and as wide as the paper less its margins (180 mm: 680 pixels)."""
    browser.open(folder / f"{name}.html", 680, "dark")
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value(TOO_WIDE) == []
    assert browser.value(PALE) == []
    assert browser.print().startswith(b"%PDF")
    browser.call("Emulation.setEmulatedMedia", media="")
