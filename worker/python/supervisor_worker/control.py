"""Looks at apps of the supervisor and steers them, over their control sockets (docs/api.md).

    from supervisor_worker.control import Control

    control = Control()
    for app in control.apps():
        print(app.name, app.status()["status"])
    control.app("web").reload(on_notice=print)

It needs no worker: any program of the user that started the apps may use it, and programs of other
users as far as `operators` and `observers` allow.
"""
import json
import os
import pathlib
import socket
import subprocess
import time

# The longest answer that is read: a line of the primary, in bytes.
_MAX_LINE = 1 << 20
# How long it is tried to reach a primary that has no room for another client, in seconds.
_BUSY = 8


class ControlError(Exception):
    """A request was refused or failed. `kind` is one of the words of docs/api.md, or `lost` where
    there is no primary or no reply; `last_lines` is what a failed worker wrote last."""

    def __init__(self, reason, kind="lost", last_lines=()):
        super().__init__(reason)
        self.kind = kind
        self.last_lines = list(last_lines)


class Control:
    """The apps in one folder of sockets; by default that of this user's commands."""

    def __init__(self, folder=None, program="supervisor"):
        self._folders = [pathlib.Path(folder)] if folder else _folders()
        self._program = program

    def apps(self):
        """The apps that have a socket, by name. A primary may have died without removing its own.
        """
        names = {}
        for folder in reversed(self._folders):
            names.update({path.stem: path for path in folder.glob("*.sock")})
        return [App(name, names[name]) for name in sorted(names)]

    def app(self, name):
        """The app of this name; raises ControlError if it has no socket."""
        for folder in self._folders:
            path = folder / f"{name}.sock"
            if path.is_socket():
                return App(name, path)
        raise ControlError(f"no app is called {name!r} in {', '.join(map(str, self._folders))}")

    def start(self, command, name, options=()):
        """Runs `supervisor start` with these options, and returns the app once it is ready."""
        words = [self._program, "start", "--name", name, *options, "--", *command]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except OSError as error:
            raise ControlError(f"cannot run {self._program}: {error}", "failed") from error
        if done.returncode != 0:
            raise ControlError(done.stderr.strip() or f"exit code {done.returncode}", "failed")
        return self.app(name)


class App:
    """One app. Each method sends one request, and raises ControlError if it fails."""

    def __init__(self, name, path):
        self.name = name
        self._path = path

    def status(self):
        """What `supervisor list --json` shows of the app."""
        return self.ask({"request": "status"}, timeout=10)

    def reload(self, on_notice=None, timeout=None, **method):
        """Replaces all workers without loss and returns when the new ones serve. `method`: as in
        docs/api.md, `method="blue-green", keep_old_ms=60000`."""
        request = {"request": "configure", "change": {}, "method": {"method": "rolling", **method}}
        return self.ask(request, on_notice, timeout)

    def restart(self, on_notice=None, timeout=None):
        """Stops all workers, and then starts new ones."""
        return self.reload(on_notice, timeout, method="hard")

    def scale(self, workers, timeout=None):
        """Changes the number of workers."""
        return self.ask({"request": "scale", "wanted": workers}, timeout=timeout)

    def start(self, timeout=None):
        """Starts the workers of a stopped app."""
        return self.ask({"request": "start"}, timeout=timeout)

    def stop(self, timeout=None):
        """Stops the workers and keeps the app."""
        return self.ask({"request": "stop"}, timeout=timeout)

    def delete(self, timeout=None):
        """Stops the workers and ends the app's primary."""
        return self.ask({"request": "delete"}, timeout=timeout)

    def notices(self, timeout=None):
        """Yields every notice from now on. `timeout`: the longest wait for the next one, after
        which ControlError is raised. Ends when the primary ends."""
        for answer in self._converse({"request": "subscribe"}, timeout and (lambda: timeout)):
            if answer["reply"] == "failed":
                raise _failure(answer)
            yield answer

    def ask(self, request, on_notice=None, timeout=None):
        """Sends a request of docs/api.md and returns its final reply. `timeout`, in seconds, is for
        all of that; without it there is no limit but the primary's own."""
        end = timeout and time.monotonic() + timeout
        until_free = time.monotonic() + _BUSY
        while True:
            reply = self._ask_once(request, on_notice, end and (lambda: end - time.monotonic()))
            if reply["reply"] != "failed":
                return reply
            if reply["kind"] != "busy" or time.monotonic() > until_free:
                raise _failure(reply)
            time.sleep(0.25)

    def _ask_once(self, request, on_notice, rest):
        for answer in self._converse(request, rest):
            if answer["reply"] != "notice":
                return answer
            if on_notice:
                on_notice(answer)
        raise ControlError(f"the primary of {self.name} ended without a reply")

    def _converse(self, request, rest):
        with socket.socket(socket.AF_UNIX) as control:
            try:
                control.settimeout(_positive(rest))
                control.connect(str(self._path))
                control.sendall(json.dumps(request).encode() + b"\n")
                lines = b""
                while True:
                    control.settimeout(_positive(rest))
                    more = control.recv(1 << 16)
                    if not more:
                        return
                    *whole, lines = (lines + more).split(b"\n")
                    yield from (json.loads(line) for line in whole if line.strip())
                    if len(lines) > _MAX_LINE:
                        raise ControlError(f"{self.name} sent a line of more than 1 MiB")
            except TimeoutError as error:
                raise ControlError(f"{self.name} did not answer in time", "timed-out") from error
            except OSError as error:
                raise ControlError(f"cannot talk to the primary of {self.name}: {error}") from error


def _positive(rest):
    """The rest of a time limit. 0 would mean that nothing may wait at all."""
    return None if rest is None else max(rest(), 0.001)


def _failure(reply):
    return ControlError(reply["reason"], reply["kind"], reply.get("last_lines", ()))


def _folders():
    """The folders in which the commands of this user put sockets, the first choice first."""
    home = os.environ.get("SUPERVISOR_HOME")
    if home:
        return [pathlib.Path(home) / "run"]
    user = os.getuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    first = "/run/supervisor" if user == 0 else runtime and f"{runtime}/supervisor"
    named = [first, f"/tmp/supervisor-{user}", f"/dev/shm/supervisor-{user}"]
    return [path for path in map(pathlib.Path, filter(None, named)) if _is_ours(path, user)]


def _is_ours(path, user):
    """Another user may have made a folder of this name."""
    try:
        return path.lstat().st_uid == user
    except OSError:
        return False
