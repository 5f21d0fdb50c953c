"""Configuration file sets as they are met on nodes, and what shall become of each under each containerd."""

from __future__ import annotations

from dataclasses import dataclass, field

V1 = """\
root = "/var/lib/containerd"

[plugins.cri]
sandbox_image = "example/pause:1" # keep me

[plugins.cri.cni]
bin_dir = "/usr/lib/cni"
"""
V2 = """\
# our node, do not lose this comment
version = 2
IMPORTS
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "example/pause:1"   # mirrored
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
    [plugins."io.containerd.grpc.v1.cri".containerd]
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
          SystemdCgroup = true
"""
V3 = """\
version = 3
IMPORTS
[plugins]
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = 'example/pause:1'
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['/usr/lib/cni']
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = true
"""
IMPORT = 'imports = ["DIR/conf.d/*.toml"]'
OTHER_V2 = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  enable_unprivileged_ports = true
"""
OTHER_V3 = "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  enable_unprivileged_ports = true\n"
DEBIAN = """\
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
"""


@dataclass(frozen=True)
class Case:
    name: str
    main: str | None
    drop_ins: dict[str, str] = field(default_factory=dict)
    """By file name in conf.d."""
    becomes: dict[str, str] = field(default_factory=dict)
    """By suite, "*" for those not named: "main", "drop-in" or a drop-in's name is the file that is edited; "on" when
    there is nothing to do; anything else is words of the refusal."""


SAYS = "device_ownership_from_security_context = "
REGISTRIES = """\
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."registry.example.org"]
  endpoint = ["http://registry.example.org"]
