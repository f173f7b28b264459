from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('marketdata', '0006_job_progress'),
    ]

    operations = [
        migrations.AlterField(
            model_name='finding',
            name='symbol',
            field=models.CharField(db_index=True, max_length=64),
        ),
    ]
