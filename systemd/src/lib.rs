//! Both ends of systemd's small protocols.
