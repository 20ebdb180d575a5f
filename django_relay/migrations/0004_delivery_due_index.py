# The index of all that are due serves nothing else.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('django_relay', '0003_endpoint_hour'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='delivery',
            name='relay_delivery_due',
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('max_attempts__gt', 0), ('state', 'pending')), fields=['next_attempt_at'], name='relay_delivery_due'),
        ),
    ]
