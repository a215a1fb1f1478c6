"""The lease of the leader, between real processes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import unittest

from supervisor_worker import _leader

#: Says who leads for each line of its input. "fork": so does a child of it. "until" and "await": it
#: waits.
PROGRAM = """
import asyncio, os, sys
from supervisor_worker import aio, is_leader, until_leader
def say():
    try:
        print(is_leader(), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
for line in sys.stdin:
    if line == "until\\n":
        until_leader()
    if line == "await\\n":
        asyncio.run(aio.until_leader())
    if line == "fork\\n" and os.fork() == 0:
        say()
        os._exit(0)
    elif line == "fork\\n":
        os.wait()
    say()
"""


class Program:
    """A worker with a description of the lease of its own, as the supervisor gives it."""

    def __init__(self, test, lease, **variables):
        env = {key: value for key, value in os.environ.items() if not key.startswith("SUPERVISOR")}
        fds = []
        if lease is not None:
            fds = [os.open(f"/proc/self/fd/{lease}", os.O_RDONLY)]
            variables["SUPERVISOR_LEADER_FD"] = str(fds[0])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env={**env, **variables}, pass_fds=fds, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for fd in fds:
            os.close(fd)
        test.addCleanup(self.end)

    def ask(self, what="ask"):
        self.tell(what)
        return self.said()

    def tell(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()

    def said(self):
        return self.process.stdout.readline().rstrip()

    def end(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class LeaderTest(unittest.TestCase):
    def setUp(self):
        self.lease = os.memfd_create("supervisor-leader")
        self.addCleanup(os.close, self.lease)

    def test_one_leads_until_it_ends_also_while_it_is_stopped(self):
        one, other = Program(self, self.lease), Program(self, self.lease)
        self.assertEqual([one.ask(), other.ask(), one.ask()], ["True", "False", "True"])
        one.process.send_signal(signal.SIGSTOP)
        self.assertEqual([other.ask() for _ in range(3)], ["False"] * 3)
        one.process.send_signal(signal.SIGCONT)
        self.assertEqual([one.ask(), other.ask()], ["True", "False"])
        one.end()
        self.assertEqual(other.ask(), "True")

    def test_a_worker_can_wait_until_it_leads(self):
        for what in ["until", "await"]:
            one, other = Program(self, self.lease), Program(self, self.lease)
            self.assertEqual(one.ask(), "True")
            other.tell(what)
            said = []
            waits = threading.Thread(target=lambda: said.append(other.said()))
            waits.start()
            self.assertEqual((one.ask(), said), ("True", []))
            one.end()
            waits.join()
            self.assertEqual(said, ["True"])
            other.end()

    def test_a_program_that_waits_in_vain_can_end(self):
        one = Program(self, self.lease)
        self.assertEqual(one.ask(), "True")
        program = "import asyncio; from supervisor_worker import aio\n" \
            "try: asyncio.run(asyncio.wait_for(aio.until_leader(), 0.1))\n" \
            "except asyncio.TimeoutError: print('ends')"
        fd = os.open(f"/proc/self/fd/{self.lease}", os.O_RDONLY)
        self.addCleanup(os.close, fd)
        env = {**os.environ, "SUPERVISOR_LEADER_FD": str(fd)}
        ended = subprocess.run([sys.executable, "-c", program], env=env, pass_fds=[fd], text=True,
                               timeout=30, check=True, stdout=subprocess.PIPE)
        self.assertEqual(ended.stdout, "ends\n")

    def test_a_child_of_the_leader_leads_only_after_it(self):
        one = Program(self, self.lease)
        self.assertEqual(one.ask(), "True")
        self.assertEqual([one.ask("fork"), one.said()], ["False", "True"])

    def test_a_child_that_asks_first_leads_and_its_parent_does_after_it(self):
        # The child has ended when its parent asks.
        one = Program(self, self.lease)
        self.assertEqual([one.ask("fork"), one.said()], ["True", "True"])

    def test_without_a_supervisor_a_process_is_alone(self):
        self.assertEqual(Program(self, None).ask(), "True")

    def test_an_app_without_a_lease_and_another_descriptor_are_errors(self):
        without = Program(self, None, SUPERVISOR_APP="web").ask()
        self.assertIn("set leader = true", without)
        another = Program(self, None, SUPERVISOR_APP="web", SUPERVISOR_LEADER_FD="1").ask()
        self.assertIn("not the lease", another)

    def test_what_is_locked_is_a_copy_that_no_other_program_gets(self):
        shared, own = _leader._inherited(str(self.lease))
        self.addCleanup(os.close, shared)
        self.addCleanup(os.close, own)
        self.assertFalse(any(map(os.get_inheritable, (self.lease, shared, own))))


if __name__ == "__main__":
    unittest.main()
