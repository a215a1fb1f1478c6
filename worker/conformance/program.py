"""Carries out the commands of a conversation with the Python client: `program.py threads|aio PATH`.

See README.md in this folder.
"""

import asyncio
import json
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "python"))

from supervisor_worker import CallError, Worker, aio  # noqa: E402

how, path = sys.argv[1:]
output = threading.Lock()


def report(**what):
    with output:
        print(json.dumps(what), flush=True)


def connect():
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(path)
    return channel


def state(worker):
    report(
        state={
            "alone": worker.alone,
            "draining": worker.draining,
            "failures": worker.failures,
            "dropped": worker.dropped,
            "peer": worker.peer,
        }
    )


def admitted(admission):
    report(admitted={"ok": bool(admission), "retry_after": admission.retry_after})


def failure(error):
    # The text of "alone" is each client's own.
    message = {} if error.kind == "alone" else {"message": str(error)}
    return {"error": error.kind, **message}


class Failure(Exception):
    pass


def noting(command):
    """The handler of an event."""
    handler, does = command["handler"], command.get("does", "note")

    def handle(data, sender):
        if does == "fail":
            raise Failure("no")
        report(event={"handler": handler, "data": data, "from": sender})

    return handle


#: A counting handler pauses this long, in seconds, once in so many events: slower than the events
#: come, and never as long as a client waits for it.
PAUSE, PAUSE_EVERY = 0.3, 4000


class Count:
    """Counts events, and returns how long the handler must pause."""

    def __init__(self, command):
        self.handler, self.until, self.events = command["handler"], command["until"], 0

    def take(self, data):
        self.events += 1
        if data == self.until:
            report(counted={"handler": self.handler, "events": self.events})
        return PAUSE if self.events % PAUSE_EVERY == 1 else 0


class Threads:
    def __init__(self):
        self.worker = None
        self.handlers = {}

    def run(self):
        for line in sys.stdin:
            ((word, command),) = json.loads(line).items()
            try:
                getattr(self, word)(command)
            except (ValueError, OSError) as error:
                report(refused=str(error))

    def join(self, command):
        try:
            self.worker = Worker(connect(), command["pool"])
            report(joined=self.worker.peer)
        except ConnectionError as error:
            report(not_joined=str(error))

    def start_alone(self, command):
        self.worker = Worker(None)

    def on(self, command):
        run = noting(command)
        if command.get("does") == "count":
            count = Count(command)

            def run(data, sender):
                if pause := count.take(data):
                    time.sleep(pause)

        handler = self.handlers[command["handler"]] = command["topic"], run
        self.worker.on(*handler, wait=command.get("wait", False))

    def once(self, command):
        self.worker.once(command["topic"], noting(command))

    def off(self, command):
        self.worker.off(*self.handlers.pop(command["handler"]))

    def off_all(self, command):
        self.worker.off(command["topic"])

    def emit(self, command):
        self.worker.emit(command["topic"], command["data"])

    def send(self, command):
        self.worker.send(command["slot"], command["topic"], command["data"])

    def call(self, command):
        threading.Thread(target=self.end_call, args=[command], daemon=True).start()

    def end_call(self, command):
        options = {}
        if "timeout_ms" in command:
            options["timeout"] = command["timeout_ms"] / 1000
        if "retry" in command:
            options["retry"] = command["retry"]
        try:
            data = self.worker.call(command["pool"], command["topic"], command["data"], **options)
            report(ended={"call": command["as"], "data": data})
        except CallError as error:
            report(ended={"call": command["as"], **failure(error)})
        except ValueError as error:
            report(refused=str(error))

    def answering(self, command):
        does = command["does"]

        def answer(data, sender):
            if does == "fail":
                raise Failure(command["message"])
            if does == "call":
                return self.worker.call("x", "more", data)
            if does == "return":
                return command["data"]
            report(request={"data": data, "from": sender})
            return data

        return answer

    def serve(self, command):
        at_once = command.get("at_once", 1)
        self.worker.serve(command["topic"], self.answering(command), at_once=at_once)

    def unserve(self, command):
        self.worker.unserve(command["topic"])

    def action(self, command):
        self.worker.action(command["name"], self.answering(command))

    def gauge(self, command):
        self.worker.gauge(command["name"], command["value"], **command.get("labels", {}))

    def counter(self, command):
        self.worker.counter(command["name"], command["value"], **command.get("labels", {}))

    def histogram(self, command):
        self.worker.histogram(command["name"], command["value"], **command.get("labels", {}))

    def on_config(self, command):
        def configure(values):
            if command["does"] == "fail":
                raise Failure(command["message"])
            if command["does"] == "call":
                self.worker.call("x", "more", values)
            report(config=values)

        self.worker.on_config(configure)

    def on_drain(self, command):
        self.worker.on_drain(lambda: report(drained={}))

    def admit(self, command):
        admitted(self.worker.admit())

    def ready(self, command):
        self.worker.ready()

    def leaving(self, command):
        self.worker.leaving()

    def leave(self, command):
        self.worker.leave()

    def state(self, command):
        state(self.worker)

    def end(self, command):
        report(end={})
        sys.exit()


