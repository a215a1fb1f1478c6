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


class FakePrimary:
    """The primary's end."""

    def __init__(self):
        self.socket, self.theirs = socket.socketpair()
        self.socket.settimeout(20)
        self.lines = self.socket.makefile("r")

    def receive(self):
        return json.loads(self.lines.readline())

    def send(self, word, **message):
        self.socket.sendall((json.dumps({word: message}) + "\n").encode())

    def welcome(self, values=None):
        assert self.receive()["hello"]["pool"] == "web"
        if values is not None:
            self.send("config", version=1, data=values)
        self.send("welcome", version=1, you={"worker": 7, "slot": 1, "pool": "web"}, app="shop")

    def close(self):
        self.lines.close()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def joined(values=None):
    primary = FakePrimary()
    greeter = threading.Thread(target=primary.welcome, args=[values])
    greeter.start()
    worker = Worker(primary.theirs, "web")
    greeter.join()
    return worker, primary


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
        self.worker, self.primary = joined()

    def test_once_and_again(self):
        worker, primary, seen = self.worker, self.primary, queue.Queue()

        def again(data, sender):
            worker.once("a", again)
            seen.put(data)

        worker.once("a", again)
        subscribed = {"subscribe": {"topic": "a", "when_full": "drop-oldest"}}
        for count in range(3):
            self.assertEqual(primary.receive(), subscribed)
            primary.send("event", topic="a", data=count, **{"from": SENDER})
            self.assertEqual(seen.get(timeout=20), count)
        self.assertEqual(primary.receive(), subscribed)
        worker.off("a")
        self.assertEqual(primary.receive(), {"unsubscribe": {"topic": "a"}})

    def test_events(self):
        worker, primary, seen = self.worker, self.primary, queue.Queue()
        note = worker.on("a", lambda data, sender: seen.put((data, sender["worker"])))
        subscribed = {"subscribe": {"topic": "a", "when_full": "drop-oldest"}}
        self.assertEqual(primary.receive(), subscribed)
        worker.once("a", lambda data, sender: seen.put("once"))
        self.assertEqual(worker.listener_count("a"), 2)
        primary.socket.sendall(b'{"event":{"topic":"a","data":1,"fr')
        primary.socket.sendall(b'om":{"worker":9}}}\n{"later":{}}\n')
        self.assertEqual([seen.get(timeout=20) for _ in range(2)], [(1, 9), "once"])
        worker.emit("a", {"x": 2})
        self.assertEqual(seen.get(timeout=20), ({"x": 2}, 7))
        self.assertEqual(primary.receive(), {"emit": {"topic": "a", "data": {"x": 2}}})
        worker.off("a", note)
        self.assertEqual(primary.receive(), {"unsubscribe": {"topic": "a"}})
        worker.send(3, "b")
        self.assertEqual(primary.receive(), {"send": {"slot": 3, "topic": "b", "data": None}})
        for topic, data in (("", 1), ("a", "x" * (2 << 20)), ("a", float("nan"))):
            self.assertRaises(ValueError, worker.emit, topic, data)

    def test_a_handler_that_fails_is_contained(self):
        worker, primary, seen = self.worker, self.primary, queue.Queue()
        worker.on("a", lambda data, sender: data / 0)
        worker.on("a", lambda data, sender: seen.put(data))
        with contextlib.redirect_stderr(io.StringIO()):
            for number in (1, 2):
                primary.send("event", topic="a", data=number, **{"from": SENDER})
                self.assertEqual(seen.get(timeout=20), number)
        self.assertEqual(worker.failures, 2)

    def test_calls_have_exactly_one_end(self):
        worker, primary = self.worker, self.primary
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
            primary.receive()["call"],
            {"id": 1, "pool": "hash", "topic": "sum", "timeout_ms": 9000, "retry": True,
             "data": [1, 2]},
        )
        primary.send("answer", id=1, data=3)
        primary.send("answer", id=1, data=4)
        self.assertEqual(primary.receive()["call"]["id"], 2)
        primary.send("error", id=2, kind="died", message="it died")
        primary.receive()
        primary.close()
        self.assertEqual([ends.get(timeout=20) for _ in range(3)], [3, "died", "alone"])

    def test_serving_triggers_configuration_metrics_draining(self):
        worker, primary = self.worker, self.primary
        worker.serve("half", lambda number, sender: number / 0 if number == 0 else number / 2)
        self.assertEqual(primary.receive(), {"serve": {"topic": "half", "at_once": 1}})
        primary.send("call", id=1, topic="half", data=42, timeout_ms=9, **{"from": SENDER})
        self.assertEqual(primary.receive(), {"answer": {"id": 1, "data": 21.0}})
        primary.send("call", id=2, topic="half", data=0, timeout_ms=9, **{"from": SENDER})
        self.assertEqual(primary.receive(), {"fail": {"id": 2, "message": "division by zero"}})
        worker.action("gc", lambda data, sender: "done")
        self.assertEqual(primary.receive(), {"action": {"name": "gc"}})
        primary.send("trigger", id=3, action="gc", data=None)
        self.assertEqual(primary.receive(), {"answer": {"id": 3, "data": "done"}})
        worker.on_config(lambda values: 1 / values["limit"])
        primary.send("config", version=2, data={"limit": 0})
        self.assertEqual(primary.receive()["applied"], {"version": 2, "error": "division by zero"})
        worker.gauge("queue", 4, kind="mail")
        self.assertEqual(primary.receive()["metric"]["labels"], [["kind", "mail"]])
        self.assertRaises(ValueError, worker.counter, "c", -1)
        drained = threading.Event()
        worker.on_drain(drained.set)
        primary.send("drain")
        self.assertTrue(drained.wait(20) and worker.draining)

    def test_a_worker_that_has_joined_has_its_shared_values(self):
        worker, primary = joined({"limit": 0})
        seen = []

        def configure(values):
            seen.append(values["limit"])
            return 1 / values["limit"]

        worker.on_config(configure)
        self.assertEqual(seen, [0])
        # The client may have reported the values before the program asked for them.
        said = [primary.receive()["applied"]["error"]]
        if said == [None]:
            said.append(primary.receive()["applied"]["error"])
        self.assertEqual(said[-1], "division by zero")

    def test_a_new_primary_gets_the_registrations_again(self):
        worker, primary, ends = self.worker, self.primary, queue.Queue()
        worker.on("a", lambda data, sender: None, wait=True)
        worker.serve("old", lambda data, sender: 1)
        worker.unserve("old")
        worker.ready()
        for _ in range(4):
            primary.receive()

        def call():
            try:
                worker.call("hash", "sum", 1)
            except CallError as error:
                ends.put(error.kind)

        threading.Thread(target=call).start()
        self.assertEqual(primary.receive()["call"]["topic"], "sum")
        primary.send("resumed")
        self.assertEqual(ends.get(timeout=20), "lost")
        self.assertEqual(primary.receive(), {"subscribe": {"topic": "a", "when_full": "wait"}})
        self.assertEqual(primary.receive(), {"ready": {}})
        primary.close()


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
        self.primary = FakePrimary()
        greet = asyncio.to_thread(self.primary.welcome)
        self.worker, _ = await asyncio.gather(aio.Worker.over(self.primary.theirs, "web"), greet)

    async def receive(self):
        return await asyncio.to_thread(self.primary.receive)

    async def test_events_and_calls(self):
        worker, primary, seen = self.worker, self.primary, asyncio.Queue()

        async def ask(data, sender):
            # A handler may wait for an answer.
            await seen.put(await worker.call("", "sum", data))

        await worker.once("a", ask)
        await self.receive()
        primary.send("event", topic="a", data=1, **{"from": SENDER})
        call = (await self.receive())["call"]
        self.assertEqual((call["topic"], call["data"]), ("sum", 1))
        primary.send("answer", id=call["id"], data=7)
        self.assertEqual(await asyncio.wait_for(seen.get(), 20), 7)
        self.assertEqual(await self.receive(), {"unsubscribe": {"topic": "a"}})
        late = asyncio.ensure_future(worker.call("", "sum"))
        await self.receive()
        primary.close()
        with self.assertRaises(CallError) as caught:
            await late
        self.assertEqual((caught.exception.kind, worker.alone), ("alone", True))

    async def test_once_and_again(self):
        worker, primary, seen = self.worker, self.primary, asyncio.Queue()

        async def again(data, sender):
            await worker.once("a", again)
            await seen.put(data)

        await worker.once("a", again)
        for count in range(3):
            self.assertEqual(list(await self.receive()), ["subscribe"])
            primary.send("event", topic="a", data=count, **{"from": SENDER})
            self.assertEqual(await asyncio.wait_for(seen.get(), 20), count)
        self.assertEqual(list(await self.receive()), ["subscribe"])
        await worker.off("a")
        self.assertEqual(await self.receive(), {"unsubscribe": {"topic": "a"}})

    async def test_a_new_primary_gets_the_registrations_again(self):
        worker, primary = self.worker, self.primary
        await worker.on("a", lambda data, sender: None)
        await self.receive()
        lost = asyncio.ensure_future(worker.call("hash", "sum", 1))
        await self.receive()
        primary.send("resumed")
        with self.assertRaises(CallError) as caught:
            await lost
        self.assertEqual(caught.exception.kind, "lost")
        again = {"subscribe": {"topic": "a", "when_full": "drop-oldest"}}
        self.assertEqual(await self.receive(), again)

    async def test_serving(self):
        worker, primary = self.worker, self.primary

        async def double(number, sender):
            if number == 0:
                raise ValueError("zero")
            return number * 2

        await worker.serve("double", double, at_once=2)
        self.assertEqual(await self.receive(), {"serve": {"topic": "double", "at_once": 2}})
        for number, answer in ((21, {"data": 42}), (0, {"message": "zero"})):
            request = {"id": 1, "topic": "double", "data": number, "from": SENDER}
            primary.send("call", timeout_ms=9, **request)
            (said,) = (await self.receive()).values()
            self.assertEqual(said, {"id": 1, **answer})
        primary.send("config", version=1, data={"limit": 0})
        self.assertEqual((await self.receive())["applied"], {"version": 1, "error": None})

        async def configure(values):
            return 1 / values["limit"]

        await worker.on_config(configure)
        said = (await self.receive())["applied"]
        self.assertEqual(said, {"version": 1, "error": "division by zero"})
        drained = asyncio.Event()
        worker.on_drain(drained.set)
        primary.send("drain")
        await asyncio.wait_for(drained.wait(), 20)


if __name__ == "__main__":
    unittest.main()
