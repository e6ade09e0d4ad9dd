//! `quarry open`: the console in a browser, signed in.

use crate::installation::{Installation, write_private};
use anyhow::Result;
use quarry_console::LinkKey;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs that open a file as the person's desktop does.
const OPENERS: [&str; 2] = ["xdg-open", "gio"];

/// Opens the link, or prints it where no browser can be opened.
pub fn run(data_dir: &Path, print: bool) -> Result<()> {
    let installation = Installation::open(data_dir)?;
    let serving = installation.serving()?;
    let link = LinkKey::new(serving.link_key).link(&serving.console);
    let opener = opener().filter(|_| !print);
    let opened = match opener {
        Some(opener) => open(&opener, &page(&installation, &link)?),
        None => false,
    };
    match opened {
        true => println!("The console is at {}; your browser opens it.", serving.console),
        false => println!("{link}"),
    }
    Ok(())
}

/// A page that leads to the link. Arguments of programs can be read by every user of the machine, this cannot.
fn page(installation: &Installation, link: &str) -> Result<PathBuf> {
    let path = installation.data_dir.join("open.html");
    let page = format!("<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={link}\"><title>Quarry</title>\n");
    write_private(&path, page.as_bytes())?;
    Ok(path)
}

/// A program that opens files, where there is a desktop.
fn opener() -> Option<PathBuf> {
    let desktop =
        ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
    let path = std::env::var_os("PATH").filter(|_| desktop)?;
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    OPENERS.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|file| file.is_file())
}

fn open(opener: &Path, page: &Path) -> bool {
    let mut command = Command::new(opener);
    if opener.ends_with("gio") {
        command.arg("open");
    }
    command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
