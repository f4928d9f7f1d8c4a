//! Work that mostly waits for the kernel, done side by side: an RCU grace period takes as long for one as for
//! a hundred.

use std::thread;

use crate::limits::is_address_space_limited;

/// Threads at once.
const THREADS: usize = 64;
/// Bytes of a thread's stack: system calls need little.
const STACK_BYTES: usize = 256 << 10;

/// Applies `work` to each item and returns the results in the order of the items. Threads inherit the
/// namespaces of the calling one.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if items.len() <= 1 || is_address_space_limited() {
        return items.iter().map(work).collect();
    }
    let share = items.len().div_ceil(THREADS);
    thread::scope(|scope| {
        let work = &work;
        let mut begun = Vec::new();
        for items in items.chunks(share) {
            let run = move || items.iter().map(work).collect::<Vec<R>>();
            // Where no thread can be started, this one does it.
            let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run);
            begun.push(thread.map_err(|_| run()));
        }
        let end = |thread: Result<thread::ScopedJoinHandle<'_, Vec<R>>, Vec<R>>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(done) => done,
        };
        begun.into_iter().flat_map(end).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(map(&items[..1], |item| item + 1), [1]);
    }
}
