"""One target, explored by atheris in this process: python -m tests.fuzz.explore TARGET [OPTION OF LIBFUZZER ...]

Each place an input falls at is told once, as a line of JSON on stderr, and its first input is kept.
"""

from __future__ import annotations

import hashlib
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = Path(__file__).parent / "corpus"
INSTRUMENTED = ["qatprep", "qat_emulator", "tomllib"]


def main() -> None:
    """Does not return."""
    import atheris

    atheris.instrument_imports(include=INSTRUMENTED).__enter__()  # never left: parsers are imported when they are used
    from tests.fuzz.targets import BY_NAME

    target = BY_NAME[sys.argv[1]]
    fall(target, b"")  # what is made once is made before the clock of an input runs
    known: set[str] = set()

    def one(data: bytes) -> None:
        place, error = fall(target, data)
        if place and place not in known:
            known.add(place)
            line = {"place": place, "error": error, "input": keep(target.name, smaller(target, data, place))}
            print(json.dumps(line), file=sys.stderr, flush=True)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


def fall(target: Target, data: bytes) -> tuple[str, str]:
    """Where an input falls, and by what; ("", "") where it does not."""
    try:
        target.attempt(data)
    except Exception as error:
        return where(error), repr(error)
    return "", ""


def smaller(target: Target, data: bytes, place: str, tries: int = 400) -> bytes:
    """An input that falls at the same place, with as much taken away as so many tries find."""
    size = len(data) // 2
    while size and tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            tries -= 1
            shorter = data[:at] + data[at + size :]
            if fall(target, shorter)[0] == place:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def where(error: BaseException) -> str:
    """The innermost line of qatprep's or the emulator's that an error came through."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(ROOT))]
    ours = [frame for frame in ours if ".venv" not in frame.filename]
    return f"{type(error).__name__} at {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}"


def keep(name: str, data: bytes) -> str:
    """The input as a file of the corpus; its path."""
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
