from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from marketdata.api import api
from marketdata.views import icon, live

urlpatterns = [
    path("", live, name="live"),
    path("login/", LoginView.as_view(template_name="marketdata/login.html", next_page="live"), name="login"),
    path("logout/", LogoutView.as_view(next_page="live"), name="logout"),
    path("favicon.ico", icon),
    path("api/v1/", api.urls),
]
