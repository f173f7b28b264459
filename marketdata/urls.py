from django.urls import path

from marketdata.api import api
from marketdata.views import live

urlpatterns = [path("", live, name="live"), path("api/v1/", api.urls)]
