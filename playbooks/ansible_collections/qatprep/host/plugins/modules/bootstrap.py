#!/usr/bin/python
"""qatprep bootstrap as an Ansible module."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bootstrap
short_description: Make a node ready for accelerated TLS
description:
  - Runs C(qatprep bootstrap) on the node. Modules, services, VFs, binding and device nodes become as configured.
  - Every change is read back. When one fails, all of them are undone and the task fails.
  - A node that is as configured is not changed.
extends_documentation_fragment:
  - qatprep.host.tool
  - qatprep.host.config
options:
  devices:
    description: Only these PFs, by BDF or a glob of one.
    type: list
    elements: str
    default: []
  accept_cost:
    description:
      - Go ahead although something is lost, for example VFs that a change of services removes.
      - VFs that a process has open are never taken away.
    type: bool
    default: false
  allow_skipped:
    description: Do not fail when devices are skipped because of an earlier failure (BIOS, kernel, firmware).
    type: bool
    default: false
  smoke:
    description: Use what was prepared once, at the end.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Says what would be changed.
  diff_mode:
    support: full
    description: Shows every subject before and after.
author:
  - qatprep maintainers (@qatprep)
"""

EXAMPLES = r"""
- name: Make the node ready
  qatprep.host.bootstrap:

- name: Give one PF to compression, the others to TLS
  qatprep.host.bootstrap:
    devices:
      - 0000:6b:00.0
    settings:
      devices:
        services: dc
    accept_cost: true
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
  sample: applied
run:
  description: The run's id, for rollback.
  returned: always
  type: str
resumed:
  description: The id of the run that had been cut off and was gone on from, empty for none.
  returned: always
  type: str
changes:
  description: Number of changes made, or planned in check mode.
  returned: always
  type: int
skipped_devices:
  description: Devices that could not be prepared; each has subject, reason and finding.
  returned: always
  type: list
  elements: dict
costs:
  description: What the changes cost.
  returned: always
  type: list
  elements: str
cost_accepted:
  description: Whether the task was told to accept what is in RV(costs).
  returned: always
  type: bool
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
verdicts:
  description: For QAT and CryptoMB, the state and the reason, after the run.
  returned: always
  type: list
  elements: dict
reboot_required:
  description: Whether only what is in RV(remaining) stands between the node and its configuration.
  returned: always
  type: bool
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

REBOOT = 6
ACCEPT = "accept_cost: true (qatprep_accept_cost of the role) goes ahead"


def main() -> None:
    """Run the module."""
    own = {
        "devices": {"type": "list", "elements": "str", "default": []},
        "accept_cost": {"type": "bool", "default": False},
        "allow_skipped": {"type": "bool", "default": False},
        "smoke": {"type": "bool", "default": True},
    }
    module = AnsibleModule(argument_spec={**OPTIONS, **CONFIG, **own}, supports_check_mode=True)
    params = module.params
    arguments = ["bootstrap", *config_arguments(module)]
    for device in params["devices"]:
        arguments += ["--device", device]
    arguments += ["--check"] if module.check_mode else []
    arguments += ["--diff"] if module._diff else []
    arguments += ["--yes"] if params["accept_cost"] else []
    arguments += [] if params["smoke"] else ["--no-smoke"]
    outcome = call(module, *arguments)
    document = outcome.document
    planned = every_change(document["plan"])
    result = outcome.result(
        changed=document["changed"],
        run=document["run"],
        resumed=document["resumed"],
        changes=len(planned if module.check_mode else document["made"]),
        skipped_devices=document["skipped"],  # to Ansible, `skipped` means that the task did not run
        costs=sorted({cost for change in planned for cost in change["cost"]}),
        cost_accepted=params["accept_cost"],
        reboot_required=outcome.exit_status == REBOOT,
        **outcome.last_word(),
    )
    if "diff" in document:
        result["diff"] = document["diff"]
    trouble, hint = judged(document, params["allow_skipped"])
    if trouble:
        module.fail_json(msg=trouble, hint=hint, **result)
    number = result["changes"]
    done = {
        "unchanged": "as it is configured to be",
        "planned": f"{number} change{'s' if number != 1 else ''} planned",
        "applied": f"{number} change{'s' if number != 1 else ''} made",
    }
    if document["status"] == "planned" and result["costs"] and not params["accept_cost"]:
        done["planned"] += f" that need accept_cost (qatprep_accept_cost of the role): {'; '.join(result['costs'])}"
    module.exit_json(msg=f"{done.get(document['status'], document['status'])}; {outcome.verdict()}", **result)


def every_change(plan: dict) -> list:
    """The changes of a plan, lanes and all."""
    lanes = [change for lane in plan["lanes"] for change in lane["changes"]]
    return [*plan["begin"], *lanes, *plan["finish"]]


def judged(document: dict, allow_skipped: bool) -> tuple:
    """Message and hint of what makes the task fail; two empty texts when nothing does."""
    status = document["status"]
    failure = document["failure"] or {"message": status, "hint": ""}
    if status == "unconfirmed":
        costs = "; ".join(sorted({cost for change in every_change(document["plan"]) for cost in change["cost"]}))
        return f"this has a cost that must be accepted: {costs}", ACCEPT
    if status == "refused":
        why = [f"{item['reason']}, held by {' '.join(item['holders'])}" for item in document["plan"]["refused"]]
        return "refused: " + "; ".join(why), "stop these processes (drain the node), then run this again"
    if status == "partial":
        not_undone = "; ".join(document["not_undone"])
        return f"{failure['message']}; rolled back in part, this could not be undone: {not_undone}", failure["hint"]
    if status in ("rolled back", "interrupted"):
        return f"{failure['message']}; everything was rolled back", failure["hint"]
    if document["skipped"] and not allow_skipped:
        ids = sorted({item["finding"] for item in document["skipped"]})
        subjects = ", ".join(item["subject"] for item in document["skipped"])
        why = "; ".join(sorted({item["reason"] for item in document["skipped"]}))
        return f"not prepared, {why}: {subjects} ({', '.join(ids)})", f"qatprep explain {ids[0]}"
    smoke = document.get("smoke") or {"ok": True}
    if not smoke["ok"]:
        return f"the smoke run failed: {smoke['verdict']}", "qatprep smoke tells more"
    return "", ""


if __name__ == "__main__":
    main()
