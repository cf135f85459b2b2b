//! Names of a manifest in the manner of a language.

use bletchley_cryptlet::manifest::{Manifest, Parameter};

use super::GenerateError;

/// `nextBusinessDay` as `next_business_day`, `rateE8` as `rate_e8`.
pub(super) fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before: Option<char> = None;
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                !before.is_ascii_uppercase() || letters.peek().is_some_and(char::is_ascii_lowercase)
            });
        if begins {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        before = Some(letter);
    }
    snake
}

/// `next_business_day` or `nextBusinessDay` as `NextBusinessDay`.
pub(super) fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// A name with an underscore behind it if the language takes it.
pub(super) fn unreserved(name: String, reserved: &[&str]) -> String {
    if reserved.contains(&name.as_str()) { format!("{name}_") } else { name }
}

/// Refuses a manifest in which two methods, or two parameters of one side of a method, have one name.
pub(super) fn check(
    manifest: &Manifest,
    language: &'static str,
    method_name: impl Fn(&str) -> String,
    parameter_name: impl Fn(&str) -> String,
) -> Result<(), GenerateError> {
    let all: Vec<&str> = manifest.methods.iter().map(|method| method.name.as_str()).collect();
    distinct(&all, language, method_name)?;
    for method in &manifest.methods {
        let side = |parameters: &[Parameter]| -> Result<(), GenerateError> {
            let all: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            distinct(&all, language, &parameter_name)
        };
        side(&method.inputs)?;
        side(&method.outputs)?;
    }
    Ok(())
}

fn distinct(
    all: &[&str],
    language: &'static str,
    name: impl Fn(&str) -> String,
) -> Result<(), GenerateError> {
    let mut seen = std::collections::BTreeMap::new();
    for second in all {
        let name = name(second);
        if let Some(first) = seen.insert(name.clone(), *second) {
            let (first, second) = (first.to_owned(), (*second).to_owned());
            return Err(GenerateError::Name { first, second, name, language });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_their_case() {
        for (name, expected) in [
            ("greet", "greet"),
            ("nextBusinessDay", "next_business_day"),
            ("rateE8", "rate_e8"),
            ("toUTC", "to_utc"),
            ("UTCTime", "utc_time"),
            ("A", "a"),
        ] {
            assert_eq!(snake(name), expected);
        }
        assert_eq!(camel("nextDay"), "NextDay");
    }
}
