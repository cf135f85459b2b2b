//! JavaScript and TypeScript: a table of methods for the dispatcher, and types for editors and `tsc`.

use std::fmt::Write as _;

use bletchley_cryptlet::manifest::{Manifest, Method, Parameter};

use super::{File, GenerateError, Kind, first_line, has_fetch, names};
use crate::Language;

/// Wider integers are BigInt in the bindings (abi.js).
const NUMBER_BITS_MAX: usize = 48;

pub(super) fn files(manifest: &Manifest, language: Language) -> Result<Vec<File>, GenerateError> {
    names::check(manifest, language.name(), names::camel, str::to_owned)?;
    let mut sdk = "export * from './cryptlet.js';\n".to_owned();
    if has_fetch(manifest.world) {
        sdk.push_str("export * from './fetch.js';\n");
    }
    let mut files = vec![
        File { path: "abi.js", text: include_str!("../../sdk/javascript/abi.js").into() },
        File { path: "cryptlet.js", text: include_str!("../../sdk/javascript/cryptlet.js").into() },
        File { path: "dispatch.js", text: include_str!("../../sdk/javascript/dispatch.js").into() },
        File { path: "build.mjs", text: include_str!("../../sdk/javascript/build.mjs").into() },
        File { path: "fetch.js", text: include_str!("../../sdk/javascript/fetch.js").into() },
        File { path: "sdk.js", text: sdk.into() },
        File { path: "entry.js", text: entry(manifest, language).into() },
        File { path: "cryptlet.d.ts", text: declarations(manifest).into() },
    ];
    if language == Language::TypeScript {
        let check = "import type { Methods } from './cryptlet';\nimport * as main from '../src/main';\n\n\
                     export const methods: Methods = main;\n";
        files.push(File { path: "check.ts", text: format!("// {}\n{check}", first_line(manifest)).into() });
    }
    Ok(files)
}

fn entry(manifest: &Manifest, language: Language) -> String {
    let mut text = format!("// {}\n", first_line(manifest));
    // Writing to a String cannot fail.
    text.push_str("import './cryptlet.js';\nimport { handler as dispatcher } from './dispatch.js';\n");
    for (at, method) in manifest.methods.iter().enumerate() {
        let _ = writeln!(text, "import {{ {} as method{at} }} from '../{}';", method.name, language.source());
    }
    text.push_str("\nexport const handler = dispatcher([\n");
    for (at, method) in manifest.methods.iter().enumerate() {
        let _ = writeln!(
            text,
            "    {{ name: '{}', run: method{at}, inputs: {}, outputs: {} }},",
            method.name,
            list(&method.inputs),
            list(&method.outputs)
        );
    }
    text.push_str("]);\n");
    text
}

fn list(parameters: &[Parameter]) -> String {
    let each: Vec<String> =
        parameters.iter().map(|parameter| format!("['{}', '{}']", parameter.name, parameter.kind)).collect();
    format!("[{}]", each.join(", "))
}

fn declarations(manifest: &Manifest) -> String {
    let mut text = format!("// {}\n\n", first_line(manifest));
    text.push_str(include_str!("../../sdk/javascript/cryptlet.d.ts"));
    if has_fetch(manifest.world) {
        text.push_str(include_str!("../../sdk/javascript/fetch.d.ts"));
    }
    for method in &manifest.methods {
        interface(&mut text, method, "Inputs", &method.inputs);
        interface(&mut text, method, "Outputs", &method.outputs);
    }
    text.push_str("\n/** What src/main exports: a function for each method of cryptlet.toml. */\n");
    text.push_str("export interface Methods {\n");
    for method in &manifest.methods {
        if !method.description.is_empty() {
            let _ = writeln!(text, "    /** {} */", method.description.replace("*/", "* /"));
        }
        let name = names::camel(&method.name);
        let outputs = if method.outputs.is_empty() { "void".to_owned() } else { format!("{name}Outputs") };
        let _ = writeln!(text, "    {}(inputs: {name}Inputs): {outputs};", method.name);
    }
    text.push_str("}\n");
    text
}

fn interface(text: &mut String, method: &Method, side: &str, parameters: &[Parameter]) {
    let _ = writeln!(text, "\nexport interface {}{side} {{", names::camel(&method.name));
    for parameter in parameters {
        let kind = Kind::parse(&parameter.kind).map_or_else(|| "never".to_owned(), |kind| script(&kind));
        let _ = writeln!(text, "    /** `{}` */\n    {}: {kind};", parameter.kind, parameter.name);
    }
    text.push_str("}\n");
}

fn script(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "boolean".to_owned(),
        Kind::Address | Kind::Text => "string".to_owned(),
        Kind::Bytes | Kind::Fixed(_) => "Uint8Array".to_owned(),
        Kind::Uint(bits) | Kind::Int(bits) if *bits <= NUMBER_BITS_MAX => "number".to_owned(),
        Kind::Uint(_) | Kind::Int(_) => "bigint".to_owned(),
        Kind::List(inner) | Kind::Array(inner, _) => format!("{}[]", script(inner)),
    }
}
