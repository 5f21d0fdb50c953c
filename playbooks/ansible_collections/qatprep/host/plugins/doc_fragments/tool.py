"""Options that every module of this collection has."""

from __future__ import annotations


class ModuleDocFragment:
    """How qatprep is found and called on the node."""

    DOCUMENTATION = r"""
options:
  executable:
    description:
      - Where qatprep is on the node. Looked for in PATH, /usr/local/bin and /opt/qatprep/bin unless given.
    type: path
  python:
    description:
      - The interpreter to call O(executable) with, for a single file on a node whose python3 is older than 3.11.
    type: path
  simulate:
    description:
      - Work on a simulated host instead of the node, for trying a playbook out. C(qatprep hosts) lists them.
    type: str
  simulate_state:
    description:
      - A file on the node that keeps the simulated host from one task to the next; one for each node.
      - E(QATPREP_STATE) in the environment does the same.
    type: path
attributes:
  action_group:
    description: Use C(group/qatprep.host.all) in C(module_defaults) to set options for every module of this collection.
    support: full
    membership:
      - qatprep.host.all
  platform:
    description: Where the module runs.
    platforms: linux
    support: full
"""
