"""Models that are declared in every way that there is, and one that is not."""

import uuid

from django.db import models

from django_relay.sources.model_signals import RelayQuerySet, changed, constant, emits


class Customer(models.Model):
    name = models.CharField(max_length=40, default="Ada")


class Tag(models.Model):
    name = models.CharField(max_length=40)


class Fields(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, null=True, related_name="+")
    number = models.CharField(max_length=40, unique=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2, default=0)
    status = models.CharField(max_length=10, default="open")
    notes = models.JSONField(default=dict)
    api_key = models.CharField(max_length=40, default="sk_1")
    modified_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class InvoiceQuerySet(RelayQuerySet):
    def open(self):
        return self.filter(status="open")


@emits(
    "bill",
    tenant="customer_id",
    created=True,
    updated=True,
    deleted=True,
    events={"bill.paid": changed("status", to="paid"), "bill.voided": changed("status", "open", "void")},
)
class Invoice(Fields):
    customer = models.ForeignKey(Customer, models.CASCADE, null=True, related_name="invoices")
    tags = models.ManyToManyField(Tag, related_name="invoices")

    objects = models.Manager.from_queryset(InvoiceQuerySet)()


class Plain(Fields):
    """The same, undeclared."""

    tags = models.ManyToManyField(Tag, related_name="+")


@emits("bill_line", tenant="invoice__customer_id", created=True, deleted=True)
class Line(models.Model):
    invoice = models.ForeignKey(Invoice, models.CASCADE, related_name="lines")
    text = models.CharField(max_length=40)


@emits(tenant=constant("acme"), created=True, updated=["weight"])
class Parcel(models.Model):
    """Without a RelayQuerySet, and without deleted."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    weight = models.IntegerField(default=1)
    label = models.CharField(max_length=40, default="")
    customer = models.ForeignKey(Customer, models.SET_NULL, null=True, related_name="parcels")

    objects = models.Manager()
    stored = models.Manager()


class Letter(Parcel):
    class Meta:
        proxy = True


@emits("vehicle", tenant="", created=True, updated=True, deleted=True)
class Vehicle(models.Model):
    plate = models.CharField(max_length=10)

    objects = RelayQuerySet.as_manager()


class Taxi(Vehicle):
    class Meta:
        proxy = True


class Truck(Vehicle):
    axles = models.IntegerField(default=2)


@emits("van", tenant="", created=True, updated=True, deleted=True)
class Van(Vehicle):
    seats = models.IntegerField(default=3)


@emits(tenant="", created=True, updated=True, deleted=True)
class Document(models.Model):
    title = models.CharField(max_length=40)

    objects = models.Manager()

    class Meta:
        abstract = True


class Contract(Document):
    signed = models.BooleanField(default=False)


class Offer(Document):
    pass


@emits("friend", tenant="", updated=True)
class Friend(models.Model):
    friends = models.ManyToManyField("self")


@emits("seat", tenant="", created=True, updated=True, deleted=True)
class Seat(models.Model):
    """Two columns are its primary key."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.IntegerField()
    number = models.IntegerField()
    guest = models.CharField(max_length=40, default="")

    objects = RelayQuerySet.as_manager()
