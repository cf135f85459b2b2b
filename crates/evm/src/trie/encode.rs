//! The few pieces of RLP that nodes are made of.

/// Room for the longest list header that a node needs (a length of up to four bytes).
const HEADER_ROOM: usize = 5;

/// Appends the header of a string or list of `length` bytes; `short` is 0x80 for strings, 0xc0 for lists.
#[inline]
pub(super) fn put_header(out: &mut Vec<u8>, short: u8, length: usize) {
    if length < 56 {
        out.push(short + length as u8);
    } else {
        let bytes = (length as u32).to_be_bytes();
        let significant = bytes.len() - (length as u32).leading_zeros() as usize / 8;
        out.push(short + 55 + significant as u8);
        out.extend_from_slice(bytes.get(bytes.len() - significant..).unwrap_or_default());
    }
}

/// Appends `bytes` as an RLP string.
#[inline]
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes {
        [single] if *single < 0x80 => out.push(*single),
        _ => {
            put_header(out, 0x80, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

/// `bytes` without its leading zeros.
#[inline]
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// Where nodes are encoded, one after the other: the payload is written behind room for the list header, which is put
/// right before it once its length is known, so that nothing is moved.
#[derive(Default)]
pub(super) struct NodeBuffer {
    bytes: Vec<u8>,
}

impl NodeBuffer {
    /// Starts a node; its payload is appended to what is returned.
    #[inline]
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.resize(HEADER_ROOM, 0);
        &mut self.bytes
    }

    /// The node: an RLP list with the payload that was appended since [`Self::begin`].
    #[inline]
    pub(super) fn finish(&mut self) -> &[u8] {
        let length = self.bytes.len().saturating_sub(HEADER_ROOM);
        let mut header = [0u8; HEADER_ROOM];
        let bytes = (length as u32).to_be_bytes();
        header[1..].copy_from_slice(&bytes);
        let start = if length < 56 {
            header[HEADER_ROOM - 1] = 0xc0 + length as u8;
            HEADER_ROOM - 1
        } else {
            let significant = bytes.len() - (length as u32).leading_zeros() as usize / 8;
            let start = HEADER_ROOM - 1 - significant;
            if let Some(first) = header.get_mut(start) {
                *first = 0xf7 + significant as u8;
            }
            start
        };
        if let Some(room) = self.bytes.get_mut(..HEADER_ROOM) {
            room.copy_from_slice(&header);
        }
        self.bytes.get(start..).unwrap_or_default()
    }
}
