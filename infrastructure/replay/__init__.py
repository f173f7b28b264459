from infrastructure.replay.config import ReplayConfig
from infrastructure.replay.provider import ReplayProvider
from infrastructure.replay.recorder import Recorder
from infrastructure.replay.stream import ReplayStreamProvider

__all__ = ["Recorder", "ReplayConfig", "ReplayProvider", "ReplayStreamProvider"]
