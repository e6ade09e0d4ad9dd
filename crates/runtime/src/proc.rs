//! Reading `/proc`.

use std::str::SplitWhitespace;

/// The fields of a `/proc/<pid>/stat` after the program's name, from the third on: state, parent and so on. The name, in
/// parentheses, may hold anything.
pub fn fields(stat: &str) -> SplitWhitespace<'_> {
    stat.rsplit(')').next().unwrap_or_default().split_whitespace()
}
