import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import override_settings

from django_relay import exceptions
from django_relay.models import callers
from django_relay.rules import access
from django_relay.rules.access import Caller, Member

pytestmark = pytest.mark.django_db


def make_user(name="u", **values):
    return User.objects.create_user(name, **values)


def grant(user, *permissions):
    for permission in permissions:
        label, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=label, codename=codename))
    return User.objects.get(pk=user.pk)  # permissions are cached on the instance


class TestStaff:
    def test_nobody_else(self):
        for user in (None, AnonymousUser(), make_user("a"), make_user("b", is_staff=True, is_active=False)):
            assert callers.of_staff(user) is None
        assert callers.of_staff(make_user("c", is_superuser=True)) is None

    def test_without_permissions_may_nothing(self):
        user = make_user(is_staff=True)
        assert callers.of_staff(user, address="192.0.2.1") == Caller(f"staff:{user.pk}", address="192.0.2.1")

    def test_superusers_may_everything(self):
        assert callers.of_staff(make_user(is_staff=True, is_superuser=True)).scopes == set(access.SCOPES)

    @pytest.mark.parametrize("scope", access.SCOPES)
    def test_a_scope_for_all_the_permissions_it_needs_and_not_for_fewer(self, scope):
        needed = access.NEEDED_PERMISSIONS[scope]
        assert callers.of_staff(grant(make_user(is_staff=True), *needed)).scopes == {scope}
        assert callers.of_staff(grant(make_user("less", is_staff=True), *needed[1:])).scopes == frozenset()


class TestUser:
    def of(self, rf, resolver, user=None):
        request = rf.get("/")
        if user is not None:
            request.user = user
        with override_settings(DJANGO_RELAY={**settings.DJANGO_RELAY, "TENANT_RESOLVER": resolver}):
            return callers.of_user(request, address="192.0.2.1")

    def test_nobody_without_a_resolver(self, rf):
        assert self.of(rf, None, make_user(is_superuser=True, is_staff=True)) is None

    def test_nobody_if_it_says_so(self, rf):
        assert self.of(rf, lambda request: None, make_user()) is None

    def test_of_the_tenant_it_names_with_all_a_tenant_may(self, rf):
        user = make_user()
        found = self.of(rf, lambda request: f"tenant-of-{request.user.pk}", user)
        scopes = frozenset(access.SCOPES) - access.OPERATOR_SCOPES
        assert found == Caller(f"user:{user.pk}", scopes, "default", f"tenant-of-{user.pk}", "192.0.2.1")

    def test_of_a_member_with_its_application_and_capabilities(self, rf):
        found = self.of(rf, lambda request: Member("acme", application="eu", capabilities=["view"]), make_user())
        assert (found.application, found.tenant_id, found.scopes) == ("eu", "acme", {"read"})

    def test_a_superuser_is_no_more_than_a_tenant_here(self, rf):
        found = self.of(rf, lambda request: "acme", make_user(is_staff=True, is_superuser=True))
        assert not found.is_operator
        assert not found.scopes & access.OPERATOR_SCOPES

    @pytest.mark.parametrize("user", [None, AnonymousUser()], ids=["none", "anonymous"])
    def test_a_host_that_signs_in_otherwise(self, rf, user):
        assert self.of(rf, lambda request: "acme", user).actor == "user:unknown"

    @pytest.mark.parametrize("returned", ["", 5, True, ("acme", "default"), b"acme"], ids=repr)
    def test_an_answer_that_is_wrong_lets_nobody_in(self, rf, returned):
        with pytest.raises(exceptions.RelayConfigurationError, match="TENANT_RESOLVER"):
            self.of(rf, lambda request: returned, make_user())

    def test_by_dotted_path(self, rf):
        user = make_user()
        assert self.of(rf, "tests.models.test_callers.everybody_is_acme", user).tenant_id == "acme"
        with pytest.raises(exceptions.RelayConfigurationError, match="cannot be loaded"):
            self.of(rf, "no.such.resolver", user)


def everybody_is_acme(request):
    return "acme"
