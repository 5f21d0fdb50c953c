"""Options of the modules that look at what a node should be."""

from __future__ import annotations


class ModuleDocFragment:
    """What is configured."""

    DOCUMENTATION = r"""
options:
  config:
    description:
      - The configuration, a file on the node; /etc/qatprep.yaml unless given.
    type: path
  settings:
    description:
      - Keys of the configuration to override, with dots or as mappings. C(nodes.group) is C(group) within C(nodes).
    type: dict
    default: {}
"""
