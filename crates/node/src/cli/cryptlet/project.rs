//! `bletchley cryptlet new`, `build` and `test`: work in a developer's folder; no node is needed.

use crate::output::Output;
use anyhow::{Result, bail};
use bletchley_kit::{BuildReport, CaseReport, Language, Project, Tools, create};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// A developer's folder.
#[derive(Debug, Args)]
struct Folder {
    /// Folder of the cryptlet.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl Folder {
    fn output(&self) -> Output {
        Output::new(self.json)
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley cryptlet new hello\n  bletchley cryptlet new hello --language rust\n\nLanguages: javascript, typescript, python, c, rust."
)]
pub(super) struct New {
    /// Name of the cryptlet, and of the folder that is made.
    name: String,
    /// What it is written in.
    #[arg(long, short, value_name = "LANGUAGE", default_value = "javascript")]
    language: String,
    /// Folder to make instead.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

impl New {
    pub(super) fn run(self) -> Result<()> {
        let output = Output::new(self.json);
        let Some(language) = Language::parse(&self.language) else {
            let known: Vec<&str> = Language::all().iter().map(|language| language.name()).collect();
            bail!("there is no template in {:?}; there are {}", self.language, known.join(", "));
        };
        let folder = self.folder.unwrap_or_else(|| PathBuf::from(&self.name));
        let files = create(&folder, &self.name, language)?;
        output.event(&json!({ "name": self.name, "language": language, "folder": folder, "files": files }));
        output.line(format!("{} is a cryptlet in {}:", output.bold(&self.name), language.name()));
        for file in &files {
            output.line(format!("  {}", file.display()));
        }
        output.line("");
        output.line(format!("  cd {}", folder.display()));
        output.line("  bletchley cryptlet test      runs its tests in the host of a node, offline");
        output.line("  bletchley cryptlet publish   puts it on the registry of a running consortium");
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bletchley cryptlet build\n  bletchley cryptlet build ./hello --json")]
pub(super) struct Build {
    #[command(flatten)]
    folder: Folder,
}

impl Build {
    pub(super) fn run(self) -> Result<()> {
        let output = self.folder.output();
        let project = Project::open(&self.folder.folder)?;
        let report = project.build(&Tools::from_environment()?, &|step| output.progress(step))?;
        output.event(&serde_json::to_value(&report)?);
        built(output, &report);
        Ok(())
    }
}

fn built(output: Output, report: &BuildReport) {
    let state = if report.was_current { "is current" } else { "is built" };
    output.line(format!("{} {} {}", report.name, report.version, output.good(state)));
    output.line(format!("  package    {}", output.dim(&report.package_id.to_string())));
    output.line(format!("  component  {} bytes, {}", report.code_size_bytes, report.language.name()));
    output.line(format!("  exports    {}", report.exports.join(", ")));
    output.line(format!("  imports    {}", listed(&report.imports)));
    output.line(format!("  world      {}, isolation {}", report.world.name(), report.isolation.name()));
    let sources = report.capabilities.iter().map(|source| format!("{} ({})", source.url_prefix, source.name));
    output.line(format!("  fetches    {}", listed(&sources.collect::<Vec<_>>())));
    let limits = &report.limits;
    output.line(format!(
        "  at most    {} fuel, {} bytes of memory, {} ms a call",
        limits.fuel, limits.memory_bytes, limits.timeout_ms
    ));
    for file in &report.files {
        output.line(format!("  wrote      {}", file.display()));
    }
    if report.tests.is_empty() {
        output.line("  fuel       not measured yet: `bletchley cryptlet test`");
    }
    for test in &report.tests {
        output.line(format!("  fuel       {:>12}  {} ({})", test.fuel_used, test.name, test.method));
    }
}

fn listed(list: &[String]) -> String {
    if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley cryptlet test\n  bletchley cryptlet test ./hello --only greets\n\nTests stand in tests/*.toml. Each runs twice and once more from its record; nothing is fetched from the network."
)]
pub(super) struct Test {
    #[command(flatten)]
    folder: Folder,
    /// Only tests whose names contain this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

impl Test {
    pub(super) fn run(self) -> Result<()> {
        let output = self.folder.output();
        let project = Project::open(&self.folder.folder)?;
        let tools = Tools::from_environment()?;
        let report = project.test(&tools, self.only.as_deref(), &|step| output.progress(step))?;
        output.event(&serde_json::to_value(&report)?);
        for case in &report.cases {
            shown(output, case);
        }
        if report.failed > 0 {
            bail!("{} of {} tests failed", report.failed, report.cases.len());
        }
        output.line(format!("{} tests {} on {}", report.passed, output.good("passed"), report.profile));
        Ok(())
    }
}

fn shown(output: Output, case: &CaseReport) {
    let state = if case.passed { output.good("ok  ") } else { output.bad("FAIL") };
    output.line(format!("  {state} {:<40} {:>12} fuel", case.name, case.fuel_used));
    for problem in &case.problems {
        output.line(format!("         {problem}"));
    }
    if !case.passed {
        for line in &case.logs {
            output.line(format!("         log: {line}"));
        }
    }
}
