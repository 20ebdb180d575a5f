"""Values are kept by the version of what they were made of."""

from django_relay.pipeline.versioned import Versioned


class TestVersioned:
    def test_only_the_version_that_is_asked_for_is_given(self):
        kept = Versioned[str](10)
        kept.put("a", "1", "one")
        assert (kept.get("a", "1"), kept.get("a", "2"), kept.get("b", "1")) == ("one", None, None)
        kept.put("a", "2", "two")
        assert (kept.get("a", "1"), kept.get("a", "2")) == (None, "two")

    def test_an_unknown_version_is_never_given(self):
        kept = Versioned[str](10)
        kept.put("a", "", "one")
        assert kept.get("a", "") is None

    def test_the_least_recently_used_go_first(self):
        kept = Versioned[str](2)
        for key in "ab":
            kept.put(key, "1", key)
        assert kept.get("a", "1")
        kept.put("c", "1", "c")
        assert [key for key in "abc" if kept.get(key, "1")] == ["a", "c"]
        kept.clear()
        assert kept.get("a", "1") is None
