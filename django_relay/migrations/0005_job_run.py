# Which background jobs run or ran.

import django.utils.timezone
import django_relay.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('django_relay', '0004_delivery_due_index'),
    ]

    operations = [
        migrations.CreateModel(
            name='JobRun',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='job_', primary_key=True, serialize=False)),
                ('source', models.CharField(max_length=32, verbose_name='source')),
                ('job_id', models.CharField(max_length=255, verbose_name='job')),
                ('attempt', models.PositiveIntegerField(default=1, verbose_name='attempt')),
                ('state', models.CharField(choices=[('enqueued', 'enqueued'), ('running', 'running'), ('retrying', 'retrying'), ('completed', 'completed'), ('failed', 'failed')], default='running', max_length=16, verbose_name='state')),
                ('hostname', models.CharField(blank=True, max_length=255, verbose_name='host name')),
                ('pid', models.PositiveIntegerField(blank=True, null=True, verbose_name='process id')),
                ('lost_at', models.DateTimeField(blank=True, null=True, verbose_name='lost at')),
                ('facts', models.JSONField(default=dict, verbose_name='facts')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='updated at')),
            ],
            options={
                'verbose_name': 'job run',
                'verbose_name_plural': 'job runs',
                'indexes': [models.Index(condition=models.Q(('state', 'running')), fields=['source'], name='relay_job_run_running'), models.Index(fields=['updated_at'], name='relay_job_run_age')],
                'constraints': [models.UniqueConstraint(fields=('source', 'job_id'), name='relay_job_run_once_per_job')],
            },
        ),
    ]
