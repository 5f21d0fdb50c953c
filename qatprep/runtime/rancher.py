"""k3s and RKE2: their containerd configuration is generated at every start, so it is never edited.

What there is instead, newest first (k3s pkg/agent/templates; not run here, no k3s to be had):
- the flag `nonroot-devices` (k3s PR 11200, end of 2024; RKE2 passes it on): the generated file then always has the
  key, true or false. A file in config.yaml.d sets it.
- templates: `config-v3.toml.tmpl` for containerd 2, `config.toml.tmpl` for 1.7. One that begins with
  {{ template "base" . }} cannot name the CRI runtime's table again: containerd refuses a table that exists twice.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from qatprep.runtime.containerd import KEY, V2, V3
from qatprep.runtime.refusal import Refused

DROPIN_NAME = "90-qatprep.yaml"
_HEADERS = tuple(f"[plugins.{q}{uri}{q}]" for uri in (V2, V3) for q in ("'", '"'))


class Place(NamedTuple):
    """Where one of the two keeps things."""

    product: Literal["k3s", "rke2"]

    @property
    def directory(self) -> str:
        return f"/var/lib/rancher/{self.product}/agent/etc/containerd"

    @property
    def generated(self) -> str:
        return f"{self.directory}/config.toml"

    @property
    def templates(self) -> tuple[str, str]:
        """In the order of preference of the newer releases."""
        return (f"{self.directory}/config-v3.toml.tmpl", f"{self.directory}/config.toml.tmpl")

    @property
    def drop_ins(self) -> str:
        """What the newer releases' configuration imports."""
        return f"{self.directory}/config-v3.toml.d"

    @property
    def flag_file(self) -> str:
        return f"/etc/rancher/{self.product}/config.yaml.d/{DROPIN_NAME}"

    @property
    def binary(self) -> str:
        return f"/var/lib/rancher/{self.product}/data/current/bin/containerd"


class Write(NamedTuple):
    path: str
    before: str | None
    after: str
    why: str


def plan(place: Place, generated: str | None, templates: dict[str, str], flag_text: str | None = None) -> Write:
    """What to write where device ownership is off. Refused, with the reason, where nothing can be right.

    `generated`: the text of the generated config.toml; `templates`: the user's templates that exist, by path.
    """
    if generated is None:
        raise Refused(
            f"{place.generated} is not there: {place.product} has not started on this node yet",
            f"start {place.product} once, then run this again",
        )
    template = next((path for path in place.templates if path in templates), "")
    text = templates.get(template, "")
    if not template or 'template "base"' in text:
        if KEY in generated:
            after = "# Written by qatprep: device nodes belong to runAsUser and runAsGroup.\nnonroot-devices: true\n"
            return Write(place.flag_file, flag_text, after, f"this {place.product} has the option nonroot-devices")
        raise Refused(
            f"this {place.product} has no option nonroot-devices, and its own template already has the CRI table, "
            "which may not be named twice",
            f"update {place.product} (k3s and RKE2 of 2025 and later have the option), or give it a full template",
        )
    return Write(template, text, _into_template(text, template), f"{template} is a full template of yours")


def _into_template(text: str, path: str) -> str:
    """The line put below the CRI table's header: a Go template is not TOML, so it is treated as lines."""
    lines = text.splitlines(keepends=True)
    found = [i for i, line in enumerate(lines) if line.split("#", 1)[0].strip() in _HEADERS]
    if KEY in text:
        raise Refused(f"{path} names {KEY} already, and not as true", "change it there by hand")
    if len(found) != 1:
        state = "does not have the CRI plugin's table" if not found else "has the CRI plugin's table more than once"
        raise Refused(f"{path} {state}", f"set {KEY} = true there by hand")
    indent = lines[found[0]][: len(lines[found[0]]) - len(lines[found[0]].lstrip())] + "  "
    lines.insert(found[0] + 1, f"{indent}{KEY} = true\n")
    return "".join(lines)
