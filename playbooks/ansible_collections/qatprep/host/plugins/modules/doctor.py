#!/usr/bin/python
"""qatprep doctor as an Ansible module."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor
short_description: Say what a node can do, and what is in the way
description:
  - Runs C(qatprep doctor) on the node, which changes nothing.
extends_documentation_fragment:
  - qatprep.host.tool
  - qatprep.host.config
options:
  profile:
    description: What the node is for.
    type: str
    choices: [auto, qat, cryptomb]
    default: auto
  fail_on:
    description:
      - The least result that makes the task fail. V(unknown) also fails for what could not be seen.
    type: str
    choices: [never, fail, unknown]
    default: never
attributes:
  check_mode:
    support: full
    description: Changes nothing anyway.
  diff_mode:
    support: none
    description: Changes nothing.
author:
  - qatprep maintainers (@qatprep)
"""

EXAMPLES = r"""
- name: Look at the node
  qatprep.host.doctor:
    profile: qat
  register: look

- name: Stop where QAT does not work
  qatprep.host.doctor:
    profile: qat
    fail_on: fail
"""

RETURN = r"""
msg:
  description: What happened, in one line.
  returned: always
  type: str
status:
  description: The worst result.
  returned: always
  type: str
  sample: fail
findings:
  description: What is not well; each has id, status, title, statement (what was to hold), cause, fix and subjects.
  returned: always
  type: list
  elements: dict
verdicts:
  description: For QAT and CryptoMB, the state and the reason.
  returned: always
  type: list
  elements: dict
remaining:
  description: Restarts, pods to be recreated, a reboot; what clears failures and is left to a person.
  returned: always
  type: list
  elements: str
next:
  description: What to do next, in order; each has command and why.
  returned: always
  type: list
  elements: dict
kernel:
  description: The node's kernel release.
  returned: always
  type: str
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

from ansible_collections.qatprep.host.plugins.module_utils.tool import CONFIG, OPTIONS, call, config_arguments

TOLD = ("fail", "unknown", "warn")
KEPT = ("id", "status", "title", "statement", "cause", "fix", "subjects")


def main() -> None:
    """Run the module."""
    own = {
        "profile": {"type": "str", "choices": ["auto", "qat", "cryptomb"], "default": "auto"},
        "fail_on": {"type": "str", "choices": ["never", "fail", "unknown"], "default": "never"},
    }
    module = AnsibleModule(argument_spec={**OPTIONS, **CONFIG, **own}, supports_check_mode=True)
    outcome = call(module, "doctor", "--profile", module.params["profile"], *config_arguments(module))
    document = outcome.document
    findings = [{key: f[key] for key in KEPT} for f in document["findings"] if f["status"] in TOLD]
    findings.sort(key=lambda f: TOLD.index(f["status"]))
    result = outcome.result(
        changed=False,
        status=document["result"],
        findings=findings,
        **outcome.last_word(),
        kernel=document["host"]["kernel"],
    )
    bad = {"never": (), "fail": ("fail",), "unknown": ("fail", "unknown")}[module.params["fail_on"]]
    worst = [f for f in findings if f["status"] in bad]
    if worst:
        told = "; ".join(f"{f['id']} {f['cause'] or f['title']}" for f in worst)
        module.fail_json(msg=told, hint=f"qatprep explain {worst[0]['id']}", **result)
    module.exit_json(msg=outcome.verdict(), **result)


if __name__ == "__main__":
    main()
