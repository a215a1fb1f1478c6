"""The clients against a primary that this test plays."""

import asyncio
import contextlib
import io
import json
import queue
import socket
import threading
import unittest

from supervisor_worker import CallError, Worker, aio, identity

SENDER = {"worker": 9, "slot": 2, "pool": "web"}


class Relay:
    """The primary's end."""

    def __init__(self):
        self.socket, self.theirs = socket.socketpair()
        self.socket.settimeout(20)
        self.lines = self.socket.makefile("r")

    def hear(self):
        return json.loads(self.lines.readline())

    def say(self, word, **message):
        self.socket.sendall((json.dumps({word: message}) + "\n").encode())

    def welcome(self, values=None):
        assert self.hear()["hello"]["pool"] == "web"
        if values is not None:
            self.say("config", version=1, data=values)
        self.say("welcome", version=1, you={"worker": 7, "slot": 1, "pool": "web"}, app="shop")

    def close(self):
        self.lines.close()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def joined(values=None):
    relay = Relay()
    greeter = threading.Thread(target=relay.welcome, args=[values])
    greeter.start()
    worker = Worker(relay.theirs, "web")
    greeter.join()
    return worker, relay


class Names(unittest.TestCase):
    def test_the_identity_of_the_worker(self):
        told = {
            "SUPERVISOR_APP": "shop",
            "SUPERVISOR_SLOT": "2001",
            "SUPERVISOR_WORKERS": "3",
            "SUPERVISOR_GENERATION": "7",
        }
        self.assertEqual(identity(told), ("shop", 2001, "default", 3, 7))
        self.assertEqual(identity({**told, "SUPERVISOR_POOL": "hash"}).pool, "hash")
        self.assertIsNone(identity({**told, "SUPERVISOR_SLOT": "x"}))
        self.assertIsNone(identity({}))


