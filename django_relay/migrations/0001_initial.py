# The tables of the journey.

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import django_relay.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Application',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='app_', primary_key=True, serialize=False)),
                ('slug', models.SlugField(max_length=64, unique=True, verbose_name='slug')),
                ('name', models.CharField(max_length=200, verbose_name='name')),
                ('metadata', models.JSONField(blank=True, default=dict, verbose_name='metadata')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated at')),
            ],
            options={
                'verbose_name': 'application',
                'verbose_name_plural': 'applications',
            },
        ),
        migrations.CreateModel(
            name='WorkerPresence',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='wrk_', primary_key=True, serialize=False)),
                ('runner', models.CharField(max_length=32, verbose_name='runner')),
                ('state', models.CharField(choices=[('queued', 'queued'), ('working', 'working'), ('finishing', 'finishing')], max_length=16, verbose_name='state')),
                ('hostname', models.CharField(blank=True, max_length=255, verbose_name='host name')),
                ('pid', models.PositiveIntegerField(blank=True, null=True, verbose_name='process id')),
                ('in_flight', models.PositiveIntegerField(default=0, verbose_name='in flight')),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='started at')),
                ('seen_at', models.DateTimeField(verbose_name='seen at')),
            ],
            options={
                'verbose_name': 'worker',
                'verbose_name_plural': 'workers',
            },
        ),
        migrations.CreateModel(
            name='Endpoint',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='ep_', primary_key=True, serialize=False)),
                ('tenant_id', models.CharField(blank=True, max_length=255, verbose_name='tenant')),
                ('url', models.CharField(max_length=2048, verbose_name='URL')),
                ('description', models.CharField(blank=True, max_length=500, verbose_name='description')),
                ('event_types', models.JSONField(help_text='Patterns such as invoice.paid, invoice.*, invoice.** or *.', verbose_name='event types')),
                ('filters', models.JSONField(blank=True, default=dict, verbose_name='filters')),
                ('headers', django_relay.fields.EncryptedField(blank=True, default=dict, verbose_name='headers')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('disabled_reason', models.CharField(blank=True, choices=[('tenant', 'by the tenant'), ('staff', 'by staff'), ('gone', 'the receiver answered 410 Gone'), ('failing', 'nothing but failures for too long')], max_length=16, verbose_name='disabled reason')),
                ('disabled_at', models.DateTimeField(blank=True, null=True, verbose_name='disabled at')),
                ('rate_limit', models.PositiveIntegerField(default=0, help_text='Requests a second; 0 is no limit.', validators=[django.core.validators.MaxValueValidator(10000)], verbose_name='rate limit')),
                ('format', models.CharField(choices=[('standard', 'Standard Webhooks envelope'), ('raw', 'the data alone'), ('cloudevents', 'CloudEvents 1.0, structured')], default='standard', max_length=16, verbose_name='format')),
                ('retry_schedule', models.JSONField(blank=True, help_text='Seconds to wait after each failure.', null=True, verbose_name='retry schedule')),
                ('timeout_seconds', models.PositiveSmallIntegerField(blank=True, help_text="Seconds; empty is the project's.", null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(30)], verbose_name='timeout')),
                ('metadata', models.JSONField(blank=True, default=dict, verbose_name='metadata')),
                ('failing_since', models.DateTimeField(blank=True, null=True, verbose_name='failing since')),
                ('last_success_at', models.DateTimeField(blank=True, null=True, verbose_name='last success at')),
                ('deleted_at', models.DateTimeField(blank=True, null=True, verbose_name='deleted at')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated at')),
                ('application', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='endpoints', to='django_relay.application', verbose_name='application')),
            ],
            options={
                'verbose_name': 'endpoint',
                'verbose_name_plural': 'endpoints',
            },
        ),
        migrations.CreateModel(
            name='Delivery',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='del_', primary_key=True, serialize=False)),
                ('tenant_id', models.CharField(blank=True, max_length=255, verbose_name='tenant')),
                ('state', models.CharField(choices=[('pending', 'pending'), ('delivered', 'delivered'), ('failed', 'failed'), ('cancelled', 'cancelled')], default='pending', max_length=16, verbose_name='state')),
                ('attempt_count', models.PositiveSmallIntegerField(default=0, verbose_name='attempts')),
                ('max_attempts', models.PositiveSmallIntegerField(verbose_name='max attempts')),
                ('next_attempt_at', models.DateTimeField(verbose_name='next attempt at')),
                ('leased_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='leased at')),
                ('leased_until', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='leased until')),
                ('lease_token', models.UUIDField(blank=True, editable=False, null=True, verbose_name='lease token')),
                ('last_error', models.TextField(blank=True, verbose_name='last error')),
                ('last_error_kind', models.CharField(blank=True, max_length=32, verbose_name='last error kind')),
                ('last_status_code', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='last status code')),
                ('last_response', models.TextField(blank=True, verbose_name='last response')),
                ('last_latency_ms', models.PositiveIntegerField(blank=True, null=True, verbose_name='last latency')),
                ('completed_at', models.DateTimeField(blank=True, null=True, verbose_name='completed at')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='updated at')),
                ('replay_of', models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='replays', to='django_relay.delivery', verbose_name='replay of')),
                ('endpoint', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='deliveries', to='django_relay.endpoint', verbose_name='endpoint')),
            ],
            options={
                'verbose_name': 'delivery',
                'verbose_name_plural': 'deliveries',
            },
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='evt_', primary_key=True, serialize=False)),
                ('tenant_id', models.CharField(blank=True, max_length=255, verbose_name='tenant')),
                ('event_type', models.CharField(max_length=128, verbose_name='event type')),
                ('schema_version', models.CharField(blank=True, max_length=64, verbose_name='schema version')),
                ('payload', models.TextField(verbose_name='payload')),
                ('attributes', models.JSONField(blank=True, default=dict, verbose_name='attributes')),
                ('idempotency_key', models.CharField(blank=True, max_length=255, verbose_name='idempotency key')),
                ('payload_hash', models.CharField(max_length=64, verbose_name='payload hash')),
                ('occurred_at', models.DateTimeField(verbose_name='occurred at')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('status', models.CharField(choices=[('pending', 'pending'), ('dispatched', 'dispatched'), ('no_match', 'no match')], default='pending', max_length=16, verbose_name='status')),
                ('dispatched_at', models.DateTimeField(blank=True, null=True, verbose_name='dispatched at')),
                ('matched_count', models.PositiveIntegerField(blank=True, null=True, verbose_name='matched count')),
                ('traceparent', models.CharField(blank=True, max_length=64, verbose_name='traceparent')),
                ('subject', models.CharField(blank=True, max_length=255, verbose_name='subject')),
                ('origin', models.CharField(blank=True, max_length=255, verbose_name='origin')),
                ('application', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='django_relay.application', verbose_name='application')),
                ('only_endpoint', models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='django_relay.endpoint', verbose_name='only endpoint')),
            ],
            options={
                'verbose_name': 'event',
                'verbose_name_plural': 'events',
            },
        ),
        migrations.CreateModel(
            name='DLQEntry',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='dlq_', primary_key=True, serialize=False)),
                ('event_type', models.CharField(max_length=128, verbose_name='event type')),
                ('tenant_id', models.CharField(blank=True, max_length=255, verbose_name='tenant')),
                ('url', models.CharField(max_length=2048, verbose_name='URL')),
                ('error', models.TextField(blank=True, verbose_name='error')),
                ('error_kind', models.CharField(blank=True, max_length=32, verbose_name='error kind')),
                ('attempt_count', models.PositiveSmallIntegerField(verbose_name='attempts')),
                ('last_status_code', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='last status code')),
                ('failed_at', models.DateTimeField(verbose_name='failed at')),
                ('replayed_at', models.DateTimeField(blank=True, null=True, verbose_name='replayed at')),
                ('replay_count', models.PositiveIntegerField(default=0, verbose_name='replays')),
                ('discarded_at', models.DateTimeField(blank=True, null=True, verbose_name='discarded at')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated at')),
                ('delivery', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='dlq_entry', to='django_relay.delivery', verbose_name='delivery')),
                ('endpoint', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='django_relay.endpoint', verbose_name='endpoint')),
                ('event', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='django_relay.event', verbose_name='event')),
            ],
            options={
                'verbose_name': 'DLQ entry',
                'verbose_name_plural': 'DLQ entries',
            },
        ),
        migrations.AddField(
            model_name='delivery',
            name='event',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='deliveries', to='django_relay.event', verbose_name='event'),
        ),
        migrations.CreateModel(
            name='EventType',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='evtype_', primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=128, verbose_name='name')),
                ('description', models.TextField(blank=True, verbose_name='description')),
                ('group', models.CharField(blank=True, max_length=128, verbose_name='group')),
                ('schema', models.JSONField(blank=True, null=True, verbose_name='schema')),
                ('schema_version', models.CharField(blank=True, max_length=64, verbose_name='schema version')),
                ('version', models.CharField(blank=True, max_length=64, verbose_name='version')),
                ('example', models.JSONField(blank=True, null=True, verbose_name='example')),
                ('deprecated', models.BooleanField(default=False, verbose_name='deprecated')),
                ('deprecated_at', models.DateTimeField(blank=True, null=True, verbose_name='deprecated at')),
                ('replaced_by', models.CharField(blank=True, max_length=128, verbose_name='replaced by')),
                ('metadata', models.JSONField(blank=True, default=dict, verbose_name='metadata')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated at')),
                ('application', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='event_types', to='django_relay.application', verbose_name='application')),
            ],
            options={
                'verbose_name': 'event type',
                'verbose_name_plural': 'event types',
            },
        ),
        migrations.CreateModel(
            name='PublishFailure',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='pub_', primary_key=True, serialize=False)),
                ('event_type', models.CharField(blank=True, max_length=255, verbose_name='event type')),
                ('tenant_id', models.CharField(blank=True, max_length=255, verbose_name='tenant')),
                ('arguments', models.JSONField(verbose_name='arguments')),
                ('error', models.TextField(verbose_name='error')),
                ('caller', models.CharField(blank=True, max_length=500, verbose_name='caller')),
                ('emitted_at', models.DateTimeField(blank=True, null=True, verbose_name='emitted at')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated at')),
            ],
            options={
                'verbose_name': 'publish failure',
                'verbose_name_plural': 'publish failures',
                'indexes': [models.Index(fields=['created_at'], name='relay_publish_failure_age')],
            },
        ),
        migrations.CreateModel(
            name='SigningSecret',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='sec_', primary_key=True, serialize=False)),
                ('key', django_relay.fields.EncryptedField(verbose_name='key')),
                ('scheme', models.CharField(choices=[('v1', 'v1 (HMAC-SHA256)'), ('v1a', 'v1a (Ed25519)')], editable=False, max_length=8, verbose_name='scheme')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('expires_at', models.DateTimeField(blank=True, help_text='Empty is the current secret.', null=True, verbose_name='expires at')),
                ('endpoint', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='signing_secrets', to='django_relay.endpoint', verbose_name='endpoint')),
            ],
            options={
                'verbose_name': 'signing secret',
                'verbose_name_plural': 'signing secrets',
            },
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='att_', primary_key=True, serialize=False)),
                ('number', models.PositiveSmallIntegerField(verbose_name='number')),
                ('trigger', models.CharField(choices=[('automatic', 'automatic'), ('replay', 'replay'), ('test', 'test')], max_length=16, verbose_name='trigger')),
                ('started_at', models.DateTimeField(verbose_name='started at')),
                ('duration_ms', models.PositiveIntegerField(verbose_name='duration')),
                ('status_code', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='status code')),
                ('error_kind', models.CharField(blank=True, max_length=32, verbose_name='error kind')),
                ('error', models.TextField(blank=True, verbose_name='error')),
                ('request_headers', models.JSONField(default=list, verbose_name='request headers')),
                ('response_headers', models.JSONField(default=list, verbose_name='response headers')),
                ('response_body', models.TextField(blank=True, verbose_name='response body')),
                ('remote_address', models.CharField(blank=True, max_length=64, verbose_name='remote address')),
                ('next_attempt_at', models.DateTimeField(blank=True, null=True, verbose_name='next attempt at')),
                ('delivery', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='attempts', to='django_relay.delivery', verbose_name='delivery')),
            ],
            options={
                'verbose_name': 'attempt',
                'verbose_name_plural': 'attempts',
                'indexes': [models.Index(fields=['delivery', 'number'], name='relay_attempt_of_delivery'), models.Index(fields=['started_at'], name='relay_attempt_age')],
            },
        ),
        migrations.AddIndex(
            model_name='endpoint',
            index=models.Index(condition=models.Q(('deleted_at__isnull', True)), fields=['application', 'tenant_id'], name='relay_endpoint_owner'),
        ),
        migrations.AddConstraint(
            model_name='endpoint',
            constraint=models.CheckConstraint(condition=models.Q(('deleted_at__isnull', True), ('enabled', False), _connector='OR'), name='relay_endpoint_deleted_is_disabled'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(condition=models.Q(('status', 'pending')), fields=['id'], name='relay_event_outbox'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['created_at'], name='relay_event_age'),
        ),
        migrations.AddConstraint(
            model_name='event',
            constraint=models.UniqueConstraint(condition=models.Q(('idempotency_key', ''), _negated=True), fields=('application', 'tenant_id', 'idempotency_key'), name='relay_event_idempotency'),
        ),
        migrations.AddIndex(
            model_name='dlqentry',
            index=models.Index(fields=['failed_at'], name='relay_dlq_entry_age'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'pending')), fields=['next_attempt_at'], name='relay_delivery_due'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'pending')), fields=['endpoint', 'next_attempt_at'], name='relay_delivery_due_endpoint'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(fields=['created_at'], name='relay_delivery_age'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.UniqueConstraint(condition=models.Q(('replay_of__isnull', True)), fields=('event', 'endpoint'), name='relay_delivery_once_per_endpoint'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.UniqueConstraint(condition=models.Q(('replay_of__isnull', False), ('state', 'pending')), fields=('replay_of',), name='relay_delivery_one_replay_at_a_time'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('completed_at__isnull', True), ('state', 'pending')), models.Q(models.Q(('state', 'pending'), _negated=True), ('completed_at__isnull', False), ('lease_token__isnull', True)), _connector='OR'), name='relay_delivery_completed_once_settled'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('lease_token__isnull', True), ('leased_at__isnull', True), ('leased_until__isnull', True)), models.Q(('lease_token__isnull', False), ('leased_at__isnull', False), ('leased_until__isnull', False)), _connector='OR'), name='relay_delivery_lease_is_whole'),
        ),
        migrations.AddConstraint(
            model_name='eventtype',
            constraint=models.UniqueConstraint(fields=('application', 'name'), name='relay_event_type_unique_name'),
        ),
    ]
