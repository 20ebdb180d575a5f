# What came back of endpoints' attempts, by the hour.

import django.db.models.deletion
import django_relay.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('django_relay', '0002_endpoint_pace'),
    ]

    operations = [
        migrations.CreateModel(
            name='EndpointHour',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='hour_', primary_key=True, serialize=False)),
                ('hour', models.DateTimeField(verbose_name='hour')),
                ('delivered', models.IntegerField(default=0, verbose_name='delivered')),
                ('retried', models.IntegerField(default=0, verbose_name='failed, to be retried')),
                ('dead_lettered', models.IntegerField(default=0, verbose_name='failed, given up')),
                ('inconclusive', models.IntegerField(default=0, verbose_name='inconclusive')),
                ('status_2xx', models.IntegerField(default=0, verbose_name='2xx')),
                ('status_3xx', models.IntegerField(default=0, verbose_name='3xx')),
                ('status_4xx', models.IntegerField(default=0, verbose_name='4xx')),
                ('status_5xx', models.IntegerField(default=0, verbose_name='5xx')),
                ('status_none', models.IntegerField(default=0, verbose_name='no status')),
                ('timeouts', models.IntegerField(default=0, verbose_name='time-outs')),
                ('within_25_ms', models.IntegerField(default=0, verbose_name='≤ 25 ms')),
                ('within_50_ms', models.IntegerField(default=0, verbose_name='≤ 50 ms')),
                ('within_100_ms', models.IntegerField(default=0, verbose_name='≤ 100 ms')),
                ('within_250_ms', models.IntegerField(default=0, verbose_name='≤ 250 ms')),
                ('within_500_ms', models.IntegerField(default=0, verbose_name='≤ 500 ms')),
                ('within_1000_ms', models.IntegerField(default=0, verbose_name='≤ 1 s')),
                ('within_2500_ms', models.IntegerField(default=0, verbose_name='≤ 2.5 s')),
                ('within_5000_ms', models.IntegerField(default=0, verbose_name='≤ 5 s')),
                ('within_10000_ms', models.IntegerField(default=0, verbose_name='≤ 10 s')),
                ('within_30000_ms', models.IntegerField(default=0, verbose_name='≤ 30 s')),
                ('endpoint', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='hours', to='django_relay.endpoint', verbose_name='endpoint')),
            ],
            options={
                'verbose_name': 'endpoint hour',
                'verbose_name_plural': 'endpoint hours',
                'indexes': [models.Index(fields=['hour'], name='relay_endpoint_hour_age')],
                'constraints': [models.UniqueConstraint(fields=('endpoint', 'hour'), name='relay_endpoint_hour_once')],
            },
        ),
    ]
