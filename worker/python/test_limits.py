"""Limits: the rate of requests, and connections that wait."""

import asyncio
import http.server
import json
import math
import socket
import threading
import unittest
import urllib.request

from supervisor_worker import Worker, aio
from supervisor_worker._limits import ADMITTED, Limits


class Rate(unittest.TestCase):
    def setUp(self):
        self.now = 100.0
        self.limits = Limits(lambda: self.now)
        self.admitted = ADMITTED

    def admit(self):
        return self.limits.admit()[0]

    def test_a_bucket_fills_again(self):
        limits = self.limits
        limits.configure({"limits": {"rate": 0.5, "burst": 2}})
        self.assertTrue(self.admit() and self.admit())
        refused, report = limits.admit()
        self.assertFalse(refused)
        self.assertEqual((refused.wait, refused.retry_after), (2.0, 2))
        # Refused requests are reported at most once a second.
        self.assertEqual((report, limits.admit()[1]), (1, 0))
        self.now += 2
        self.assertEqual(limits.admit(), (self.admitted, 1))
        self.assertFalse(self.admit())
        self.now += 100
        self.assertTrue(self.admit() and self.admit())
        self.assertFalse(self.admit())
        self.now += 2
        self.assertEqual(limits.admit()[1], 1)

    def test_values_take_effect_at_once(self):
        limits = self.limits
        limits.configure({"limits": {"rate": 1}})
        self.assertTrue(self.admit())
        for wrong in ({"rate": "fast"}, {"rate": -1}, {"connections": True}, 7, []):
            with self.assertRaisesRegex(ValueError, "^invalid limits: "):
                limits.configure({"limits": wrong})
        self.assertFalse(self.admit(), "they stay")
        for none in (None, 7, {}, {"limits": None}, {"limits": {}}, {"limits": {"rate": 0}}):
            limits.configure(none)
            self.assertTrue(all(self.admit() for _ in range(1000)))
            self.assertEqual(limits.connections, math.inf)


def configure(worker, version, values):
    """The supervisor changes the shared values."""
    message = {"config": {"version": version, "data": values}}
    worker._take((json.dumps(message) + "\n").encode())


def listening():
    return socket.create_server(("127.0.0.1", 0))


class Threads(unittest.TestCase):
    def test_connections_beyond_the_limit_wait(self):
        worker = Worker(None)
        configure(worker, 1, {"limits": {"connections": 2}})
        server = worker.limit(listening())
        self.addCleanup(server.close)
        clients = [socket.create_connection(server.getsockname()) for _ in range(5)]
        first, _ = server.accept()
        second, _ = server.accept()
        server.settimeout(0)
        self.assertRaises(BlockingIOError, server.accept)
        server.settimeout(0.01)
        self.assertRaises(socket.timeout, server.accept)
        server.settimeout(20)
        file = first.makefile()
        first.close()
        self.assertEqual(worker.connections, 2, "its file is open")
        file.close()
        third, _ = server.accept()
        self.assertTrue(third.getblocking())
        threading.Timer(0.01, second.close).start()
        fourth, _ = server.accept()
        threading.Timer(0.01, configure, (worker, 2, None)).start()
        fifth, _ = server.accept()
        self.assertEqual(worker.connections, 3)
        os_level = fifth.detach()
        socket.close(os_level)
        del third
        self.assertEqual(worker.connections, 1)
        for one in (fourth, *clients):
            one.close()

    def test_servers_of_the_standard_library(self):
        worker, most, lock = Worker(None), [0, 0], threading.Lock()
        configure(worker, 1, {"limits": {"connections": 3}})

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with lock:
                    most[0] += 1
                    most[1] = max(most)
                threading.Event().wait(0.005)
                with lock:
                    most[0] -= 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"here")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.socket = worker.limit(server.socket)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        answers = []

        def ask():
            with urllib.request.urlopen("http://127.0.0.1:%d" % server.server_port) as answer:
                answers.append(answer.read())

        clients = [threading.Thread(target=ask) for _ in range(30)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.assertEqual(answers, [b"here"] * 30)
        self.assertLessEqual(most[1], 3)


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_connections_beyond_the_limit_wait(self):
        worker = await aio.Worker.over(None)
        configure(worker, 1, {"limits": {"connections": 2}})
        most = [0]

        async def serve(reader, writer):
            most[0] = max(most[0], worker.connections)
            data = await reader.readline()
            await asyncio.sleep(0.005)
            writer.write(b"to " + data)
            writer.close()

        server = await worker.start_server(serve, listening())
        address = server.sockets[0].getsockname()

        async def ask():
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"here\n")
            answer = await reader.read()
            writer.close()
            return answer

        self.assertEqual(await asyncio.gather(*(ask() for _ in range(30))), [b"to here\n"] * 30)
        self.assertEqual(most[0], 2)
        quiet = [await asyncio.open_connection(*address) for _ in range(2)]
        waits = asyncio.ensure_future(ask())
        done, _ = await asyncio.wait([waits], timeout=0.05)
        self.assertFalse(done)
        configure(worker, 2, {"limits": {"connections": 3}})
        self.assertEqual(await waits, b"to here\n")
        server.close()
        for _, writer in quiet:
            writer.close()
        await asyncio.wait_for(server.wait_closed(), 20)
        self.assertEqual(worker.connections, 0)
        self.assertFalse(server.is_serving())

    async def test_requests_beyond_the_rate(self):
        worker = await aio.Worker.over(None)
        self.assertTrue(await worker.admit())
        configure(worker, 1, {"limits": {"rate": 0.1}})
        self.assertTrue(await worker.admit())
        refused = await worker.admit()
        self.assertFalse(refused)
        self.assertEqual(refused.retry_after, 10)


if __name__ == "__main__":
    unittest.main()
