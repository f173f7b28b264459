"""Jobs and schedules: Django-Q over the platform's own MongoDB (design decision 11). Importing opens nothing."""

from infrastructure.scheduling.dead import DeadJob
from infrastructure.scheduling.jobs import QueueSize
from infrastructure.scheduling.scheduler import JobScheduler

__all__ = ["DeadJob", "JobScheduler", "QueueSize"]
