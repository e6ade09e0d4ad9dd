//! The message board's binaries: compiled here, statically where this machine can link so.

use crate::tour::report::Report;
use crate::tour::screen::Screen;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the compiled binaries are.
pub struct Binaries {
    /// The repository's root: the build context of the images.
    pub root: PathBuf,
    /// Holds `board-api`, `board-users`, …
    pub directory: PathBuf,
}

/// The binaries: the monolith, its three services, and the page.
pub const NAMES: [&str; 5] = ["api", "users", "threads", "posts", "web"];

/// Builds all five, as static programs that need nothing of a root file system.
pub fn compile(screen: &Screen, report: &mut Report) -> Result<Binaries> {
    let root = repository()?;
    let step = screen.step("compile the message board (static binaries, cargo rustc)");
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let directory = target_directory(&root)?.join(if profile == "dev" { "debug" } else { "release" });
    for name in NAMES {
        step.progress(format!("board-{name}"));
        let output = Command::new(cargo())
            .current_dir(&root)
            .args(["rustc", "--quiet", "--package", "board", "--profile", profile, "--bin", &format!("board-{name}")])
            .args(["--", "-C", "target-feature=+crt-static"])
            .stdin(Stdio::null())
            .output()
            .context("cannot run cargo: the tour compiles the board with it, install Rust from https://rustup.rs")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!(
                "the board's binary board-{name} does not compile; a static build needs gcc and libc.a (on Debian: apt install gcc libc6-dev)\n{errors}"
            );
        }
        require_static(&directory.join(format!("board-{name}")))?;
    }
    report.times.board_compile = step.done("monolith, users, threads, posts, web");
    Ok(Binaries { root, directory })
}

/// Fails if the program names an interpreter: it would not start in an image made from scratch.
fn require_static(path: &Path) -> Result<()> {
    const PT_INTERP: u32 = 3;
    let elf = std::fs::read(path).with_context(|| format!("{} was not built", path.display()))?;
    let half = |at: usize| elf.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]) as usize);
    let table = elf.get(32..40).map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default()) as usize);
    let (Some(table), Some(size), Some(count)) = (table, half(54), half(56)) else {
        bail!("{} is not an ELF program", path.display())
    };
    for i in 0..count {
        let at = table + i * size;
        let kind = elf.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().unwrap_or_default()));
        if kind == Some(PT_INTERP) {
            bail!("{} is dynamically linked: this toolchain did not honour crt-static", path.display());
        }
    }
    Ok(())
}

/// The repository this program was built from, or the one around the current directory.
fn repository() -> Result<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned);
    let here = std::env::current_dir().ok();
    let around = here.as_deref().into_iter().flat_map(Path::ancestors).map(Path::to_owned);
    around
        .chain(built_from)
        .find(|dir| dir.join("apps/board/Cargo.toml").is_file())
        .context("the tour compiles the message board from Quarry's repository: run it inside a clone")
}

fn target_directory(root: &Path) -> Result<PathBuf> {
    let output = Command::new(cargo())
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .context("cannot run cargo")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?;
    Ok(metadata["target_directory"].as_str().context("cargo metadata names no target directory")?.into())
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
