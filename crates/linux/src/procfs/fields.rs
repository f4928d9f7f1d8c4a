//! Files of `NAME: VALUE` lines, like `/proc/meminfo`, `/proc/cpuinfo` and `/proc/PID/status`.

/// The value of the first line with that name, without blanks around it.
pub fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim_end() == name).then(|| value.trim())
    })
}

/// The value of the first line with that name, where it is an amount like `2048 kB`, in bytes.
pub fn bytes(text: &str, name: &str) -> Option<u64> {
    let kibibytes: u64 = value(text, name)?.strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_found_by_their_whole_name() {
        let text = "\
VmSizeOfAnother:\t1 kB
VmSize:\t    2048 kB
Cpus_allowed_list:\t0-1
model name\t: A CPU: fast
";
        assert_eq!(value(text, "Cpus_allowed_list"), Some("0-1"));
        assert_eq!(value(text, "model name"), Some("A CPU: fast"));
        assert_eq!(value(text, "VmPin"), None);
        assert_eq!(bytes(text, "VmSize"), Some(2048 * 1024));
        assert_eq!(bytes(text, "Cpus_allowed_list"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z:\t\n ]{0,6}[0-9]{0,21} ?(kB)?\n?){0,6}", name in "[a-z ]{0,3}") {
            let _ = (value(&text, &name), bytes(&text, &name));
        }
    }
}
