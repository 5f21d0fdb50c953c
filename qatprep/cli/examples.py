"""What `--help` shows as examples, by command: a command line (without "qatprep" where it begins so), and what it is
for.

tests/cli/test_help.py runs them all on a simulated host, unless they are marked there as needing more.
"""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "doctor": (
        ("doctor", "every cause, every fix"),
        ("doctor --short", "one line for each finding"),
        ("doctor --only iommu --verbose", "one stage, with what was read"),
        ("doctor --prove", "sign on each PF, and keep the proof"),
    ),
    "plan": (
        ("plan", "the whole node"),
        ("plan --device '0000:6b:*'", "one PF"),
        ("plan --diff", "before and after of each device"),
    ),
    "bootstrap": (
        ("bootstrap", "the whole node; asks once"),
        ("bootstrap --yes", "from a script"),
        ("bootstrap --device '0000:6b:*'", "one PF"),
        ("bootstrap --check --diff", "as Ansible's check mode"),
    ),
    "rollback": (
        ("rollback --check", "look first"),
        ("rollback", "undo the last run"),
        ("rollback all", "undo every run, newest first"),
        ("rollback --list", "the runs that are remembered"),
    ),
    "status": (
        ("status", "the node on one screen"),
        ("status --verbose", "one line for each PF and VF"),
        ("status --watch", "again whenever a device changes"),
    ),
    "explain": (
        ("explain QP-SVC-001", "the page of one finding"),
        ("explain iommu", "all pages of a stage"),
        ("explain", "every id"),
        ("explain qatprep.doctor/1", "the schema of a JSON document"),
    ),
    "device list": (
        ("device list", "QAT devices"),
        ("device list --no-vfs", "PFs alone"),
        ("device list --all --class network", "every network function"),
    ),
    "device bind": (
        ("device bind 6b:00.1 --group qat", "one VF, its device node given to a group"),
        ("device bind '0000:6b:*' --driver qat_vfio_pci", "the VFs of a bus"),
    ),
    "device unbind": (("device unbind 6b:00.1", ""),),
    "device services": (("device services 'asym;sym' 6b:00.0 --check", "what it would cost"),),
    "device vfs": (("device vfs create 6b:00.0", "all VFs of a PF"), ("device vfs remove 6b:00.0", "none")),
    "device take-over": (
        ("device take-over 6b:00.0", ""),
        ("device take-over 6b:00.1 --adopt --check", "keep driverctl's driver, in the configuration"),
    ),
    "device reset": (("device reset 6b:00.0 --check", "what it would cost"),),
    "device up": (("device up 6b:00.0", ""),),
    "device down": (("device down 6b:00.0", ""),),
    "config init": (("config init > /etc/qatprep.yaml", "a commented file for this node"),),
    "config check": (
        ("config check", ""),
        ("config check --config new.yaml", "another file"),
    ),
    "config show": (("config show", ""), ("config show --set devices.services=asym", "with one key changed")),
    "smoke": (
        ("smoke", "CPU and QAT, whatever the node has"),
        ("smoke --direct --all", "every free VF, without libqat"),
    ),
    "bench rsa": (
        ("bench rsa", "one core, three RSA keys"),
        ("bench rsa --workers 1 --workers 4 --key p-256", ""),
    ),
    "bench aes": (("bench aes", "a minute"),),
    "bench queue": (("bench queue", ""),),
    "tune": (("tune --rate 2000", "for 2000 handshakes a second"), ("tune --save tune.json", "for render")),
    "render envoy": (
        ("render envoy --provider qat", "a static configuration"),
        ("render envoy -p cryptomb --generate . --key-type p256", "with a key and a certificate for tests"),
    ),
    "render istio": (
        ("render istio --provider qat > values.yaml", "helm upgrade --install NAME istio/gateway -f values.yaml"),
    ),
    "render kubernetes": (
        ("render kubernetes", "a Deployment that uses VFs"),
        ("render kubernetes --as device-plugin", "Intel's device plugin: | kubectl apply -f -"),
    ),
    "inspect config-dump": (
        ("inspect config-dump http://127.0.0.1:15000", "after: kubectl port-forward -n istio-system POD 15000"),
        ("istioctl proxy-config all POD -o json | qatprep inspect config-dump -", ""),
    ),
    "inspect stats": (
        ("inspect stats http://127.0.0.1:15000 --interval 10", "with rates"),
        (
            "kubectl exec POD -c istio-proxy -- \\\n"
            "pilot-agent request GET stats?histogram_buckets=detailed | \\\n"
            "qatprep inspect stats",
            "",
        ),
    ),
    "inspect log": (
        ("kubectl logs POD | qatprep inspect log -", "of a gateway"),
        ("dmesg | qatprep inspect log -", "of the kernel"),
    ),
    "inspect manifest": (
        ("inspect manifest deployment.yaml", "a file"),
        ("kubectl get deploy NAME -o yaml | qatprep inspect manifest -", "what the cluster has"),
    ),
    "inspect handshake": (("inspect handshake localhost:9000 --ca cert.pem \\\n--admin http://127.0.0.1:9001", ""),),
    "gen-conf": (
        ("gen-conf", "every file, as text"),
        ("gen-conf --format kernel-arguments", ""),
        ("gen-conf --write image/", "below a folder"),
    ),
    "metrics": (
        ("metrics", ""),
        ("metrics --write /var/lib/node_exporter/qatprep.prom", "for node_exporter"),
    ),
    "features": (("features", ""), ("features --write", "where NFD reads them")),
    "report": (("report --html node.html", "one page"), ("report --markdown -", "to stdout")),
    "capture": (("capture node.txt", ""), ("doctor --root node.txt", "read it, on any machine")),
    "hosts": (("hosts", ""), ("hosts spr-2s", "the story of one")),
}
