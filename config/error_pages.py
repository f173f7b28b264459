"""What Django's own error page (DEBUG=on) shows of the settings: no cookie, and no address that may hold a password."""

import re

from django.views.debug import SafeExceptionReporterFilter

ADDRESSES = ("MONGODB_URI", "REDIS_URL", "^HOST$", "LOCATION")


class Filter(SafeExceptionReporterFilter):
    hidden_settings = re.compile(
        "|".join((SafeExceptionReporterFilter.hidden_settings.pattern, "COOKIE", *ADDRESSES)), re.IGNORECASE
    )