"""
DOTTED = 'version = 2\nplugins."io.containerd.grpc.v1.cri".sandbox_image = "example/pause:1"\n'
INLINE = 'version = 2\nplugins = {"io.containerd.grpc.v1.cri" = {sandbox_image = "example/pause:1"}}\n'
CHILD = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "/usr/lib/cni"\n'

CASES = (
    Case("no main file", None, becomes={"*": "main"}),
    Case("empty main file", "", becomes={"*": "main"}),
    Case("nothing but a comment", "# nothing set\n", becomes={"*": "main"}),
    Case("Debian's file", DEBIAN, becomes={"*": "main"}),
    Case("bare version 2", "version = 2\n", becomes={"*": "main"}),
    Case("bare version 2, no newline at the end", "version = 2", becomes={"*": "main"}),
    Case("version 2 without imports", V2.replace("IMPORTS", ""), becomes={"*": "main"}),
    Case(
        "version 2 without imports, a file in conf.d",
        V2.replace("IMPORTS", ""),
        {"other.toml": OTHER_V2},
        {"*": "main"},
    ),
    Case(
        "version 2 with imports of an empty directory",
        V2.replace("IMPORTS", IMPORT),
        {},
        {"*": "main", "sid": "drop-in"},
    ),
    Case(
        "version 2 with imports, another's drop-in with the CRI table",
        V2.replace("IMPORTS", IMPORT),
        {"other.toml": OTHER_V2},
        {"*": "other.toml", "sid": "drop-in"},
    ),
    Case(
        "version 2 with imports, a later drop-in says false",
        V2.replace("IMPORTS", IMPORT),
        {"99-last.toml": OTHER_V2 + "  device_ownership_from_security_context = false\n"},
        {"*": "99-last.toml"},
    ),
    Case(
        "the paper's drop-in is in place",
        V2.replace("IMPORTS", IMPORT),
        {"qat.toml": OTHER_V2.replace("enable_unprivileged_ports", "device_ownership_from_security_context")},
        {"*": "on"},
    ),
    Case("version 3 without imports", V3.replace("IMPORTS", ""), {}, {"*": "version = 3", "sid": "main"}),
    Case(
        "version 3 with imports",
        V3.replace("IMPORTS", IMPORT),
        {"o.toml": OTHER_V3},
        {"*": "version = 3", "sid": "drop-in"},
    ),
    Case(
        "version 3 drop-in below version 2",
        V2.replace("IMPORTS", IMPORT),
        {"o.toml": OTHER_V3},
        {
            "*": "version = 3",
            "sid": "above the main file's 2",
        },
    ),
    Case(
        "a drop-in without version has the CRI table",
        V2.replace("IMPORTS", IMPORT),
        {"registries.toml": REGISTRIES},
        {"*": "registries.toml", "sid": "drop-in"},
    ),
    Case(
        "a drop-in without version has the CRI table of version 1",
        V2.replace("IMPORTS", IMPORT),
        {"a.toml": f"[plugins.cri]\n  {SAYS}false\n"},
        {"*": "named in full", "sid": "a.toml"},
    ),
    Case(
        "a drop-in of version 1",
        V2.replace("IMPORTS", IMPORT),
        {"a.toml": f"version = 1\n[plugins.cri]\n  {SAYS}true\n"},
        {"*": "on"},
    ),
    Case(
        "a drop-in of version 1 with version 2's table",
        V2.replace("IMPORTS", IMPORT),
        {"a.toml": OTHER_V2.replace("version = 2", "version = 1") + f"  {SAYS}true\n"},
        {"*": "main", "sid": "on"},
    ),
    Case(
        "nothing says a version, a drop-in has version 2's table",
        IMPORT + "\n[plugins.cri.cni]\n",
        {"a.toml": OTHER_V2.replace("version = 2\n", "") + f"  {SAYS}true\n"},
        {"*": "main", "sid": "no `version`"},
    ),
    Case(
        "a drop-in without version has version 3's table",
        V2.replace("IMPORTS", IMPORT),
        {"a.toml": OTHER_V3.replace("version = 3\n", "") + f"  {SAYS}true\n"},
        {"*": "main", "sid": "on"},
    ),
    Case(
        "version 2's table without a version",
        OTHER_V2.replace("version = 2\n", "") + f"  {SAYS}true\n",
        {},
        {"*": "main", "sid": "no `version`"},
    ),
    Case(
        "files that import themselves and each other",
        V2.replace("IMPORTS", 'imports = ["config.toml", "conf.d/a.toml"]'),
        {"a.toml": 'imports = ["a.toml", "../config.toml"]\n' + OTHER_V2.replace("version = 2\n", "")},
        {"*": "a.toml", "sid": "main"},
    ),
    Case(
        "imports of a relative glob",
        V2.replace("IMPORTS", 'imports = ["conf.d/*.toml"]'),
        {"a.toml": OTHER_V2 + f"  {SAYS}true\n"},
        {"*": "on", "bookworm": "main"},
    ),
    Case(
        "imports of files in directories of any name",
        V2.replace("IMPORTS", 'imports = ["DIR/*/*.toml"]'),
        {"a.toml": OTHER_V2 + f"  {SAYS}true\n"},
        {"*": "on"},
    ),
    Case(
        "imports of files in directories of any name, none of them says it",
        V2.replace("IMPORTS", 'imports = ["DIR/*/*.toml"]'),
        {"a.toml": OTHER_V2},
        {"*": "a.toml", "sid": "main"},
    ),
    Case("imports is a string", 'version = 2\nimports = "DIR/conf.d/*.toml"\n', {}, {"*": "imports is no list"}),
    Case(
        "the key one table too deep",
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\n" + f"  {SAYS}true\n",
        {},
        {"*": "version = 3", "sid": "main"},
    ),
    Case(
        "indented with tabs, Windows line ends",
        'version = 2\r\n\r\n[plugins."io.containerd.grpc.v1.cri"]\r\n\tsandbox_image = "example/pause:1"\r\n'
        '\t[plugins."io.containerd.grpc.v1.cri".cni]\r\n\t\tbin_dir = "/usr/lib/cni"\r\n',
        {},
        {"*": "main"},
    ),
    Case(
        "a plugin of another name in full",
        V2.replace("IMPORTS", "") + '[plugins."containerd.runtime.v1.linux"]\nshim = "containerd-shim"\n',
        {},
        {"*": "main", "trixie": "named in full"},
    ),
    Case("version 4", "version = 4\n", {}, {"*": "version = 4", "sid": "2.3 or later"}),
    Case("version 9", "version = 9\n", {}, {"*": "version = 9"}),
    Case("version is a word", 'version = "2"\n', {}, {"*": "version = '2'"}),
    Case("no version, [plugins.cri]", V1, {}, {"*": "main", "sid": "no `version` and a [plugins.cri] table"}),
    Case("no version, no plugins", 'root = "/srv/containerd"\n', {}, {"*": "main"}),
    Case("no version, other plugins", '[plugins.opt]\npath = "/srv/opt"\n', {}, {"*": "main", "sid": "no `version`"}),
    Case("dotted keys", DOTTED, {}, {"*": "main"}),
    Case("inline table", INLINE, {}, {"*": "main"}),
    Case("only a child table", CHILD, {}, {"*": "main"}),
    Case(
        "tables out of order",
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "/usr/lib/cni"\n[debug]\nlevel = "info"\n'
        '[plugins."io.containerd.internal.v1.opt"]\npath = "/srv/opt"\n',
        {},
        {"*": "main"},
    ),
    Case("Windows line ends", V2.replace("IMPORTS", "").replace("\n", "\r\n"), {}, {"*": "main"}),
    Case("says false", OTHER_V2 + "  device_ownership_from_security_context = false # why not\n", {}, {"*": "main"}),
    Case("says true", OTHER_V2 + "  device_ownership_from_security_context = true\n", {}, {"*": "on"}),
    Case(
        "the word true in quotes", OTHER_V2 + '  device_ownership_from_security_context = "true"\n', {}, {"*": "main"}
    ),
    Case("misspelt", OTHER_V2 + "  device_ownership_from_security_contxt = true\n", {}, {"*": "main"}),
    Case(
        "version 3's table in version 2",
        "version = 2\n[plugins.'io.containerd.cri.v1.runtime']\n  device_ownership_from_security_context = true\n",
        {},
        {"*": "main", "sid": "on"},
    ),
    Case("CRI switched off", 'version = 2\ndisabled_plugins = ["cri"]\n', {}, {"*": "named in full"}),
    Case(
        "CRI switched off, by its full name",
        'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n',
        {},
        {"*": "disabled_plugins"},
    ),
    Case("Docker's file", 'disabled_plugins = ["cri"]\n', {}, {"*": "disabled_plugins"}),
    Case("imports below a table", V2.replace("IMPORTS", "") + IMPORT + "\n", {"other.toml": OTHER_V2}, {"*": "main"}),
    Case(
        "imports of a missing glob",
        V2.replace("IMPORTS", 'imports = ["DIR/nowhere/*.toml"]'),
        {},
        {
            "*": "main",
            "sid": "drop-in",
        },
    ),
    Case(
        "imports of a missing file",
        V2.replace("IMPORTS", 'imports = ["DIR/nowhere/x.toml"]'),
        {},
        {
            "*": "no such file",
            "sid": "main",
        },
    ),
    Case("broken TOML", 'version = 2\n[plugins."io.containerd.grpc.v1.cri"\n', {}, {"*": "not TOML"}),
    Case("broken TOML in a drop-in", V2.replace("IMPORTS", IMPORT), {"b.toml": "version = \n"}, {"*": "not TOML"}),
    Case("plugins is a string", 'version = 2\nplugins = "none"\n', {}, {"*": "plugins is not a table"}),
    Case("two tables of one name", "version = 2\n[plugins.a]\n[plugins.a]\n", {}, {"*": "not TOML"}),
)
