//! C: a struct of inputs and of outputs for each method, and the code between them and the ABI.

use std::{collections::BTreeSet, fmt::Write as _};

use bletchley_cryptlet::manifest::{Manifest, Method, Parameter};

use super::{File, GenerateError, Kind, first_line, has_fetch, names};
use crate::Language;

/// Integers that C's own types hold; wider ones are bit-precise.
const NATIVE_BITS_MAX: usize = 64;
const ADVICE: &str = "an array of a single value is possible, an array of arrays is not";
/// Keywords of C, and functions that `cryptlet.h` and its runtime have.
const RESERVED: &[&str] = &[
    "alignas",
    "alignof",
    "auto",
    "bool",
    "break",
    "case",
    "char",
    "const",
    "constexpr",
    "continue",
    "default",
    "do",
    "double",
    "else",
    "enum",
    "extern",
    "false",
    "float",
    "for",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "nullptr",
    "register",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "struct",
    "switch",
    "thread_local",
    "true",
    "typedef",
    "typeof",
    "typeof_unqual",
    "union",
    "unsigned",
    "void",
    "volatile",
    "while",
    "error",
    "allocate",
    "answer",
    "refuse",
    "denied",
    "internal",
    "invalid_input",
    "unavailable",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "strlen",
    "low64",
    "out",
    "put64",
    "put_bytes",
    "put_signed",
    "put_wide",
    "reserve",
    "tail_in",
    "wide",
    "wide_in",
    "text_of",
    "text_equal",
    "text_join",
    "text_of_number",
    "context_current",
    "clock_now",
    "random_bytes",
    "log_debug",
    "log_info",
    "log_warn",
    "log_error",
    "fetch_get",
    "host_clock",
    "host_context",
    "host_fetch",
    "host_log",
    "host_random",
    "cabi_realloc",
    "cryptlet_handle",
    "main",
    "inputs",
    "outputs",
];

pub(super) fn files(manifest: &Manifest) -> Result<Vec<File>, GenerateError> {
    names::check(manifest, Language::C.name(), name, name)?;
    let methods = manifest.methods.iter().map(Typed::of).collect::<Result<Vec<_>, _>>()?;
    let mut header = format!("/* {} */\n", first_line(manifest));
    let mut code = header.clone();
    header.push_str(include_str!("../../sdk/c/cryptlet.h"));
    code.push_str(include_str!("../../sdk/c/cryptlet.c"));
    if has_fetch(manifest.world) {
        header.push_str(include_str!("../../sdk/c/fetch.h"));
        code.push_str(include_str!("../../sdk/c/fetch.c"));
    }
    declare(&mut header, &methods);
    dispatch(&mut code, &methods);
    Ok(vec![File { path: "cryptlet.h", text: header.into() }, File { path: "cryptlet.c", text: code.into() }])
}

fn name(name: &str) -> String {
    names::unreserved(names::snake(name), RESERVED)
}

/// A method whose types C has.
struct Typed<'a> {
    manifest_name: &'a str,
    description: &'a str,
    name: String,
    inputs: Vec<(String, Kind)>,
    outputs: Vec<(String, Kind)>,
}

impl<'a> Typed<'a> {
    fn of(method: &'a Method) -> Result<Self, GenerateError> {
        let side = |parameters: &[Parameter]| {
            parameters.iter().map(|parameter| typed(method, parameter)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            manifest_name: &method.name,
            description: &method.description,
            name: name(&method.name),
            inputs: side(&method.inputs)?,
            outputs: side(&method.outputs)?,
        })
    }
}

fn typed(method: &Method, parameter: &Parameter) -> Result<(String, Kind), GenerateError> {
    match Kind::parse(&parameter.kind) {
        Some(kind) if element(&kind).is_none_or(|inner| element(inner).is_none()) => {
            Ok((name(&parameter.name), kind))
        }
        _ => Err(GenerateError::Type {
            method: method.name.clone(),
            parameter: parameter.name.clone(),
            kind: parameter.kind.clone(),
            language: Language::C.name(),
            advice: ADVICE,
        }),
    }
}

fn element(kind: &Kind) -> Option<&Kind> {
    match kind {
        Kind::List(inner) | Kind::Array(inner, _) => Some(inner),
        _ => None,
    }
}

/// A single value's type in C.
fn single(kind: &Kind) -> String {
    let integer = |sign: &str, prefix: &str, bits: usize| {
        if bits > NATIVE_BITS_MAX {
            format!("{sign} _BitInt({bits})")
        } else {
            format!("{prefix}int{}_t", bits.next_power_of_two())
        }
    };
    match kind {
        Kind::Bool => "bool".to_owned(),
        Kind::Address => "struct address".to_owned(),
        Kind::Text => "struct text".to_owned(),
        Kind::Bytes => "struct bytes".to_owned(),
        Kind::Fixed(size_bytes) => format!("struct bytes{size_bytes}"),
        Kind::Uint(bits) => integer("unsigned", "u", *bits),
        Kind::Int(bits) => integer("signed", "", *bits),
        Kind::List(inner) => format!("struct {}_list", short(inner)),
        Kind::Array(inner, _) => single(inner),
    }
}

