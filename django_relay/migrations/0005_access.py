# Who calls, and what was done: API keys, portal sessions, the audit; permissions for what staff may do.

import django.db.models.deletion
import django.utils.timezone
import django_relay.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('django_relay', '0004_delivery_due_index'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='delivery',
            options={'permissions': [('replay_delivery', 'Can retry, recover, replay and discard deliveries')], 'verbose_name': 'delivery', 'verbose_name_plural': 'deliveries'},
        ),
        migrations.AlterModelOptions(
            name='endpoint',
            options={'permissions': [('test_endpoint', 'Can send a test event')], 'verbose_name': 'endpoint', 'verbose_name_plural': 'endpoints'},
        ),
        migrations.AlterModelOptions(
            name='event',
            options={'permissions': [('send_event', 'Can send events')], 'verbose_name': 'event', 'verbose_name_plural': 'events'},
        ),
        migrations.AlterModelOptions(
            name='signingsecret',
            options={'permissions': [('reveal_secret', 'Can see and rotate signing secrets')], 'verbose_name': 'signing secret', 'verbose_name_plural': 'signing secrets'},
        ),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='aud_', primary_key=True, serialize=False)),
                ('actor', models.CharField(max_length=255, verbose_name='actor')),
                ('action', models.CharField(max_length=64, verbose_name='action')),
                ('object_type', models.CharField(max_length=64, verbose_name='object type')),
                ('object_id', models.CharField(max_length=255, verbose_name='object')),
                ('application', models.CharField(blank=True, help_text='Its slug.', max_length=64, verbose_name='application')),
                ('tenant_id', models.CharField(blank=True, help_text='Empty for what belongs to no tenant.', max_length=255, null=True, verbose_name='tenant')),
                ('address', models.GenericIPAddressField(blank=True, null=True, verbose_name='from address')),
                ('changes', models.JSONField(blank=True, default=dict, verbose_name='changes')),
                ('at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='at')),
            ],
            options={
                'verbose_name': 'audit entry',
                'verbose_name_plural': 'audit entries',
                'indexes': [models.Index(fields=['at'], name='relay_audit_entry_age'), models.Index(fields=['application', 'tenant_id', 'at'], name='relay_audit_entry_tenant'), models.Index(fields=['object_id', 'at'], name='relay_audit_entry_object')],
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='key_', primary_key=True, serialize=False)),
                ('tenant_id', models.CharField(blank=True, max_length=255, verbose_name='tenant')),
                ('name', models.CharField(blank=True, max_length=200, verbose_name='name')),
                ('prefix', models.CharField(editable=False, max_length=32, unique=True, verbose_name='prefix')),
                ('hash', models.CharField(editable=False, max_length=64, verbose_name='hash')),
                ('scopes', models.JSONField(verbose_name='scopes')),
                ('expires_at', models.DateTimeField(blank=True, null=True, verbose_name='expires at')),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='last used at')),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='revoked at')),
                ('created_by', models.CharField(editable=False, max_length=255, verbose_name='created by')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated at')),
                ('application', models.ForeignKey(blank=True, help_text="Empty for an operator's key.", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='api_keys', to='django_relay.application', verbose_name='application')),
            ],
            options={
                'verbose_name': 'API key',
                'verbose_name_plural': 'API keys',
                'constraints': [models.CheckConstraint(condition=models.Q(('application__isnull', False), ('tenant_id', ''), _connector='OR'), name='relay_api_key_operator_has_no_tenant')],
            },
        ),
        migrations.CreateModel(
            name='PortalSession',
            fields=[
                ('id', django_relay.fields.PrefixedIdField(editable=False, prefix='psess_', primary_key=True, serialize=False)),
                ('tenant_id', models.CharField(blank=True, max_length=255, verbose_name='tenant')),
                ('capabilities', models.JSONField(verbose_name='capabilities')),
                ('theme', models.JSONField(blank=True, default=dict, verbose_name='theme')),
                ('return_url', models.CharField(blank=True, max_length=2048, verbose_name='return URL')),
                ('link_hash', models.CharField(editable=False, max_length=64, verbose_name='link hash')),
                ('link_expires_at', models.DateTimeField(editable=False, verbose_name='link expires at')),
                ('session_hash', models.CharField(blank=True, editable=False, max_length=64, verbose_name='session hash')),
                ('expires_at', models.DateTimeField(editable=False, verbose_name='expires at')),
                ('used_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='used at')),
                ('seen_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='seen at')),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='revoked at')),
                ('created_by', models.CharField(editable=False, max_length=255, verbose_name='created by')),
                ('opened_as_staff', models.BooleanField(default=False, editable=False, verbose_name='opened as staff')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created at')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated at')),
                ('application', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='portal_sessions', to='django_relay.application', verbose_name='application')),
            ],
            options={
                'verbose_name': 'portal session',
                'verbose_name_plural': 'portal sessions',
                'permissions': [('open_portal', 'Can open the portal as a tenant')],
                'indexes': [models.Index(fields=['expires_at'], name='relay_portal_session_age'), models.Index(fields=['application', 'tenant_id'], name='relay_portal_session_tenant')],
            },
        ),
    ]
