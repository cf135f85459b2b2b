//! What a developer reads when something is wrong: the file, the name, and what to do.

use bletchley_kit::{Language, Project, ProjectError, TestError, Tools, create};

use crate::place::{Place, tools};

const ALL: &[Language] = Language::all();

/// Every word is in what was said.
fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
}

#[test]
fn new_projects_need_a_name_and_an_empty_folder() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("x");
    for name in ["", "Upper", "a b", "a\"\npublisher = \"me", "-a", "a--b", "../x"] {
        let error = create(&folder, name, Language::C).unwrap_err().to_string();
        says(&error, &["`name` must be"]);
        assert!(!folder.exists(), "{name}");
    }
    let kept = parent.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("file"), "mine").unwrap();
    says(&create(&kept, "hello", Language::C).unwrap_err().to_string(), &["is not empty"]);
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
    for language in ALL {
        let folder = parent.path().join(language.name());
        std::fs::create_dir_all(folder.join(".git")).unwrap();
        let files = create(&folder, "two-words", *language).unwrap();
        assert!(files.iter().all(|file| file.is_file()), "{files:?}");
        let text = std::fs::read_to_string(folder.join("cryptlet.toml")).unwrap();
        assert!(!text.contains('@'), "a placeholder is left:\n{text}");
        assert_eq!(Project::open(&folder).unwrap().language(), *language);
    }
}

#[test]
fn folders_that_are_no_projects_are_named() {
    let place = Place::new(Language::C);
    place.replace("cryptlet.toml", "language = \"c\"", "language = \"cobol\"");
    let folder = place.folder();
    let error = Project::open(folder).unwrap_err();
    assert!(matches!(error, ProjectError::Language { .. }));
    says(&error.to_string(), &["cobol", "javascript, typescript, python, c, rust"]);
    place.write("cryptlet.toml", "name = 7");
    says(&Project::open(folder).unwrap_err().to_string(), &["cryptlet.toml", "name"]);
    std::fs::remove_file(folder.join("cryptlet.toml")).unwrap();
    says(&Project::open(folder).unwrap_err().to_string(), &["cryptlet.toml", "bletchley cryptlet new"]);
}

#[test]
fn test_files_are_read_strictly() {
    let place = Place::new(Language::C);
    for (text, words) in [
        ("[[case]]\nmethod = \"greet\"\n", "needs either `expect` or `error`"),
        ("[[case]]\nmethod = \"greet\"\nexpects = {}\n", "expects"),
        ("[[case]]\nmethod = \"greet\"\nerror = { kind = \"sad\" }\n", "there is no error of kind `sad`"),
        ("[[case]]\nmethod = \"greet\"\nexpect = {}\nas_of = \"noon\"\n", "is not a time"),
        ("[[case]]\nmethod = \"greet\"\nexpect = {}\ncaller = \"me\"\n", "is not an address"),
        (
            "[[case]]\nmethod = \"greet\"\nexpect = {}\n[[case.fetch]]\nsource = \"a\"\npath = \"/b\"\n",
            "relative",
        ),
        (
            "[[case]]\nmethod = \"greet\"\nexpect = {}\n[[case.fetch]]\nsource = \"a\"\npath = \"b\"\nbody_file = \"none\"\n",
            "cannot read",
        ),
    ] {
        place.write("tests/hello.toml", text);
        let error = place.open().test(&tools(), None, &|_| ()).unwrap_err();
        assert!(matches!(error, TestError::Case(_)), "{error}");
        says(&error.to_string(), &["tests/hello.toml", words]);
    }
    place.write("tests/hello.toml", "");
    let error = place.open().test(&tools(), Some("greet"), &|_| ()).unwrap_err();
    says(&error.to_string(), &["there is no test with `greet` in its name"]);
}

#[test]
fn names_and_types_that_a_language_does_not_have() {
    let place = Place::new(Language::C);
    place.replace("cryptlet.toml", "uint256[]", "uint256[][]");
    says(&place.build_error(), &["`total.amounts`", "uint256[][]", "in c"]);
    let place = Place::new(Language::Python);
    place.append("cryptlet.toml", "[[methods]]\nname = \"Greet\"\n");
    says(&place.build_error(), &["`greet` and `Greet` are both `greet` in python"]);
}

