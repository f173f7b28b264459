from django.apps import AppConfig


class InfrastructureConfig(AppConfig):
    name = "infrastructure"

    def ready(self) -> None:
        from infrastructure import checks  # noqa: F401 (registers them)
