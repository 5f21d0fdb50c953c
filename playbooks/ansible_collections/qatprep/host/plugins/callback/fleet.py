"""What a run over many nodes came to: a table by node, one by finding."""

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
type: aggregate
short_description: Tables of a run of qatprep over many nodes
description:
  - At the end of a playbook, prints what became of each node, its verdicts, and which findings stand on how many nodes.
  - Silent in playbooks that use no module of this collection.
requirements:
  - enable it by C(callbacks_enabled)
options:
  report:
    description:
      - A file for the same as JSON, schema qatprep.fleet/1.
    type: path
    env:
      - name: QATPREP_FLEET_REPORT
    ini:
      - section: callback_qatprep_fleet
        key: report
author:
  - qatprep maintainers (@qatprep)
"""

import json
import os
import time

from ansible.plugins.callback import CallbackBase

OURS = ("qatprep.host.bootstrap", "qatprep.host.doctor", "qatprep.host.rollback")
UNREACHABLE = "unreachable"
NOT_TRIED = "not tried"
_WORDS = 70
"""Columns for the last column of a table: prose."""
_TEXTS = 3
"""Texts of one finding that the table shows; where nodes say more than that, it shows what they have in common."""
_ARGUMENTS = ("validate_argument_spec", "assert")
"""Tasks of the role that judge its variables: what they say needs no word about where."""
_VERDICTS = {"qat": "QAT", "cryptomb": "CryptoMB"}


class CallbackModule(CallbackBase):
    """Collects the results of this collection's modules."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "qatprep.host.fleet"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display=None):
        super().__init__(display=display)
        self.nodes = {}
        self._began = {}
        self._ours = False
        self._hosts = []
        self._expected = {}
        self._play_began = time.time()

    # -- what happens ---------------------------------------------------------------------------------

    def v2_playbook_on_play_start(self, play):
        inventory = play.get_variable_manager()._inventory
        self._hosts = [host.get_name() for host in inventory.get_hosts(play.hosts, ignore_restrictions=True)]

    def v2_playbook_on_task_start(self, task, is_conditional):
        if task.action in OURS:
            self._ours = True
            self._expected.update(dict.fromkeys(self._hosts, _verb(task.action)))

    def v2_runner_on_start(self, host, task):
        self._began[host.get_name(), task._uuid] = time.time()

    def v2_runner_on_ok(self, result):
        self._take(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if result._task.action in OURS:
            self._take(result, failed=True)
        elif not ignore_errors and _of_role(result._task):
            self._broke_off(result)

    def v2_runner_on_unreachable(self, result):
        name = result._host.get_name()
        action = result._task.action
        verb = _verb(action) if action in OURS else ""
        told = {"status": UNREACHABLE, "failed": True, "message": str(result._result.get("msg", "")).strip()}
        self.nodes[name] = {**self._entry(name, verb), **told}

    def _broke_off(self, result):
        """Another task of the role failed, such as a drain. What was planned before did not happen."""
        self._ours = True
        name = result._host.get_name()
        node = self.nodes.get(name) or self._entry(name, "")
        if node["failed"]:
            return
        told = result._result
        words = [str(told.get("msg", "")).strip(), str(told.get("stderr", "")).strip()]
        message = "; ".join(word for word in words if word) or "failed; what it said is kept out of the log"
        if result._task.action.rpartition(".")[2] in _ARGUMENTS:
            message = message.removeprefix("Validation of arguments failed:").strip()
        else:
            message = f"{result._task.get_name().rpartition(' : ')[2]}: {message}"
        self.nodes[name] = {
            **node, "status": "failed", "failed": True, "changed": False, "changes": 0, "message": message,
        }  # fmt: skip

    @staticmethod
    def _entry(name, verb):
        return {
            "node": name,
            "verb": verb,
            "status": "failed",
            "failed": False,
            "changed": False,
            "changes": 0,
            "seconds": 0.0,
            "tool_seconds": 0.0,
            "verdicts": [],
            "findings": [],
            "message": "",
        }

    def _take(self, result, failed=False):
        action = result._task.action
        told = result._result
        if action not in OURS or told.get("skipped"):
            return
        name = result._host.get_name()
        began = self._began.get((name, result._task._uuid), time.time())
        findings = [
            {"id": f["id"], "status": f["status"], "text": f["title"], "statement": f["statement"]}
            for f in told.get("findings", [])
        ]
        known = set()
        for item in told.get("skipped_devices", []):
            if item["finding"] not in known:
                known.add(item["finding"])
                findings.append({"id": item["finding"], "status": "fail", "text": item["reason"], "statement": ""})
        self.nodes[name] = {
            "node": name,
            "verb": _verb(action),
            "status": told.get("status") or "failed",
            "failed": failed,
            "changed": bool(told.get("changed")),
            "changes": told.get("changes", 0),
            "seconds": round(time.time() - began, 3),
            "tool_seconds": told.get("seconds", 0.0),
            "verdicts": told.get("verdicts", []),
            "findings": findings,
            "message": str(told.get("msg", "")) if failed else _to_be_accepted(told),
        }

    # -- the report -----------------------------------------------------------------------------------

    def v2_playbook_on_stats(self, stats):
        if not self._ours:
            return
        for name, verb in self._expected.items():
            self.nodes.setdefault(name, {**self._entry(name, verb), "status": NOT_TRIED})
        ours = sorted(self.nodes.values(), key=lambda node: node["node"])
        for line in tables(ours):
            self._display.display(line)
        path = self.get_option("report")
        if path:
            document = {
                "schema": "qatprep.fleet/1",
                "seconds": round(time.time() - self._play_began, 3),
                "nodes": ours,
                "findings": by_finding(ours),
            }
            temporary = f"{path}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8") as f:
                json.dump(document, f, indent=2)
                f.write("\n")
            os.replace(temporary, path)


