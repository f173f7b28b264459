"""What the admin's lists have in common: none counts or sorts a large collection, and views change nothing."""

from functools import cached_property
from typing import Any, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

from infrastructure.persistence import Database


class EstimatePaginator(Paginator):
    """Counts an unfiltered collection by its metadata: exact counting reads every document on this backend."""

    @cached_property
    def count(self) -> int:
        rows = cast(QuerySet[Any], self.object_list)
        if rows.query.where:
            return super().count
        return Database().collection(rows.model._meta.db_table).estimated_document_count()


class PlatformAdmin(admin.ModelAdmin):
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = EstimatePaginator
    list_per_page = 50
    empty_value_display = "–"

    class Media:
        css = {"all": ["marketdata/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the name of what it lists: most are here to look, not to "select one to change"."""
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, {**title, **(extra_context or {})})


class ReadOnlyAdmin(PlatformAdmin):
    """For documents that somebody else owns: nobody adds, changes or deletes them here, whatever their permissions."""

    actions = None
    change_form_template = "marketdata/admin/read_only.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
