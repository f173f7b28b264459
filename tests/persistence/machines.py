"""How the state machines of this folder are run against a real store."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from infrastructure.persistence import Database


def run(machine: type[RuleBasedStateMachine], database: Database, examples: int, steps: int) -> None:
    bound = type("Bound", (machine,), {"database": database})
    options = settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(bound, settings=options)
