//! Labs on machines that are odd, read-only, full or shared; the remains of a killed lab, and cleaning them
//! up.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{
    BACKENDS, Case, Lab, SANDBOX, Shared, case_output, describe, expanded, nsrouter, trial, wait_for,
};

/// Cases beside the built-in lab, and such as make their own, which have a network and a /run to themselves.
pub(crate) const CASES: &[Case] = &[
    Case { name: SMALL_MTU, modes: &[], programs: &[], body: small_mtu },
    Case {
        name: "nodes_know_each_other_s_names",
        modes: NAMES,
        programs: &["ping", "hostname"],
        body: names,
    },
    Case {
        name: "a_host_hears_fragments_again_soon_after_an_overload",
        modes: FLOODED,
        programs: &["ping"],
        body: flooded,
    },
    sandbox("a_start_without_descriptors_leaves_nothing", &["bash"], few_descriptors),
    sandbox("a_clean_up_that_failed_is_finished_by_the_next", &["setpriv"], without_rights),
    sandbox("settings_stay_on_record_until_they_are_put_back", &["ip", "mount"], read_only_at_the_end),
    sandbox("a_read_only_proc_sys_is_the_machine_s_fault", &["mount"], read_only_at_the_start),
    sandbox("symbolic_links_among_the_names", &["ip", "mount"], symbolic_links),
    sandbox("clean_in_another_time_namespace_spares_the_living", &["unshare", "ip"], time_namespace),
    sandbox("a_record_that_makes_no_sense", &["ip"], nonsense),
    sandbox("another_s_lab_is_in_nobody_s_way", &["setpriv"], of_two_users),
    sandbox("a_private_lab_s_name_is_taken", &[], taken),
];

const NAMES: &[&str] = &["kernel", "userspace", "rootless"];

const FLOODED: &[&str] = &["kernel", "userspace", "rootless"];

const fn sandbox(name: &'static str, programs: &'static [&'static str], body: fn(&Lab)) -> Case {
    Case { name, modes: SANDBOX, programs, body }
}

const SMALL_MTU: &str = "ipv4_alone_crosses_links_with_a_small_mtu";

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    let small_mtu = |mode: String| {
        let name = format!("{mode}::{SMALL_MTU}");
        let case = name.clone();
        let body = move || {
            for mtu in [68, 576, 1279, 1280] {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("lab.toml");
                fs::write(&file, ipv4_lab(mtu)).unwrap();
                let options = ["--topology", file.to_str().unwrap()];
                let output = case_output(&mode, &case, &options);
                assert!(output.status.success(), "{mtu}: {}", describe(&output));
            }
        };
        trial(name, &["ping", "ip"], body)
    };
    expanded(BACKENDS).into_iter().map(small_mtu).collect()
}

/// The built-in lab without IPv6, its second link with that MTU.
fn ipv4_lab(mtu: u32) -> String {
    let host = |n: u8| {
        format!(
            "[[node]]\nname = \"t{n}\"\nrole = \"host\"\nroutes = [{{ to = \"default\", via = \"10.10.25{n}.2\" }}]\n"
        )
    };
    let link = |n: u8, mtu: u32| {
        format!(
            "[[link]]\nmtu = {mtu}\na = {{ node = \"t{n}\", ifname = \"t{n}-eth0\", addresses = [\"10.10.25{n}.1/24\"] }}\n\
             b = {{ node = \"router\", ifname = \"eth-t{n}\", addresses = [\"10.10.25{n}.2/24\"] }}\n"
        )
    };
    let router = "[[node]]\nname = \"router\"\nrole = \"router\"\n";
    format!("{}{}{router}{}{}", host(1), host(2), link(1, 1500), link(2, mtu))
}

