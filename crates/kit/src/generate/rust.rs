//! Rust: a trait with a function for each method, and the code between it and the ABI.

use std::fmt::Write as _;

use bletchley_cryptlet::manifest::{Manifest, Method, Parameter};

use super::{File, GenerateError, Kind, first_line, has_fetch, names};
use crate::Language;

/// Words that no name may be, and what the bindings call their own.
const RESERVED: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

pub(super) fn files(manifest: &Manifest) -> Result<Vec<File>, GenerateError> {
    names::check(manifest, Language::Rust.name(), name, name)?;
    let mut text = format!("// {}\n", first_line(manifest));
    text.push_str(include_str!("../../sdk/rust/cryptlet.rs"));
    text.push_str(include_str!("../../sdk/rust/wide.rs"));
    if has_fetch(manifest.world) {
        text.push_str(include_str!("../../sdk/rust/fetch.rs"));
    }
    outputs(&mut text, manifest);
    interface(&mut text, manifest);
    dispatch(&mut text, manifest);
    Ok(vec![File { path: "cryptlet.rs", text: text.into() }])
}

fn name(name: &str) -> String {
    names::unreserved(names::snake(name), RESERVED)
}

// Writing to a String cannot fail, here and below.
fn outputs(text: &mut String, manifest: &Manifest) {
    for method in manifest.methods.iter().filter(|method| method.outputs.len() > 1) {
        let _ = writeln!(text, "\n/// What `{}` gives.", name(&method.name));
        let _ =
            writeln!(text, "#[derive(Clone, Debug, PartialEq, Eq)]\npub struct {} {{", outputs_name(method));
        for output in &method.outputs {
            let _ = writeln!(
                text,
                "    /// `{}`\n    pub {}: {},",
                output.kind,
                name(&output.name),
                rust(output)
            );
        }
        text.push_str("}\n");
    }
}

fn outputs_name(method: &Method) -> String {
    format!("{}Outputs", names::camel(&method.name))
}

fn interface(text: &mut String, manifest: &Manifest) {
    text.push_str("\n/// The methods of cryptlet.toml.\npub trait Cryptlet {\n");
    for (at, method) in manifest.methods.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        if !method.description.is_empty() {
            let _ = writeln!(text, "    /// {}", method.description);
        }
        let inputs: Vec<String> =
            method.inputs.iter().map(|input| format!(", {}: {}", name(&input.name), rust(input))).collect();
        let output = match method.outputs.as_slice() {
            [] => "()".to_owned(),
            [output] => rust(output),
            _ => outputs_name(method),
        };
        let _ = writeln!(
            text,
            "    fn {}(&self{}) -> Result<{output}, CryptletError>;",
            name(&method.name),
            inputs.concat()
        );
    }
    text.push_str("}\n");
}

fn dispatch(text: &mut String, manifest: &Manifest) {
    text.push_str(
        "\nfn dispatch(cryptlet: &impl Cryptlet, method: &str, input: &[u8]) -> Result<Vec<u8>, CryptletError> {\n    \
         let mut out = Vec::new();\n    match method {\n",
    );
    for method in &manifest.methods {
        let _ = writeln!(text, "        \"{}\" => {{", method.name);
        let inputs: Vec<String> = heads(&method.inputs)
            .map(|(input, head)| format!("<{} as Abi>::decode(input, 0, {head})", rust(input)))
            .collect();
        let _ = writeln!(
            text,
            "            let output = cryptlet.{}({})?;",
            name(&method.name),
            inputs.join(", ")
        );
        let size: usize = method.outputs.iter().map(head_bytes).sum();
        let _ = writeln!(text, "            reserve(&mut out, {size});");
        for (output, head) in heads(&method.outputs) {
            let value = match method.outputs.len() {
                1 => "output".to_owned(),
                _ => format!("output.{}", name(&output.name)),
            };
            if let Some(bits) = odd_bits(output) {
                let _ = writeln!(
                    text,
                    "            if !{value}.fits({bits}) {{\n                return Err(too_wide(\"{}\", \"{}\"));\n            }}",
                    output.name, output.kind
                );
            }
            let _ = writeln!(text, "            {value}.encode(&mut out, 0, {head});");
        }
        if method.outputs.is_empty() {
            text.push_str("            let () = output;\n");
        }
        text.push_str("        }\n");
    }
    text.push_str(
        "        _ => return Err(CryptletError::invalid_input(format!(\"there is no method {}\", method))),\n    \
         }\n    Ok(out)\n}\n",
    );
}

/// Parameters and where their heads are.
fn heads(parameters: &[Parameter]) -> impl Iterator<Item = (&Parameter, usize)> {
    parameters.iter().scan(0, |at, parameter| {
        let head = *at;
        *at += head_bytes(parameter);
        Some((parameter, head))
    })
}

fn head_bytes(parameter: &Parameter) -> usize {
    Kind::parse(&parameter.kind).map_or(32, |kind| kind.head_words() * 32)
}

fn rust(parameter: &Parameter) -> String {
    Kind::parse(&parameter.kind).map_or_else(|| "()".to_owned(), |kind| of(&kind))
}

fn of(kind: &Kind) -> String {
    let integer = |sign: &str, wide: &str, bits: usize| match bits {
        129.. => wide.to_owned(),
        _ => format!("{sign}{}", bits.next_power_of_two()),
    };
    match kind {
        Kind::Bool => "bool".to_owned(),
        Kind::Address => "Address".to_owned(),
        Kind::Text => "String".to_owned(),
        Kind::Bytes => "Bytes".to_owned(),
        Kind::Fixed(size_bytes) => format!("Fixed<{size_bytes}>"),
        Kind::Uint(bits) => integer("u", "U256", *bits),
        Kind::Int(bits) => integer("i", "I256", *bits),
        Kind::List(inner) => format!("Vec<{}>", of(inner)),
        Kind::Array(inner, length) => format!("[{}; {length}]", of(inner)),
    }
}

/// Bits of an integer that its Rust type may exceed.
fn odd_bits(parameter: &Parameter) -> Option<usize> {
    fn bits(kind: &Kind) -> Option<usize> {
        match kind {
            Kind::Uint(bits) | Kind::Int(bits) => Some(*bits),
            Kind::List(inner) | Kind::Array(inner, _) => bits(inner),
            _ => None,
        }
    }
    Kind::parse(&parameter.kind).as_ref().and_then(bits).filter(|bits| !bits.is_power_of_two())
}
