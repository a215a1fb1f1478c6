//! Which thread reads the channel.
//!
//! One thread at a time has the reading role. A thread that waits for an answer, or for a request
//! of a topic that it serves, takes the role if it is free and reads for itself; it passes on what
//! is for others. That saves a change of threads, which takes longer than the work on a message.
//! While no such thread reads, the client's background thread sleeps until the notifier says that
//! bytes have come, and then takes the role.
//!
//! The notifier announces bytes once, and is silent until it is armed again. A thread that takes
//! the role disarms it, and a thread that gives the role back arms it *after* the role is free:
//! else the background thread could wake up, find the role taken, and go back to sleep although
//! nobody would announce the bytes again.
//!
//! Generic over the lock and the notifier, so that loom can try every order of the threads (see
//! the tests).

/// The lock whose holder has the reading role.
pub(crate) trait RoleLock {
    /// Releases the lock when it is dropped.
    type Guard<'a>
    where
        Self: 'a;

    /// Takes the lock if it is free.
    fn try_acquire(&self) -> Option<Self::Guard<'_>>;
}

/// Wakes the background thread, once, for bytes that nobody reads.
pub(crate) trait Notifier {
    /// Arms or disarms it. Bytes that lie in the channel already are announced too.
    fn arm(&self, on: bool) -> std::io::Result<()>;

    /// Ends the channel, because nobody would be woken for it any more.
    fn abandon(&self);
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ReadingRole<L, N> {
    lock: L,
    pub(crate) notifier: N,
}

/// The reading role, until this is dropped.
pub(crate) struct Turn<'a, L: RoleLock + 'a, N: Notifier> {
    pub(crate) guard: L::Guard<'a>,
    /// Declared behind the guard, so dropped after it: see the module.
    _rearm: Rearm<'a, N>,
}

struct Rearm<'a, N: Notifier>(&'a N);

impl<N: Notifier> Drop for Rearm<'_, N> {
    fn drop(&mut self) {
        if self.0.arm(true).is_err() {
            // A closed channel is better than one that nobody reads.
            self.0.abandon();
        }
    }
}

impl<L: RoleLock, N: Notifier> ReadingRole<L, N> {
    /// The notifier must be armed.
    pub(crate) fn new(lock: L, notifier: N) -> Self {
        Self { lock, notifier }
    }

    /// Takes the role if it is free. `notified`: the caller has just been woken by the notifier,
    /// which is therefore silent already.
    pub(crate) fn take(&self, notified: bool) -> Option<Turn<'_, L, N>> {
        let guard = self.lock.try_acquire()?;
        let turn = Turn { guard, _rearm: Rearm(&self.notifier) };
        (notified || self.notifier.arm(false).is_ok()).then_some(turn)
    }
}

#[cfg(test)]
mod tests {
    use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    use loom::thread;

    use super::*;

    impl RoleLock for Mutex<()> {
        type Guard<'a> = MutexGuard<'a, ()>;

