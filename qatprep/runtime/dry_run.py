"""Trying an edit of containerd's configuration on containerd itself before anything is installed."""

from __future__ import annotations

from collections.abc import Callable

from qatprep.runtime.containerd import ConfigSet, Version, judge
from qatprep.runtime.dump import Difference, unwanted
from qatprep.runtime.edit import Edit, candidates, permitted
from qatprep.runtime.refusal import Refused

Dump = Callable[[str, str], str]
"""dump(main, drop_in): what `containerd config dump` prints for a main file with this text, in which @DROPIN@ means
the path of a file with the text `drop_in`. DumpFailed when containerd refuses it."""

EMPTY = "version = 2\n"
"""The baseline where there is no main file: 1.x cannot dump an absent one, though it starts without."""


class DumpFailed(Exception):
    """containerd did not take the file; str() is its own words."""


def proven(
    files: ConfigSet,
    binary: Version | None,
    dump: Dump,
    *,
    names: frozenset[str] = frozenset(),
    may_edit: tuple[str, ...] = (),
) -> Edit | None:
    """The first candidate edit that changes one key and nothing else; None when device ownership is on already.

    `names` are the paths that trials use, which may show in the dump's imports; `may_edit` files of others that may be
    edited. Refused, with what would have been
    different, when no candidate passes.
    """
    edits = candidates(files, binary)
    if not edits:
        return None
    refusals = []
    for edit in permitted(edits, may_edit):
        try:
            after = dump(edit.trial, edit.after)
        except DumpFailed as e:
            refusals.append(f"{edit.path}: containerd refuses it: {e}")
            continue
        before = _baseline(files, binary, edit, dump)
        allowed = names | {edit.path, files.main.path}
        different = unwanted(before, after, paths=allowed)
        if not different:
            return edit
        refusals.append(f"{edit.path}: {_words(different)}")
    raise Refused(
        "containerd's own `config dump` shows that the change would not come out right: " + "; ".join(refusals),
        "nothing was written; set the key by hand and check with `containerd config dump`",
    )


def _baseline(files: ConfigSet, binary: Version | None, edit: Edit, dump: Dump) -> str:
    if files.main.text is None:
        return dump(EMPTY, "")
    try:
        return dump(files.main.text, "")
    except DumpFailed as e:
        # Only a value of the wrong type can be compared with itself made right: whatever else stops containerd is not
        # ours to judge.
        kinds = {problem.kind for problem in judge(files, binary).problems if problem.fatal}
        if kinds != {"wrong-type"}:
            raise Refused(f"containerd refuses {files.main.path} as it is: {e}", "fix the file first") from e
        return dump(_off(edit.trial), _off(edit.after))


def _off(text: str) -> str:
    from qatprep.runtime.containerd import KEY

    return text.replace(f"{KEY} = true", f"{KEY} = false")


def _words(different: tuple[Difference, ...]) -> str:
    shown = [f"{d.path} {d.before or '(not set)'} -> {d.after or '(lost)'}" for d in different[:3]]
    more = f" and {len(different) - 3} more" if len(different) > 3 else ""
    return ", ".join(shown) + more
