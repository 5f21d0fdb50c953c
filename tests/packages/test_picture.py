"""The README's picture is what qatprep prints today, and can be shown anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "doctor.svg"


def test_it_is_what_qatprep_prints(tmp_path: Path) -> None:
    file = tmp_path / "doctor.svg"
    subprocess.run([sys.executable, ROOT / "packaging" / "picture.py", file], check=True)
    assert file.read_text() == PICTURE.read_text(), "it is stale: .venv-dev/bin/python packaging/picture.py"


def test_it_loads_nothing_and_is_in_the_readme() -> None:
    text = PICTURE.read_text()
    names = {element.tag.partition("}")[2] for element in ElementTree.fromstring(text).iter()}
    assert names == {"svg", "title", "style", "rect", "text"}
    assert not re.search(r"href|url\(|@import", text)
    alt = ElementTree.fromstring(text)[0].text
    assert f"![{alt}](docs/images/doctor.svg)" in (ROOT / "README.md").read_text()


def test_no_line_is_wider_than_the_terminal() -> None:
    picture = ElementTree.fromstring(PICTURE.read_text())
    width = float(picture.attrib["viewBox"].split()[2])
    texts = [element.attrib for element in picture if element.tag.endswith("text")]
    assert texts and max(float(a["x"]) + float(a["textLength"]) for a in texts) <= width