#[test]
fn a_missing_source_is_named() {
    for language in ALL {
        let place = Place::new(*language);
        std::fs::remove_file(place.folder().join(language.source())).unwrap();
        says(&place.build_error(), &[language.source()]);
    }
}

#[test]
fn tools_that_cannot_be_installed_are_named() {
    let place = Place::new(Language::Rust);
    let nowhere = place.folder().join("no-cargo");
    let tools = tools().with_rust(nowhere, Vec::new());
    let error = place.open().build(&tools, &|_| ()).unwrap_err().to_string();
    says(&error, &["no-cargo"]);
    // A folder in which nothing can be made.
    let blocked = Tools::in_folder(place.folder().join("cryptlet.toml"));
    let place = Place::new(Language::C);
    let error = place.open().build(&blocked, &|_| ()).unwrap_err().to_string();
    says(&error, &["cannot use", "cryptlet.toml"]);
}

#[test]
fn javascript_and_typescript() {
    for language in [Language::JavaScript, Language::TypeScript] {
        let source = language.source();
        let broken = Place::new(language);
        broken.append(source, "\nexport function (\n");
        says(&broken.build_error(), &[source, "export function ("]);
        let missing = Place::new(language);
        missing.replace(source, "export function total", "function total");
        says(&missing.build_error(), &["No matching export", "\"total\""]);
        let foreign = Place::new(language);
        foreign.append(source, "\nimport { readFileSync } from 'node:fs';\nexport const x = readFileSync;\n");
        says(&foreign.build_error(), &["Could not resolve \"node:fs\""]);
        let beyond = Place::new(language);
        beyond.append(source, "\nimport { fetch } from 'cryptlet';\nexport const y = fetch;\n");
        says(&beyond.build_error(), &["\"fetch\""]);
    }
}

#[test]
fn python() {
    let source = Language::Python.source();
    let broken = Place::new(Language::Python);
    broken.append(source, "\ndef (\n");
    says(&broken.build_error(), &["main.py", "SyntaxError"]);
    let missing = Place::new(Language::Python);
    missing.replace(source, "def total(", "def sum_up(");
    says(&missing.build_error(), &["a method of cryptlet.toml must be a function `total(amounts)`"]);
    let other = Place::new(Language::Python);
    other.replace(source, "def greet(name: str)", "def greet(nom: str)");
    says(&other.build_error(), &["`greet` must take (name), not (nom)"]);
}

#[test]
fn c() {
    let source = Language::C.source();
    let broken = Place::new(Language::C);
    broken.append(source, "\nint x = ;\n");
    says(&broken.build_error(), &[source, "expected expression"]);
    let missing = Place::new(Language::C);
    missing.replace(source, "total(struct", "sum_up(struct");
    says(&missing.build_error(), &["undefined symbol: total"]);
    let foreign = Place::new(Language::C);
    foreign.append(
        source,
        "\n__attribute__((import_module(\"wasi_snapshot_preview1\"), import_name(\"random_get\"))) int random_get(int, int);\n\
         __attribute__((export_name(\"x\"))) int x(void) { return random_get(0, 0); }\n",
    );
    says(&foreign.build_error(), &["world `utility`", "wasi_snapshot_preview1", "no files"]);
    let beyond = Place::new(Language::C);
    beyond.append(source, "\nvoid *y = fetch_get;\n");
    says(&beyond.build_error(), &["fetch_get"]);
}

#[test]
fn rust() {
    let source = Language::Rust.source();
    let broken = Place::new(Language::Rust);
    broken.append(source, "\nfn x( {}\n");
    says(&broken.build_error(), &[source, "error"]);
    let missing = Place::new(Language::Rust);
    missing.replace(source, "fn total", "fn sum_up");
    says(&missing.build_error(), &["`total`", "Cryptlet"]);
    let foreign = Place::new(Language::Rust);
    foreign.append(
        source,
        "\n#[link(wasm_import_module = \"env\")]\nextern \"C\" { fn outside(); }\n\
         #[no_mangle]\npub extern \"C\" fn x() { unsafe { outside() } }\n",
    );
    says(&foreign.build_error(), &["world `utility`", "env"]);
}
