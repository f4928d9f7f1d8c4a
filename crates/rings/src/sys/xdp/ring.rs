//! The index logic of AF_XDP rings: single producer, single consumer, free-running 32-bit indexes over a
//! power of two of entries (Documentation/networking/af_xdp.rst, net/xdp/xsk_queue.h).
//!
//! The producer writes entries and then stores its index with release semantics; the consumer loads that
//! index with acquire semantics, reads the entries, and then stores its own index likewise. All words are
//! atomics, so nothing here needs to be trusted with memory.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The words of a ring, wherever they lie.
pub(crate) trait Memory {
    /// How many entries were produced, ever.
    fn producer(&self) -> &AtomicU32;
    /// How many entries were consumed, ever.
    fn consumer(&self) -> &AtomicU32;
    /// The entries, a power of two of them times the words of one.
    fn slots(&self) -> &[AtomicU64];
}

/// Where the words of entry `index` begin.
fn slot<const WORDS: usize>(slots: &[AtomicU64], index: u32) -> &[AtomicU64] {
    let entries = slots.len() / WORDS;
    let at = (index as usize & (entries - 1)) * WORDS;
    &slots[at..at + WORDS]
}

/// The entries of a ring whose length fits an index.
fn entries<const WORDS: usize>(memory: &impl Memory) -> u32 {
    u32::try_from(memory.slots().len() / WORDS).unwrap_or(0)
}

/// Our end of a ring that we fill: the fill ring (one word an entry), the tx ring (two).
#[derive(Debug)]
pub(crate) struct Producer<M, const WORDS: usize> {
    memory: M,
    /// The next entry to be written; those before it may not be published yet.
    next: u32,
    /// The consumer index as it was seen last.
    consumed: u32,
}

impl<M: Memory, const WORDS: usize> Producer<M, WORDS> {
    pub(crate) fn new(memory: M) -> Self {
        let next = memory.producer().load(Ordering::Relaxed);
        let consumed = memory.consumer().load(Ordering::Acquire);
        Producer { memory, next, consumed }
    }

    /// Whether another entry fits.
    pub(crate) fn has_room(&mut self) -> bool {
        let entries = entries::<WORDS>(&self.memory);
        if self.next.wrapping_sub(self.consumed) < entries {
            return true;
        }
        self.consumed = self.consumed();
        self.next.wrapping_sub(self.consumed) < entries
    }

    /// Writes an entry; false when the ring is full.
    pub(crate) fn push(&mut self, words: [u64; WORDS]) -> bool {
        if !self.has_room() {
            return false;
        }
        for (slot, word) in slot::<WORDS>(self.memory.slots(), self.next).iter().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the kernel what was pushed.
    pub(crate) fn publish(&self) {
        self.memory.producer().store(self.next, Ordering::Release);
    }

    /// How many entries the kernel has consumed, ever.
    pub(crate) fn consumed(&self) -> u32 {
        self.memory.consumer().load(Ordering::Acquire)
    }

    /// Entries that the kernel has not consumed yet.
    pub(crate) fn waiting(&self) -> u32 {
        self.next.wrapping_sub(self.consumed())
    }

    /// An entry that was pushed, by its number since ever; what it says is of use only until it is
    /// overwritten.
    pub(crate) fn entry(&self, number: u32) -> [u64; WORDS] {
        let slot = slot::<WORDS>(self.memory.slots(), number);
        std::array::from_fn(|word| slot[word].load(Ordering::Relaxed))
    }
}

/// Our end of a ring that the kernel fills: the rx ring (two words an entry), the completion ring (one).
#[derive(Debug)]
pub(crate) struct Consumer<M, const WORDS: usize> {
    memory: M,
    /// The next entry to be read; those before it may not be released yet.
    next: u32,
    /// The producer index as it was seen last.
    produced: u32,
}

impl<M: Memory, const WORDS: usize> Consumer<M, WORDS> {
    pub(crate) fn new(memory: M) -> Self {
        let next = memory.consumer().load(Ordering::Relaxed);
        let produced = memory.producer().load(Ordering::Acquire);
        Consumer { memory, next, produced }
    }

    /// Reads the oldest entry that was not read yet.
    pub(crate) fn pop(&mut self) -> Option<[u64; WORDS]> {
        if self.next == self.produced {
            self.produced = self.memory.producer().load(Ordering::Acquire);
            if self.next == self.produced {
                return None;
            }
        }
        let slot = slot::<WORDS>(self.memory.slots(), self.next);
        let words = std::array::from_fn(|word| slot[word].load(Ordering::Relaxed));
        self.next = self.next.wrapping_add(1);
        Some(words)
    }

    /// Lets the kernel write over what was read.
    pub(crate) fn release(&self) {
        self.memory.consumer().store(self.next, Ordering::Release);
    }
}

/// The length and the options of a descriptor (struct xdp_desc, behind the address) as one word.
pub(crate) fn length_word(length: u32) -> u64 {
    let [a, b, c, d] = length.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

/// The length in such a word.
pub(crate) fn length_of(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring in ordinary memory; its indexes begin where they are about to wrap around.
    struct Heap {
        producer: AtomicU32,
        consumer: AtomicU32,
        slots: Vec<AtomicU64>,
    }

    impl Memory for &Heap {
        fn producer(&self) -> &AtomicU32 {
            &self.producer
        }
        fn consumer(&self) -> &AtomicU32 {
            &self.consumer
        }
        fn slots(&self) -> &[AtomicU64] {
            &self.slots
        }
    }

    fn heap(words: usize) -> Heap {
        let start = u32::MAX - 2;
        Heap {
            producer: start.into(),
            consumer: start.into(),
            slots: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    #[test]
    fn entries_come_out_as_they_went_in_over_the_wrap() {
        let heap = heap(8);
        let mut producer = Producer::<_, 2>::new(&heap);
        let mut consumer = Consumer::<_, 2>::new(&heap);
        for number in 0..100 {
            assert!(producer.push([number, number * 2]));
            assert_eq!(consumer.pop(), None, "not published yet");
            producer.publish();
            assert_eq!(producer.waiting(), 1);
            assert_eq!(consumer.pop(), Some([number, number * 2]));
            consumer.release();
            assert_eq!(producer.waiting(), 0);
        }
    }

    #[test]
    fn a_full_ring_takes_nothing_until_something_is_released() {
        let heap = heap(4);
        let mut producer = Producer::<_, 1>::new(&heap);
        let mut consumer = Consumer::<_, 1>::new(&heap);
        assert!((0..4).all(|number| producer.push([number])));
        assert!(!producer.push([4]));
        producer.publish();
        assert_eq!(consumer.pop(), Some([0]));
        assert!(!producer.push([4]), "read, but not released");
        consumer.release();
        assert!(producer.push([4]));
        producer.publish();
        let rest: Vec<_> = std::iter::from_fn(|| consumer.pop()).collect();
        assert_eq!(rest, [[1], [2], [3], [4]]);
    }

    #[test]
    fn entries_cross_between_threads() {
        const COUNT: u64 = 20_000;
        let heap = heap(16);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut producer = Producer::<_, 2>::new(&heap);
                for number in 0..COUNT {
                    while !producer.push([number, !number]) {
                        std::thread::yield_now();
                    }
                    producer.publish();
                }
            });
            let mut consumer = Consumer::<_, 2>::new(&heap);
            for number in 0..COUNT {
                let words = loop {
                    match consumer.pop() {
                        Some(words) => break words,
                        None => std::thread::yield_now(),
                    }
                };
                consumer.release();
                assert_eq!(words, [number, !number]);
            }
        });
    }
}
