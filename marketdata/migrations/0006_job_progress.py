from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('marketdata', '0005_api_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='backfilljob',
            name='force',
            field=models.BooleanField(default=False, verbose_name='asks again for what is there'),
        ),
        migrations.AddField(
            model_name='backfilljob',
            name='held',
            field=models.IntegerField(default=0, help_text='of a wish for a number of them', verbose_name='bars there already'),
        ),
        migrations.AddField(
            model_name='backfilljob',
            name='worked_s',
            field=models.FloatField(default=0.0, verbose_name='seconds of work'),
        ),
    ]
