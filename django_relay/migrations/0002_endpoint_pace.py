# How far the rate-limited endpoints are.

import django.db.models.deletion
import django_relay.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('django_relay', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='EndpointPace',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='pace_', primary_key=True, serialize=False)),
                ('next_free_at', models.DateTimeField(verbose_name='next free at')),
                ('endpoint', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.CASCADE, related_name='pace', to='django_relay.endpoint', verbose_name='endpoint')),
            ],
            options={
                'verbose_name': 'endpoint pace',
                'verbose_name_plural': 'endpoint paces',
            },
        ),
    ]
