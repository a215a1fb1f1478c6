//! How many processes the kernel killed because memory ran out: in our control group where the
//! kernel counts that (cgroups(7), memory.events or memory.oom_control), else on the machine.

use std::fs;

/// The number so far. `None`: the kernel does not say.
pub(crate) fn kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = files(&groups).into_iter().find_map(|path| count(&fs::read_to_string(path).ok()?));
    own.or_else(|| count(&fs::read_to_string("/proc/vmstat").ok()?))
}

/// Where the count of our own control group may be, by the text of /proc/self/cgroup.
fn files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_end_matches('/');
        if controllers.is_empty() {
            files.push(format!("/sys/fs/cgroup{path}/memory.events"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            files.push(format!("/sys/fs/cgroup/memory{path}/memory.oom_control"));
        }
    }
    files
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_known() {
        assert_eq!(
            files("0::/system.slice/web.service\n"),
            ["/sys/fs/cgroup/system.slice/web.service/memory.events"]
        );
        assert_eq!(
            files("9:name=systemd:/\n4:cpu,memory:/web\n0::/\n"),
            ["/sys/fs/cgroup/memory/web/memory.oom_control", "/sys/fs/cgroup/memory.events"]
        );
        assert_eq!(count("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count("oom_kill_disable 0\n"), None);
    }

    #[test]
    fn this_machine_counts() {
        assert!(kills().is_some());
    }
}
