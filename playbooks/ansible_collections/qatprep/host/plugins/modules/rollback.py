#!/usr/bin/python
"""qatprep rollback as an Ansible module."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Undo what a run of qatprep changed on a node
description:
  - Runs C(qatprep rollback) on the node. A node with nothing to undo is not changed.
extends_documentation_fragment:
  - qatprep.host.tool
options:
  run:
    description: A run's id, or V(all); the last one that stands unless given.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Says what would be undone.
  diff_mode:
    support: full
    description: Shows every subject before and after.
author:
  - qatprep maintainers (@qatprep)
"""

EXAMPLES = r"""
- name: Put the node back
  qatprep.host.rollback:
"""

RETURN = r"""
msg:
  description: What happened, in one line.
  returned: always
  type: str
status:
  description: What happened.
  returned: always
  type: str
  sample: rolled back
runs:
  description: The ids of the runs that are undone.
  returned: always
  type: list
  elements: str
changes:
  description: Number of changes that are undone.
  returned: always
  type: int
not_undone:
  description: What could not be undone.
  returned: always
  type: list
  elements: str
hint:
  description: What to do about a failure.
  returned: failure
  type: str
exit_status:
  description: Exit status of qatprep.
  returned: always
  type: int
seconds:
  description: How long qatprep took on the node.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qatprep.host.plugins.module_utils.tool import OPTIONS, call


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={**OPTIONS, "run": {"type": "str", "default": ""}}, supports_check_mode=True)
    run = module.params["run"]
    arguments = ["rollback", "--yes", *([run] if run else []), *(["--check"] if module.check_mode else [])]
    outcome = call(module, *arguments)
    document = outcome.document
    changes = document["changes"]
    result = outcome.result(
        changed=document["changed"] or document["status"] == "planned",
        runs=document["runs"],
        changes=len(changes),
        not_undone=document["not_undone"],
    )
    if module._diff:
        result["diff"] = {
            "before": "".join(f"{c['subject']} {c['what']}: {c['after']}\n" for c in changes),
            "after": "".join(f"{c['subject']} {c['what']}: {c['before']}\n" for c in changes),
        }
    if document["status"] == "refused":
        why = [f"{item['subject']} is held by {' '.join(item['holders'])}" for item in document["refused"]]
        module.fail_json(msg="refused: " + "; ".join(why), hint="stop these processes (drain the node)", **result)
    if document["status"] == "partial":
        not_undone = "; ".join(document["not_undone"])
        module.fail_json(msg=f"not everything could be undone: {not_undone}", hint="run this again", **result)
    number = len(changes)
    undone = {
        "unchanged": "there is nothing to undo",
        "planned": f"{number} change{'s' if number != 1 else ''} would be undone",
        "rolled back": f"{number} change{'s' if number != 1 else ''} undone",
    }
    module.exit_json(msg=undone.get(document["status"], document["status"]), **result)


if __name__ == "__main__":
    main()
