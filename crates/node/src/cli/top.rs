//! `bletchley top`: members, live.

use super::Common;
use crate::data::DataDir;
use crate::output::Output;
use crate::status::{History, Line, MemberView, Members, Tone, board};
use anyhow::{Context, Result};
use clap::Args;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{cursor, execute, queue};
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How often keys are looked at.
const KEY_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bletchley top\n  bletchley top --once\n\nKeys: q or Esc ends it.")]
pub(super) struct Top {
    /// Print one snapshot and end; without a terminal, snapshots are printed one after the other.
    #[arg(long)]
    once: bool,
    /// Milliseconds between looks.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval_ms: u64,
    #[command(flatten)]
    common: Common,
}

impl Top {
    pub(super) fn run(self) -> Result<()> {
        let output = self.common.output();
        let members = Members::of(&DataDir::new(&self.common.data))?;
        if self.once {
            print(output, &members.look(), &History::default());
            return Ok(());
        }
        let looks = looks(members, Duration::from_millis(self.interval_ms))?;
        if output.is_json() || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return follow(output, &looks);
        }
        let _screen = Screen::open()?;
        draw_until_quit(&looks)
    }
}

/// Looks at the members now and then, beside the keys.
fn looks(members: Members, interval: Duration) -> Result<Receiver<Vec<MemberView>>> {
    let (sender, looks): (SyncSender<Vec<MemberView>>, _) = sync_channel(1);
    let look = move || {
        while sender.send(members.look()).is_ok() {
            std::thread::sleep(interval);
        }
    };
    std::thread::Builder::new()
        .name("looks".to_owned())
        .spawn(look)
        .context("starting the thread that looks")?;
    Ok(looks)
}

/// Plain snapshots, one after the other, until the reader goes away or the process is ended.
fn follow(output: Output, looks: &Receiver<Vec<MemberView>>) -> Result<()> {
    let mut history = History::default();
    while let Ok(views) = looks.recv() {
        history.note(&views, Instant::now());
        print(output, &views, &history);
        if std::io::stdout().flush().is_err() {
            break;
        }
    }
    Ok(())
}

fn print(output: Output, views: &[MemberView], history: &History) {
    views.iter().for_each(|view| output.event(&view.json()));
    board(views, width()).into_iter().chain(history.lines(80)).for_each(|line| output.line(line.text));
    output.line("");
}

/// Columns of the terminal; any number where the output goes elsewhere.
pub(super) fn width() -> usize {
    let is_terminal = std::io::stdout().is_terminal();
    let size = is_terminal.then(terminal::size).and_then(Result::ok);
    size.map_or(usize::MAX, |(width, _)| usize::from(width))
}

/// The terminal while it shows the board; as before when dropped.
struct Screen;

impl Screen {
    fn open() -> Result<Self> {
        terminal::enable_raw_mode().context("taking over the terminal; `bletchley top --once` needs none")?;
        let screen = Self;
        execute!(std::io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(std::io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

fn draw_until_quit(looks: &Receiver<Vec<MemberView>>) -> Result<()> {
    let mut history = History::default();
    let mut views = Vec::new();
    draw(&views, &history)?;
    loop {
        let mut changed = match looks.recv_timeout(Duration::ZERO) {
            Ok(newest) => {
                history.note(&newest, Instant::now());
                views = newest;
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        if event::poll(KEY_INTERVAL)? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let interrupted =
                        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                Event::Resize(..) => changed = true,
                _ => {}
            }
        }
        if changed {
            draw(&views, &history)?;
        }
    }
}

fn draw(views: &[MemberView], history: &History) -> Result<()> {
    let (width, height) = terminal::size()?;
    let (width, height) = (usize::from(width), usize::from(height));
    let dim = |text: &str| Line { tone: Tone::Dim, text: text.to_owned() };
    let mut lines = if views.is_empty() { vec![dim("asking the members ...")] } else { board(views, width) };
    lines.push(dim(""));
    lines.extend(history.lines(width));
    let room = height.saturating_sub(1);
    if lines.len() > room {
        lines.truncate(room.saturating_sub(1));
        lines.push(dim("... the terminal is too low for the rest"));
    }
    let mut out = std::io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0))?;
    for line in &lines {
        let text: String = line.text.chars().take(width).collect();
        match line.tone {
            Tone::Heading => queue!(out, SetAttribute(Attribute::Bold))?,
            Tone::Bad => queue!(out, SetForegroundColor(Color::Red))?,
            Tone::Dim => queue!(out, SetAttribute(Attribute::Dim))?,
            Tone::Plain => {}
        }
        queue!(
            out,
            Print(text),
            SetAttribute(Attribute::Reset),
            ResetColor,
            Clear(ClearType::UntilNewLine),
            Print("\r\n")
        )?;
    }
    queue!(
        out,
        Clear(ClearType::FromCursorDown),
        cursor::MoveTo(0, u16::try_from(room).unwrap_or(u16::MAX))
    )?;
    queue!(out, SetAttribute(Attribute::Dim), Print("q quits"), SetAttribute(Attribute::Reset))?;
    Ok(out.flush()?)
}
