from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MarketdataConfig(AppConfig):
    name = "marketdata"
    verbose_name = "Market data"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in, user_logged_out

        from marketdata.services import groups, sessions

        user_logged_in.connect(sessions.begin, dispatch_uid="marketdata.sessions.begin")
        user_logged_out.connect(sessions.end, dispatch_uid="marketdata.sessions.end")
        post_migrate.connect(groups.ensure, sender=self, dispatch_uid="marketdata.groups")
