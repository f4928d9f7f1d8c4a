//! Topologies that are accepted, and the sentences that refuse others.
#![allow(clippy::unwrap_used)]

use nsrouter_wire::eth::MacAddr;

use super::*;

#[test]
fn the_default_lab_is_the_seed() {
    let lab = Topology::default_lab();
    lab.validate().unwrap();
    let lines: Vec<String> = lab
        .links
        .iter()
        .flat_map(|link| [&link.a, &link.b])
        .map(|end| {
            format!(
                "{} {} {:?} {:?}",
                end.node,
                end.ifname,
                end.mac.map(|mac| mac.to_string()),
                end.addresses
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "t1 t1-eth0 None [10.10.251.1/24, fd00:251::1/64]",
            "router eth-t1 Some(\"02:01:02:03:04:01\") [10.10.251.2/24, fd00:251::2/64]",
            "t2 t2-eth0 None [10.10.252.1/24, fd00:252::1/64]",
            "router eth-t2 Some(\"02:01:02:03:04:02\") [10.10.252.2/24, fd00:252::2/64]",
        ]
    );
    let routes: Vec<String> =
        lab.nodes[1].routes.iter().map(|route| format!("{} {}", route.to, route.via)).collect();
    assert_eq!(routes, ["0.0.0.0/0 10.10.252.2", "::/0 fd00:252::2"]);
}

#[test]
fn toml_there_and_back() {
    let lab = Topology::default_lab();
    let text = toml::to_string(&lab).unwrap();
    assert!(text.contains("to = \"default\""), "{text}");
    assert_eq!(Topology::from_toml(&text).unwrap(), lab);
}

const CHAIN: &str = r#"
[[node]]
name = "a"
role = "host"
routes = [{ to = "default", via = "10.1.0.1" }]
[[node]]
name = "r1"
role = "router"
routes = [{ to = "10.3.0.0/24", via = "10.2.0.2" }]
[[node]]
name = "r2"
role = "router"
routes = [{ to = "10.1.0.0/24", via = "10.2.0.1" }]
[[node]]
name = "b"
role = "host"
routes = [{ to = "default", via = "10.3.0.1" }]
[[link]]
a = { node = "a", ifname = "eth0", addresses = ["10.1.0.2/24"] }
b = { node = "r1", ifname = "left", addresses = ["10.1.0.1/24"] }
[[link]]
mtu = 1400
a = { node = "r1", ifname = "right", addresses = ["10.2.0.1/24"] }
b = { node = "r2", ifname = "left", addresses = ["10.2.0.2/24"] }
[[link]]
a = { node = "r2", ifname = "right", addresses = ["10.3.0.1/24"] }
b = { node = "b", ifname = "eth0", addresses = ["10.3.0.2/24"] }
"#;

#[test]
fn several_routers_in_a_chain() {
    let chain = Topology::from_toml(CHAIN).unwrap();
    assert_eq!(chain.routers().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);
    assert_eq!(chain.links.iter().map(|link| link.mtu).collect::<Vec<_>>(), [1500, 1400, 1500]);
    let out = chain.interface_to("r1", "10.2.0.2".parse().unwrap()).unwrap();
    assert_eq!(out.ifname, "right");
}

/// The sentence with which the chain is refused once `from` is replaced by `to`.
fn refusal(from: &str, to: &str) -> String {
    assert!(CHAIN.contains(from));
    Topology::from_toml(&CHAIN.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn refusals_name_the_thing() {
    let cases = [
        ("name = \"b\"", "name = \"a\"", "two nodes are called `a`"),
        ("name = \"b\"", "name = \"b/c\"", "node name `b/c`: use 1 to 64 letters, digits, `.`, `_` or `-`"),
        ("node = \"b\"", "node = \"c\"", "interface `eth0` is in node `c`, which is not declared"),
        (
            "\"eth0\", addresses = [\"10.1",
            "\"averyverylongname\", addresses = [\"10.1",
            "interface name `averyverylongname`: use 1 to 15 letters, digits, `.`, `_` or `-`",
        ),
        ("\"right\"", "\"nsr-host\"", "interface name `nsr-host` is reserved, choose another"),
        ("\"right\"", "\"left\"", "node `r1` has two interfaces called `left`"),
        ("10.1.0.2/24", "10.1.0.1/24", "address 10.1.0.1 is on both `eth0` and `left`"),
        ("10.1.0.2/24", "10.1.0.0/24", "`eth0`: 10.1.0.0/24 is not an address that an interface can have"),
        (
            "10.1.0.2/24",
            "10.5.0.2/24",
            "`eth0` and `left` are two ends of one link but have no IPv4 subnet in common",
        ),
        ("mtu = 1400", "mtu = 40", "link right: MTU 40 is not within 68 to 65535 bytes"),
        (
            "via = \"10.3.0.1\"",
            "via = \"10.9.0.1\"",
            "node `b`: the next hop 10.9.0.1 is on no subnet of its links",
        ),
        (
            "to = \"10.3.0.0/24\"",
            "to = \"10.3.0.7/24\"",
            "node `r1`: the route to 10.3.0.7/24 has host bits set, write 10.3.0.0/24",
        ),
    ];
    for (from, to, sentence) in cases {
        assert_eq!(refusal(from, to), sentence);
    }
    for word in ["role = \"switch\"", "roel = \"host\""] {
        assert!(refusal("role = \"host\"", word).contains("line 4"), "the message names the line");
    }
    assert!(refusal("\"10.3.0.0/24\"", "\"nowhere\"").contains("neither `default` nor a prefix"));
}

#[test]
fn mac_addresses() {
    let with = |mac: &str| {
        let text = CHAIN.replacen("ifname = \"left\"", &format!("ifname = \"left\", mac = \"{mac}\""), 1);
        Topology::from_toml(&text).map(|topology| topology.links[0].b.mac.unwrap())
    };
    assert_eq!(with("02:01:02:03:04:ff").unwrap(), MacAddr([2, 1, 2, 3, 4, 255]));
    assert_eq!(with("2:1:2:3:4:5").unwrap(), MacAddr([2, 1, 2, 3, 4, 5]));
    for wrong in ["", "02:01:02:03:04", "02:01:02:03:04:05:06", "+1:02:03:04:05:06", "02:01:02:03:04:0g"] {
        let said = with(wrong).unwrap_err().to_string();
        assert!(said.contains(&format!("`{wrong}` is not an Ethernet address")), "{said}");
    }
    let multicast = refusal("ifname = \"left\"", "ifname = \"left\", mac = \"01:00:5e:00:00:01\"");
    assert_eq!(multicast, "`left`: 01:00:5e:00:00:01 is not a unicast MAC address");
}

#[test]
fn ipv6_needs_its_smallest_mtu() {
    let text = CHAIN.replacen("mtu = 1400", "mtu = 1279", 1).replacen(
        "\"10.2.0.1/24\"]",
        "\"10.2.0.1/24\", \"fd02::1/64\"]",
        1,
    );
    let refusal = Topology::from_toml(&text).unwrap_err().to_string();
    assert_eq!(refusal, "`right`: IPv6 needs an MTU of at least 1280 bytes, this link has 1279");
}

#[test]
fn an_invalid_value_is_quoted() {
    let text =
        "[[node]]\nname = \"a\"\nrole = \"host\"\nroutes = [{ to = \"default\", via = \"10.0.0.256\" }]\n";
    let refusal = Topology::from_toml(text).unwrap_err().to_string();
    assert!(refusal.contains("line 4") && refusal.contains("\"10.0.0.256\""), "{refusal}");
}
