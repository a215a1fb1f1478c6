//! Classic BPF: the instructions that the supervisor uses, as data. This module loads nothing into
//! the kernel.

/// One instruction in the kernel's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    /// How many instructions to skip if a condition holds (`jump_true`) or does not (`jump_false`).
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) value: u32,
}

/// A = the word at an absolute offset.
pub(crate) const LOAD: u16 = 0x20;
/// A = the half-word at an absolute offset.
pub(crate) const LOAD_HALF: u16 = 0x28;
/// X = a word of the scratch memory.
pub(crate) const LOAD_X_SCRATCH: u16 = 0x61;
/// A word of the scratch memory = A.
pub(crate) const STORE: u16 = 0x02;
/// X = A.
pub(crate) const COPY_TO_X: u16 = 0x07;
/// A *= value.
pub(crate) const MULTIPLY: u16 = 0x24;
/// A >>= value.
pub(crate) const SHIFT_RIGHT: u16 = 0x74;
/// A %= value.
pub(crate) const MODULO: u16 = 0x94;
/// A ^= value.
pub(crate) const XOR: u16 = 0xa4;
/// A ^= X.
pub(crate) const XOR_X: u16 = 0xac;
/// Skip `value` instructions.
pub(crate) const JUMP: u16 = 0x05;
/// Is A == value?
pub(crate) const IF_EQUAL: u16 = 0x15;
/// Is A >= value (unsigned)?
pub(crate) const IF_AT_LEAST: u16 = 0x35;
/// End with the result `value`.
pub(crate) const RETURN: u16 = 0x06;
/// The kernel's limit on the length of a program.
pub(crate) const MAX_INSTRUCTIONS: usize = 4096;

/// An instruction that is not a condition.
pub(crate) const fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, value }
}

/// A condition on A.
pub(crate) const fn branch(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

/// The same program in libc's type.
pub(super) fn for_kernel(program: &[Instruction]) -> Vec<libc::sock_filter> {
    program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.value,
        })
        .collect()
}
