//! Questions on a terminal or in a pipe: one line each, answered by a number, a text, or Enter for what is offered.

use anyhow::{Result, bail};
use std::io::{BufRead as _, Write as _};

/// A line from standard input, without its end.
fn line() -> Result<String> {
    let mut text = String::new();
    if std::io::stdin().lock().read_line(&mut text)? == 0 {
        bail!("standard input has ended before the question was answered: give the answers as flags (see --help)");
    }
    Ok(text.trim().to_owned())
}

pub fn text(question: &str, offered: Option<&str>) -> Result<String> {
    loop {
        match offered {
            Some(offered) => eprint!("{question} [{offered}] "),
            None => eprint!("{question} "),
        }
        std::io::stderr().flush()?;
        match (line()?, offered) {
            (answer, Some(offered)) if answer.is_empty() => return Ok(offered.to_owned()),
            (answer, None) if answer.is_empty() => {}
            (answer, _) => return Ok(answer),
        }
    }
}

/// One of some choices, by number or by name: its index.
pub fn choice(question: &str, choices: &[String]) -> Result<usize> {
    eprintln!("{question}");
    for (i, choice) in choices.iter().enumerate() {
        eprintln!("  {}) {choice}", i + 1);
    }
    loop {
        let answer = text("Number:", (!choices.is_empty()).then_some("1"))?;
        let by_number = answer.parse::<usize>().ok().filter(|n| (1..=choices.len()).contains(n)).map(|n| n - 1);
        match by_number.or_else(|| choices.iter().position(|choice| *choice == answer)) {
            Some(index) => return Ok(index),
            None => eprintln!("{answer:?} is none of them"),
        }
    }
}

pub fn confirm(question: &str) -> Result<bool> {
    Ok(matches!(text(&format!("{question} (y/N)"), Some("n"))?.to_ascii_lowercase().as_str(), "y" | "yes"))
}
