"""A host that reacts: a recorded tree with a model of the kernel behind its attributes."""

from qatprep.simulator.faults import Fault, Faults, PowerLoss
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.waiting import BlockedForever

__all__ = ["BlockedForever", "Fault", "Faults", "PowerLoss", "SimulatedHost"]
