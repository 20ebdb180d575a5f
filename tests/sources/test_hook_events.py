import pytest
from django.contrib.auth.models import User

from django_relay import exceptions
from django_relay.sources import hook_events
from tests.sources.library.models import Book, Loan, Return

PASTED = {
    "loan.added": "library.Loan.created",
    "loan.changed": "library.Loan.updated+",
    "loan.removed": "library.Loan.deleted",
    "book.read": "library.Book.read",
    "user.logged_in": None,
    "user.joined": "auth.User.created",
    "return.made": "library.Return.created",
    "book.added": "library.Book.created+",
}


class TestAPastedDict:
    def test_declares_a_model_once_for_its_users_and_once_for_everybody(self):
        found = {(item.model, item.arguments["tenant"]): item for item in hook_events.parse(PASTED) if item.model}
        assert {key: (item.event_types, dict(item.arguments)) for key, item in found.items()} == {
            ("library.Loan", hook_events.owner): (
                ("loan.added", "loan.removed"),
                {"created": "loan.added", "deleted": "loan.removed", "tenant": hook_events.owner},
            ),
            ("library.Loan", ""): (
                ("loan.changed",),
                {"updated": "loan.changed", "tenant": ""},
            ),
            ("auth.User", hook_events.owner): (
                ("user.joined",),
                {"created": "user.joined", "tenant": hook_events.owner},
            ),
            ("library.Return", hook_events.owner): (
                ("return.made",),
                {"created": "return.made", "tenant": hook_events.owner},
            ),
            ("library.Book", ""): (
                ("book.added",),
                {"created": "book.added", "tenant": ""},
            ),
        }

    def test_declares_types_for_what_the_project_emits_itself(self):
        *_, last = hook_events.parse(PASTED)
        assert last == hook_events.Declaration(("book.read", "user.logged_in"))

    def test_takes_the_serializers_with_it(self):
        found = hook_events.parse(
            {"loan.added": "library.Loan.created", "user.joined": "auth.User.created"},
            serializers={"library.Loan": "library.api.LoanSerializer"},
        )
        assert [item.arguments.get("serializer") for item in found] == ["library.api.LoanSerializer", None]

    def test_may_be_empty(self):
        assert hook_events.parse({}) == []


class TestAnEntryThatCannotBeUsed:
    @pytest.mark.parametrize(
        ("entries", "message"),
        [
            ({"Loan.Added": "library.Loan.created"}, r"'Loan\.Added': .* lower-case words.* Call it 'loan\.added'"),
            ({"loan added": "library.Loan.created"}, r"Call it 'loan_added'"),
            ({"loan!": None}, r"'loan!': An event type's name must be dot-separated"),
            ({5: None}, r"5: An event type's name must be a string"),
            ({"relay.added": None}, "operational events"),
            ({"loan.added": "library.Lon.created"}, r"no model 'library\.Lon'\. Did you mean 'library\.Loan'\?"),
            ({"loan.added": "Loan.created"}, "there is no model 'Loan'"),
            ({"loan.added": "created"}, r"no model ''\. Give app\.Model\.action"),
            ({"loan.added": 5}, r"give 'app\.Model\.action', or None"),
            ({"loan.added": "library.Loan.create"}, "write 'created', not 'create'"),
            ({"book.added": "library.Book.created"}, r"library\.Book has no user .* End it with '\+'"),
            (
                {"a": "library.Loan.created", "b": "library.Loan.created+"},
                r"'b': library\.Loan\.created is 'a' already",
            ),
        ],
        ids=lambda part: None if isinstance(part, dict) else "",
    )
    def test_is_named_with_what_would_be_right(self, entries, message):
        with pytest.raises(exceptions.InvalidDeclaration, match=message):
            hook_events.parse(entries)

    def test_is_named_with_all_the_others(self):
        with pytest.raises(exceptions.InvalidDeclaration, match=r"'A': .* 'b': .* 'c': "):
            hook_events.parse({"A": None, "b": "no.Model.created", "fine": None, "c": "library.Book.deleted"})


@pytest.mark.django_db
class TestTheTenant:
    def test_is_the_rows_user_who_is_not_fetched(self, django_assert_num_queries):
        user = User.objects.create(username="ada")
        loan = Loan.objects.create(user=user)
        with django_assert_num_queries(0):
            assert hook_events.owner(Loan(pk=loan.pk, user_id=user.pk)) == str(user.pk)

    def test_is_the_user_itself(self):
        user = User.objects.create(username="ada")
        assert hook_events.owner(user) == str(user.pk)

    def test_is_the_user_that_a_property_finds(self):
        user = User.objects.create(username="ada")
        given = Return.objects.create(loan=Loan.objects.create(user=user))
        assert hook_events.owner(given) == str(user.pk)

    @pytest.mark.parametrize("row", [Loan(), Return(loan=Loan()), Book()], ids=["column", "property", "no user"])
    def test_is_not_found_where_there_is_none(self, row):
        assert hook_events.owner(row) is None