/// A single value's name in the name of a list.
fn short(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "bool".to_owned(),
        Kind::Address => "address".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
        Kind::Fixed(size_bytes) => format!("bytes{size_bytes}"),
        Kind::Uint(bits) => format!("uint{bits}"),
        Kind::Int(bits) => format!("int{bits}"),
        Kind::List(inner) | Kind::Array(inner, _) => short(inner),
    }
}

// Writing to a String cannot fail, here and below.
fn declare(text: &mut String, methods: &[Typed<'_>]) {
    text.push_str("/* ---- the methods of cryptlet.toml ---- */\n");
    let kinds = || {
        methods.iter().flat_map(|method| method.inputs.iter().chain(&method.outputs)).map(|(_, kind)| kind)
    };
    let sizes: BTreeSet<usize> = kinds()
        .filter_map(|kind| match element(kind).unwrap_or(kind) {
            Kind::Fixed(size_bytes) => Some(*size_bytes),
            _ => None,
        })
        .collect();
    for size_bytes in sizes {
        let _ = writeln!(text, "\nstruct bytes{size_bytes} {{\n    uint8_t bytes[{size_bytes}];\n}};");
    }
    let lists: BTreeSet<(String, String)> = kinds()
        .filter_map(|kind| match kind {
            Kind::List(inner) => Some((short(inner), single(inner))),
            _ => None,
        })
        .collect();
    for (short, single) in lists {
        let _ = writeln!(text, "\nstruct {short}_list {{\n    const {single} *at;\n    size_t size;\n}};");
    }
    for method in methods {
        let _ = writeln!(text, "\nstruct {}_inputs {{", method.name);
        fields(text, &method.inputs);
        let _ = writeln!(text, "}};\n\nstruct {}_outputs {{\n    struct cryptlet_error error;", method.name);
        fields(text, &method.outputs);
        text.push_str("};\n\n");
        if !method.description.is_empty() {
            let _ = writeln!(text, "/* {} */", method.description.replace("*/", "* /"));
        }
        let _ = writeln!(text, "struct {0}_outputs {0}(struct {0}_inputs inputs);", method.name);
    }
    text.push_str("\n#endif\n");
}

fn fields(text: &mut String, parameters: &[(String, Kind)]) {
    for (name, kind) in parameters {
        let length = match kind {
            Kind::Array(_, length) => format!("[{length}]"),
            _ => String::new(),
        };
        let _ = writeln!(text, "    {} {name}{length};", single(kind));
    }
}

fn dispatch(text: &mut String, methods: &[Typed<'_>]) {
    text.push_str("/* ---- the methods of cryptlet.toml ---- */\n");
    for method in methods {
        let _ = writeln!(text, "\nstatic struct wire *call_{}(const uint8_t *base) {{", method.name);
        let _ = writeln!(text, "    struct {}_inputs inputs = {{0}};\n    (void)base;", method.name);
        let mut head = 0;
        for (name, kind) in &method.inputs {
            decode(text, name, kind, &format!("base + {}", head * 32));
            head += kind.head_words();
        }
        let _ = writeln!(text, "    struct {0}_outputs outputs = {0}(inputs);", method.name);
        text.push_str(
            "    if (outputs.error.fault != CRYPTLET_FINE) {\n        return refuse(outputs.error);\n    }\n",
        );
        let words: usize = method.outputs.iter().map(|(_, kind)| kind.head_words()).sum();
        let _ = writeln!(text, "    reserve({});", words * 32);
        let mut head = 0;
        for (name, kind) in &method.outputs {
            encode(text, name, kind, head * 32);
            head += kind.head_words();
        }
        text.push_str("    return answer();\n}\n");
    }
    text.push_str(
        "\n__attribute__((export_name(\"bletchley:cryptlet/handler@1.0.0#handle\"))) struct wire *cryptlet_handle(\n    \
         const char *method, size_t method_size, const uint8_t *input, size_t input_size) {\n    \
         struct text name = {method, method_size};\n    (void)input_size;\n",
    );
    for method in methods {
        let _ = writeln!(
            text,
            "    if (text_equal(name, text_of(\"{}\"))) {{\n        return call_{}(input);\n    }}",
            method.manifest_name, method.name
        );
    }
    text.push_str("    return refuse(invalid_input(\"there is no such method\"));\n}\n");
}

/// One input: from its head to its member.
fn decode(text: &mut String, name: &str, kind: &Kind, head: &str) {
    match kind {
        Kind::List(inner) => {
            let (single, stride) = (single(inner), inner.head_words() * 32);
            let _ = writeln!(text, "    {{\n        const uint8_t *list = tail_in(base, {head});");
            let _ = writeln!(text, "        size_t size = (size_t)low64(list);");
            let _ =
                writeln!(text, "        {single} *at = allocate(size * sizeof *at);\n        list += WORD;");
            let _ = writeln!(text, "        for (size_t i = 0; i < size; i++) {{");
            decode_single(text, "at[i]", inner, "list", &format!("list + i * {stride}"), "            ");
            let _ = writeln!(
                text,
                "        }}\n        inputs.{name}.at = at;\n        inputs.{name}.size = size;\n    }}"
            );
        }
        Kind::Array(inner, length) => {
            let start = if inner.is_dynamic() { format!("tail_in(base, {head})") } else { head.to_owned() };
            let _ = writeln!(text, "    {{\n        const uint8_t *list = {start};");
            let _ = writeln!(text, "        for (size_t i = 0; i < {length}; i++) {{");
            let target = format!("inputs.{name}[i]");
            decode_single(text, &target, inner, "list", "list + i * WORD", "            ");
            text.push_str("        }\n    }\n");
        }
        _ => decode_single(text, &format!("inputs.{name}"), kind, "base", head, "    "),
    }
}

fn decode_single(text: &mut String, target: &str, kind: &Kind, base: &str, head: &str, indent: &str) {
    let value = match kind {
        Kind::Bool => format!("({head})[31] == 1"),
        Kind::Uint(bits) | Kind::Int(bits) if *bits <= NATIVE_BITS_MAX => {
            format!("({})low64({head})", single(kind))
        }
        Kind::Uint(_) | Kind::Int(_) => format!("({})wide_in({head})", single(kind)),
        Kind::Text | Kind::Bytes => {
            let pointer = if *kind == Kind::Text { "const char" } else { "const uint8_t" };
            let tail = format!("tail_in({base}, {head})");
            format!("({}){{({pointer} *)({tail} + WORD), (size_t)low64({tail})}}", single(kind))
        }
        _ => {
            let (skip, size_bytes) = match kind {
                Kind::Fixed(size_bytes) => (0, *size_bytes),
                _ => (12, 20),
            };
            let _ = writeln!(text, "{indent}memcpy({target}.bytes, {head} + {skip}, {size_bytes});");
            return;
        }
    };
    let _ = writeln!(text, "{indent}{target} = {value};");
}

/// One output: from its member to its head, and its tail behind what there is.
fn encode(text: &mut String, name: &str, kind: &Kind, head: usize) {
    let value = format!("outputs.{name}");
    match kind {
        Kind::List(inner) => {
            let _ = writeln!(
                text,
                "    {{\n        put64({head}, out.size);\n        put64(reserve(WORD), {value}.size);"
            );
            let _ = writeln!(text, "        size_t list = reserve({value}.size * WORD);");
            let _ = writeln!(text, "        for (size_t i = 0; i < {value}.size; i++) {{");
            let place = "list + i * WORD";
            encode_single(text, name, &format!("{value}.at[i]"), inner, "list", place, "            ");
            text.push_str("        }\n    }\n");
        }
        Kind::Array(inner, length) => {
            text.push_str("    {\n");
            if inner.is_dynamic() {
                let _ = writeln!(
                    text,
                    "        put64({head}, out.size);\n        size_t list = reserve({length} * WORD);"
                );
            } else {
                let _ = writeln!(text, "        size_t list = {head};");
            }
            let _ = writeln!(text, "        for (size_t i = 0; i < {length}; i++) {{");
            let place = "list + i * WORD";
            encode_single(text, name, &format!("{value}[i]"), inner, "list", place, "            ");
            text.push_str("        }\n    }\n");
        }
        _ => encode_single(text, name, &value, kind, "0", &head.to_string(), "    "),
    }
}

fn encode_single(
    text: &mut String,
    name: &str,
    value: &str,
    kind: &Kind,
    base: &str,
    head: &str,
    indent: &str,
) {
    let mut checked = |fits: String, kind: &str| {
        let _ = writeln!(
            text,
            "{indent}if (!({fits})) {{\n{indent}    return refuse(internal(\"output `{name}` does not fit {kind}\"));\n{indent}}}"
        );
    };
    let put = match kind {
        Kind::Bool => format!("put64({head}, {value} ? 1 : 0)"),
        Kind::Uint(bits) if *bits <= NATIVE_BITS_MAX => {
            if !bits.is_power_of_two() {
                checked(format!("(uint64_t){value} >> {bits} == 0"), &short(kind));
            }
            format!("put64({head}, {value})")
        }
        Kind::Int(bits) if *bits <= NATIVE_BITS_MAX => {
            if !bits.is_power_of_two() {
                let half = format!("((int64_t)1 << {})", bits - 1);
                checked(format!("{value} >= -{half} && {value} < {half}"), &short(kind));
            }
            format!("put_signed({head}, {value})")
        }
        Kind::Uint(_) | Kind::Int(_) => format!("put_wide({head}, (wide){value})"),
        Kind::Text | Kind::Bytes => format!("put_bytes({base}, {head}, {value}.at, {value}.size)"),
        Kind::Fixed(size_bytes) => format!("memcpy(out.at + {head}, {value}.bytes, {size_bytes})"),
        _ => format!("memcpy(out.at + {head} + 12, {value}.bytes, 20)"),
    };
    let _ = writeln!(text, "{indent}{put};");
}