fn small_mtu(lab: &Lab) {
    let ping = |node: &str, to: &str, more: &[&str]| {
        let words = ["ping", "-n", "-c", "2", "-i", "0.05", "-W", "5"];
        lab.exec(node, &words.iter().chain(more).chain(&[to]).copied().collect::<Vec<_>>())
    };
    let mtu: u32 = lab.succeed("t2", &["cat", "/sys/class/net/t2-eth0/mtu"]).trim().parse().unwrap();
    // A sender's own buffer has no room for very many fragments.
    let more = (mtu + 200).to_string();
    for (node, to, bytes) in
        [("t1", "10.10.252.1", "1400"), ("t2", "10.10.251.1", &more), ("router", "10.10.252.1", &more)]
    {
        let output = ping(node, to, &["-s", bytes, "-M", "dont"]);
        assert!(output.status.success(), "{node}: {}\n{}", describe(&output), lab.dump());
    }
    let output = ping("t1", "10.10.252.1", &["-s", "1400", "-M", "do"]);
    assert!(!output.status.success(), "it does not fit: {}", describe(&output));
    assert!(describe(&output).contains(&format!("mtu = {mtu}")), "{}", describe(&output));
    if lab.mode == "userspace:tap" {
        return;
    }
    // The kernel gives a link that grows IPv6, with settings of its own making.
    lab.succeed("router", &["ip", "link", "set", "eth-t2", "mtu", "1500"]);
    let off = lab.succeed("router", &["cat", "/proc/sys/net/ipv6/conf/eth-t2/disable_ipv6"]);
    assert_eq!(off.trim(), if lab.is_userspace() { "1" } else { "0" });
}

fn names(lab: &Lab) {
    for (node, other) in [("t1", "t2"), ("t2", "t1"), ("t1", "router"), ("router", "t2")] {
        assert_eq!(lab.succeed(node, &["hostname"]).trim(), node);
        if node == "router" && lab.is_userspace() && !lab.has_host_port() {
            continue;
        }
        for family in ["-4", "-6"] {
            let output = lab.exec(node, &["ping", family, "-c", "1", "-W", "5", other]);
            assert!(output.status.success(), "{node} to {other}: {}", describe(&output));
        }
    }
    let machine = fs::read_to_string("/etc/hosts").unwrap();
    let inside = lab.succeed("t1", &["cat", "/etc/hosts"]);
    assert!(inside.ends_with(&machine), "the user's own entries are kept: {inside}");
    assert!(!machine.contains("10.10.252.1"), "only nodes see it: {machine}");
    let ours = lab.succeed("t1", &["sh", "-c", "mount | grep -c nsrouter || true"]);
    let here = Command::new("sh").args(["-c", "mount | grep -c nsrouter || true"]).output().unwrap();
    let here: u32 = String::from_utf8(here.stdout).unwrap().trim().parse().unwrap();
    assert_eq!(ours.trim().parse::<u32>().unwrap(), here + 1, "one file, and nothing else is mounted");
}

/// nsrouter, after a shell's preparations.
fn sh(before: &str, arguments: &str) -> Output {
    let script = format!("{before}; exec \"$0\" {arguments}");
    Command::new("sh").args(["-c", &script]).arg(nsrouter()).stdin(Stdio::null()).output().unwrap()
}

