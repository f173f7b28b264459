from django.urls import path

from marketdata.api import api
from marketdata.views import icon, live

urlpatterns = [path("", live, name="live"), path("favicon.ico", icon), path("api/v1/", api.urls)]
