"""What the running code says of its events, and where that counts."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async

from django_relay import context, emit, exceptions
from tests.factories import INVOICE


class TestContext:
    def test_says_nothing_by_itself(self):
        assert not context.is_suppressed()
        assert context.current_tenant() is None
        assert context.current_attributes() == {}
        assert context.current_origin() == ""

    def test_inner_blocks_go_before_outer_ones_and_end(self):
        with context.tenant("acme"), context.attributes(actor="u1", plan="pro"):
            with context.tenant(""), context.attributes(actor="u2"):
                assert context.current_tenant() == ""
                assert context.current_attributes() == {"actor": "u2", "plan": "pro"}
            assert context.current_tenant() == "acme"
            assert context.current_attributes() == {"actor": "u1", "plan": "pro"}
        assert context.current_tenant() is None

    def test_ends_when_the_block_raises(self):
        with pytest.raises(ZeroDivisionError), context.suppressed():
            raise ZeroDivisionError
        assert not context.is_suppressed()

    def test_works_as_a_decorator(self):
        @context.suppressed()
        def imports():
            return context.is_suppressed()

        assert imports()
        assert not context.is_suppressed()

    @pytest.mark.parametrize("value", [None, 7, "x" * 256, "a\0b"], ids=["none", "number", "long", "nul"])
    def test_refuses_what_is_no_tenant(self, value):
        with pytest.raises(exceptions.InvalidEvent), context.tenant(value):
            pass

    def test_counts_in_what_a_task_awaits_and_in_no_other_task(self):
        async def view(tenant_id):
            with context.tenant(tenant_id):
                await asyncio.sleep(0)
                return await sync_to_async(context.current_tenant)()

        async def views():
            return await asyncio.gather(*map(view, ["acme", "globex"]))

        # In a thread of its own: a browser of another test may have left this one's event loop running.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: asyncio.run(views())).result() == ["acme", "globex"]

    def test_does_not_count_in_another_thread(self):
        seen = []
        with context.suppressed():
            thread = threading.Thread(target=lambda: seen.append(context.is_suppressed()))
            thread.start()
            thread.join()
        assert seen == [False]


@pytest.mark.django_db
class TestOrigin:
    def test_is_kept_with_each_event_emitted_there(self):
        with context.caused_by("evt_1"):
            assert emit("invoice.paid", INVOICE).origin == "evt_1"
        assert emit("invoice.paid", INVOICE).origin == ""
