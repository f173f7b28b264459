"""A TradingView that runs on loopback: demo, tests and benchmarks talk to it instead of the real one."""

from infrastructure.simulator.clock import RunningClock, StandingClock
from infrastructure.simulator.faults import MODES
from infrastructure.simulator.market import Market
from infrastructure.simulator.options import ANONYMOUS_TOKEN, PAID_TOKEN
from infrastructure.simulator.server import SimulatorServer

__all__ = ["ANONYMOUS_TOKEN", "MODES", "PAID_TOKEN", "Market", "RunningClock", "SimulatorServer", "StandingClock"]
