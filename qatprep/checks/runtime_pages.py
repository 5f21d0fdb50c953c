"""What `qatprep explain` says of memlock and container runtimes."""

from __future__ import annotations

PAGES = {
    "QP-MEM-001": """\
Every VF pins 16 MiB of memory for its user (qatlib's INSTALL), and the kernel counts that against the memlock limit
of the process. systemd gives services 8 MiB unless told otherwise.

Why it matters: with too little, the log has "VFIO_IOMMU_MAP_DMA failed ... errno=12" or "RLIMIT_MEMLOCK exceeded",
and Envoy starts without QAT, or not at all. Kubernetes has no field for the limit: containers inherit that of the
daemon that started them. The paper's 16777216 is room for one VF and nothing else.

How it is found out: which unit runs containers (a running shim's cgroup tells, else the kubelet's endpoint), and
LimitMEMLOCK= in its file and drop-ins. Needed is the larger of 128 MiB and 16 MiB for one VF of each PF that can
sign, and 64 MiB on top. CRI-O's default_ulimits counts, too.

How to mend it: a drop-in for that unit (on k3s and RKE2 their own, not containerd's), a restart of the unit, then
delete and recreate the pods that use QAT. /etc/security/limits.conf does nothing here: services do not read it.""",
    "QP-MEM-002": """\
A limit is given to a daemon when it starts. Files that were changed since then have no effect yet.

Why it matters: everything looks right in the files, and new containers still get the old limit.

How it is found out: /proc/PID/limits of the running daemon, against its unit's files.

How to mend it: systemctl daemon-reload, and restart the unit. Running pods go on meanwhile: their shims are not
stopped. The node may be NotReady for some seconds.""",
    "QP-MEM-003": """\
A container keeps the memlock limit that its pod's shim was started with.

Why it matters: after the limit was raised and the runtime restarted, pods from before still fail, also when their
containers are restarted. (Tried with containerd 2.1.9 and runc 1.1.5: a new exec in an old container keeps the old
limit.)

How it is found out: /proc/PID/limits of each container that has QAT VFs, by the kubelet's checkpoint or because it
holds one open.

How to mend it: delete the pods, so that they are made anew.""",
    "QP-MEM-004": """\
systemd's sizes are bytes, or a number with one capital letter: 128M, 1G, infinity. 16MB and 64k are ignored.

Why it matters: systemd says so in its log only ("Failed to parse resource value, ignoring") and goes on with what it
had before.

How it is found out: every LimitMEMLOCK= of the unit's files, read as systemd reads it.

How to mend it: write 134217728 or 128M.""",
    "QP-MEM-005": """\
The kernel log or qatlib says that memory could not be locked: "RLIMIT_MEMLOCK (N) exceeded", "VFIO_IOMMU_MAP_DMA
failed ... errno=12".

Why it matters: the process that got this does not use QAT.

How it is found out: qatprep inspect log, from a container's log or the kernel's.

How to mend it: raise the limit (QP-MEM-001), restart the runtime (QP-MEM-002), recreate the pod (QP-MEM-003). With
another errno than 12 it is not the limit: EFAULT or EINVAL point to the IOMMU (QP-IOMMU-002).""",
    "QP-MEM-006": """\
The capability IPC_LOCK lifts the memlock limit, but only for a process that has it in effect: root. A process that
is started as another user gets no capabilities from its container's list.

Why it matters: guides, the paper among them, give it as a cure; for runAsUser other than 0 it does nothing.

How it is found out: Uid and CapEff in /proc/PID/status of containers that have QAT VFs and too low a limit.

How to mend it: the limit itself, QP-MEM-001.""",
    "QP-RT-001": """\
A runtime gives a container's device nodes to root, unless device_ownership_from_security_context is on. Then they
belong to the pod's runAsUser and runAsGroup, where these are set and not 0. The host's own nodes stay as they are.

Why it matters: Envoy does not run as root. On a VF that is right in every other respect it gets "Permission denied".

How it is found out: the runtime's own files, read as that version reads them. containerd: version 1 files have the
key in [plugins.cri], version 2 in [plugins."io.containerd.grpc.v1.cri"], version 3 and 4 in
[plugins.'io.containerd.cri.v1.runtime']; the file's version decides, not the binary's. CRI-O: [crio.runtime]. k3s and
RKE2: the option nonroot-devices. Docker has nothing like it: use --group-add.

How to mend it:

    qatprep bootstrap --set containers.device_ownership=true

or by hand, in the right table of the main file. On containerd 1.x never by a drop-in: QP-RT-003.""",
    "QP-RT-002": """\
containerd's or CRI-O's configuration has something that keeps the daemon from starting, or makes it ignore a file.

Why it matters: the daemon that runs read an older state. At its next start all pods of the node lose their runtime.

How it is found out: the files are read as that version of the runtime reads them: syntax, version (1.6 silently
ignores version 3, 1.7 refuses it; 2.0 to 2.2 drop [plugins.cri] of a file without version), the type of the key.

How to mend it: mend the file; then

    containerd config dump

must print the whole configuration without an error. On containerd 1.x it fails where there is no file at all, which
is fine.""",
    "QP-RT-003": """\
On containerd 1.x an imported file that names a plugin's table replaces the whole table of the main file.

Why it matters: a drop-in with the one key for device ownership resets sandbox image, systemd cgroup driver,
registries and runtimes to their defaults, without a word. The kubelet and containerd then fight over cgroups.

How it is found out: the main file and its imports; which of them have the CRI plugin's table. Tried with 1.6.20 and
1.7.24; 2.x merges key by key.

How to mend it: put the keys into the main file, take the drop-in away, restart containerd.""",
    "QP-RT-004": """\
disabled_plugins has the CRI plugin: Kubernetes cannot use this containerd, and no CRI setting means anything.

Why it matters: Docker's package of containerd ships with this line.

How it is found out: disabled_plugins of the main file and its imports.

How to mend it: take it out, if Kubernetes shall use this containerd.""",
    "QP-RT-005": """\
A setting is written where the runtime does not look: in the table of another config version, misspelt, in a file that
nothing imports, or below an `imports` that stands after a table's header and so belongs to that table.

Why it matters: containerd 1.x says nothing at all, 2.x writes a warning into its log. The key does not work.

How it is found out: the files, read as that version reads them. A file in conf.d counts only when the main file has an
imports line for it; the one that `containerd config dump` of 2.2 and later shows does not mean that it is read.

How to mend it: containerd config dump shows what is in effect.""",
}
