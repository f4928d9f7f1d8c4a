//! Tables and destinations as they are met: prefix lengths in the shares of a full BGP table, always the same
//! ones.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "every bench uses its own part of this")]

use std::collections::HashSet;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Prefix lengths of the IPv4 table of the default-free zone, per ten thousand (routeviews.org, rounded).
const LENGTHS_V4: &[(u8, u32)] = &[
    (8, 1),
    (9, 1),
    (10, 3),
    (11, 10),
    (12, 30),
    (13, 60),
    (14, 120),
    (15, 200),
    (16, 140),
    (17, 80),
    (18, 140),
    (19, 260),
    (20, 450),
    (21, 500),
    (22, 1100),
    (23, 1000),
    (24, 5905),
];

/// The same for IPv6.
const LENGTHS_V6: &[(u8, u32)] = &[
    (20, 1),
    (24, 10),
    (28, 60),
    (29, 250),
    (30, 60),
    (31, 40),
    (32, 1200),
    (33, 120),
    (34, 150),
    (35, 60),
    (36, 500),
    (38, 100),
    (40, 900),
    (42, 150),
    (44, 1000),
    (45, 100),
    (46, 300),
    (47, 250),
    (48, 4500),
    (56, 100),
    (64, 149),
];

fn length(random: &mut SmallRng, lengths: &[(u8, u32)]) -> u8 {
    let all: u32 = lengths.iter().map(|(_, share)| share).sum();
    let mut pick = random.random_range(0..all);
    for (length, share) in lengths {
        match pick.checked_sub(*share) {
            Some(rest) => pick = rest,
            None => return *length,
        }
    }
    unreachable!("the shares add up")
}

fn mask4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// `count` IPv4 prefixes spread evenly over the unicast space, in the order of a random feed.
pub fn prefixes_v4(count: usize) -> Vec<(u32, u8)> {
    let mut random = SmallRng::seed_from_u64(4);
    let mut seen = HashSet::new();
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let length = length(&mut random, LENGTHS_V4);
        let address = random.random_range(0x0100_0000..0xe000_0000u32) & mask4(length);
        if !matches!(address >> 24, 10 | 127) && seen.insert((address, length)) {
            prefixes.push((address, length));
        }
    }
    prefixes
}

/// `count` IPv6 prefixes: blocks of /32 in the registries' space, and what is longer inside of them.
pub fn prefixes_v6(count: usize) -> Vec<(u128, u8)> {
    const REGISTRIES: [u32; 7] = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2a10, 0x2c0f];
    let mut random = SmallRng::seed_from_u64(6);
    let blocks: Vec<u32> = (0..count / 5 + 1)
        .map(|_| {
            let registry = REGISTRIES[random.random_range(0..REGISTRIES.len())];
            (registry + random.random_range(0..8)) << 16 | random.random_range(0..0x1_0000)
        })
        .collect();
    let mut seen = HashSet::new();
    let mut prefixes = Vec::with_capacity(count);
    while prefixes.len() < count {
        let length = length(&mut random, LENGTHS_V6);
        let block = u128::from(blocks[random.random_range(0..blocks.len())]) << 96;
        let address = (block | random.random::<u128>() >> 32) & mask6(length);
        if seen.insert((address, length)) {
            prefixes.push((address, length));
        }
    }
    prefixes
}

/// `count` addresses, each somewhere inside a prefix that is picked at random.
pub fn destinations_v4(prefixes: &[(u32, u8)], count: usize) -> Vec<u32> {
    let mut random = SmallRng::seed_from_u64(44);
    let mut pick = || {
        let (address, length) = prefixes[random.random_range(0..prefixes.len())];
        address | random.random::<u32>() & !mask4(length)
    };
    (0..count).map(|_| pick()).collect()
}

/// `count` addresses, each somewhere inside a prefix that is picked at random.
pub fn destinations_v6(prefixes: &[(u128, u8)], count: usize) -> Vec<u128> {
    let mut random = SmallRng::seed_from_u64(66);
    let mut pick = || {
        let (address, length) = prefixes[random.random_range(0..prefixes.len())];
        address | random.random::<u128>() & !mask6(length)
    };
    (0..count).map(|_| pick()).collect()
}
