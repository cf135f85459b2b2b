//! Changes that keep the outer form of RLP and JSON valid, so that what is behind the decoder is reached too.

use crate::mutate::{NUMBERS, Numbers, WORDS};
use alloy_rlp::{Encodable, Header};
use serde_json::{Value, json};

/// Bytes with one item of their structure changed; none when they have none.
pub(crate) fn changed(bytes: &[u8], numbers: &mut Numbers) -> Option<Vec<u8>> {
    json(bytes, numbers).or_else(|| rlp(bytes, numbers))
}

/// A list, or a list behind one byte (EIP-2718).
fn rlp(bytes: &[u8], numbers: &mut Numbers) -> Option<Vec<u8>> {
    list(bytes, numbers).or_else(|| {
        let (kind, rest) = bytes.split_first().filter(|(kind, _)| **kind < 0x80)?;
        Some([&[*kind], &list(rest, numbers)?[..]].concat())
    })
}

fn list(bytes: &[u8], numbers: &mut Numbers) -> Option<Vec<u8>> {
    let mut rest = bytes;
    let header = Header::decode(&mut rest).ok()?;
    if !header.list || header.payload_length != rest.len() || rest.is_empty() {
        return None;
    }
    let mut items: Vec<Vec<u8>> = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        let size = Header::decode(&mut rest).ok()?.payload_length;
        rest = rest.get(size..)?;
        items.push(start[..start.len() - rest.len()].to_vec());
    }
    let at = numbers.below(items.len());
    match numbers.below(12) {
        0 => drop(items.remove(at)),
        1 => items.insert(at, items[at].clone()),
        2 => {
            let other = numbers.below(items.len());
            items.swap(at, other);
        }
        _ => items[at] = item(&items[at], numbers),
    }
    let payload = items.concat();
    let mut out = Vec::with_capacity(payload.len() + 9);
    Header { list: true, payload_length: payload.len() }.encode(&mut out);
    out.extend_from_slice(&payload);
    Some(out)
}

fn item(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    if let Some(changed) = list(bytes, numbers) {
        return changed;
    }
    let mut content = bytes;
    let is_string = Header::decode(&mut content).is_ok_and(|header| !header.list);
    let nested = (is_string && numbers.below(4) != 0).then(|| rlp(content, numbers)).flatten();
    let changed = nested.unwrap_or_else(|| leaf(content, numbers));
    let mut out = Vec::new();
    changed.as_slice().encode(&mut out);
    out
}

fn leaf(content: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut content = content.to_vec();
    let at = numbers.below(content.len());
    match numbers.below(6) {
        0 => content.clear(),
        1 => content.push(0),
        2 => drop(content.pop()),
        3 | 4 if !content.is_empty() => content[at] ^= 1 << numbers.below(8),
        _ => {
            // As RLP has numbers: no leading zeros.
            let number = numbers.pick(NUMBERS).to_be_bytes();
            content = number.into_iter().skip_while(|byte| *byte == 0).collect();
        }
    }
    content
}

fn json(bytes: &[u8], numbers: &mut Numbers) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(bytes).ok()?;
    if !document.is_object() && !document.is_array() {
        return None;
    }
    change(&mut document, numbers);
    Some(document.to_string().into_bytes())
}

fn change(value: &mut Value, numbers: &mut Numbers) {
    let stay = numbers.below(10) == 0;
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = numbers.below(items.len());
            match (stay, numbers.below(3)) {
                (false, _) => change(&mut items[at], numbers),
                (true, 0) => drop(items.remove(at)),
                (true, 1) => items.push(items[at].clone()),
                (true, _) => *value = other(numbers),
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            let at = numbers.below(fields.len());
            let name = fields.keys().nth(at).unwrap().clone();
            match (stay, numbers.below(3)) {
                (false, _) => change(fields.get_mut(&name).unwrap(), numbers),
                (true, 0) => drop(fields.remove(&name)),
                (true, 1) => drop(fields.insert((*numbers.pick(WORDS)).to_owned(), other(numbers))),
                (true, _) => *value = other(numbers),
            }
        }
        Value::String(text) if numbers.below(2) == 0 && !text.is_empty() => {
            let at = numbers.below(text.len());
            if text.is_char_boundary(at) {
                match numbers.below(3) {
                    0 => text.truncate(at),
                    1 => text.insert_str(at, WORDS[numbers.below(WORDS.len())]),
                    _ => drop(text.remove(at)),
                }
            }
        }
        _ => *value = other(numbers),
    }
}

fn other(numbers: &mut Numbers) -> Value {
    let number = *numbers.pick(NUMBERS);
    match numbers.below(10) {
        0 => Value::Null,
        1 => json!(number.is_multiple_of(2)),
        2 => json!(number),
        3 => json!(-1),
        4 => json!([]),
        5 => json!({}),
        6 => json!(numbers.pick(WORDS)),
        7 => json!(format!("0x{number:064x}")),
        _ => json!(format!("{number:#x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stay_lists_and_documents_stay_documents() {
        let nested = alloy_rlp::encode(vec![alloy_rlp::encode(vec![1u64, 2, 300]), vec![9; 60]]);
        let document = br#"{"params":["0x1",{"to":[1,2]}],"id":1}"#;
        for number in 0..500 {
            let list = changed(&nested, &mut Numbers::new(number)).unwrap();
            let mut rest = &list[..];
            let header = Header::decode(&mut rest).unwrap();
            assert_eq!((header.list, header.payload_length), (true, rest.len()));
            let json = changed(document, &mut Numbers::new(number)).unwrap();
            serde_json::from_slice::<Value>(&json).unwrap();
        }
        assert_eq!(changed(b"Date,USD", &mut Numbers::new(1)), None);
    }
}
