"""A host that reacts: a recorded tree with a model of the kernel behind its attributes."""

from qatprep.host.simulated.faults import Fault, Faults, PowerLoss
from qatprep.host.simulated.host import SimulatedHost
from qatprep.host.simulated.waiting import BlockedForever

__all__ = ["BlockedForever", "Fault", "Faults", "PowerLoss", "SimulatedHost"]
