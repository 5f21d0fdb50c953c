"""The documents of all simulated hosts as files, to hold two versions of qatprep against each other byte for byte.

    python tests/documents.py write FOLDER          one file a host and verb, made by the qatprep that Python finds
    python tests/documents.py rename FOLDER         apply RENAMED and GONE to the files of an older version, in place
    python tests/documents.py compare OLD NEW       status 1, with every place that differs
    python tests/documents.py compare --structure OLD NEW   the same without what sentences say

For an older version, unpack it (git archive VERSION | tar -x -C OLD) and run `write` with PYTHONPATH=OLD: this file
imports nothing of qatprep but `main`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERBS = {
    "doctor": ("doctor",),
    "plan": ("plan", "--diff"),
    "bootstrap-check": ("bootstrap", "--check", "--diff"),
    "status": ("status",),
}
RENAMED = {"wish": "config", "left": "skipped", "why": "reason", "stuck": "not_undone"}
"""Keys of documents since 25d4573: old -> new."""
GONE = frozenset(
    (
        *(f"QP-ENVOY-{n:03}" for n in range(1, 16) if n not in (10, 11)),
        *(f"QP-ISTIO-{n:03}" for n in range(1, 5)),
        *("QP-K8S-005", "QP-K8S-006", "QP-K8S-008", "QP-K8S-010", "QP-K8S-011", "QP-MEM-005"),
    )
)
"""Checks that no node could be asked: doctor listed them as skipped, always. `qatprep inspect` finds these."""
SENTENCES = frozenset(
    {"title", "cause", "fix", "value", "text", "reason", "message", "hint", "what", "before", "after", "cost"}
)
"""Keys whose values are written for people: their wording is no contract."""


def run(*arguments: str) -> str:
    from qatprep.__main__ import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        main([*arguments, "--output", "json"])
    return out.getvalue()


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for host in json.loads(run("hosts"))["hosts"]:
        for verb, arguments in VERBS.items():
            (folder / f"{host['name']}.{verb}.json").write_text(run(*arguments, "--simulate", host["name"]))


def renamed(value: Any) -> Any:
    """A document with the keys of today."""
    if isinstance(value, dict):
        return {RENAMED.get(key, key): renamed(item) for key, item in value.items()}
    return [renamed(item) for item in value] if isinstance(value, list) else value


def without_gone(document: dict[str, Any]) -> dict[str, Any]:
    """doctor's document without the checks that no node could be asked."""
    if "verdicts" in document and "summary" in document:
        kept = [f for f in document["findings"] if f["id"] not in GONE]
        document["summary"]["skipped"] -= len(document["findings"]) - len(kept)
        document["findings"] = kept
    return document


def rename(folder: Path) -> None:
    for path in sorted(folder.glob("*.json")):
        text = path.read_text()
        if not text:
            continue  # that verb ended without a document
        document = json.loads(text)
        if _printed(document) != text:
            raise SystemExit(f"{path} is not printed as this script expects: comparing bytes would mean nothing")
        path.write_text(_printed(without_gone(renamed(document))))


def _printed(document: Any) -> str:
    """As qatprep prints it (cli/session.py)."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def differences(old: Any, new: Any, where: str, *, structure: bool) -> Iterator[str]:
    """Every place that differs. `structure`: sentences are only compared by whether they are there."""
    if isinstance(old, dict) and isinstance(new, dict):
        if list(old) != list(new):
            yield f"{where}: keys {list(old)} are now {list(new)}"
        for key in old.keys() & new.keys():
            if structure and key in SENTENCES:
                if bool(old[key]) != bool(new[key]):
                    yield f"{where}.{key}: {old[key]!r} is now {new[key]!r}"
            else:
                yield from differences(old[key], new[key], f"{where}.{key}", structure=structure)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{where}[{n}]", structure=structure)
    elif old != new:
        yield f"{where}: {old!r} is now {new!r}"


def compare(old: Path, new: Path, *, structure: bool) -> int:
    names = sorted({path.name for folder in (old, new) for path in folder.glob("*.json")})
    found = []
    same = 0
    for name in names:
        texts = [(folder / name).read_text() if (folder / name).exists() else "" for folder in (old, new)]
        if texts[0] == texts[1]:
            same += 1
            continue
        a, b = (json.loads(text) if text else None for text in texts)
        places = list(differences(a, b, name, structure=structure))
        found += places if places or structure else [f"{name}: printed differently"]
    for line in found:
        print(line)
    print(f"{same} of {len(names)} documents are the same byte for byte; {len(found)} differences in the others")
    return 1 if found else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("write", "rename"):
        verbs.add_parser(verb).add_argument("folder", type=Path)
    two = verbs.add_parser("compare")
    two.add_argument("--structure", action="store_true")
    two.add_argument("old", type=Path)
    two.add_argument("new", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    asked = parse()
    if asked.verb == "compare":
        sys.exit(compare(asked.old, asked.new, structure=asked.structure))
    {"write": write, "rename": rename}[asked.verb](asked.folder)