        fn try_acquire(&self) -> Option<MutexGuard<'_, ()>> {
            self.try_lock().ok()
        }
    }

    /// A socket and a one-shot epoll on it. The messages are the numbers of their receivers.
    struct Socket {
        messages: Vec<usize>,
        armed: bool,
        over: bool,
    }

    struct Epoll {
        socket: Mutex<Socket>,
        changed: Condvar,
    }

    impl Epoll {
        fn change(&self, change: impl FnOnce(&mut Socket)) {
            change(&mut self.socket.lock().unwrap());
            self.changed.notify_all();
        }

        /// Sleeps until the notifier announces bytes. Whether the channel goes on.
        fn wait(&self) -> bool {
            let mut socket = self.socket.lock().unwrap();
            while !(socket.armed && (socket.over || !socket.messages.is_empty())) {
                socket = self.changed.wait(socket).unwrap();
            }
            socket.armed = false;
            !socket.over || !socket.messages.is_empty()
        }
    }

    impl Notifier for Epoll {
        fn arm(&self, on: bool) -> std::io::Result<()> {
            self.change(|socket| socket.armed = on);
            Ok(())
        }

        fn abandon(&self) {
            self.change(|socket| socket.over = true);
        }
    }

    /// A caller's answer.
    struct Slot {
        came: Mutex<bool>,
        arrived: Condvar,
    }

    struct Model {
        role: ReadingRole<Mutex<()>, Epoll>,
        slots: Vec<Slot>,
    }

    impl Model {
        /// `first`: messages that lie in the channel already.
        fn new(callers: usize, first: &[usize]) -> Arc<Self> {
            let socket = Socket { messages: first.to_vec(), armed: true, over: false };
            let epoll = Epoll { socket: Mutex::new(socket), changed: Condvar::new() };
            let slot = || Slot { came: Mutex::new(false), arrived: Condvar::new() };
            let slots = (0..callers).map(|_| slot()).collect();
            Arc::new(Self { role: ReadingRole::new(Mutex::new(()), epoll), slots })
        }

        /// Reads without waiting, and passes every message on. Whether there were any.
        fn read(&self) -> bool {
            let messages = std::mem::take(&mut self.role.notifier.socket.lock().unwrap().messages);
            for receiver in &messages {
                *self.slots[*receiver].came.lock().unwrap() = true;
                self.slots[*receiver].arrived.notify_all();
            }
            !messages.is_empty()
        }

        /// Waits for bytes, as a blocking read does, and reads them.
        fn read_blocking(&self) {
            let mut socket = self.role.notifier.socket.lock().unwrap();
            while socket.messages.is_empty() {
                socket = self.role.notifier.changed.wait(socket).unwrap();
            }
            drop(socket);
            self.read();
        }

        /// A thread that waits for its answer, as `reading::await_answer` does.
        fn call(&self, number: usize) {
            let slot = &self.slots[number];
            if let Some(_turn) = self.role.take(false) {
                while !*slot.came.lock().unwrap() {
                    self.read_blocking();
                }
            }
            let mut came = slot.came.lock().unwrap();
            while !*came {
                came = slot.arrived.wait(came).unwrap();
            }
        }

        /// The background thread, as `reading::read_in_background` is.
        fn run(&self) {
            while self.role.notifier.wait() {
                let Some(_turn) = self.role.take(true) else { continue };
                while self.read() {}
            }
        }
    }

    /// Runs the callers beside the background thread in every order of the threads. loom fails on
    /// a deadlock, which is what a message that nobody is woken for leads to.
    fn check(callers: usize, first: &'static [usize], send: fn(&Epoll)) {
        let mut model = loom::model::Builder::new();
        // With 3 it takes minutes.
        model.preemption_bound = Some(2);
        model.check(move || {
            let model = Model::new(callers, first);
            let mut threads = Vec::new();
            for number in 0..callers {
                let model = Arc::clone(&model);
                threads.push(thread::spawn(move || model.call(number)));
            }
            let background = Arc::clone(&model);
            let background = thread::spawn(move || background.run());
            send(&model.role.notifier);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            model.role.notifier.abandon();
            background.join().unwrap();
        });
    }

    #[test]
    fn every_caller_gets_its_answer_when_the_role_changes_hands() {
        check(2, &[0], |channel| channel.change(|socket| socket.messages.push(1)));
    }

    #[test]
    fn answers_that_come_together_reach_both_callers() {
        check(2, &[], |channel| channel.change(|socket| socket.messages.extend([1, 0])));
    }

    #[test]
    fn bytes_that_come_as_a_reader_stops_wake_the_background_thread() {
        // The second message is for the same caller, which may have stopped reading by then. The
        // background thread must read it, or it would lie in the channel at the end.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let model = Model::new(1, &[0]);
            let caller = {
                let model = Arc::clone(&model);
                thread::spawn(move || model.call(0))
            };
            let background = {
                let model = Arc::clone(&model);
                thread::spawn(move || model.run())
            };
            model.role.notifier.change(|socket| socket.messages.push(0));
            caller.join().unwrap();
            model.role.notifier.abandon();
            background.join().unwrap();
            assert!(model.role.notifier.socket.lock().unwrap().messages.is_empty());
        });
    }
}
