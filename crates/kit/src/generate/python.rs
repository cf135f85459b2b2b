//! Python: a table of methods for the dispatcher, and types for editors and type checkers.

use std::fmt::Write as _;

use bletchley_cryptlet::manifest::{Manifest, Parameter};

use super::{File, GenerateError, Kind, first_line, has_fetch, names};
use crate::Language;

const RESERVED: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else",
    "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "none", "nonlocal",
    "not", "or", "pass", "raise", "return", "true", "false", "try", "while", "with", "yield",
];

pub(super) fn files(manifest: &Manifest) -> Result<Vec<File>, GenerateError> {
    names::check(manifest, Language::Python.name(), method_name, parameter_name)?;
    let mut cryptlet = include_str!("../../sdk/python/cryptlet.py").to_owned();
    if has_fetch(manifest.world) {
        cryptlet.push_str(include_str!("../../sdk/python/fetch.py"));
    }
    Ok(vec![
        File { path: "python/cryptlet/__init__.py", text: cryptlet.into() },
        File { path: "python/cryptlet/abi.py", text: include_str!("../../sdk/python/abi.py").into() },
        File {
            path: "python/cryptlet/dispatch.py",
            text: include_str!("../../sdk/python/dispatch.py").into(),
        },
        File { path: "python/cryptlet/methods.py", text: methods(manifest).into() },
        File { path: "check.py", text: include_str!("../../sdk/python/check.py").into() },
        File { path: "python/cryptlet_app.py", text: app(manifest).into() },
    ])
}

fn method_name(name: &str) -> String {
    names::unreserved(names::snake(name), RESERVED)
}

/// Names of inputs and of outputs: fields of a named tuple may not be keywords either.
fn parameter_name(name: &str) -> String {
    names::unreserved(names::snake(name), RESERVED)
}

fn app(manifest: &Manifest) -> String {
    let mut text = format!("# {}\n", first_line(manifest));
    text.push_str("import main\nfrom cryptlet.dispatch import Method, handle\n\nMETHODS = {\n");
    // Writing to a String cannot fail.
    for method in &manifest.methods {
        let list = |parameters: &[Parameter]| {
            let each: Vec<String> = parameters
                .iter()
                .map(|parameter| format!("(\"{}\", \"{}\")", parameter_name(&parameter.name), parameter.kind))
                .collect();
            format!("[{}]", each.join(", "))
        };
        let _ = writeln!(
            text,
            "    \"{0}\": Method(main, \"{0}\", \"{1}\", {2}, {3}),",
            method.name,
            method_name(&method.name),
            list(&method.inputs),
            list(&method.outputs)
        );
    }
    text.push_str(
        "}\n\n\nclass Handler:\n    def handle(self, method: str, input: bytes) -> bytes:\n        \
         return handle(METHODS, method, input)\n",
    );
    text
}

/// Each method's function as `check.py` is told of it: `greet(name)`.
pub(crate) fn signatures(manifest: &Manifest) -> Vec<String> {
    let inputs = |parameters: &[Parameter]| {
        parameters.iter().map(|parameter| parameter_name(&parameter.name)).collect::<Vec<_>>().join(",")
    };
    manifest
        .methods
        .iter()
        .map(|method| format!("{}({})", method_name(&method.name), inputs(&method.inputs)))
        .collect()
}

fn methods(manifest: &Manifest) -> String {
    let mut text =
        format!("\"\"\"{}\"\"\"\n\nfrom typing import NamedTuple, Protocol\n", first_line(manifest));
    for method in manifest.methods.iter().filter(|method| method.outputs.len() > 1) {
        let _ = writeln!(text, "\n\nclass {}Outputs(NamedTuple):", names::camel(&method.name));
        for output in &method.outputs {
            let _ = writeln!(text, "    {}: {}", parameter_name(&output.name), python(&output.kind));
        }
    }
    text.push_str(
        "\n\nclass Methods(Protocol):\n    \"\"\"What src/main.py has: a function for each method.\"\"\"\n",
    );
    for method in &manifest.methods {
        let inputs: Vec<String> = method
            .inputs
            .iter()
            .map(|input| format!(", {}: {}", parameter_name(&input.name), python(&input.kind)))
            .collect();
        let output = match method.outputs.as_slice() {
            [] => "None".to_owned(),
            [output] => python(&output.kind),
            _ => format!("{}Outputs", names::camel(&method.name)),
        };
        let _ = writeln!(
            text,
            "\n    def {}(self{}) -> {output}: ...",
            method_name(&method.name),
            inputs.concat()
        );
    }
    text
}

fn python(kind: &str) -> String {
    Kind::parse(kind).map_or_else(|| "object".to_owned(), |kind| hint(&kind))
}

fn hint(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "bool".to_owned(),
        Kind::Address | Kind::Text => "str".to_owned(),
        Kind::Bytes | Kind::Fixed(_) => "bytes".to_owned(),
        Kind::Uint(_) | Kind::Int(_) => "int".to_owned(),
        Kind::List(inner) | Kind::Array(inner, _) => format!("list[{}]", hint(inner)),
    }
}
