//! The kernel. The only room with unsafe code; everything it offers is safe to call.
