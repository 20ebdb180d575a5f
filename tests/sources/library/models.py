"""Models of every shape that a payload can be made of."""

import functools
import uuid
from datetime import timedelta
from decimal import Decimal

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Length


class Genre(models.TextChoices):
    NOVEL = "novel"
    POEM = "poem"


class Rating(models.IntegerChoices):
    BAD = 1
    GOOD = 2


class Author(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=40)
    email = models.EmailField(blank=True)


class Reader(models.Model):
    code = models.SlugField(primary_key=True, max_length=12)


class Shout(models.CharField):
    """A field of somebody's own that converts."""

    def from_db_value(self, value, expression, connection):
        return None if value is None else value.upper()

    def to_python(self, value):
        return None if value is None else str(value).upper()


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y


class PointField(models.CharField):
    """A field of somebody's own whose values are no JSON."""

    def from_db_value(self, value, expression, connection):
        return self.to_python(value)

    def to_python(self, value):
        return value if value is None or isinstance(value, Point) else Point(*map(int, value.split(",")))

    def get_prep_value(self, value):
        return None if value is None else f"{value.x},{value.y}"

    def value_to_string(self, obj):
        return self.get_prep_value(self.value_from_object(obj))


class EncryptedTextField(models.TextField):
    """As the packages for encrypted fields name theirs."""


class Plain(models.CharField):
    """A subclass that converts nothing."""


class Book(models.Model):
    """A wide one: a field of each kind that both databases have."""

    title = models.CharField(max_length=30)
    subtitle = models.CharField(max_length=30, null=True, blank=True)
    text = models.TextField(default="", blank=True)
    slug = models.SlugField(max_length=10, default="", blank=True)
    site = models.URLField(default="", blank=True)
    genre = models.CharField(max_length=10, choices=Genre, default=Genre.NOVEL, blank=True)
    rating = models.SmallIntegerField(choices=Rating, null=True)
    size = models.DecimalField(max_digits=3, decimal_places=1, choices=[(Decimal("1.5"), "small")], null=True)
    pages = models.PositiveIntegerField(default=1)
    copies = models.BigIntegerField(default=0)
    weight = models.FloatField(default=0.5)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal(10))
    ratio = models.DecimalField(max_digits=3, decimal_places=3, null=True)
    is_lent = models.BooleanField(default=False)
    is_sold = models.BooleanField(null=True)
    printed_on = models.DateField(null=True)
    lent_at = models.DateTimeField(null=True)
    opens = models.TimeField(null=True)
    lent_for = models.DurationField(default=timedelta(days=14))
    isbn = models.UUIDField(default=uuid.uuid4, editable=False)
    address = models.GenericIPAddressField(null=True)
    address_v4 = models.GenericIPAddressField(protocol="IPv4", null=True)
    cover = models.FileField(upload_to="covers", blank=True)
    blob = models.BinaryField(default=b"", editable=True)
    extra = models.JSONField(default=dict)
    notes = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    shout = Shout(max_length=20, default="hey")
    place = PointField(max_length=20, null=True)
    plain = Plain(max_length=20, default="plain")
    author = models.ForeignKey(Author, models.CASCADE, null=True, related_name="books")
    reader = models.ForeignKey(Reader, models.CASCADE, null=True)
    tags = models.ManyToManyField("Tag")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    pin = models.IntegerField(default=1234)
    api_key = models.CharField(max_length=20, default="k-secret")
    diary = EncryptedTextField(default="private")

    kind = "book"

    @property
    def heading(self) -> str:
        return f"{self.title}!"

    @property
    def unclear(self):
        return [1, "two"]

    @functools.cached_property
    def loud(self) -> str | None:
        return self.title.upper() or None

    def page_count(self, per: int = 1) -> int:
        return self.pages // per

    def pages_until(self, page):
        return page

    def change(self):
        """Change something."""

    change.alters_data = True

    @classmethod
    def shelf(cls) -> str:
        return cls.__name__

    @staticmethod
    def rules() -> dict[str, int]:
        return {"days": 14}


class Tag(models.Model):
    name = models.CharField(max_length=20)


class Edition(Book):
    """Multi-table inheritance."""

    number = models.IntegerField(default=1)


class OldBook(Book):
    """A proxy."""

    class Meta:
        proxy = True


class Blurb(models.Model):
    """A row that may be missing."""

    book = models.OneToOneField(Book, models.CASCADE, related_name="blurb")
    text = models.CharField(max_length=20)


class Parcel(models.Model):
    """What the database computes."""

    width = models.IntegerField(default=2)
    label = models.CharField(max_length=20)
    double = models.GeneratedField(
        expression=models.F("width") * 2, output_field=models.IntegerField(), db_persist=True
    )
    state = models.CharField(max_length=10, db_default="new")
    letters = models.GeneratedField(
        expression=Length("label"), output_field=models.PositiveIntegerField(), db_persist=True
    )


class Token(models.Model):
    """As Django REST framework's: the key itself is the row's id."""

    key = models.CharField(primary_key=True, max_length=40)
    created = models.DateTimeField(auto_now_add=True)


class Loan(models.Model):
    """A row that belongs to a user, as drf-hooks has them."""

    # No constraint: an app without migrations has its tables made before those of apps that have some.
    user = models.ForeignKey("auth.User", models.CASCADE, null=True, db_constraint=False)
    book = models.ForeignKey(Book, models.CASCADE, null=True)


class Return(models.Model):
    """A row whose user is off a related object."""

    loan = models.ForeignKey(Loan, models.CASCADE)

    @property
    def user(self):
        return self.loan.user
