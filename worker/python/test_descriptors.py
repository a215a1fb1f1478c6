"""Descriptors for other workers, which keep their place among the messages."""

import array
import asyncio
import contextlib
import io
import json
import os
import queue
import resource
import socket
import threading
import unittest

from supervisor_worker import CallError, _descriptors, aio
from test_bus import SENDER, FakePrimary, joined


def received(primary, count):
    """This number of messages, and the descriptors that came with them."""
    data, fds = b"", []
    while data.count(b"\n") < count:
        more, control, _, _ = primary.socket.recvmsg(1 << 16, 1024)
        assert more, "the channel ended"
        data += more
        for level, kind, content in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds += array.array("i", content)
    return [json.loads(line) for line in data.splitlines()], fds


def given(primary, topic, fd):
    message = {"given": {"topic": topic, "data": [1], "from": SENDER}}
    socket.send_fds(primary.socket, [(json.dumps(message) + "\n").encode()], [fd])


def gone(fd):
    """Whether the other end of a pipe is closed everywhere."""
    return os.read(fd, 1) == b""


class Unclaimed(unittest.TestCase):
    def test_a_message_without_its_descriptor_takes_no_other(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # No number is left for a further descriptor.
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            socket.send_fds(theirs, [b"x"], [0])
            next_free = os.dup(0)
            os.close(next_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, limit[1]))
            try:
                data, fds = _descriptors.receive(ours)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            self.assertEqual((data, fds), (b"x", [None]))
        descriptors, waiting = _descriptors.Descriptors(), queue.Queue()
        descriptors.handle("t", waiting)
        descriptors.keep([*fds, os.dup(0)])
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertIsNone(descriptors.claim("t", 1, SENDER))
        self.assertIs(descriptors.claim("t", 1, SENDER), waiting.get_nowait())


class Threads(unittest.TestCase):
    def setUp(self):
        self.worker, self.primary = joined()
        self.addCleanup(self.primary.close)
        self.addCleanup(self.worker.leave)

    def test_giving(self):
        worker, primary = self.worker, self.primary
        out, into = os.pipe()
        answers = queue.Queue()

        def answer():
            no = {"kind": "full", "message": "no"}
            for word, rest in (("answer", {"data": None}), ("error", no)):
                (message,), (fd,) = received(primary, 1)
                answers.put(message["give"])
                os.write(fd, b"x")
                os.close(fd)
                primary.send(word, id=message["give"]["id"], **rest)

        thread = threading.Thread(target=answer)
        thread.start()
        worker.give(2, "files", {"a": 1}, into)
        with open(into, "wb") as file, self.assertRaises(CallError) as failure:
            worker.give(2, "files", None, file)
        thread.join()
        self.assertEqual(failure.exception.kind, "full")
        self.assertEqual(answers.get()["data"], {"a": 1})
        self.assertEqual((answers.get()["slot"], os.read(out, 9), gone(out)), (2, b"xx", True))
        os.close(out)

    def test_taking(self):
        worker, primary, seen, takes = self.worker, self.primary, queue.Queue(), []

        @worker.on_given("files")
        def take(it):
            seen.put((it.topic, it.data, it.sender))
            takes.append(it.fileno())
            if len(takes) == 1:
                with it.open("w") as file:
                    file.write("here")

        subscribed = {"topic": "supervisor:given", "when_full": "drop-oldest"}
        self.assertEqual(received(primary, 1), ([{"subscribe": subscribed}], []))
        # The third topic has no handler, and the handler does not take the second out.
        pipes = [os.pipe() for _ in range(3)]
        for topic, (_, into) in zip(("files", "files", "others"), pipes):
            given(primary, topic, into)
            os.close(into)
        self.assertEqual(seen.get(timeout=20), ("files", [1], SENDER))
        self.assertEqual(os.read(pipes[0][0], 9), b"here")
        for out, _ in pipes:
            self.assertTrue(gone(out))
            os.close(out)
        self.assertFalse(os.get_inheritable(primary.theirs.fileno()))

    def test_a_connection(self):
        worker, primary, seen = self.worker, self.primary, queue.Queue()
        worker.on_connection("web", lambda *what: seen.put(what))
        received(primary, 1)
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()) as client:
                accepted, address = server.accept()
                with accepted:
                    given(primary, "supervisor:connection:web", accepted.fileno())
                connection, from_whom = seen.get(timeout=20)
                with connection:
                    connection.sendall(b"hello")
                self.assertEqual((client.recv(9), from_whom), (b"hello", address))


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_a_descriptor_keeps_its_place_among_many_messages(self):
        primary = FakePrimary()
        greeter = asyncio.get_running_loop().run_in_executor(None, primary.welcome)
        worker = await aio.Worker.over(primary.theirs, "web")
        await greeter
        out, into = os.pipe()
        # Much more than the channel holds, so the descriptor has to wait.
        emits = [worker.emit("much", [at, "x" * 100_000]) for at in range(40)]
        work = [asyncio.ensure_future(emit) for emit in emits]
        work.append(asyncio.ensure_future(worker.give(1, "files", None, into)))
        work += [asyncio.ensure_future(worker.emit("more", at)) for at in range(20)]
        receiving = asyncio.get_running_loop().run_in_executor(None, received, primary, 61)
        messages, (fd,) = await receiving
        os.write(fd, b"x")
        os.close(fd)
        much = [m["emit"]["data"][0] for m in messages if m.get("emit", {}).get("topic") == "much"]
        self.assertEqual(much, list(range(40)))
        (give,) = [message["give"] for message in messages if "give" in message]
        primary.send("answer", id=give["id"], data=None)
        await asyncio.gather(*work)
        os.close(into)
        self.assertEqual((os.read(out, 9), gone(out)), (b"x", True))

        seen = asyncio.Queue()

        async def take(it):
            with it.open("w") as file:
                file.write("here")
            await seen.put(it.data)

        await worker.on_given("files", take)
        await asyncio.get_running_loop().run_in_executor(None, received, primary, 1)
        other, into = os.pipe()
        given(primary, "files", into)
        os.close(into)
        self.assertEqual(await asyncio.wait_for(seen.get(), 20), [1])
        self.assertEqual((os.read(other, 9), gone(other)), (b"here", True))
        worker.leave()
        # The worker reads to the end of the channel, and closes it.
        ended = asyncio.get_running_loop().run_in_executor(None, primary.socket.recv, 1)
        self.assertEqual(await ended, b"")
        for fd in (out, other):
            os.close(fd)
        primary.lines.close()
        primary.socket.close()


if __name__ == "__main__":
    unittest.main()
