"""Small pieces of text for people that every room shares."""

from __future__ import annotations

from collections.abc import Iterable


def plural(count: int, noun: str, more: str = "") -> str:
    """ "1 VF", "16 VFs"; `more` is the noun's plural where that is not noun + s."""
    return f"{count} {noun if count == 1 else more or noun + 's'}"


def listed(items: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    parts = list(items)
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def close(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one, "" for none."""
    import difflib

    found = difflib.get_close_matches(name, list(known), 1)
    return found[0] if found else ""


def did_you_mean(name: str, known: Iterable[str], otherwise: str, *, most: int = 1, alike: float = 0.6) -> str:
    """A hint for a name that is not known: up to `most` of the known ones, whatever their case, else `otherwise`.

    `alike` is how similar they must be, from 0 to 1 (difflib.SequenceMatcher.ratio).
    """
    import difflib  # 8 ms, and only for mistakes

    folded = {item.casefold(): item for item in known}
    close = difflib.get_close_matches(name.casefold(), folded, most, alike)
    return f"did you mean {' or '.join(folded[item] for item in close)}?" if close else otherwise
