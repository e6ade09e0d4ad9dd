//! `storage`: what a task's containers may write to.

use super::section::Section;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// GiB.
    pub ephemeral: Option<u64>,
    pub readonly_fs: bool,
    pub volumes: Vec<Volume>,
}

/// A volume that lives as long as the task, and where the main container has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub path: String,
    pub read_only: bool,
}

impl Storage {
    pub(super) fn read(parent: &Section<'_>) -> Self {
        let Some(section) = parent.section("storage") else { return Self::default() };
        // Fargate takes 21 as the least; 20 is what a task has anyway.
        let ephemeral = section.number("ephemeral", 20..=200).filter(|gib| *gib > 20);
        let readonly_fs = section.flag("readonly_fs").unwrap_or(false);
        let mut volumes = Vec::new();
        if let Some(all) = section.section("volumes") {
            for (key, node) in all.entries() {
                let Some(volume) = Section::of(all.faults, &all.at(&key.name), node) else { continue };
                volume.refuse(&[(
                    "efs",
                    "there is no Elastic File System: leave efs out for a volume of the task, or keep the data in a database",
                )]);
                let read_only = volume.flag("read_only").unwrap_or(true);
                match volume.text("path") {
                    Some(path) => volumes.push(Volume { name: key.name.clone(), path, read_only }),
                    None => volume.faults.add(key.line, &volume.at("path"), "is missing: where the container has it"),
                }
                volume.finish();
            }
        }
        section.finish();
        Self { ephemeral, readonly_fs, volumes }
    }
}
