import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('marketdata', '0004_keep_days'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='EndedSession',
            fields=[
                ('name', models.CharField(db_column='_id', max_length=32, primary_key=True, serialize=False)),
                ('ended_at', models.DateTimeField()),
            ],
            options={
                'db_table': 'ended_session',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.CharField(db_column='_id', editable=False, max_length=16, primary_key=True, serialize=False, verbose_name='begins with')),
                ('name', models.CharField(help_text='what it is for', max_length=100)),
                ('secret_digest', models.CharField(editable=False, max_length=64)),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('used_at', models.DateTimeField(editable=False, help_text='to the hour', null=True, verbose_name='last used')),
                ('revoked_at', models.DateTimeField(editable=False, null=True, verbose_name='revoked')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL, verbose_name='account')),
            ],
            options={
                'verbose_name': 'API key',
                'db_table': 'api_key',
                'ordering': ('id',),
            },
        ),
    ]