class Threads(unittest.TestCase):
    def setUp(self):
        self.worker, self.relay = joined()

    def test_once_and_again(self):
        worker, relay, seen = self.worker, self.relay, queue.Queue()

        def again(data, sender):
            worker.once("a", again)
            seen.put(data)

        worker.once("a", again)
        subscribed = {"subscribe": {"topic": "a", "when_full": "drop-oldest"}}
        for count in range(3):
            self.assertEqual(relay.hear(), subscribed)
            relay.say("event", topic="a", data=count, **{"from": SENDER})
            self.assertEqual(seen.get(timeout=20), count)
        self.assertEqual(relay.hear(), subscribed)
        worker.off("a")
        self.assertEqual(relay.hear(), {"unsubscribe": {"topic": "a"}})

    def test_events(self):
        worker, relay, seen = self.worker, self.relay, queue.Queue()
        note = worker.on("a", lambda data, sender: seen.put((data, sender["worker"])))
        self.assertEqual(relay.hear(), {"subscribe": {"topic": "a", "when_full": "drop-oldest"}})
        worker.once("a", lambda data, sender: seen.put("once"))
        self.assertEqual(worker.listener_count("a"), 2)
        relay.socket.sendall(b'{"event":{"topic":"a","data":1,"fr')
        relay.socket.sendall(b'om":{"worker":9}}}\n{"later":{}}\n')
        self.assertEqual([seen.get(timeout=20) for _ in range(2)], [(1, 9), "once"])
        worker.emit("a", {"x": 2})
        self.assertEqual(seen.get(timeout=20), ({"x": 2}, 7))
        self.assertEqual(relay.hear(), {"emit": {"topic": "a", "data": {"x": 2}}})
        worker.off("a", note)
        self.assertEqual(relay.hear(), {"unsubscribe": {"topic": "a"}})
        worker.send(3, "b")
        self.assertEqual(relay.hear(), {"send": {"slot": 3, "topic": "b", "data": None}})
        for topic, data in (("", 1), ("a", "x" * (2 << 20)), ("a", float("nan"))):
            self.assertRaises(ValueError, worker.emit, topic, data)

    def test_a_handler_that_fails_is_contained(self):
        worker, relay, seen = self.worker, self.relay, queue.Queue()
        worker.on("a", lambda data, sender: data / 0)
        worker.on("a", lambda data, sender: seen.put(data))
        with contextlib.redirect_stderr(io.StringIO()):
            for number in (1, 2):
                relay.say("event", topic="a", data=number, **{"from": SENDER})
                self.assertEqual(seen.get(timeout=20), number)
        self.assertEqual(worker.failures, 2)

    def test_calls_have_exactly_one_end(self):
        worker, relay = self.worker, self.relay
        ends = queue.Queue()

        def ask():
            ends.put(worker.call("hash", "sum", [1, 2], timeout=9, retry=True))
            for _ in range(2):
                try:
                    ends.put(worker.call("hash", "sum"))
                except CallError as error:
                    ends.put(error.kind)

        threading.Thread(target=ask, daemon=True).start()
        self.assertEqual(
            relay.hear()["call"],
            {"id": 1, "pool": "hash", "topic": "sum", "timeout_ms": 9000, "retry": True,
             "data": [1, 2]},
        )
        relay.say("answer", id=1, data=3)
        relay.say("answer", id=1, data=4)
        self.assertEqual(relay.hear()["call"]["id"], 2)
        relay.say("error", id=2, kind="died", message="it died")
        relay.hear()
        relay.close()
        self.assertEqual([ends.get(timeout=20) for _ in range(3)], [3, "died", "alone"])

    def test_serving_triggers_configuration_metrics_draining(self):
        worker, relay = self.worker, self.relay
        worker.serve("half", lambda number, sender: number / 0 if number == 0 else number / 2)
        self.assertEqual(relay.hear(), {"serve": {"topic": "half", "at_once": 1}})
        relay.say("call", id=1, topic="half", data=42, timeout_ms=9, **{"from": SENDER})
        self.assertEqual(relay.hear(), {"answer": {"id": 1, "data": 21.0}})
        relay.say("call", id=2, topic="half", data=0, timeout_ms=9, **{"from": SENDER})
        self.assertEqual(relay.hear(), {"fail": {"id": 2, "message": "division by zero"}})
        worker.action("gc", lambda data, sender: "done")
        self.assertEqual(relay.hear(), {"action": {"name": "gc"}})
        relay.say("trigger", id=3, action="gc", data=None)
        self.assertEqual(relay.hear(), {"answer": {"id": 3, "data": "done"}})
        worker.on_config(lambda values: 1 / values["limit"])
        relay.say("config", version=2, data={"limit": 0})
        self.assertEqual(relay.hear()["applied"], {"version": 2, "error": "division by zero"})
        worker.gauge("queue", 4, kind="mail")
        self.assertEqual(relay.hear()["metric"]["labels"], [["kind", "mail"]])
        self.assertRaises(ValueError, worker.counter, "c", -1)
        drained = threading.Event()
        worker.on_drain(drained.set)
        relay.say("drain")
        self.assertTrue(drained.wait(20) and worker.draining)

    def test_a_worker_that_has_joined_has_its_shared_values(self):
        worker, relay = joined({"limit": 0})
        seen = []

        def configure(values):
            seen.append(values["limit"])
            return 1 / values["limit"]

        worker.on_config(configure)
        self.assertEqual(seen, [0])
        # The client may have reported the values before the program asked for them.
        said = [relay.hear()["applied"]["error"]]
        if said == [None]:
            said.append(relay.hear()["applied"]["error"])
        self.assertEqual(said[-1], "division by zero")

    def test_a_new_primary_gets_the_registrations_again(self):
        worker, relay, ends = self.worker, self.relay, queue.Queue()
        worker.on("a", lambda data, sender: None, wait=True)
        worker.serve("old", lambda data, sender: 1)
        worker.unserve("old")
        worker.ready()
        for _ in range(4):
            relay.hear()

        def call():
            try:
                worker.call("hash", "sum", 1)
            except CallError as error:
                ends.put(error.kind)

        threading.Thread(target=call).start()
        self.assertEqual(relay.hear()["call"]["topic"], "sum")
        relay.say("resumed")
        self.assertEqual(ends.get(timeout=20), "lost")
        self.assertEqual(relay.hear(), {"subscribe": {"topic": "a", "when_full": "wait"}})
        self.assertEqual(relay.hear(), {"ready": {}})
        relay.close()


