//! Instructions of eBPF that the supervisor uses, as the kernel has them. This module loads nothing
//! into the kernel.

use std::os::fd::{AsRawFd, OwnedFd};

const MAP_LOOKUP_HELPER: i32 = 1;
/// The offset of `protocol` in `struct __sk_buff`.
const PROTOCOL_FIELD: i16 = 16;

/// One eBPF instruction, in the kernel's layout.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// The low four bits are the destination, the high four the source (on little-endian machines).
    registers: u8,
    pub(super) offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
    Instruction { code, registers, offset, immediate }
}

pub(super) const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);

/// `*(u32 *)(r10 + offset) = value`
pub(super) const fn store_word(offset: i16, value: i32) -> Instruction {
    instruction(0x62, 10, 0, offset, value)
}

/// `*(u32 *)(r10 + offset) = register`
pub(super) const fn store_word_from(offset: i16, register: u8) -> Instruction {
    instruction(0x63, 10, register, offset, 0)
}

/// `dst = *(u32 *)(src + 0)`
pub(super) const fn load_word(dst: u8, src: u8) -> Instruction {
    instruction(0x61, dst, src, 0, 0)
}

/// `dst = value`
pub(super) const fn move_immediate(dst: u8, value: i32) -> Instruction {
    instruction(0xb7, dst, 0, 0, value)
}

/// `dst = src`
pub(super) const fn move_register(dst: u8, src: u8) -> Instruction {
    instruction(0xbf, dst, src, 0, 0)
}

/// `dst %= value`, unsigned
pub(super) const fn modulo(dst: u8, value: i32) -> Instruction {
    instruction(0x97, dst, 0, 0, value)
}

/// `src = fetch_and_add((u64 *)dst, src)`
pub(super) const fn fetch_and_add(dst: u8, src: u8) -> Instruction {
    instruction(0xdb, dst, src, 0, 0x01)
}

/// `*(u64 *)dst += src`
pub(super) const fn atomic_add(dst: u8, src: u8) -> Instruction {
    instruction(0xdb, dst, src, 0, 0x00)
}

/// `if dst == 0 goto` an offset that is filled in later
pub(super) const fn jump_if_zero(dst: u8) -> Instruction {
    instruction(0x15, dst, 0, 0, 0)
}

/// `dst = the protocol of the packet in src`, as it is in memory (big-endian)
pub(super) const fn load_protocol(dst: u8, src: u8) -> Instruction {
    instruction(0x61, dst, src, PROTOCOL_FIELD, 0)
}

/// `r0 =` the word of the packet in r6 at this offset. Overwrites r1 to r5.
pub(super) const fn load_packet_word(offset: u32) -> Instruction {
    instruction(0x20, 0, 0, 0, offset.cast_signed())
}

/// As `load_packet_word`, of 16 bits.
pub(super) const fn load_packet_half(offset: u32) -> Instruction {
    instruction(0x28, 0, 0, 0, offset.cast_signed())
}

/// `if dst != value`, of 32 bits, skip this many instructions
pub(super) const fn jump_unless_equal(dst: u8, value: u32, count: i16) -> Instruction {
    instruction(0x56, dst, 0, count, value.cast_signed())
}

/// `if r0 == 0` skip this many instructions
pub(super) const fn jump_if_zero_over(count: i16) -> Instruction {
    instruction(0x15, 0, 0, count, 0)
}

/// `r0 = lookup(map, r10 - 4)`
pub(super) fn lookup(map: &OwnedFd) -> [Instruction; 5] {
    let fd = map.as_raw_fd();
    [
        move_register(2, 10),
        instruction(0x07, 2, 0, 0, -4),
        // A 64-bit immediate of kind "map fd" takes two instructions.
        instruction(0x18, 1, 1, 0, fd),
        instruction(0, 0, 0, 0, 0),
        instruction(0x85, 0, 0, 0, MAP_LOOKUP_HELPER),
    ]
}
