//! What the kernel tells of this process and its limits (Linux; elsewhere nothing is known).

use std::fs;
use std::path::Path;
use std::time::Duration;

/// In which /proc counts CPU time, in milliseconds: the same on every machine that Linux runs on today, whatever its kernel's own.
const TICK_MS: u64 = 10;

/// What the process has had and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// CPU time of all its threads, the kernel's for it included.
    pub cpu: Duration,
    /// Memory, in bytes.
    pub resident: u64,
    /// Address space, in bytes.
    pub space: u64,
    /// Threads.
    pub threads: u64,
}

/// The process as it is now.
pub fn process() -> Option<Process> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(Process {
        cpu: cpu(&fs::read_to_string("/proc/self/stat").ok()?)?,
        resident: kibibytes(&status, "VmRSS:")?,
        space: kibibytes(&status, "VmSize:")?,
        threads: field(&status, "Threads:")?,
    })
}

/// The CPU time in /proc/self/stat: the 14th and the 15th field. The second is the program's name in brackets, which may
/// hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    Some(Duration::from_millis(ticks.checked_mul(TICK_MS)?))
}

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the process uses.
    pub used: u64,
    /// What it could have on top, by the tightest of its limits.
    pub left: u64,
}

/// Memory by the limit that is nearest: the control group's, the address space's (`ulimit -v`), or the machine's.
pub fn memory() -> Option<Memory> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let used = kibibytes(&status, "VmRSS:")?;
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemAvailable:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = left_in_group(&groups, Path::new("/sys/fs/cgroup"));
    let resident = machine.into_iter().chain(group).min().map(|left| Memory { used, left });
    let space = rlimit::Resource::AS.get().ok().filter(|(soft, _)| *soft != rlimit::INFINITY);
    let space = space.and_then(|(soft, _)| {
        let used = kibibytes(&status, "VmSize:")?;
        Some(Memory { used, left: soft.saturating_sub(used) })
    });
    // The one of which the smaller share is left.
    let product = |used: u64, left: u64| u128::from(used) * u128::from(left);
    resident.into_iter().chain(space).max_by_key(|memory| product(memory.used, u64::MAX) / u128::from(memory.left.max(1)))
}

/// Descriptors open, and how many may be.
pub fn descriptors() -> Option<(usize, usize)> {
    let (limit, _) = rlimit::Resource::NOFILE.get().ok()?;
    let folder = Path::new("/proc/self/fd");
    // From Linux 6.2 on its size is their number; before, it is zero, and they are counted.
    let used = match fs::metadata(folder).ok()?.len() {
        0 => fs::read_dir(folder).ok()?.count(),
        some => some as usize,
    };
    Some((used, usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// What the control groups of this process leave it, the tightest of them and those above it. `groups`: /proc/self/cgroup.
fn left_in_group(groups: &str, mounted: &Path) -> Option<u64> {
    let all = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        match controllers {
            "" => Some((mounted.to_owned(), path, ["memory.max", "memory.current", "inactive_file"])),
            some if some.split(',').any(|name| name == "memory") => {
                let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
                Some((mounted.join("memory"), path, files))
            }
            _ => None,
        }
    });
    let left = all.filter_map(|(root, path, files)| {
        // Inside a container the path may be the host's: what isn't there is passed over, and the root is the container's own.
        let upwards = Path::new(path.trim_matches('/')).ancestors();
        upwards.filter_map(|part| left_in_one(&root.join(part), files)).min()
    });
    left.min()
}

fn left_in_one(folder: &Path, [limit, usage, inactive]: [&str; 3]) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    // "max" where there is none.
    let limit: u64 = read(limit)?.trim().parse().ok()?;
    let usage: u64 = read(usage)?.trim().parse().ok()?;
    // Files read once and not again are given back before anything is killed.
    let inactive = read("memory.stat").and_then(|text| field(&text, inactive)).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(inactive)))
}

/// The number that follows a name at a line's beginning.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '\t'])))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// The same, in kibibytes, as bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something_and_has_descriptors() {
        let memory = memory().unwrap();
        assert!(memory.used > 1 << 20, "{memory:?}");
        let held: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let (used, limit) = descriptors().unwrap();
        assert!((200..limit).contains(&used), "{used} {limit}");
        drop(held);
    }

    #[test]
    fn the_cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c 1 2 3) S 1 2 3 4 5 6 7 8 9 10 250 30 0 0 20 0 4 0 99 1 2";
        assert_eq!(cpu(stat), Some(Duration::from_millis(2_800)));
        assert_eq!(cpu("7 (a) S 1"), None);
        let own = process().unwrap();
        assert!(own.threads >= 1 && own.space >= own.resident && own.resident > 1 << 20, "{own:?}");
    }

    #[test]
    fn the_tightest_group_counts_in_either_version() {
        let mounted = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = mounted.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(left_in_group("0::/app/one\n", mounted.path()), None, "there is no limit");
        write("app/one/memory.max", "max\n");
        write("app/one/memory.current", "700\n");
        write("app/memory.max", "1000\n");
        write("app/memory.current", "800\n");
        write("app/memory.stat", "anon 500\ninactive_file 300\nactive_file 0\n");
        assert_eq!(left_in_group("0::/app/one\n", mounted.path()), Some(500), "the one above has a limit");
        write("app/one/memory.max", "900\n");
        assert_eq!(left_in_group("0::/app/one\n", mounted.path()), Some(200));
        assert_eq!(left_in_group("0::/of/the/host\n", mounted.path()), None);
        let first = "4:cpu,memory:/box\n3:cpuset:/\n0::/\n";
        write("memory/box/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/box/memory.usage_in_bytes", "1000\n");
        write("memory/memory.limit_in_bytes", "2000\n");
        write("memory/memory.usage_in_bytes", "1500\n");
        write("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 600\n");
        assert_eq!(left_in_group(first, mounted.path()), Some(1_100));
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmRSSX: 7 kB\nVmRSS:\t   12 kB\ninactive_file 5\n";
        assert_eq!((kibibytes(text, "VmRSS:"), field(text, "inactive_file"), field(text, "inactive")), (Some(12_288), Some(5), None));
    }
}
