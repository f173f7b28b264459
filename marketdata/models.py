"""The platform's control data, as Django models. Bars live in the BarStore's own collections: the models over those
are read-only views (design decision 7)."""

from django.conf import settings
from django.db import models
from django_mongodb_backend.fields import ArrayField

INTERVAL_LENGTH = 3


class Symbol(models.Model):
    """An instrument the platform knows; its key is what the source is asked for."""

    key = models.CharField("symbol", primary_key=True, db_column="_id", max_length=64, help_text="EXCHANGE:TICKER")
    description = models.CharField(max_length=200, blank=True)
    type = models.CharField(max_length=32, blank=True)
    currency = models.CharField(max_length=16, blank=True)
    timezone = models.CharField(max_length=64, blank=True)
    session = models.TextField("trading hours", blank=True)
    holidays = models.TextField(blank=True, help_text="YYYYMMDD dates of the exchange, separated by commas")
    corrections = models.TextField(blank=True, help_text="days with other hours, as the source writes them")
    price_scale = models.BigIntegerField(default=100)
    min_move = models.BigIntegerField(default=1)
    has_volume = models.BooleanField(default=True)
    has_intraday = models.BooleanField(default=True)
    full_name = models.CharField("resolved as", max_length=64, blank=True, help_text="where the prices come from")
    pro_name = models.CharField("listed as", max_length=64, blank=True, help_text="the source's own name of it")
    venue = models.CharField(max_length=100, blank=True)
    update_mode = models.CharField(max_length=64, blank=True)
    delay_s = models.IntegerField("delay in seconds", default=0)
    aliases = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    active = models.BooleanField(default=True, help_text="pulled by the schedules and streamed by the feed")
    stream_quotes = models.BooleanField(default=True)
    stream_intervals = ArrayField(models.CharField(max_length=INTERVAL_LENGTH), default=list, blank=True)
    collect_intervals = ArrayField(models.CharField(max_length=INTERVAL_LENGTH), default=list, blank=True)
    keep_days = models.CharField(
        max_length=200,
        blank=True,
        help_text="how long bars are kept, as in 1m=365 5m=1000; for ever where it says nothing",
    )
    position = models.IntegerField(default=0, help_text="order in the default watch list")
    refreshed_at = models.DateTimeField("information of", null=True, blank=True, editable=False)
    note = models.CharField(
        max_length=300, blank=True, editable=False, help_text="what changed at the source, and when"
    )
    error = models.CharField("last error", max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "symbol"
        ordering = ("key",)

    def __str__(self) -> str:
        return self.key


class Quote(models.Model):
    """The last known state of a symbol, kept so that a lost Redis still shows a price and its age."""

    symbol = models.CharField(primary_key=True, db_column="_id", max_length=64)
    last = models.FloatField(null=True)
    last_at = models.DateTimeField(null=True)
    change = models.FloatField(null=True)
    change_percent = models.FloatField(null=True)
    bid = models.FloatField(null=True)
    ask = models.FloatField(null=True)
    bid_size = models.FloatField(null=True)
    ask_size = models.FloatField(null=True)
    volume = models.FloatField(null=True)
    open = models.FloatField(null=True)
    high = models.FloatField(null=True)
    low = models.FloatField(null=True)
    previous_close = models.FloatField(null=True)
    session = models.CharField(max_length=32, null=True)
    update_mode = models.CharField(max_length=64, null=True)
    venue = models.CharField(max_length=64, null=True)
    currency = models.CharField(max_length=16, null=True)
    description = models.CharField(max_length=200, null=True)
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "quote"
        default_permissions = ("view",)
        ordering = ("symbol",)

    def __str__(self) -> str:
        return self.symbol


class Pull(models.Model):
    """How far the schedules have pulled one symbol and interval; what the feed pushes meanwhile does not count, so that
    a gap before it is still asked for."""

    key = models.CharField(primary_key=True, db_column="_id", max_length=80, help_text="SYMBOL@interval")
    symbol = models.CharField(max_length=64)
    interval = models.CharField(max_length=INTERVAL_LENGTH)
    reached_ms = models.BigIntegerField(null=True)
    asked_ms = models.BigIntegerField(null=True)
    tried_at = models.DateTimeField("last tried", null=True)
    bars = models.IntegerField("bars new or corrected", default=0)
    corrected = models.IntegerField("of them corrected", default=0)
    error = models.CharField("last error", max_length=500, blank=True)

    class Meta:
        db_table = "pull"
        default_permissions = ("view",)
        ordering = ("key",)

    def __str__(self) -> str:
        return self.key


class BackfillJob(models.Model):
    """One wish for history: bars of one symbol and interval, by count or by range. Progress is kept page by page.

    `run` is its fencing number: whoever works on it holds the one it started with, and every later hand-over (resumed,
    given to another process) raises it, so that an earlier worker's next step changes nothing.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        PAUSED = "paused"
        CANCELLED = "cancelled"
        FAILED = "failed"
        DONE = "done"

    symbol = models.CharField(max_length=64)
    interval = models.CharField(max_length=INTERVAL_LENGTH)
    bars = models.IntegerField(null=True, blank=True, help_text="how many of the newest bars")
    start_at = models.DateTimeField("from", null=True, blank=True)
    end_at = models.DateTimeField("to", null=True, blank=True, help_text="not included")
    force = models.BooleanField("asks again for what is there", default=False)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED, db_index=True)
    received = models.IntegerField("bars received", default=0)
    new = models.IntegerField("bars new", default=0)
    corrected = models.IntegerField("bars corrected", default=0)
    documents = models.IntegerField("documents written", default=0)
    held = models.IntegerField("bars there already", default=0, help_text="of a wish for a number of them")
    requests = models.IntegerField("pages asked for", default=0)
    reached_at = models.DateTimeField("oldest bar so far", null=True, blank=True)
    ended = models.CharField("why it ended", max_length=8, blank=True)
    revision = models.IntegerField(
        "new revision", null=True, blank=True, editable=False, help_text="loads the whole series anew, into this"
    )
    run = models.IntegerField("times handed over", default=0)
    failures = models.IntegerField("failures in a row", default=0)
    error = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    worked_s = models.FloatField("seconds of work", default=0.0)
    beat_at = models.DateTimeField("last sign of life", null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "backfill_job"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval}"


class Finding(models.Model):
    """Something wrong with somebody's data: a bar that was set aside with its reason, a difference between two series.
    Written by the FindingStore; what was seen longest ago is forgotten first."""

    key = models.CharField(primary_key=True, db_column="_id", max_length=140)
    kind = models.CharField(max_length=16)
    symbol = models.CharField(max_length=64, db_index=True)
    interval = models.CharField(max_length=INTERVAL_LENGTH)
    reason = models.CharField(max_length=300)
    first_ms = models.BigIntegerField()
    last_ms = models.BigIntegerField()
    values = ArrayField(models.FloatField(), default=list, help_text="open, high, low, close, volume")
    seen = models.IntegerField("times seen", default=1)
    first_seen_at = models.DateTimeField()
    seen_at = models.DateTimeField("last seen", db_index=True)

    class Meta:
        db_table = "finding"
        default_permissions = ("view", "delete")
        ordering = ("-seen_at",)

    def __str__(self) -> str:
        return self.key


class UpstreamSwitch(models.Model):
    """The one switch over all traffic to the source (a single document, `_id` "upstream")."""

    key = models.CharField(primary_key=True, db_column="_id", max_length=16, default="upstream", editable=False)
    on = models.BooleanField("upstream traffic allowed", default=True)
    reason = models.CharField(max_length=200, blank=True)
    changed_by = models.CharField(max_length=150, blank=True, editable=False)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "upstream_switch"
        default_permissions = ("view", "change")
        verbose_name_plural = "upstream switch"

    def __str__(self) -> str:
        return "on" if self.on else "off"


class BarSeries(models.Model):
    """View of `bar_series`: one row per symbol, interval, adjustment and session; its id never changes."""

    id = models.CharField(primary_key=True, db_column="_id", max_length=32)
    symbol = models.CharField(max_length=64)
    interval = models.CharField(max_length=INTERVAL_LENGTH)
    adjustment = models.CharField(max_length=16)
    session = models.CharField(max_length=16)
    revision = models.IntegerField()
    span_ms = models.BigIntegerField()
    first_ms = models.BigIntegerField(null=True)
    last_ms = models.BigIntegerField(null=True)
    updated_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "bar_series"
        default_permissions = ("view",)
        managed = False
        verbose_name_plural = "bar series"
        ordering = ("symbol",)

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval}"


class BarChunk(models.Model):
    """View of `bar_chunk`: thousands of bars in one compressed document."""

    id = models.CharField(primary_key=True, db_column="_id", max_length=64)
    series = models.CharField(max_length=32)
    revision = models.IntegerField()
    start_ms = models.BigIntegerField()
    end_ms = models.BigIntegerField()
    n = models.IntegerField("bars")
    rev = models.IntegerField("write counter")

    class Meta:
        db_table = "bar_chunk"
        default_permissions = ("view",)
        managed = False
        ordering = ("id",)

    def __str__(self) -> str:
        return self.id


class ApiKey(models.Model):
    """Lets a program in as its account. Of the key itself only a digest is kept."""

    id = models.CharField("begins with", primary_key=True, db_column="_id", max_length=16, editable=False)
    name = models.CharField(max_length=100, help_text="what it is for")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, verbose_name="account", on_delete=models.CASCADE)
    secret_digest = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField("created", auto_now_add=True)
    used_at = models.DateTimeField("last used", null=True, editable=False, help_text="to the hour")
    revoked_at = models.DateTimeField("revoked", null=True, editable=False)

    class Meta:
        db_table = "api_key"
        verbose_name = "API key"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.name} (md_{self.id}_…)"


class EndedSession(models.Model):
    """The name of a session that was logged out."""

    name = models.CharField(primary_key=True, db_column="_id", max_length=32)
    ended_at = models.DateTimeField()

    class Meta:
        db_table = "ended_session"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
