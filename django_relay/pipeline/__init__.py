"""The journey of an event, one file a step; only ``worker`` calls the steps, and steps never call each other.

========== ============================================ ===================================== ======================
step       does                                         transaction                           leaves behind
========== ============================================ ===================================== ======================
outbox     checks and stores an event                   the caller's own                      Event, ``pending``
fan_out    makes one delivery per matching endpoint     one a batch                           Deliveries, ``pending``
leases     takes due deliveries for a time              one a batch                           lease token and end
attempts   envelope, signature, hand to the transport   **none open**                         nothing
settlement records attempts, applies decisions          one a batch, under the lease          Attempts; DLQ entries
health     keeps endpoint health, disables              one a batch, never waiting            endpoints as they are
dlq        replays or discards a DLQ entry              one                                   a new Delivery
replays    sends again what a filter matches            one a chunk                           new Deliveries
erasures   deletes what is stored of a tenant           one a chunk                           nothing
upkeep     retention, old secrets, stranded work        one a short batch                     less
========== ============================================ ===================================== ======================

Above the steps stands what people ask of one row, made of steps: ``deliveries`` (attempt it now, or not at all) and
``endpoint_tests`` (try an endpoint).
"""
