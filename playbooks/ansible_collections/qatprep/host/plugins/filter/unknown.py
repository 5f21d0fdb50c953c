"""Names that are not known, each with the one that was probably meant."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unknown
short_description: Names that are not among those known
description:
  - Gives each name that is not known, with the known one that resembles it.
positional: known
options:
  _input:
    description: The names.
    type: list
    elements: str
    required: true
  known:
    description: The names that are known.
    type: list
    elements: str
    required: true
author:
  - qatprep maintainers (@qatprep)
"""

EXAMPLES = r"""
- name: Name the slips
  ansible.builtin.debug:
    msg: "{{ ['qatprep_setings'] | qatprep.host.unknown(['qatprep_settings']) }}"
"""

RETURN = r"""
_value:
  description: "qatprep_setings (did you mean qatprep_settings?)"
  type: list
  elements: str
"""

import difflib


def unknown(names, known):
    """The filter."""
    return [name + _guess(name, known) for name in sorted(set(names) - set(known))]


def _guess(name, known):
    close = difflib.get_close_matches(name, known, 1, 0.8)
    return f" (did you mean {close[0]}?)" if close else ""


class FilterModule:
    """For Ansible."""

    def filters(self):
        """Name -> function."""
        return {"unknown": unknown}
