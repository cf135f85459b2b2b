//! Just enough of Rust's lexical grammar to measure it: text with comments and literals blanked, lines kept.

/// A function with the lines it takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// From the line of `fn` to that of its closing brace.
    pub(crate) lines: u64,
}

/// Blanks comments, strings and characters; every newline and every brace of code stays where it was.
pub(crate) fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(c);
            at += 1;
            continue;
        }
        for c in chars.iter().take(end).skip(at) {
            out.push(if *c == '\n' { '\n' } else { ' ' });
        }
        at = end;
    }
    out
}

/// Every function that has a body.
pub(crate) fn functions(blanked: &str) -> Vec<Function> {
    let chars: Vec<char> = blanked.chars().collect();
    let mut functions = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let next = word_end(&chars, at);
        if word(&chars, at, next) == "fn" {
            functions.extend(function_at(&chars, next));
        }
        at = next.max(at + 1);
    }
    functions
}

/// The text without modules and functions that exist for tests only.
pub(crate) fn without_tests(blanked: &str) -> String {
    let mut rest = blanked;
    let mut out = String::with_capacity(blanked.len());
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let chars: Vec<char> = from.chars().collect();
        let end = body_of(&chars, 0).map_or_else(|| end_of_line(&chars), |(_, close)| close + 1);
        let skipped: usize = chars.iter().take(end).map(|c| c.len_utf8()).sum();
        rest = from.get(skipped..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

fn function_at(chars: &[char], after_fn: usize) -> Option<Function> {
    let start = after_fn + chars.get(after_fn..)?.iter().position(|c| !c.is_whitespace())?;
    let end = word_end(chars, start);
    if end == start {
        return None; // a type such as `fn(u8)`
    }
    let (_, close) = body_of(chars, end)?;
    let lines = chars.get(after_fn..close)?.iter().filter(|c| **c == '\n').count();
    Some(Function { name: word(chars, start, end), lines: u64::try_from(lines).ok()? + 1 })
}

/// Where the next body opens and closes, unless a `;` comes first.
fn body_of(chars: &[char], from: usize) -> Option<(usize, usize)> {
    let mut nesting = 0_u32;
    let mut open = None;
    for (at, c) in chars.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => nesting += 1,
            ')' | ']' => nesting = nesting.saturating_sub(1),
            ';' if nesting == 0 => return None,
            '{' if nesting == 0 => {
                open = Some(at);
                break;
            }
            _ => {}
        }
    }
    let open = open?;
    let mut depth = 0_u32;
    for (at, c) in chars.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some((open, at)),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn end_of_line(chars: &[char]) -> usize {
    chars.iter().position(|c| *c == '\n').map_or(chars.len(), |at| at + 1)
}

/// Where the comment or literal that starts here ends, or here if none starts.
fn literal_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at), chars.get(at + 1)) {
        (Some('/'), Some('/')) => {
            at + chars.iter().skip(at).position(|c| *c == '\n').unwrap_or(chars.len() - at)
        }
        (Some('/'), Some('*')) => block_comment_end(chars, at),
        (Some('"'), _) => string_end(chars, at),
        (Some('r'), Some('"' | '#')) if !follows_word(chars, at) => raw_string_end(chars, at),
        (Some('b' | 'c'), Some('r')) if !follows_word(chars, at) => match raw_string_end(chars, at + 1) {
            end if end > at + 1 => end,
            _ => at,
        },
        (Some('\''), Some('\\')) => char_end(chars, at),
        (Some('\''), Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_u32;
    let mut i = at;
    while i < chars.len() {
        match (chars.get(i), chars.get(i + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                i += 2;
            }
            (Some('*'), Some('/')) if depth == 1 => return i + 2,
            (Some('*'), Some('/')) => {
                depth -= 1;
                i += 2;
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while let Some(c) = chars.get(i) {
        match c {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// `at` is on the `r`; gives `at` back if this is a raw identifier and no string.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars.iter().skip(at + 1).take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut i = at + hashes + 2;
    while i < chars.len() {
        let closes = chars.get(i) == Some(&'"')
            && chars.iter().skip(i + 1).take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    chars.len()
}

fn char_end(chars: &[char], at: usize) -> usize {
    let after_escape = at + 3;
    chars
        .iter()
        .skip(after_escape)
        .position(|c| *c == '\'')
        .map_or(chars.len(), |found| after_escape + found + 1)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| chars.get(before)).is_some_and(|c| is_word(*c))
}

fn word_end(chars: &[char], at: usize) -> usize {
    at + chars.iter().skip(at).take_while(|c| is_word(**c)).count()
}

fn word(chars: &[char], from: usize, to: usize) -> String {
    chars.get(from..to).unwrap_or_default().iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blanked() {
        let text =
            "a /* { /* } */ */ b \"}\\\"{\" c r#\"\"{\"# d '{' e '\\'' f 'static // {\ng b\"{\" br\"{\" r#fn";
        let blanked = blanked(text);
        assert_eq!(blanked.lines().count(), 2);
        assert_eq!(blanked.chars().count(), text.chars().count());
        assert!(!blanked.contains(['{', '}', '"']), "{blanked}");
        assert!(blanked.contains("'static"));
        assert!(blanked.contains("r#fn"));
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text = "impl A {\n    fn one(x: [u8; 2]) -> u8 {\n        if x { 1 }\n    }\n    fn declared(&self);\n    fn two() {}\n}\ntype F = fn(u8) -> u8;\n";
        let expected =
            [Function { name: "one".to_owned(), lines: 3 }, Function { name: "two".to_owned(), lines: 1 }];
        assert_eq!(functions(&blanked(text)), expected);
    }

    #[test]
    fn test_modules_are_left_out() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n    mod deep {}\n}\nfn b() {}\n";
        let kept = without_tests(text);
        assert!(kept.contains("fn a") && kept.contains("fn b") && !kept.contains("std::fs"));
    }

    #[test]
    fn a_test_module_in_its_own_file_leaves_the_rest() {
        let kept = without_tests("#[cfg(test)] mod tests;\nfn b() {}\n");
        assert!(kept.contains("fn b") && !kept.contains("mod tests"));
    }
}
