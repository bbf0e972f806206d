//! Whether a shared object has a function: read from its bytes, so that nothing of it is loaded
//! where it is registered. The bytes are from outside; whatever they say is checked before it is
//! followed.

/// What is known of a symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Symbol {
    Function,
    /// It is there, but no function: a variable, for example.
    Other,
    Missing,
}

/// Why a file is not a shared object of this machine.
pub(crate) const NO_OBJECT: &str = "it is not a shared object";
pub(crate) const OTHER_MACHINE: &str = "it is a shared object for another machine";

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;
const DYNSYM: u32 = 11;
const EXECUTABLE: u64 = 4;

struct Object<'a>(&'a [u8]);

/// Where a section lies, and what it is.
struct Section {
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
    link: u32,
}

impl<'a> Object<'a> {
    fn at<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let from = usize::try_from(offset).ok()?;
        self.0.get(from..from.checked_add(N)?)?.try_into().ok()
    }

    fn half(&self, offset: u64) -> Option<u16> {
        self.at(offset).map(u16::from_le_bytes)
    }

    fn word(&self, offset: u64) -> Option<u32> {
        self.at(offset).map(u32::from_le_bytes)
    }

    fn long(&self, offset: u64) -> Option<u64> {
        self.at(offset).map(u64::from_le_bytes)
    }

    fn bytes(&self, section: &Section) -> Option<&'a [u8]> {
        let from = usize::try_from(section.offset).ok()?;
        self.0.get(from..from.checked_add(usize::try_from(section.size).ok()?)?)
    }

    fn section(&self, index: u32) -> Option<Section> {
        let (table, count) = (self.long(40)?, self.half(60)?);
        if usize::from(self.half(58)?) != SECTION_BYTES || index >= u32::from(count) {
            return None;
        }
        let at = table.checked_add(u64::from(index) * SECTION_BYTES as u64)?;
        at.checked_add(SECTION_BYTES as u64)?; // so that no sum below overflows
        Some(Section {
            kind: self.word(at + 4)?,
            flags: self.long(at + 8)?,
            offset: self.long(at + 24)?,
            size: self.long(at + 32)?,
            link: self.word(at + 40)?,
        })
    }

    /// The kind of a symbol that is defined there, from its entry.
    fn kind(&self, entry: &[u8]) -> Option<Symbol> {
        let section = u16::from_le_bytes([entry[6], entry[7]]);
        match (entry[4] & 15, section) {
            (_, 0) => None,
            // A function, or one that is chosen when it is loaded.
            (2 | 10, _) => Some(Symbol::Function),
            // Without a type, as some assemblers leave it: what it lies in decides.
            (0, section) => {
                let inside = self.section(section.into());
                let runs = inside.is_some_and(|section| section.flags & EXECUTABLE != 0);
                Some(if runs { Symbol::Function } else { Symbol::Other })
            }
            _ => Some(Symbol::Other),
        }
    }
}

/// What the shared object with these bytes has under this name.
///
/// # Errors
/// They are no shared object that this machine can load.
pub(crate) fn find(content: &[u8], name: &str) -> Result<Symbol, &'static str> {
    let object = Object(content);
    if !content.starts_with(b"\x7fELF") || content.len() < 64 {
        return Err(NO_OBJECT);
    }
    // 64 bits, little-endian.
    if content[4..6] != [2, 1] || object.half(18) != Some(MACHINE) {
        return Err(OTHER_MACHINE);
    }
    if object.half(16) != Some(3) {
        return Err(NO_OBJECT);
    }
    let sections = (0..u32::from(object.half(60).unwrap_or(0))).map_while(|i| object.section(i));
    let table = sections.filter(|section| section.kind == DYNSYM).find_map(|symbols| {
        let names = object.bytes(&object.section(symbols.link)?)?;
        Some((object.bytes(&symbols)?, names))
    });
    let Some((symbols, names)) = table else {
        // Without a table of sections: a name that is in the file at all may be one of its symbols,
        // and the loader will say.
        let entry = [b"\0", name.as_bytes(), b"\0"].concat();
        let known = content.windows(entry.len()).any(|window| window == entry);
        return Ok(if known { Symbol::Function } else { Symbol::Missing });
    };
    let named = |entry: &[u8]| {
        let at = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]) as usize;
        let rest = names.get(at..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    };
    let mut found = Symbol::Missing;
    for entry in symbols.chunks_exact(SYMBOL_BYTES).filter(|entry| named(entry)) {
        match object.kind(entry) {
            Some(Symbol::Function) => return Ok(Symbol::Function),
            Some(kind) => found = kind,
            None => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_object_are_refused_and_never_followed() {
        for bytes in
            [&b""[..], b"\x7fELF", b"no ELF at all, and long enough to look at: no ELF at all"]
        {
            assert!(find(bytes, "main").is_err());
        }
        let mut header = vec![0u8; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[16] = 3;
        header[18..20].copy_from_slice(&MACHINE.to_le_bytes());
        assert_eq!(find(&header, "main"), Ok(Symbol::Missing));
        // Every field of the header at its extremes: no overflow, no slice out of bounds.
        for at in 16..64 {
            for value in [0xff, 0x7f, 0x80, 1] {
                let mut bytes = header.clone();
                bytes[at..].fill(value);
                let _ = find(&bytes, "main");
                bytes.extend([value; 200]);
                let _ = find(&bytes, "main");
            }
        }
    }
}
