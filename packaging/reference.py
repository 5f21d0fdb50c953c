"""Writes the reference of keys in docs/configuration.md out of qatprep/schema/config.json.

python packaging/reference.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

PAGE = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: packaging/reference.py -->\n", "<!-- end of keys -->\n"


def main() -> None:
    from qatprep.config.writing import reference

    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{reference()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
