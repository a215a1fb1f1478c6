//! Where a static program looks up users, groups and hosts.
//!
//! glibc loads the sources that /etc/nsswitch.conf names as shared libraries. "files" and "dns" are
//! part of it. In a static program any other one, such as Debian's "systemd", is not only missing:
//! the lookup ends the program with SIGSEGV.

/// From now on a static program uses the sources that it has in itself, whatever nsswitch.conf
/// names. To be called before the first lookup. Does nothing in a program that is not static.
pub(crate) fn only_built_in() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        use std::ffi::{c_char, c_int};

        unsafe extern "C" {
            /// nss.h: replaces the line of a database; 0 if it did.
            fn __nss_configure_lookup(database: *const c_char, line: *const c_char) -> c_int;
        }
        for (database, line) in [
            (c"passwd", c"files"),
            (c"group", c"files"),
            (c"initgroups", c"files"),
            (c"hosts", c"files dns"),
        ] {
            // SAFETY: both are static C strings. No other thread runs yet.
            let refused = unsafe { __nss_configure_lookup(database.as_ptr(), line.as_ptr()) };
            debug_assert_eq!(refused, 0, "{database:?}");
        }
    }
}
