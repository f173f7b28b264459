from django.urls import path

from marketdata.views import live

urlpatterns = [path("", live, name="live")]
