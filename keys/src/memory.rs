//! Memory for secrets, and the protection of the process that holds them.
//!
//! [`LockedBytes`] is the only storage for key material at rest. It takes slots from whole pages that hold nothing
//! else, are locked against swapping and left out of core dumps where the system allows it, and are never given back to
//! the allocator. A slot is wiped when its owner is dropped. While a key signs, the schemes' own types hold copies on
//! the stack; those types wipe themselves.
//!
//! Locking can fail (a container with `RLIMIT_MEMLOCK` of zero). That is reported by [`harden_process`] and
//! [`locked_memory`], never fatal: the wiping and the missing core dumps do not depend on it.

use rustix::process::{Resource, Rlimit};
use std::{
    fmt,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};
use zeroize::Zeroize;

/// The most bytes one [`LockedBytes`] holds: an `age` identity has 74, a key at most 64.
pub(crate) const SLOT_BYTES: usize = 80;

/// The place of one secret in an arena.
struct Slot(RwLock<[u8; SLOT_BYTES]>);

/// Slots over one locked page. Lives as long as the process.
struct Arena {
    slots: Vec<Slot>,
}

/// All arenas and their free slots.
struct Pool {
    free: Vec<(&'static Arena, usize)>,
    pages: LockedMemory,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: Vec::new(),
    pages: LockedMemory { locked_pages: 0, unlocked_pages: 0, reason: None },
});

fn pool() -> MutexGuard<'static, Pool> {
    // A panic leaves nothing half-done here: there are only pushes and pops.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many pages of secrets are locked in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockedMemory {
    /// Pages that the system promised not to swap.
    pub locked_pages: usize,
    /// Pages that hold secrets without that promise.
    pub unlocked_pages: usize,
    /// Why the last page that could not be locked was refused.
    pub reason: Option<String>,
}

/// The state of locked memory so far.
pub fn locked_memory() -> LockedMemory {
    pool().pages.clone()
}

impl Pool {
    fn take(&mut self) -> (&'static Arena, usize) {
        if self.free.is_empty() {
            self.grow();
        }
        let Some(slot) = self.free.pop() else { unreachable!("a new arena has at least one slot") };
        slot
    }

    /// Adds one page of slots.
    fn grow(&mut self) {
        let page = rustix::param::page_size();
        // Wherever the slots land, two pages of them contain one whole page.
        let count = (2 * page).div_ceil(size_of::<Slot>());
        let slots = (0..count).map(|_| Slot(RwLock::new([0; SLOT_BYTES]))).collect();
        // Never freed: that would leave locked pages under other data.
        let arena: &'static Arena = Box::leak(Box::new(Arena { slots }));
        let (address, usable) = page_within(&arena.slots, page);
        assert!(!usable.is_empty(), "two pages of slots contain a whole page with a slot in it");
        match lock_page(&arena.slots, address, page) {
            Ok(()) => self.pages.locked_pages += 1,
            Err(e) => {
                self.pages.unlocked_pages += 1;
                self.pages.reason = Some(e.to_string());
            }
        }
        self.free.extend(usable.map(|index| (arena, index)));
    }
}

/// The address of the first whole page inside `slots`, and the slots that lie wholly within it.
fn page_within(slots: &[Slot], page: usize) -> (usize, Range<usize>) {
    let base = slots.as_ptr().addr();
    let start = base.next_multiple_of(page);
    let first = (start - base).div_ceil(size_of::<Slot>());
    let last = (start + page - base) / size_of::<Slot>();
    (start, first..last.min(slots.len()))
}

/// Locks the page at `address`, which lies within `slots`, and keeps it out of core dumps.
#[allow(unsafe_code)]
fn lock_page(slots: &'static [Slot], address: usize, page: usize) -> rustix::io::Result<()> {
    let base = slots.as_ptr().addr();
    let offset = address - base;
    assert!(offset + page <= size_of_val(slots), "the page lies within the arena");
    let pointer = slots.as_ptr().cast::<u8>().wrapping_add(offset).cast_mut().cast();
    // SAFETY: `pointer .. pointer + page` lies within one live allocation (asserted above) that is never freed.
    // Neither call changes what the memory holds or how it may be accessed.
    unsafe {
        // This is secondary to turning core dumps off, which is reported; old kernels do not support it.
        #[cfg(target_os = "linux")]
        let _ = rustix::mm::madvise(pointer, page, rustix::mm::Advice::LinuxDontDump);
        rustix::mm::mlock(pointer, page)
    }
}

/// At most [`SLOT_BYTES`] secret bytes, locked in memory where allowed, wiped on drop.
pub(crate) struct LockedBytes {
    arena: &'static Arena,
    index: usize,
    len: usize,
}

impl LockedBytes {
    /// Copies `bytes`; the caller wipes its own copy.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        assert!(bytes.len() <= SLOT_BYTES, "a secret of {} bytes does not fit its slot", bytes.len());
        let (arena, index) = pool().take();
        let this = Self { arena, index, len: bytes.len() };
        this.slot().write().unwrap_or_else(PoisonError::into_inner)[..bytes.len()].copy_from_slice(bytes);
        this
    }

    /// Lends the bytes to `f`.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(&self.slot().read().unwrap_or_else(PoisonError::into_inner)[..self.len])
    }

    fn wipe(&self) {
        self.slot().write().unwrap_or_else(PoisonError::into_inner).zeroize();
    }

    fn slot(&self) -> &RwLock<[u8; SLOT_BYTES]> {
        &self.arena.slots[self.index].0
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        self.wipe();
        pool().free.push((self.arena, self.index));
    }
}

