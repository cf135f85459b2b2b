//! Writes every target's valid examples into a folder, one folder for each target, as a corpus for libFuzzer.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::args_os().nth(1).ok_or("name the folder to write to")?);
    for target in bletchley_fuzz::TARGETS {
        let folder = root.join(target.name);
        fs::create_dir_all(&folder)?;
        for (nth, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("example-{nth}")), seed)?;
        }
    }
    Ok(())
}