class Aio:
    def __init__(self):
        self.worker = None
        self.handlers = {}
        self.tasks = set()

    async def run(self):
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            ((word, command),) = json.loads(line).items()
            try:
                await getattr(self, word)(command)
            except (ValueError, OSError) as error:
                report(refused=str(error))

    async def join(self, command):
        try:
            self.worker = await aio.Worker.over(connect(), command["pool"])
            report(joined=self.worker.peer)
        except ConnectionError as error:
            report(not_joined=str(error))

    async def start_alone(self, command):
        self.worker = await aio.Worker.over(None)

    async def on(self, command):
        run = noting(command)
        if command.get("does") == "count":
            count = Count(command)

            async def run(data, sender):
                if pause := count.take(data):
                    await asyncio.sleep(pause)

        handler = self.handlers[command["handler"]] = command["topic"], run
        await self.worker.on(*handler, wait=command.get("wait", False))

    async def once(self, command):
        await self.worker.once(command["topic"], noting(command))

    async def off(self, command):
        await self.worker.off(*self.handlers.pop(command["handler"]))

    async def off_all(self, command):
        await self.worker.off(command["topic"])

    async def emit(self, command):
        await self.worker.emit(command["topic"], command["data"])

    async def send(self, command):
        await self.worker.send(command["slot"], command["topic"], command["data"])

    async def call(self, command):
        task = asyncio.ensure_future(self.end_call(command))
        self.tasks.add(task)

    async def end_call(self, command):
        options = {}
        if "timeout_ms" in command:
            options["timeout"] = command["timeout_ms"] / 1000
        if "retry" in command:
            options["retry"] = command["retry"]
        pool, topic = command["pool"], command["topic"]
        try:
            data = await self.worker.call(pool, topic, command["data"], **options)
            report(ended={"call": command["as"], "data": data})
        except CallError as error:
            report(ended={"call": command["as"], **failure(error)})
        except ValueError as error:
            report(refused=str(error))

    def answering(self, command):
        does = command["does"]

        async def answer(data, sender):
            if does == "fail":
                raise Failure(command["message"])
            if does == "call":
                return await self.worker.call("x", "more", data)
            if does == "return":
                return command["data"]
            report(request={"data": data, "from": sender})
            return data

        return answer

    async def serve(self, command):
        at_once = command.get("at_once", 1)
        await self.worker.serve(command["topic"], self.answering(command), at_once=at_once)

    async def unserve(self, command):
        await self.worker.unserve(command["topic"])

    async def action(self, command):
        await self.worker.action(command["name"], self.answering(command))

    async def gauge(self, command):
        await self.worker.gauge(command["name"], command["value"], **command.get("labels", {}))

    async def counter(self, command):
        await self.worker.counter(command["name"], command["value"], **command.get("labels", {}))

    async def histogram(self, command):
        await self.worker.histogram(command["name"], command["value"], **command.get("labels", {}))

    async def on_config(self, command):
        async def configure(values):
            if command["does"] == "fail":
                raise Failure(command["message"])
            if command["does"] == "call":
                await self.worker.call("x", "more", values)
            report(config=values)

        await self.worker.on_config(configure)

    async def on_drain(self, command):
        self.worker.on_drain(lambda: report(drained={}))

    async def admit(self, command):
        admitted(await self.worker.admit())

    async def ready(self, command):
        await self.worker.ready()

    async def leaving(self, command):
        await self.worker.leaving()

    async def leave(self, command):
        self.worker.leave()

    async def state(self, command):
        state(self.worker)

    async def end(self, command):
        report(end={})
        sys.exit()


if how == "threads":
    Threads().run()
else:
    asyncio.run(Aio().run())