impl fmt::Debug for LockedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedBytes(redacted)")
    }
}

/// The result of one protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// In force.
    Done,
    /// This system does not have it.
    Unsupported,
    /// The system refused, with its reason.
    Failed(String),
}

impl Measure {
    fn of(result: rustix::io::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(e) => Self::Failed(e.to_string()),
        }
    }
}

/// The results of [`harden_process`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardeningReport {
    /// No core files (`RLIMIT_CORE` is 0, permanently).
    pub core_dumps_off: Measure,
    /// No ptrace by other processes of the user, no readable `/proc/self/mem`, no piped core dumps (Linux,
    /// `PR_SET_DUMPABLE` is 0).
    pub not_dumpable: Measure,
    /// Pages with secrets are not swapped.
    pub memory_locked: Measure,
}

impl HardeningReport {
    /// Whether all protections are in force.
    pub fn is_complete(&self) -> bool {
        [&self.core_dumps_off, &self.not_dumpable, &self.memory_locked].iter().all(|m| **m == Measure::Done)
    }

    /// A readable line about each missing protection, with what to do.
    pub fn warnings(&self) -> Vec<String> {
        let lines = [
            (&self.core_dumps_off, "core dumps could not be turned off", "set `LimitCORE=0`"),
            (
                &self.not_dumpable,
                "the process can be traced by its user",
                "run the signer as a user of its own",
            ),
            (
                &self.memory_locked,
                "memory with secrets could not be locked and may be swapped",
                "raise the limit on locked memory (`LimitMEMLOCK=1M`, `ulimit -l`) or turn swap off",
            ),
        ];
        lines
            .into_iter()
            .filter_map(|(measure, what, next)| match measure {
                Measure::Done => None,
                Measure::Unsupported => Some(format!("{what}: not supported on this system; {next}")),
                Measure::Failed(reason) => Some(format!("{what}: {reason}; {next}")),
            })
            .collect()
    }
}

/// Turns core dumps and tracing off for this process and tries to lock memory. Called once, first thing in `main`,
/// by every command that may hold a secret; the caller logs [`HardeningReport::warnings`].
pub fn harden_process() -> HardeningReport {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let core_dumps_off = Measure::of(rustix::process::setrlimit(Resource::Core, none));

    #[cfg(target_os = "linux")]
    let not_dumpable =
        Measure::of(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    #[cfg(not(target_os = "linux"))]
    let not_dumpable = Measure::Unsupported;

    // Locks the first page if there is none yet.
    drop(LockedBytes::new(&[]));
    let pages = locked_memory();
    let memory_locked = match pages.reason {
        Some(reason) if pages.unlocked_pages > 0 => Measure::Failed(reason),
        _ => Measure::Done,
    };
    HardeningReport { core_dumps_off, not_dumpable, memory_locked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_went_in_and_slots_are_not_shared() {
        let many: Vec<_> = (0..500_u32)
            .map(|n| {
                let bytes = vec![n as u8; n as usize % (SLOT_BYTES + 1)];
                (LockedBytes::new(&bytes), bytes)
            })
            .collect();
        for (locked, bytes) in &many {
            locked.with(|got| assert_eq!(got, bytes));
        }
    }

    #[test]
    fn wiping_leaves_zeros_in_the_whole_slot() {
        // `drop` wipes and then gives the slot back, where another test may take it at once: look in between.
        let locked = LockedBytes::new(&[0xAB; SLOT_BYTES]);
        assert_eq!(*locked.slot().read().unwrap(), [0xAB; SLOT_BYTES]);
        locked.wipe();
        assert_eq!(*locked.slot().read().unwrap(), [0; SLOT_BYTES]);
    }

    #[test]
    fn usable_slots_lie_within_the_locked_page() {
        let page = rustix::param::page_size();
        let slots: Vec<_> =
            (0..(2 * page).div_ceil(size_of::<Slot>())).map(|_| Slot(RwLock::new([0; SLOT_BYTES]))).collect();
        let (address, usable) = page_within(&slots, page);
        assert!(usable.len() > 10);
        assert!(slots[usable.start..].as_ptr().addr() >= address);
        assert!(slots[usable.end - 1..].as_ptr().addr() + size_of::<Slot>() <= address + page);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", LockedBytes::new(b"secret")), "LockedBytes(redacted)");
    }

    #[test]
    fn hardening_turns_core_dumps_off_and_says_what_is_missing() {
        let report = harden_process();
        assert_eq!(report.core_dumps_off, Measure::Done);
        assert_eq!(rustix::process::getrlimit(Resource::Core).maximum, Some(0));
        #[cfg(target_os = "linux")]
        assert_eq!(report.not_dumpable, Measure::Done);
        assert_eq!(report.warnings().is_empty(), report.is_complete());
        let refused = HardeningReport { memory_locked: Measure::Failed("no".into()), ..report };
        assert!(!refused.is_complete());
        assert!(refused.warnings().iter().any(|w| w.contains("LimitMEMLOCK")));
    }
}
