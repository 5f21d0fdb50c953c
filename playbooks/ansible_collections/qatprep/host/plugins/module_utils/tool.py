"""Calling qatprep on a node, and turning what it says into what Ansible expects."""

from __future__ import annotations

import json
import os
import time

PLACES = ["/usr/local/bin", "/opt/qatprep/bin"]
OPTIONS = {
    "executable": {"type": "path"},
    "python": {"type": "path"},
    "simulate": {"type": "str"},
    "simulate_state": {"type": "path"},
}
"""Options of doc_fragments/tool.py."""
CONFIG = {
    "config": {"type": "path"},
    "settings": {"type": "dict", "default": {}},
}
"""Options of doc_fragments/config.py."""
LOCKED = 8
NAMES = {"qat": "QAT", "cryptomb": "CryptoMB"}


class Outcome:
    """One call: exit status, the document on stdout ({} when there is none), message and hint on stderr."""

    def __init__(self, exit_status, document, message, hint, seconds):
        self.exit_status = exit_status
        self.document = document
        self.message = message
        self.hint = hint
        self.seconds = seconds

    def result(self, **more):
        """What every result of this collection has."""
        known = {
            "exit_status": self.exit_status,  # not "rc": Ansible takes another rc than 0 for a failure
            "seconds": round(self.seconds, 3),
            "status": self.document.get("status", ""),
            "target": self.target,
        }
        return {**known, **more}

    def verdict(self):
        """The verdicts as one text."""
        said = self.document["outcome"]["verdicts"]
        return "; ".join(f"{NAMES[one['for']]} {one['state'].upper()}: {one['text']}" for one in said)

    def last_word(self):
        """What qatprep decided about the node: verdicts, what remains for a person, what to do next."""
        decided = self.document["outcome"]
        return {key: decided[key] for key in ("verdicts", "remaining", "next")}

    @property
    def target(self):
        """The host in qatprep's own words."""
        host = self.document.get("host", "")
        return host.get("label", "") if isinstance(host, dict) else host


def config_arguments(module):
    """--config and --set. Fails the module where a key is set twice."""
    params = module.params
    arguments = ["--config", params["config"]] if params["config"] else []
    try:
        settings = flat(params["settings"])
    except ValueError as e:
        module.fail_json(msg=f"settings: {e}", hint="leave one of them out", status="failed")
    for key, value in settings.items():
        if isinstance(value, list) and not any(isinstance(one, (dict, list)) for one in value):
            text = ",".join(map(str, value))
        else:
            text = json.dumps(value) if isinstance(value, (bool, list)) or value is None else str(value)
        arguments += ["--set", f"{key}={text}"]
    return arguments


def flat(settings):
    """Keys with dots -> values, in their order; devices: {services: dc} is devices.services, and an override is
    devices@MATCH. ValueError for a key that is set to two values."""
    found = {}

    def take(name, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                take(f"{name}.{key}" if name else str(key), inner)
        elif name == "overrides" and isinstance(value, list) and all(_is_override(one) for one in value):
            for one in value:
                match = dict(one["match"])
                words = [f"numa{match['numa_node']}"] if "numa_node" in match else []
                words += [str(match[key]) for key in ("family", "device") if key in match]
                take("@".join(["devices", *words]), {key: one[key] for key in one if key != "match"})
        elif name in found and found[name] != value:
            raise ValueError(f"{name} is set twice, to {found[name]!r} and to {value!r}")
        else:
            found[name] = value

    take("", settings)
    return found


def _is_override(item):
    """Whether this is one of the configuration's overrides, matched by what --set can match as well."""
    match = item.get("match") if isinstance(item, dict) else None
    return isinstance(match, dict) and bool(match) and set(match) <= {"numa_node", "family", "device"}


def call(module, *arguments):
    """Run qatprep with these arguments and --output json. Fails the module when it gives no document."""
    executable = module.params["executable"] or module.get_bin_path("qatprep", opt_dirs=PLACES)
    python = module.params["python"]
    _require(module, "executable", None if python else os.X_OK)
    _require(module, "python", os.X_OK)
    if not executable:
        module.fail_json(
            msg="there is no qatprep on this node",
            hint="install its package there, or let the role bring the single file: qatprep_pyz=../dist/qatprep.pyz",
        )
    argv = [python] if python else []
    argv += [executable, *list(arguments), "--output", "json"]
    if module.params["simulate"]:
        argv += ["--simulate", module.params["simulate"]]
    state = module.params["simulate_state"]
    begin = time.time()
    rc, out, err = module.run_command(argv, environ_update={"QATPREP_STATE": state} if state else {})
    seconds = time.time() - begin
    message, hint = _said(err)
    try:
        document = json.loads(out)
    except ValueError:
        if rc < 0:
            message = f"qatprep was ended by signal {-rc}; what it had done is in its journal"
            hint = "run it again: it goes on from there (or qatprep rollback undoes it)"
        outcome = Outcome(rc, {}, message, hint, seconds)
        module.fail_json(
            msg=message or f"{executable} ended with status {rc} and gave no document: is it qatprep?",
            hint=hint,
            **outcome.result(status="locked" if rc == LOCKED else "failed", cmd=argv, stderr=err[-2000:]),
        )
    return Outcome(rc, document, message, hint, seconds)


def _require(module, option, access):
    """Fail the module where an option names no file, or one without the right `access` (None: reading is enough)."""
    path = module.params[option]
    if not path or (option == "python" and "/" not in path):
        return
    what = ""
    if not os.path.exists(path):
        what = "is not there"
    elif not os.path.isfile(path):
        what = "is not a file"
    elif not os.access(path, os.R_OK if access is None else access):
        what = "is not executable"
    if what:
        module.fail_json(
            msg=f"{option}: {path} {what} on this node",
            hint=f"give the path of qatprep on the node, or leave {option} out",
            status="failed",
        )


def _said(err):
    """Message and hint of the last error on stderr: qatprep's own form."""
    message = hint = ""
    for line in err.splitlines():
        if line.startswith("error: "):
            message, hint = line[len("error: ") :], ""
        elif line.startswith("  cause: "):
            message += ": " + line[len("  cause: ") :].strip()
        elif line.startswith("  fix: "):
            hint = line[len("  fix: ") :].strip()
    return message, hint
