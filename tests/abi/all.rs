mod blob;
mod callable;
mod chip_args;
mod golden;
mod interface;
mod random;
mod reach;
mod refused;
mod walk;

use mailring::abi::{ContinuousTensor, DataType};

/// The bytes that this text says, two digits each.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    let digit = |c: u8| (c as char).to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect()
}

/// `len` bytes: these at these offsets, zeros everywhere else.
fn sparse(len: usize, parts: &[(usize, &str)]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (at, text) in parts {
        let part = hex(text);
        bytes[*at..at + part.len()].copy_from_slice(&part);
    }
    bytes
}

/// Bytes at an address that is a multiple of 8, `shift` bytes behind it.
struct Placed {
    words: Vec<u64>,
    shift: usize,
    len: usize,
}

impl Placed {
    fn new(bytes: &[u8], shift: usize) -> Self {
        let mut words = vec![0u64; (shift + bytes.len()).div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[shift..shift + bytes.len()].copy_from_slice(bytes);
        Self { words, shift, len: bytes.len() }
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[self.shift..self.shift + self.len]
    }
}

fn tensor(data: u64, shape: &[u32], dtype: DataType) -> ContinuousTensor {
    ContinuousTensor::new(data, shape, dtype).expect("a tensor that can be")
}
