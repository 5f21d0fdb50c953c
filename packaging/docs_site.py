"""Builds the documentation as static files: the pages of docs/, the findings, and a reference made out of the code.

    python packaging/docs_site.py [DIRECTORY]

DIRECTORY is build/site unless given. Any warning of Sphinx is an error: a link that leads nowhere, a page that no
contents name.
Needs the development tools (./dev lint installs them). Nothing on the pages is loaded from another server.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT), str(ROOT / "packaging")):
    if folder not in sys.path:
        sys.path.append(folder)

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_HIGHEST = "docs/"


def main(target: Path) -> int:
    """Sphinx's exit status."""
    source = ROOT / "build" / "site-source"
    shutil.rmtree(source, ignore_errors=True)
    gather(source)
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(source), str(target)]
    return subprocess.run(command, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"}).returncode


def gather(source: Path) -> None:
    """Everything Sphinx reads, in one folder."""
    shutil.copytree(ROOT / "docs", source)
    for path in source.rglob("*.md"):
        path.write_text(_inside(path.read_text(), _HIGHEST + str(path.relative_to(source))))
    findings = source / "reference" / "findings"
    findings.mkdir(parents=True)
    for path in (ROOT / "qatprep" / "findings" / "pages").glob("*.md"):
        if path.name != "README.md":
            (findings / path.name).write_text(_inside(path.read_text(), f"{_HIGHEST}reference/findings/{path.name}"))
    for name, file in (("contributing.md", "CONTRIBUTING.md"), ("security.md", "SECURITY.md")):
        (source / name).write_text(_inside((ROOT / file).read_text(), f"{_HIGHEST}{name}"))
    for name, make in PAGES.items():
        (source / "reference" / name).write_text("\n".join(make()) + "\n")


def _inside(text: str, page: str) -> str:
    """A page whose links stay inside the site: findings are at their place there, files of the project are named."""

    def link(found: re.Match[str]) -> str:
        label, path, anchor = found[1], found[2], found[3] or ""
        if "://" in path:
            return found[0]
        origin = page if "/findings/" not in page else f"qatprep/findings/pages/{Path(page).name}"
        if page in (f"{_HIGHEST}contributing.md", f"{_HIGHEST}security.md"):
            origin = "CONTRIBUTING.md"
        full = os.path.normpath(os.path.join(os.path.dirname(origin), path))
        home = full.replace("qatprep/findings/pages/README.md", f"{_HIGHEST}reference/findings.md")
        home = home.replace("qatprep/findings/pages/", f"{_HIGHEST}reference/findings/")
        if not home.startswith(_HIGHEST):
            return f"`{full}`" if label == path else f"{label} (`{full}`)"
        return f"[{label}]({os.path.relpath(home, os.path.dirname(page))}{anchor})"

    return _LINK.sub(link, text)


# -- the reference ----------------------------------------------------------------------------------------------------


def table(*rows: tuple[str, ...]) -> Iterator[str]:
    """A table; the first row is its head."""
    yield f"| {' | '.join(rows[0])} |"
    yield f"|{' --- |' * len(rows[0])}"
    yield from (f"| {' | '.join(rows_)} |" for rows_ in rows[1:])
    yield ""


def text(words: str) -> str:
    """Words of ours in a cell or a paragraph: code between backticks stays, all else is text."""
    from qatprep.report.page.markdown import code, escaped

    parts = re.split(r"`([^`]*)`", words)
    return "".join(code(part) if n % 2 else escaped(f"x{part}")[1:] for n, part in enumerate(parts)).replace("\n", " ")


def quoted(words: str) -> str:
    """A text of others, as code in a cell of a table."""
    from qatprep.report.page.markdown import code

    return code(words).replace("|", "\\|")


def cli() -> Iterator[str]:
    import typer.main
    from share import walk

    from qatprep.cli.app import app

    top: Any = typer.main.get_command(app)
    yield from ("# Command line", "", "Made from the command line itself: what `qatprep VERB --help` prints.", "")
    for command, ctx in walk(top, top.context_class(top, info_name="qatprep")):
        yield from (f"## {ctx.command_path}", "", "```")
        yield f"{ctx.command_path} {' '.join(command.collect_usage_pieces(ctx))}"
        yield from ("```", "")
        for paragraph in (command.help or "").replace("\b", "").strip().split("\n\n"):
            yield from (text(" ".join(paragraph.split())), "")
        rows = [r for p in command.get_params(ctx) if (r := p.get_help_record(ctx)) and p.name != "help"]
        if rows:
            yield from table(("option", "meaning"), *((quoted(name), text(words) or " ") for name, words in rows))


def findings() -> Iterator[str]:
    from qatprep.findings.pages import pages

    yield from ("# Findings", "", "Every finding by its stage. `qatprep explain ID` prints its page offline.", "")
    yield from ("```{toctree}", ":maxdepth: 1", ":hidden:", "")
    stages = list(dict.fromkeys(page.stage for page in pages().values()))
    yield from (f"findings/{_file(stage)}" for stage in stages)
    yield from ("```", "")
    for stage in stages:
        yield from (f"## {stage}", "")
        mine = [page for page in pages().values() if page.stage == stage]
        rows = [(f"[{p.id}](findings/{_file(stage)}.md#{p.id.lower()})", text(p.title)) for p in mine]
        yield from table(("finding", "what holds when all is well"), *rows)


def _file(stage: str) -> str:
    return stage.replace(" ", "-")


def messages() -> Iterator[str]:
    from qatprep.findings.messages import HARMLESS, MESSAGES
    from qatprep.findings.pages import pages
    from tests.mesh.log_lines import LINES

    yield from ("# Error messages", "")
    yield from (
        "Lines of logs that qatprep knows, by who writes them, each with an example and the finding it is about.",
        "",
    )
    yield from (
        "`qatprep inspect log FILE` looks through a whole log; `qatprep doctor` reads the kernel log itself.",
        "",
    )
    for source in dict.fromkeys(row.source for row in MESSAGES):
        yield from (f"## {str(source).removeprefix('a ')}", "")
        rows = [row for row in MESSAGES if row.source is source and row.key not in HARMLESS]
        lines = []
        for row in rows:
            link = f"[{row.finding}](findings/{_file(pages()[row.finding].stage)}.md#{row.finding.lower()})"
            examples = " <br> ".join(quoted(line) for line in LINES.get(row.key, ()))
            lines.append((examples or quoted(row.pattern), text(f"{row.title}. {row.cause}".strip()), link))
        yield from table(("message", "what it means", "finding"), *lines)


def schemas() -> Iterator[str]:
    import json

    yield from (
        "# Documents by key",
        "",
        "Made from the schemas. [Documents and exit statuses](../json.md) has the rules.",
        "",
    )
    for path in sorted((ROOT / "qatprep" / "schema").glob("*.json")):
        schema = json.loads(path.read_text())
        yield from (f"## {path.stem}", "", text(schema.get("title", "")), "")
        rows = list(_keys(schema, schema, "", 0))
        if rows:
            yield from table(("key", "type", "meaning"), *rows)


def _keys(whole: dict[str, Any], part: dict[str, Any], above: str, depth: int) -> Iterator[tuple[str, str, str]]:
    if "$ref" in part:
        part = whole["definitions"][part["$ref"].rsplit("/", 1)[-1]]
    for key, inner in part.get("properties", {}).items():
        if "$ref" in inner:
            inner = {**whole["definitions"][inner["$ref"].rsplit("/", 1)[-1]], **inner}
        kind = inner.get("type", "")
        kinds = ", ".join(kind) if isinstance(kind, list) else kind
        if "enum" in inner:
            kinds = ", ".join(json_text(value) for value in inner["enum"])
        if "const" in inner:
            kinds = json_text(inner["const"])
        yield quoted(f"{above}{key}"), text(kinds) or " ", text(inner.get("description", "")) or " "
        if depth < 3:
            yield from _keys(whole, inner, f"{above}{key}.", depth + 1)
            yield from _keys(whole, inner.get("items", {}), f"{above}{key}[].", depth + 1)


def json_text(value: object) -> str:
    import json

    return json.dumps(value)


def metrics() -> Iterator[str]:
    import yaml

    from qatprep.report.prometheus import METRICS

    yield from (
        "# Metrics",
        "",
        "What `qatprep metrics` prints. [Staying prepared](../persistence.md) has the labels.",
        "",
    )
    yield from table(("metric", "meaning"), *((quoted(name), text(words)) for name, words in METRICS.items()))
    yield from ("## Alerts", "", "From `docs/alerts.yaml`.", "")
    groups = yaml.safe_load((ROOT / "docs" / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    rows = [(rule["alert"], quoted(rule["expr"]), text(rule["annotations"].get("description", ""))) for rule in rules]
    yield from table(("alert", "expression", "what to do"), *rows)


def statuses() -> Iterator[str]:
    from share import exit_codes

    yield from ("# Exit statuses", "", "The same for every command; their numbers never change.", "")
    yield from table(("status", "meaning"), *((str(number), text(words)) for number, words in exit_codes()))


def environment() -> Iterator[str]:
    from share import ENVIRONMENT, FILES

    yield from ("# Environment and files", "", "## Variables", "")
    yield from table(("variable", "meaning"), *((quoted(name), text(words)) for name, words in ENVIRONMENT))
    yield from ("## Files", "", "[Staying prepared](../persistence.md) has those that keep a node prepared.", "")
    yield from table(("file", "meaning"), *((quoted(name), text(words)) for name, words in FILES))


def support() -> Iterator[str]:
    from qatprep.hardware import FAMILIES
    from qatprep.instruction_sets import ENVOY

    yield from ("# Supported hardware", "", "## QAT", "")
    yield from (
        "Kernels are mainline ones: distributions backport. None of these devices has run under qatprep yet: [what was",
    )
    yield from ("tested](../tested.md) says what stands in for them.", "")
    rows = [
        (
            f.name, f"8086:{f.pf_id:04x}", f"8086:{f.vf_id:04x}", quoted(f.module), f"{f.since[0]}.{f.since[1]}",
            ", ".join(f.services.tokens), f"{f.services.most}", " ".join(map(quoted, f.firmware)),
            "yes" if f.supported else "no: qatlib does not drive it",
        )
        for f in FAMILIES
    ]  # fmt: skip
    head = ("family", "PF", "VF", "module", "since Linux", "services", "at a time", "firmware", "supported")
    yield from table(head, *rows)
    yield from ("## CryptoMB", "", "What the crypto_mb of each Envoy release needs of the CPU.", "")
    for build in ENVOY:
        yield from (
            f"### Envoy {build.since[0]}.{build.since[1]} and later",
            "",
            text(f"crypto_mb: {build.crypto_mb}"),
            "",
        )
        rows_ = [
            (path.name, ", ".join(bit.name for bit in (*path.chosen_by, *path.executes)), ", ".join(path.kinds))
            for path in build.paths
        ]
        yield from table(("path", "instruction sets and register states", "signs"), *rows_)


def hosts() -> Iterator[str]:
    from qatprep.simulator.scenarios import scenarios

    yield from (
        "# Simulated hosts",
        "",
        "What `--simulate NAME` knows. [How far they can be trusted](../simulated-hosts.md).",
        "",
    )
    for s in scenarios():
        yield from (f"## {s.name}", "", text(f"{s.title}. {' '.join(s.story.split())}"), "")
        found = [*s.findings.fail, *s.findings.warn, *s.findings.unknown]
        yield from (text(f"Linux {s.kernel}; doctor finds: {', '.join(found) or 'nothing'}."), "")


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "cli.md": cli,
    "findings.md": findings,
    "messages.md": messages,
    "schemas.md": schemas,
    "metrics.md": metrics,
    "exit-statuses.md": statuses,
    "environment.md": environment,
    "support.md": support,
    "hosts.md": hosts,
}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"))
