//! For programs that know they run under the supervisor.
