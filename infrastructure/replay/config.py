"""The settings of the replay adapters as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from infrastructure.errors import Rejected


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    path: Path
    speed: float = 1.0  # recorded seconds in one of ours

    @classmethod
    def from_settings(cls) -> ReplayConfig:
        """Rejected where no file is named."""
        if not settings.REPLAY_FILE:
            raise Rejected("REPLAY_FILE names no recording.")
        return cls(Path(settings.REPLAY_FILE), settings.REPLAY_SPEED)