/// nsrouter, which must succeed; what it prints, errors last.
fn succeed(arguments: &str) -> String {
    let output = sh(":", arguments);
    assert!(output.status.success(), "{arguments}: {}", describe(&output));
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// What fails with that exit code; what it prints, errors last.
fn fail(code: i32, before: &str, arguments: &str) -> String {
    let output = sh(before, arguments);
    assert_eq!(output.status.code(), Some(code), "{before}; {arguments}: {}", describe(&output));
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// A lab of that name that is up.
fn start(arguments: &str, name: &str) -> Child {
    let mut command = Command::new(nsrouter());
    command.args(arguments.split_ascii_whitespace()).args(["--name", name]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let is_up = || sh(":", &format!("status --json --name {name}")).status.success().then_some(());
    wait_for("the lab is up", is_up);
    child
}

/// Ends a lab as it should not be.
fn end_badly(mut lab: Child) {
    lab.kill().unwrap();
    lab.wait().unwrap();
}

fn end(mut lab: Child) {
    kill(Pid::from_raw(i32::try_from(lab.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(lab.wait().unwrap().success());
}

fn entries(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

/// Nothing of any lab is left.
fn assert_clean(what: &str) {
    for folder in ["/run/netns", "/run/nsrouter"] {
        assert_eq!(entries(folder), Vec::<String>::new(), "{what}: {folder}");
    }
}

fn few_descriptors(_: &Lab) {
    let cases = [("--mode kernel", 46, 24..34), ("--mode userspace --backend tap --workers 2", 90, 40..76)];
    for (arguments, limit, taken) in cases {
        let (mut started, mut failed) = (0, 0);
        for taken in taken.step_by(3) {
            // Enough by the limit, but not with those that are open already.
            let script = format!(
                "for ((i = 3; i < 3 + {taken}; i++)); do eval \"exec $i</dev/null\"; done; ulimit -n {limit}; \
                 exec \"$0\" {arguments} -- true"
            );
            let mut command = Command::new("bash");
            let output = command.args(["-c", &script]).arg(nsrouter()).stdin(Stdio::null()).output().unwrap();
            let said = describe(&output);
            assert!(!said.contains("panicked"), "{taken}: {said}");
            *(if output.status.success() { &mut started } else { &mut failed }) += 1;
            // Where not even the removing had enough, all is on record.
            succeed("clean");
            assert_clean(&format!("{arguments}: {taken} descriptors open: {said}"));
        }
        assert!(failed > 0, "{arguments}: all of {started} started, so nothing was tried");
    }
}

fn without_rights(_: &Lab) {
    end_badly(start("--mode kernel", "default"));
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]).arg(nsrouter()).arg("clean");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", describe(&output));
    assert!(describe(&output).contains("Operation not permitted"), "{}", describe(&output));
    assert_eq!(entries("/run/nsrouter"), ["default"], "it stays on record");
    assert!(succeed("clean").contains("removed namespaces: t1, t2, router"));
    assert_clean("a whole clean-up");
}

/// Runs `work` while /proc/sys cannot be written.
fn read_only(work: impl FnOnce()) {
    let mount = |words: &[&str]| assert!(Command::new("mount").args(words).status().unwrap().success());
    mount(&["--bind", "/proc/sys", "/proc/sys"]);
    mount(&["-o", "remount,ro,bind", "/proc/sys"]);
    work();
    assert!(Command::new("umount").arg("/proc/sys").status().unwrap().success());
}

fn read_only_at_the_end(_: &Lab) {
    let forwards = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned();
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    end_badly(start("--mode kernel --router-ns host", "default"));
    assert_eq!(forwards(), "1");
    read_only(|| {
        assert!(fail(1, ":", "clean").contains("ip_forward"));
        // A new lab of the name would begin a new record over the one that is still needed.
        assert!(fail(1, ":", "--mode kernel --router-ns host -- true").contains("stays on record"));
    });
    assert_eq!(forwards(), "1", "nobody could write it");
    assert!(succeed("clean").contains("net/ipv4/ip_forward"));
    assert_eq!(forwards(), "0");
    assert_clean("a second clean-up");
    assert!(succeed("clean").contains("nothing to clean"));
}

fn read_only_at_the_start(_: &Lab) {
    read_only(|| {
        for mode in ["kernel", "userspace"] {
            let said = fail(3, ":", &format!("--mode {mode} -- true"));
            assert!(said.contains("/proc/sys") && said.contains("--private"), "{said}");
            assert_clean("what could not be started");
            succeed(&format!("--mode {mode} --private --name read-only -- true"));
        }
        let said = succeed("doctor");
        let row = said.lines().find(|line| line.contains(" settings ")).expect("a row about settings");
        assert!(row.starts_with("no") && row.contains("Read-only"), "{row}");
    });
    let said = succeed("doctor");
    assert!(said.lines().any(|line| line.starts_with("yes") && line.contains(" settings")), "{said}");
}

fn symbolic_links(_: &Lab) {
    fs::create_dir_all("/run/netns").unwrap();
    symlink("/proc/999999/ns/net", "/run/netns/t1").unwrap();
    let said = fail(1, ":", "--mode kernel -- true");
    assert!(said.contains("/run/netns/t1 is a symbolic link to /proc/999999/ns/net"), "{said}");
    assert!(said.contains("--replace"), "{said}");
    assert!(Path::new("/run/netns/t1").is_symlink(), "it is not ours");
    succeed("--mode kernel --replace -- true");
    assert_clean("a dangling link that was replaced");

    fs::create_dir_all("/run/others").unwrap();
    fs::write("/run/others/one", "").unwrap();
    let mount = ["--bind", "/proc/self/ns/net", "/run/others/one"];
    assert!(Command::new("mount").args(mount).status().unwrap().success());
    symlink("/run/others/one", "/run/netns/t1").unwrap();
    assert!(fail(1, ":", "--mode kernel -- true").contains("is a symbolic link to /run/others/one"));
    succeed("--mode kernel --replace -- true");
    assert_clean("a link that was replaced");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.contains("/run/others/one"), "what it leads to is somebody's own: {mounts}");

    // One that comes to lie over a lab's own name is left, and is no reason to keep the record.
    let lab = start("--mode kernel", "default");
    assert!(Command::new("ip").args(["netns", "del", "t1"]).status().unwrap().success());
    symlink("/run/others/one", "/run/netns/t1").unwrap();
    end_badly(lab);
    assert!(succeed("clean").contains("left network namespace t1: nsrouter did not create it"));
    assert_eq!(entries("/run/netns"), ["t1"]);
    assert_eq!(entries("/run/nsrouter"), Vec::<String>::new());
}

fn time_namespace(_: &Lab) {
    let lab = start("--mode kernel", "default");
    for shift in ["1000000", "-10"] {
        let output = Command::new("unshare")
            .args(["-T", "--boottime", shift, "--monotonic", shift])
            .arg(nsrouter())
            .arg("clean")
            .output()
            .unwrap();
        assert!(describe(&output).contains("nothing to clean"), "{shift}: {}", describe(&output));
        succeed("exec t1 -- ip link show t1-eth0");
    }
    end(lab);
    assert_clean("a lab that ended well");
}

fn nonsense(_: &Lab) {
    let folder = Path::new("/run/nsrouter/default");
    let record = folder.join("state.json");
    let plant = |text: &str| {
        fs::create_dir_all(folder).unwrap();
        fs::write(&record, text).unwrap();
    };
    plant("{");
    let said = fail(1, ":", "--mode kernel -- true");
    assert!(said.contains("is not a valid record") && said.contains("--replace"), "{said}");
    let said = succeed("clean");
    assert!(said.contains("clean --name default"), "{said}");
    assert!(record.exists(), "only who means it removes it");
    assert!(succeed("clean --name default").contains("removed its record"));
    assert_clean("a record that was half written");
    plant("{");
    succeed("--mode kernel --replace -- true");
    assert_clean("a record that was half written, replaced");

    // A newer version's lab may be running.
    let lab = start("--mode kernel", "default");
    let text = fs::read_to_string(&record).unwrap();
    plant(&text.replace("\"version\": 1", "\"version\": 2"));
    assert!(fail(1, ":", "clean --all").contains("already running"));
    end_badly(lab);
    assert!(succeed("clean --all").contains("another version of nsrouter"));
    assert_eq!(entries("/run/nsrouter"), Vec::<String>::new());
    for name in ["t1", "t2", "router"] {
        assert!(Command::new("ip").args(["netns", "del", name]).status().unwrap().success());
    }

    // Names on record are paths.
    fs::create_dir_all("/run/victim").unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let dead = text.replace(boot.trim(), "an earlier one");
    for (from, to) in [
        ("\"name\": \"default\"", "\"name\": \"../victim\""),
        ("\"namespace\": \"t1\"", "\"namespace\": \"../victim\""),
        ("\"sysctls\": []", "\"sysctls\": [{\"key\": \"net/../../../run/victim/x\", \"value\": \"1\"}]"),
    ] {
        assert!(dead.contains(from), "{from}");
        plant(&dead.replace(from, to));
        assert!(succeed("clean").contains("is not a valid record"), "{to}");
        assert!(Path::new("/run/victim").exists(), "{to}");
        assert!(succeed("clean --name default").contains("removed its record"), "{to}");
    }
    assert_clean("records of paths");
}

fn of_two_users(_: &Lab) {
    let shared = Shared::new();
    fs::create_dir_all("/run/nobody").unwrap();
    nix::unistd::chown("/run/nobody", Some(65534.into()), Some(65534.into())).unwrap();
    let nobody = |arguments: &str| {
        let mut command = shared.as_nobody();
        command.env("XDG_RUNTIME_DIR", "/run/nobody").args(arguments.split_ascii_whitespace());
        command.stdin(Stdio::null());
        command
    };
    let roots = start("--mode kernel", "roots");
    let mut own = nobody("--mode kernel --name own").stdout(Stdio::null()).spawn().unwrap();
    let pointers =
        || entries("/run/nobody/nsrouter").into_iter().filter(|name| name.ends_with(".json")).count();
    wait_for("the other user's lab is up", || {
        nobody("status --json --name own").output().unwrap().status.success().then_some(())
    });
    own.kill().unwrap();
    own.wait().unwrap();
    assert_eq!(pointers(), 1, "a killed lab leaves its pointer");
    let output = nobody("clean").output().unwrap();
    assert!(output.status.success(), "{}", describe(&output));
    assert!(describe(&output).contains("private lab own: dead"), "{}", describe(&output));
    assert_eq!(pointers(), 0);
    for dead in [false, true] {
        let output = nobody("clean --all --name roots").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "dead: {dead}: {}", describe(&output));
        assert!(describe(&output).contains("belongs to another user"), "dead: {dead}: {}", describe(&output));
        if !dead {
            kill(Pid::from_raw(i32::try_from(roots.id()).unwrap()), Signal::SIGKILL).unwrap();
            wait_for("the lab is dead", || {
                (!sh(":", "status --json --name roots").status.success()).then_some(())
            });
        }
    }
    end_badly(roots);
    assert!(nobody("clean").output().unwrap().status.success(), "another's dead lab is none of his business");
    succeed("clean");
    assert_clean("the other one's clean-up");
}

fn taken(_: &Lab) {
    let first = start("--mode kernel --private", "taken");
    let said = fail(1, ":", "--mode kernel --private --name taken -- true");
    assert!(said.contains("`taken` is already running") && said.contains(&first.id().to_string()), "{said}");
    succeed("exec --name taken t1 -- true");
    let said = succeed("status --name taken");
    assert!(said.contains(&format!("private, process {} (", first.id())), "{said}");
    succeed("--mode kernel --private --name other -- true");
    succeed("--mode kernel --private --name taken --replace -- true");
    let mut first = first;
    wait_for("the former lab is gone", || first.try_wait().unwrap());
    // Who has a shell in a lab that goes is told why it went.
    let lab = start("--mode kernel --private", "taken");
    let mut shell = Command::new(nsrouter());
    shell.args(["exec", "--name", "taken", "t1", "--", "sh", "-c", "echo in; trap '' TERM; sleep 60; true"]);
    let mut shell = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    shell.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    end(lab);
    let output = shell.wait_with_output().unwrap();
    assert!(describe(&output).contains("lab taken has ended"), "{}", describe(&output));
    // A dead one is not in the way.
    end_badly(start("--mode kernel --private", "taken"));
    succeed("--mode kernel --private --name taken -- true");
}

/// First fragments of ever new datagrams, none of which is completed.
fn flooded(lab: &Lab) {
    let mut tap = lab.tap("t1", "t1-eth0");
    let ethernet = |kind: [u8; 2]| [&[2, 1, 2, 3, 4, 1, 2, 9, 9, 9, 9, 9], &kind[..]].concat();
    let payload = [0; 1400];
    let ipv4 = |number: u16| {
        let mut header =
            vec![0x45, 0, 0x05, 0x8c, 0, 0, 0x20, 0, 64, 17, 0, 0, 10, 10, 251, 1, 10, 10, 252, 1];
        header[4..6].copy_from_slice(&number.to_be_bytes());
        let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        header[10..12].copy_from_slice(&(!sum).to_be_bytes());
        [&ethernet([8, 0])[..], &header[..], &payload[..]].concat()
    };
    let ipv6 = |number: u16| {
        let address = |net: u8, host: u8| [0xfd, 0, 0x02, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
        let header = [0x60, 0, 0, 0, 0x05, 0x80, 44, 64];
        let fragment = [17, 0, 0, 1, 0, 0];
        [
            &ethernet([0x86, 0xdd])[..],
            &header,
            &address(0x51, 1),
            &address(0x52, 1),
            &fragment,
            &number.to_be_bytes(),
            &payload,
        ]
        .concat()
    };
    // The neighbours know each other, and what comes whole goes through.
    for to in ["10.10.252.1", "fd00:252::1"] {
        lab.succeed("t1", &["ping", "-n", "-c", "1", "-W", "5", "-s", "3000", to]);
    }
    for (file, key, to, frame) in [
        ("sockstat", "FRAG:", "10.10.252.1", &ipv4 as &dyn Fn(u16) -> Vec<u8>),
        ("sockstat6", "FRAG6:", "fd00:252::1", &ipv6),
    ] {
        // Two bytes of memory a byte at least; more than the kernel's own limit of 4 MiB.
        let mut number = 0;
        wait_for("t2 holds much", || {
            for _ in 0..64 {
                number += 1;
                tap.send(&frame(number));
            }
            let sockets = lab.succeed("t2", &["cat", &format!("/proc/net/{file}")]);
            let line = sockets.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
            let bytes: u64 = line.split(' ').next_back().unwrap().parse().unwrap();
            (bytes > 4_000_000).then_some(())
        });
        wait_for("t2 hears fragments again", || {
            let ping = ["ping", "-n", "-c", "1", "-W", "1", "-s", "3000", to];
            lab.exec("t1", &ping).status.success().then_some(())
        });
    }
}
