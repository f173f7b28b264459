"""The project's settings with short times, for the clusters that the tests start as processes."""

from config.settings import *  # noqa: F403

_SHORT = {"timeout": 3, "retry": 8, "poll": 0.05, "guard_cycle": 0.2}
Q_CLUSTER = {**Q_CLUSTER, **_SHORT, "ALT_CLUSTERS": {"backfills": {"workers": 1}}}  # noqa: F405
