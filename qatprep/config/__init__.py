"""The configuration: what a node should be. From /etc/qatprep.yaml, a file, and --set.

`values` is what it is, `reading` makes it from text and tells all mistakes at once, `fit` holds it against the devices,
`writing` prints it.
"""

from qatprep.config.fit import demand, impossible, problem
from qatprep.config.reading import ConfigError, Mistake, load, parse
from qatprep.config.values import (
    DEFAULTS,
    KEEP,
    KEEP_MEMLOCK,
    PATH,
    ContainersConfig,
    NodeConfig,
    Override,
    PfConfig,
    memlock_for,
    memlock_need,
    unmatched,
)
from qatprep.config.writing import describe

__all__ = (
    "DEFAULTS",
    "KEEP",
    "KEEP_MEMLOCK",
    "PATH",
    "ConfigError",
    "ContainersConfig",
    "Mistake",
    "NodeConfig",
    "Override",
    "PfConfig",
    "demand",
    "describe",
    "impossible",
    "load",
    "memlock_for",
    "memlock_need",
    "parse",
    "problem",
    "unmatched",
)