def _verb(action):
    """The verb of qatprep that a module runs."""
    return action.rsplit(".", 1)[-1]


def _of_role(task):
    """Whether a task is one of the role of this collection."""
    role = getattr(task, "_role", None)
    return getattr(role, "_role_name", "").rpartition(".")[2] == "qatprep"


def _to_be_accepted(told):
    """What check mode planned, and the run would refuse."""
    if told.get("status") != "planned" or not told.get("costs") or told.get("cost_accepted"):
        return ""
    return f"needs qatprep_accept_cost: {'; '.join(told['costs'])}"


def by_finding(nodes):
    """Each finding with the nodes it stands on, and what they say: failures first, then by number of nodes."""
    found = {}
    for node in nodes:
        for finding in node["findings"]:
            entry = found.setdefault(
                (finding["status"], finding["id"]),
                {"id": finding["id"], "status": finding["status"], "statement": "", "nodes": [], "texts": []},
            )
            entry["statement"] = entry["statement"] or finding["statement"]
            said = next((one for one in entry["texts"] if one["text"] == finding["text"]), None)
            if said is None:
                said = {"text": finding["text"], "nodes": []}
                entry["texts"].append(said)
            for names in (entry["nodes"], said["nodes"]):
                if node["node"] not in names:
                    names.append(node["node"])
    for entry in found.values():
        entry["texts"].sort(key=lambda one: -len(one["nodes"]))
    rank = {"fail": 0, "unknown": 1, "warn": 2}
    return sorted(found.values(), key=lambda e: (rank.get(e["status"], 3), -len(e["nodes"]), e["id"]))


def finding_rows(finding):
    """What the nodes say, a row for each text; what was to hold, where they say too many."""
    texts = finding["texts"]
    if len(texts) > _TEXTS:
        text = f"expected: {finding['statement']}" if finding["statement"] else texts[0]["text"]
        texts = [{"text": text, "nodes": finding["nodes"]}]
    first = [finding["id"], finding["status"]]
    for said in texts:
        yield [*first, str(len(said["nodes"])), short(said["text"]), short(" ".join(said["nodes"]))]
        first = ["", ""]


def tables(nodes):
    """The lines of both tables."""
    rows = []
    for node in nodes:
        ids = ", ".join(dict.fromkeys(f["id"] for f in node["findings"] if f["status"] == "fail"))
        words = node["message"] or ids
        status = node["status"]
        if node["failed"] and status != UNREACHABLE:
            status = "FAILED" if status in ("failed", "fail", "unchanged") else f"FAILED, {status}"
        states = {verdict["for"]: verdict["state"].upper() for verdict in node["verdicts"]}
        verdicts = [states.get(name, "-") for name in _VERDICTS]
        numbers = [str(node["changes"]), f"{node['seconds']:.1f}"]
        rows.append([node["node"], node["verb"], status, *numbers, *verdicts, short(words)])
    yield ""
    yield "QATPREP BY NODE"
    head = ["node", "verb", "status", "changes", "seconds", *_VERDICTS.values(), "what is in the way"]
    yield from table(head, rows, right=(3, 4))
    count = {}
    for node in nodes:
        word = "failed" if node["failed"] and node["status"] != UNREACHABLE else node["status"]
        count[word] = count.get(word, 0) + 1
    yield ", ".join(f"{n} {word}" for word, n in sorted(count.items(), key=lambda item: -item[1]))
    findings = by_finding(nodes)
    if findings:
        rows = [row for finding in findings for row in finding_rows(finding)]
        yield ""
        yield "QATPREP BY FINDING"
        yield from table(["finding", "result", "nodes", "what", "which"], rows, right=(2,))
    yield ""


def short(text):
    """A text that fits into the last column of a table."""
    text = " ".join(text.split())
    return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."


def table(head, rows, right=()):
    """Lines of a table whose columns are as wide as they must be."""
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    for row in [head, *rows]:
        cells = [c.rjust(w) if n in right else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()
