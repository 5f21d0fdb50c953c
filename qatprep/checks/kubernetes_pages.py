"""What `qatprep explain` says of Kubernetes. Some of these findings come from `qatprep inspect` alone."""

from __future__ import annotations

TITLES = {
    "QP-K8S-001": "the kubelet knows every VF, under the name its PF's services give it",
    "QP-K8S-002": "the device plugin's limit leaves no VF out",
    "QP-K8S-003": "some PF gives a resource that can sign",
    "QP-K8S-004": "qatlib's own service does not run beside the device plugin",
    "QP-K8S-005": "the device plugin's resource names are ones Kubernetes takes",
    "QP-K8S-006": "AppArmor and SELinux let containers use their VFs",
    "QP-K8S-007": "the kubelet can give a pod CPUs of its own",
    "QP-K8S-008": "the pod's manifest asks for VFs in a way that works",
    "QP-K8S-009": "several VFs of one container come from several PFs",
    "QP-K8S-010": "the container has the device files of its VFs",
    "QP-K8S-011": "the container's user may open them",
    "QP-K8S-012": "the node has the label that manifests select by",
}

PAGES = {
    "QP-K8S-001": """\
Intel's device plugin tells the kubelet of the node's VFs. The name of a resource is made of the PF's services:
qat.intel.com/ and cfg_services with - for each ; where both orders of sym and asym become cy. So sym;asym gives
qat.intel.com/cy, asym alone gives qat.intel.com/asym, and sym;dc and dc;sym are two different names.

Why it matters: a pod that asks for a name the node does not have stays Pending.

How it is found out: the kubelet's device checkpoint, against the VFs and services that are seen in sysfs. The
checkpoint outlives the plugin: it is evidence, not proof.

How to mend it: the plugin's log. It passes over VFs that another driver holds and PFs that are down; VFs of the 6xxx
family need -kernel-vf-drivers=4xxxvf,420xxvf,6xxxvf. It looks again every five seconds.""",
    "QP-K8S-002": """\
The device plugin gives away at most -max-num-devices VFs: 64 by default since v0.27, 32 before. (The paper says 16;
no release had that.)

Why it matters: it takes the first ones it comes by, so that whole PFs of a node with several can be missing, and
spreading a pod over PFs does not work.

How it is found out: the plugin's command line and the kubelet's checkpoint, against the VFs of the node.

How to mend it:

    qatprep render kubernetes --as device-plugin --max-devices 512""",
    "QP-K8S-003": """\
TLS handshakes need asymmetric crypto. The resources of this node are of PFs that offer only others, such as dc
(compression).

Why it matters: Envoy gets a VF, finds no instance in it that can sign, and says "Failed to start QAT.". Nothing in
the kernel log tells of it.

How it is found out: the services of the PFs, from which the resource names are made.

How to mend it: services sym;asym on some PF; they can be changed only while it is down, so that its VFs are made anew.

    qatprep bootstrap --set devices.services='sym;asym'""",
    "QP-K8S-004": """\
qatlib's qat.service (its manager, qatmgr) and the device plugin both bind VFs and give them away.

Why it matters: each knows nothing of the other; a VF may go to a process of the host and to a container.

How it is found out: a process called qatmgr, on a node where the plugin runs.

How to mend it:

    systemctl disable --now qat.service""",
    "QP-K8S-005": """\
The kubelet or the plugin refused a resource name: 'ResourceName "qat.intel.com/sym;dc" is invalid'.

Why it matters: none of that PF's VFs can be asked for.

How it is found out: qatprep inspect log. (Plugin releases around 0.34 passed on services of newer kernels as they
stood: device-plugins issue 2168.)

How to mend it: a newer plugin, or services that every release knows: sym;asym.""",
    "QP-K8S-006": """\
AppArmor or SELinux kept the plugin or a container from a device file.

Why it matters: file permissions are right, and opening fails all the same.

How it is found out: qatprep inspect log, from the kernel log or the audit log: apparmor="DENIED", avc: denied.

How to mend it: AppArmor: a plugin from 0.30 on, which writes no new_id any more; the paper's overlay is for older
ones, and gone. SELinux: the DaemonSet's seLinuxOptions type container_device_plugin_t; for pods
setsebool -P container_use_devices on.""",
    "QP-K8S-007": """\
With the CPU manager policy static the kubelet gives a Guaranteed pod that asks for whole CPUs these CPUs alone.

Why it matters: Envoy's speed hangs on warm caches; the paper advises a cpuset apart from other work. Without it,
measurements vary with what else runs.

How it is found out: cpuManagerPolicy in the kubelet's configuration or on its command line, and cpu_manager_state.

How to mend it: cpuManagerPolicy: static and reservedSystemCPUs in the kubelet's configuration; remove
/var/lib/kubelet/cpu_manager_state; restart the kubelet. In the pod: whole CPUs, requests equal to limits.""",
    "QP-K8S-008": """\
A manifest asks for VFs in a way that Kubernetes or Envoy will not take.

Why it matters: `requests` alone, as the paper has it, is refused by the API server ("Limit must be set for non
overcommitable resources"); limits alone are enough, and if both are there they must be equal. Schemas do not know
this. Without QAT_POLICY=1 the first process takes a VF of each PF, or all, and the next finds none. Device ownership
needs runAsUser and runAsGroup, both not 0.

How it is found out: qatprep inspect manifest FILE.

How to mend it: qatprep render kubernetes prints one that is right.""",
    "QP-K8S-009": """\
A container has several VFs, and all are of one PF, though the node has others that could sign.

Why it matters: VFs of one PF share its engines: the paper sees a gain only from several PFs.

How it is found out: the kubelet's checkpoint names the VFs of each container; sysfs tells their PFs.

How to mend it: -allocation-policy=balanced in the plugin's DaemonSet. There is no default: say it.""",
    "QP-K8S-010": """\
The device file is not in the container: "No such file or directory" for /dev/vfio/..., "Insufficient
qat.intel.com/...", "No device found".

Why it matters: no VF was given to the container.

How it is found out: qatprep inspect log.

How to mend it: resources.limits with the exact resource name of the node (QP-K8S-001), in the container that runs
Envoy. With Docker: --device /dev/vfio/vfio --device /dev/vfio/GROUP. The paper's -device with one dash is read as
-d -e vice=..., an environment variable, and no device.""",
    "QP-K8S-011": """\
The device file is there and the container's user may not open it: "Permission denied" for /dev/vfio/...

Why it matters: Envoy does not run as root, and the node belongs to root.

How it is found out: qatprep inspect log.

How to mend it: device ownership of the runtime (QP-RT-001), with runAsUser and runAsGroup in the pod; with Docker
--group-add the group of the node. chmod a+rw opens the device to everybody (QP-NODE-002), and a+r is not enough. Also
look at QP-K8S-006.""",
    "QP-K8S-012": """\
Manifests for QAT, those of qatprep render among them, select nodes by intel.feature.node.kubernetes.io/qat=true.

Why it matters: without the label no such pod comes to this node.

How it is found out: the node as the API server has it, asked by kubectl with the kubelet's own kubeconfig
(/etc/kubernetes/kubelet.conf), else the administrator's. Nothing is asked where there is no kubectl.

How to mend it: node-feature-discovery with Intel's rules; or a feature file for it:

    qatprep render kubernetes --as nfd > /etc/kubernetes/node-feature-discovery/features.d/qatprep""",
}
