"""The core without input and output."""

import json
import unittest

from supervisor_worker import _core, _events

SENDER = {"worker": 9, "slot": 2, "pool": "web"}


def line(word, **content):
    return (json.dumps({word: content}) + "\n").encode()


def events(count):
    return b"".join(line("event", topic="a", data=at, **{"from": SENDER}) for at in range(count))


class Core(unittest.TestCase):
    def setUp(self):
        self.core = _core.Core("web")
        self.core.join()
        self.core.receive(line("welcome", version=1, you=SENDER, app="shop"))
        self.core.take_outgoing()

    def said(self):
        return [json.loads(text) for text in self.core.take_outgoing().splitlines()]

    def test_a_message_may_come_in_pieces(self):
        pinged = line("ping", id=3)
        self.assertEqual(self.core.receive(pinged[:5]), [])
        self.assertEqual(self.said(), [])
        self.core.receive(pinged[5:] + line("later", x=1) + b"\n")
        self.assertEqual(self.said(), [{"pong": {"id": 3}}])

    def test_the_oldest_events_are_dropped(self):
        self.core.subscribe("a", print)
        self.core.receive(events(_events.MAX_EVENTS + 5))
        self.assertFalse(self.core.events.needs_room())
        self.assertEqual((len(self.core.events), self.core.dropped), (_events.MAX_EVENTS, 5))
        self.assertEqual(self.core.take_event()[1], 5)

    def test_with_wait_none_is_dropped_until_the_client_gives_up(self):
        core, most = self.core, _events.MAX_EVENTS
        core.subscribe("a", print, wait=True)
        core.receive(events(most + 5))
        self.assertTrue(core.events.needs_room())
        self.assertEqual((len(core.events), core.dropped), (most + 5, 0))
        for _ in range(5):
            core.take_event()
        self.assertFalse(core.events.needs_room())
        core.receive(events(5))
        core.events.give_up()
        self.assertEqual((len(core.events), core.dropped), (most, 5))
        # It waits again only after the handlers have taken an event.
        core.receive(events(5))
        self.assertEqual((core.events.needs_room(), core.dropped), (False, 10))
        core.take_event()
        core.receive(events(5))
        self.assertEqual((core.events.needs_room(), core.dropped), (True, 10))
        # Without handlers no topic needs room.
        core.unsubscribe("a")
        self.assertFalse(core.events.needs_room())

    def test_the_data_of_waiting_events_is_bounded(self):
        self.core.subscribe("a", print)
        big = line("event", topic="a", data="x" * 1_000_000, **{"from": SENDER})
        for _ in range(20):
            self.core.receive(big)
        self.assertEqual((len(self.core.events), self.core.dropped), (16, 4))

    def test_a_failed_call_names_its_kind(self):
        number = self.core.call("future", "x", "t", 1, timeout=5, retry=False)
        (done,) = self.core.receive(line("error", id=number, kind="died", message="it died"))
        self.assertEqual((done.future, done.error.kind), ("future", "died"))
        self.assertEqual(str(done.error), "it died")
        self.assertEqual(self.core.receive(line("answer", id=number, data=1)), [])

    def test_the_end_of_the_channel_ends_all_calls(self):
        self.core.call("first", "x", "t", 1, timeout=5, retry=False)
        self.core.call("second", "x", "t", 1, timeout=5, retry=False)
        joined, first, second = self.core.end()
        self.assertEqual(joined.why, _core.ENDED)
        self.assertEqual((first.future, second.future), ("first", "second"))
        self.assertEqual((first.error.kind, self.core.alone), ("alone", True))
        self.core.emit("a", 1)
        self.assertEqual(self.core.take_outgoing(), b"")

    def test_a_line_that_is_too_long_is_refused(self):
        with self.assertRaises(ValueError):
            self.core.receive(b"x" * (1 << 20) + b"x")


if __name__ == "__main__":
    unittest.main()
