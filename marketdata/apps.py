from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MarketdataConfig(AppConfig):
    name = "marketdata"
    verbose_name = "Market data"

    def ready(self) -> None:
        from marketdata.services import groups

        post_migrate.connect(groups.ensure, sender=self, dispatch_uid="marketdata.groups")
