"""Runs in the guest: asks a container runtime over its CRI socket, as a kubelet does.

    cri.py run SPEC    make a pod of one container, wait for its end, remove it; {"status", "log"} as JSON
    cri.py pod         make a pod without containers, which stays

SPEC is JSON: image, command, uid, gid, groups, devices (paths on the host).
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOST_NETWORK = {"namespace_options": {"network": 2}}
"""NODE: no network plugin is needed."""
LOGS = "/var/log/pods/rig"


class Runtime:
    """The runtime's two services, by message name: every call NAME has NAMERequest and NAMEResponse."""

    def __init__(self, endpoint: str) -> None:
        import api_pb2  # type: ignore[import-not-found]
        import grpc  # type: ignore[import-untyped]

        self._messages: Any = api_pb2
        self._channel = grpc.insecure_channel(endpoint)

    def ask(self, name: str, **fields: Any) -> Any:
        messages = self._messages
        call = self._channel.unary_unary(
            f"/runtime.v1.RuntimeService/{name}",
            request_serializer=getattr(messages, f"{name}Request").SerializeToString,
            response_deserializer=getattr(messages, f"{name}Response").FromString,
        )
        return call(getattr(messages, f"{name}Request")(**fields), timeout=120, wait_for_ready=True)

    def pod(self) -> tuple[str, dict[str, Any]]:
        """A pod's id and configuration."""
        os.makedirs(LOGS, exist_ok=True)
        name = f"rig{time.monotonic_ns()}"
        pod = {
            "metadata": {"name": name, "uid": name, "namespace": "default"},
            "log_directory": LOGS,
            "linux": {"security_context": HOST_NETWORK},
        }
        return self.ask("RunPodSandbox", config=pod).pod_sandbox_id, pod

    def run(self, spec: dict[str, Any]) -> dict[str, Any]:
        sandbox, pod = self.pod()
        user = {"run_as_user": {"value": spec["uid"]}, "run_as_group": {"value": spec["gid"]}}
        container = {
            "metadata": {"name": "main"},
            "image": {"image": spec["image"]},
            "command": spec["command"],
            "log_path": "main.log",
            "devices": [{"host_path": d, "container_path": d, "permissions": "rw"} for d in spec["devices"]],
            "linux": {"security_context": {**HOST_NETWORK, **user, "supplemental_groups": spec["groups"]}},
        }
        made = self.ask("CreateContainer", pod_sandbox_id=sandbox, config=container, sandbox_config=pod).container_id
        self.ask("StartContainer", container_id=made)
        while (status := self.ask("ContainerStatus", container_id=made).status).state != 2:  # CONTAINER_EXITED
            time.sleep(0.3)
        with open(f"{LOGS}/main.log", encoding="utf-8", errors="replace") as f:
            # time, stream, F or P, text: the CRI's log format
            text = "".join(line.split(" ", 3)[3] for line in f)
        os.unlink(f"{LOGS}/main.log")
        self.ask("StopPodSandbox", pod_sandbox_id=sandbox)
        self.ask("RemovePodSandbox", pod_sandbox_id=sandbox)
        return {"status": status.exit_code, "log": text}


def main() -> None:
    runtime = Runtime("unix:///run/containerd/containerd.sock")
    if sys.argv[1] == "pod":
        runtime.pod()
        return
    with open(sys.argv[2], encoding="utf-8") as f:
        json.dump(runtime.run(json.load(f)), sys.stdout)


if __name__ == "__main__":
    main()
