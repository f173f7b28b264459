"""The project's settings with short times, for the clusters that the tests start as processes."""

import os

from config.settings import *  # noqa: F403

# The time of a task; a job whose worker died is delivered again after "retry".
_TIMEOUT_S = int(os.environ.get("TASK_TIMEOUT", "3"))
_SHORT = {"timeout": _TIMEOUT_S, "retry": _TIMEOUT_S + 5, "poll": 0.05, "guard_cycle": 0.2}
Q_CLUSTER = {**Q_CLUSTER, **_SHORT, "ALT_CLUSTERS": {"backfills": {"workers": 1}}}  # noqa: F405
