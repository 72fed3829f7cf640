//! What machine this is, and what this process uses of it.

use std::fs;

use spillbench_schema::summary::Machine;

/// The machine that this process runs on.
pub fn machine() -> Machine {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpu_info
            .lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let present = field("flags").or_else(|| field("Features")).unwrap_or_default();
    let wanted = ["avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve"];
    let cpu_features = wanted
        .iter()
        .filter(|f| present.split(' ').any(|have| have == **f))
        .map(|f| (*f).to_owned())
        .collect();
    Machine {
        cpu: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cpu_features,
        cores: cores(),
        memory_bytes: status_kib("/proc/meminfo", "MemTotal:").unwrap_or(0),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Resident memory of this process now, in bytes.
pub fn resident_bytes() -> u64 {
    status_kib("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// The most resident memory of this process so far, in bytes.
pub fn peak_resident_bytes() -> u64 {
    status_kib("/proc/self/status", "VmHWM:").unwrap_or(0)
}

fn status_kib(file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}
