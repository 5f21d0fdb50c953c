"""The text form of a host: what is written is read back, and what is wrong is said with file and line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatprep.errors import InputError
from qatprep.host import manifest
from qatprep.host.base import TooLarge
from qatprep.host.capture import Capture
from qatprep.host.tree import Node, Tree
from qatprep.simulator.scenarios import scenario

HEAD = manifest.HEADER + "\n"


def test_every_form() -> None:
    text = HEAD + (
        "/bin -> usr/bin\n"
        "/dev/vfio/12 [0660 0:996] c 239:0\n"
        '/etc/empty == ""\n'
        "/etc/lines <<\n"
        "| first\n"
        "|\n"
        "| third\n"
        "/etc/odd%20name%25 = one line\n"
        "/firmware.bin ~ 425984\n"
        "/proc/7/fd [0500] /\n"
        "/proc/7/fd [0500] !EACCES\n"
        "/sys/bind [0200] !EIO\n"
        '/sys/status == "0\\n\\u0000"\n'
    )
    tree = manifest.parse(text, "x")
    assert tree.get("/etc/odd name%").data == b"one line\n"
    assert tree.get("/etc/lines").data == b"first\n\nthird\n"
    assert tree.get("/sys/status").data == b"0\n\0"
    assert tree.get("/firmware.bin").stat().size == 425984
    assert (tree.get("/proc/7/fd").kind, tree.get("/proc/7/fd").error) == ("dir", errno.EACCES)
    assert tree.get("/dev/vfio/12").rdev == "239:0"
    assert manifest.dump(tree) == text


def test_includes_and_what_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/base").write_text(HEAD + "/a = 1\n/dir/b = 2\n/dir/c = 3\n")
    (tmp_path / "parts/other").write_text(HEAD + "@include base\n/a = 9\n")
    (tmp_path / "host.txt").write_text(HEAD + "@include parts/other\n- /dir/b\n")
    assert manifest.dump(manifest.load(str(tmp_path / "host.txt"))) == HEAD + "/a = 9\n/dir/c = 3\n"


def test_a_shipped_host_is_included_by_name(tmp_path: Path) -> None:
    (tmp_path / "host.txt").write_text(HEAD + "@include spr-2s\n")
    shipped = manifest.load(scenario("spr-2s").host_file)
    assert manifest.dump(manifest.load(str(tmp_path / "host.txt"))) == manifest.dump(shipped)
    assert manifest.dump(manifest.parse(HEAD + "@include spr-2s\n", "x")) == manifest.dump(shipped)


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "/dev/zero", "../host.txt", "a/../../x", "./x", "link", "folder/x", "fifo", "folder", "large"],
)
def test_nothing_else_is_included(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x").write_text(HEAD)
    (tmp_path / "folder").symlink_to("elsewhere")
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as f:
        f.truncate(manifest.LIMIT + 1)
    (tmp_path / "host.txt").write_text(HEAD + f"@include {target}\n")
    with pytest.raises(InputError) as caught:
        manifest.load(str(tmp_path / "host.txt"))
    assert target in caught.value.message and "root:" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("".join(f"@include b{n}\n" for n in range(9)), "more than 32 MiB"),
        ("/" + "a/" * 3000 + "b = 1\n", "a kernel takes 4096"),
        ("".join(f"/{n:x}{'/a' * 1000} = 1\n" for n in range(500)), "more than 250000 files and folders"),
        ("/a ~ 99999999999999999999\n", "not a number of bytes"),
    ],
)
def test_a_host_has_limits(tmp_path: Path, text: str, said: str) -> None:
    for n in range(9):
        (tmp_path / f"b{n}").write_text(HEAD + f"# {'x' * (4 << 20)}\n")
    (tmp_path / "host.txt").write_text(HEAD + text)
    with pytest.raises(InputError, match=said):
        manifest.load(str(tmp_path / "host.txt"))


def test_content_that_was_not_recorded_is_not_made_up_beyond_the_limit() -> None:
    capture = Capture(manifest.parse(HEAD + "/sys/x ~ 3000000000\n", "x"), "x")
    with pytest.raises(TooLarge, match="the file has 3000000000 bytes, at most 1048576 are read"):
        capture.read("/sys/x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x:1: "),
        ("/a = 1\n", "x:1: "),
        (HEAD + "a = 1\n", "x:2: a line starts with"),
        (HEAD + "/a\n", "x:2: nothing follows the path '/a'"),
        (HEAD + "/a ? 1\n", "x:2: '?' is none of"),
        (HEAD + "/a !ENOSUCH\n", "x:2: 'ENOSUCH' is not the name of an errno"),
        (HEAD + "/a ~ many\n", "x:2: 'many' is not a number of bytes"),
        (HEAD + "/a == nonsense\n", "x:2: 'nonsense' is not a JSON string"),
        (HEAD + '/a == "\\u20ac"\n', "x:2: "),
        (HEAD + "/a ->\n", "x:2: the link '/a' has no target"),
        (HEAD + "/a = 1\n/a/b = 2\n", "x:3: '/a/b' cannot be placed: Not a directory"),
        (HEAD + "/a/b/c = 1\n/a/b = 2\n/a/b/d = 3\n", "x:4: '/a/b/d' cannot be placed: Not a directory"),
        (HEAD + "@include ../elsewhere\n", "x:2: there is no shipped host '../elsewhere' to include"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        manifest.parse(text, "x")
    assert caught.value.message.startswith(said)


def test_a_circle_of_includes_ends(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(HEAD + "@include x\n")
    with pytest.raises(InputError, match="include one another"):
        manifest.load(str(tmp_path / "x"))


_NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
_MODES = st.integers(0, 0o7777)


@st.composite
def _trees(draw: st.DrawFn) -> Tree:
    tree = Tree()
    for _ in range(draw(st.integers(0, 8))):
        path = "/" + "/".join(draw(st.lists(_NAMES, min_size=1, max_size=3)))
        kind = draw(st.sampled_from(("file", "sized", "link", "char", "dir", "error")))
        node = Node("file", draw(_MODES), draw(st.binary(max_size=40)))
        if kind == "sized":
            node.data, node.size = b"", draw(st.integers(0, 1 << 40))
        elif kind == "link":
            node = Node("link", 0o777, target=draw(_NAMES))
        elif kind == "char":
            node = Node("char", draw(_MODES))
            node.rdev = f"{draw(st.integers(0, 4095))}:{draw(st.integers(0, 255))}"
        elif kind == "dir":
            node = Node("dir", draw(_MODES))
        elif kind == "error":
            node.data, node.error = b"", draw(st.sampled_from((errno.EIO, errno.EACCES, errno.EPERM)))
        if kind != "link":
            node.uid, node.gid = draw(st.integers(0, 70000)), draw(st.integers(0, 70000))
        try:
            tree.add(path, node)
        except OSError:
            continue
    return tree


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_trees())
def test_any_tree_is_read_back_as_it_was_written(tree: Tree) -> None:
    text = manifest.dump(tree)
    again = manifest.parse(text, "x")
    assert manifest.dump(again) == text
    assert {path for path, _ in again.walk()} == {path for path, _ in tree.walk()}
    for path, node in tree.walk():
        other = again.get(path, follow=False)
        assert (other.kind, other.data, other.target, other.size) == (node.kind, node.data, node.target, node.size)
        if node.kind != "link":
            assert other.stat() == node.stat()


@pytest.mark.parametrize("between", ["/a -> /c", "- /a\n/a -> c", "/x/y/z = 7\n- /a/b\n/a -> /c"])
def test_a_folder_that_became_a_link_is_followed(between: str) -> None:
    tree = manifest.parse(f"{HEAD}/a/b = 1\n/a/g = 1\n/c/d = 2\n{between}\n/a/e = 3\n/a/f = 4\n", "x")
    link = tree.find("/a", follow=False)
    assert link is not None and link.kind == "link"
    assert sorted(tree.get("/c").children) == ["d", "e", "f"]
