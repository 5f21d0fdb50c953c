"""Where the simulated hosts lie that are shipped with qatprep."""

from __future__ import annotations

import os
from functools import cache

from qatprep.errors import InputError


def hosts_directory() -> str:
    """Where the simulated hosts lie: in the installed package, or next to it in the source tree."""
    from importlib.util import find_spec

    try:
        spec = find_spec("qatprep.hosts")
    except ImportError:
        spec = None
    if spec is not None and spec.submodule_search_locations:
        found = next(iter(spec.submodule_search_locations))
        return found if os.path.isdir(found) else _unpacked()
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    source = os.path.join(os.path.dirname(package), "fixtures", "sysfs")
    if not os.path.isdir(source):
        raise InputError("the simulated hosts are not installed", f"they belong in qatprep/hosts or {source}")
    return source


@cache
def _unpacked() -> str:
    """The simulated hosts out of the single file, in a directory that goes away with this process."""
    import shutil
    import tempfile
    from atexit import register
    from importlib.resources import files

    directory = tempfile.mkdtemp(prefix="qatprep-hosts-")
    register(shutil.rmtree, directory, ignore_errors=True)
    for host in files("qatprep.hosts").iterdir():
        if host.is_dir():
            os.mkdir(os.path.join(directory, host.name))
            for file in host.iterdir():
                with open(os.path.join(directory, host.name, file.name), "wb") as f:
                    f.write(file.read_bytes())
    return directory
