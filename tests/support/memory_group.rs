//! A memory cgroup of a test's own, of version 1 or 2, in which the program is started.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// A group of processes whose memory the kernel limits, swap included; removed when dropped, with what runs in it
/// killed.
pub struct MemoryGroup {
    folder: PathBuf,
    files: &'static Files,
}

/// How a version of cgroups names what is needed of it.
struct Files {
    root: &'static str,
    limit: &'static str,
    /// What must be written, and where, so that swap does not stand in for memory; no file, no swap accounting.
    swap: [(&'static str, Swap); 2],
    /// Has a line `oom_kill N`.
    events: &'static str,
}

enum Swap {
    /// Memory and swap together have the limit of memory.
    SameLimit,
    Zero,
}

const VERSION_1: Files = Files {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    swap: [("memory.swappiness", Swap::Zero), ("memory.memsw.limit_in_bytes", Swap::SameLimit)],
    events: "memory.oom_control",
};
const VERSION_2: Files = Files {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    swap: [("memory.swap.max", Swap::Zero), ("memory.zswap.max", Swap::Zero)],
    events: "memory.events",
};

impl MemoryGroup {
    /// A new group that may use `limit` bytes.
    ///
    /// # Errors
    /// This user or this kernel may not make one; the message says what was refused.
    pub fn new(limit: u64) -> Result<Self, String> {
        let files = if Path::new(VERSION_1.root).is_dir() { &VERSION_1 } else { &VERSION_2 };
        let folder = Path::new(files.root).join(format!("spillbench-test-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|cause| format!("cannot make {}: {cause}", folder.display()))?;
        // From here on it is removed whatever happens.
        let group = Self { folder, files };
        let refused = |name: &str, cause: io::Error| {
            format!("cannot write {}: {cause}", group.folder.join(name).display())
        };
        group.write(files.limit, limit).map_err(|cause| refused(files.limit, cause))?;
        for (name, swap) in &files.swap {
            let bytes = match swap {
                Swap::SameLimit => limit,
                Swap::Zero => 0,
            };
            match group.write(name, bytes) {
                Err(cause) if group.folder.join(name).exists() || has_swap() => {
                    return Err(refused(name, cause));
                }
                _ => {}
            }
        }
        Ok(group)
    }

    fn write(&self, name: &str, value: u64) -> io::Result<()> {
        // Not created: on a kernel without the file its absence is to be seen.
        fs::OpenOptions::new()
            .write(true)
            .open(self.folder.join(name))
            .and_then(|mut file| io::Write::write_all(&mut file, value.to_string().as_bytes()))
    }

    /// `command`, to be started in the group; what it starts is in the group as well.
    pub fn around(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        // A shell enters the group, then becomes the program.
        shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.folder.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
    }

    /// Processes that the kernel has killed because the group had no memory left.
    pub fn killed(&self) -> u64 {
        let events = fs::read_to_string(self.folder.join(self.files.events)).expect("the group's events");
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.expect("the kernel counts kills").parse().expect("a count")
    }
}

/// Whether memory that a group may not have could go to swap.
fn has_swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1)
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A group is busy until the last of its processes is gone. What stays tells its name.
        for _ in 0..500 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            let processes = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
            for process in processes.lines() {
                // It may have ended by now.
                let _ = Command::new("kill").args(["-KILL", process]).status();
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("{} cannot be removed", self.folder.display());
    }
}
