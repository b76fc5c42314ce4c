//! Linux capabilities by name (R13.21).

use k8s_openapi::api::core::v1::Capabilities;

/// In the order of their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The numbers of default + add − drop, sorted. `ALL` works on both sides; a leading `CAP_` is accepted.
///
/// # Errors
/// The first name the kernel does not know.
pub(super) fn effective(wish: Option<&Capabilities>, privileged: bool) -> Result<Vec<u8>, String> {
    let all = (1_u64 << NAMES.len()) - 1;
    if privileged {
        return Ok(numbers(all));
    }
    let mut set = DEFAULT.iter().filter_map(|name| bit(name)).fold(0, |set, bit| set | bit);
    let list = |names: Option<&Vec<String>>| -> Result<(bool, u64), String> {
        let mut bits = 0;
        let mut everything = false;
        for name in names.into_iter().flatten() {
            let upper = name.to_ascii_uppercase();
            match upper.strip_prefix("CAP_").unwrap_or(&upper) {
                "ALL" => everything = true,
                plain => bits |= bit(plain).ok_or_else(|| name.clone())?,
            }
        }
        Ok((everything, bits))
    };
    let (add_all, add) = list(wish.and_then(|wish| wish.add.as_ref()))?;
    let (drop_all, drop) = list(wish.and_then(|wish| wish.drop.as_ref()))?;
    if add_all {
        set = all;
    }
    if drop_all {
        set = 0;
    }
    // A capability added by name survives `drop: [ALL]`; one dropped by name does not survive `add: [ALL]`.
    set = (set | add) & !drop;
    Ok(numbers(set))
}

fn bit(name: &str) -> Option<u64> {
    NAMES.iter().position(|known| *known == name).map(|at| 1 << at)
}

fn numbers(set: u64) -> Vec<u8> {
    (0..64).filter(|n| set & (1_u64 << n) != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(add: &[&str], drop: &[&str]) -> Result<Vec<u8>, String> {
        let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        effective(Some(&Capabilities { add: list(add), drop: list(drop) }), false)
    }

    /// R13.21
    #[test]
    fn default_plus_add_minus_drop() {
        assert_eq!(wish(&[], &[]).unwrap().len(), 14);
        assert_eq!(wish(&["CAP_NET_ADMIN"], &["ALL"]).unwrap(), [12]);
        assert!(!wish(&["ALL"], &["SYS_ADMIN"]).unwrap().contains(&21));
        assert_eq!(wish(&["ALL"], &[]).unwrap().len(), 41);
        assert!(!wish(&[], &["chown"]).unwrap().contains(&0));
        assert_eq!(wish(&["FLY"], &[]), Err("FLY".into()));
        assert_eq!(effective(None, true).unwrap().len(), 41);
    }
}
