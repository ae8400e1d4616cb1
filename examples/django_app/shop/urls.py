"""Where the views are."""

from django.urls import path

from shop import views

urlpatterns = [
    path("reports/<str:run>/cancel", views.cancel, name="cancel"),
    path("reports/<str:name>", views.report, name="report"),
]