class Alone(unittest.TestCase):
    def test_it_talks_with_itself(self):
        worker, seen = Worker(None), queue.Queue()
        worker.on("a", lambda data, sender: seen.put(data))
        worker.emit("a", 5)
        self.assertEqual(seen.get(timeout=20), 5)
        worker.serve("double", lambda number, sender: number * 2)
        self.assertEqual(worker.call("any", "double", 4), 8)
        self.assertRaises(CallError, worker.call, "", "nope")


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.relay = Relay()
        greet = asyncio.to_thread(self.relay.welcome)
        self.worker, _ = await asyncio.gather(aio.Worker.over(self.relay.theirs, "web"), greet)

    async def hear(self):
        return await asyncio.to_thread(self.relay.hear)

    async def test_events_and_calls(self):
        worker, relay, seen = self.worker, self.relay, asyncio.Queue()

        async def ask(data, sender):
            # A handler may wait for an answer.
            await seen.put(await worker.call("", "sum", data))

        await worker.once("a", ask)
        await self.hear()
        relay.say("event", topic="a", data=1, **{"from": SENDER})
        call = (await self.hear())["call"]
        self.assertEqual((call["topic"], call["data"]), ("sum", 1))
        relay.say("answer", id=call["id"], data=7)
        self.assertEqual(await asyncio.wait_for(seen.get(), 20), 7)
        self.assertEqual(await self.hear(), {"unsubscribe": {"topic": "a"}})
        late = asyncio.ensure_future(worker.call("", "sum"))
        await self.hear()
        relay.close()
        with self.assertRaises(CallError) as caught:
            await late
        self.assertEqual((caught.exception.kind, worker.alone), ("alone", True))

    async def test_once_and_again(self):
        worker, relay, seen = self.worker, self.relay, asyncio.Queue()

        async def again(data, sender):
            await worker.once("a", again)
            await seen.put(data)

        await worker.once("a", again)
        for count in range(3):
            self.assertEqual(list(await self.hear()), ["subscribe"])
            relay.say("event", topic="a", data=count, **{"from": SENDER})
            self.assertEqual(await asyncio.wait_for(seen.get(), 20), count)
        self.assertEqual(list(await self.hear()), ["subscribe"])
        await worker.off("a")
        self.assertEqual(await self.hear(), {"unsubscribe": {"topic": "a"}})

    async def test_a_new_primary_gets_the_registrations_again(self):
        worker, relay = self.worker, self.relay
        await worker.on("a", lambda data, sender: None)
        await self.hear()
        lost = asyncio.ensure_future(worker.call("hash", "sum", 1))
        await self.hear()
        relay.say("resumed")
        with self.assertRaises(CallError) as caught:
            await lost
        self.assertEqual(caught.exception.kind, "lost")
        again = {"subscribe": {"topic": "a", "when_full": "drop-oldest"}}
        self.assertEqual(await self.hear(), again)

    async def test_serving(self):
        worker, relay = self.worker, self.relay

        async def double(number, sender):
            if number == 0:
                raise ValueError("zero")
            return number * 2

        await worker.serve("double", double, at_once=2)
        self.assertEqual(await self.hear(), {"serve": {"topic": "double", "at_once": 2}})
        for number, answer in ((21, {"data": 42}), (0, {"message": "zero"})):
            relay.say("call", id=1, topic="double", data=number, timeout_ms=9, **{"from": SENDER})
            (said,) = (await self.hear()).values()
            self.assertEqual(said, {"id": 1, **answer})
        relay.say("config", version=1, data={"limit": 0})
        self.assertEqual((await self.hear())["applied"], {"version": 1, "error": None})

        async def configure(values):
            return 1 / values["limit"]

        await worker.on_config(configure)
        said = (await self.hear())["applied"]
        self.assertEqual(said, {"version": 1, "error": "division by zero"})
        drained = asyncio.Event()
        worker.on_drain(drained.set)
        relay.say("drain")
        await asyncio.wait_for(drained.wait(), 20)


if __name__ == "__main__":
    unittest.main()
