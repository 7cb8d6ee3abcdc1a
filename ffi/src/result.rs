//! Codes instead of errors, and the wall that panics do not cross.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of it. Codes keep their numbers for ever; new ones may come.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ut_result {
    /// Done.
    UT_OK = 0,
    /// Nothing waits at present. Not an error: ask again later.
    UT_DRAINED = 1,
    /// A pointer is NULL that must not be.
    UT_NULL = 2,
    /// A value is out of its range: a length, a size field, an unknown flag, text that is not UTF-8.
    UT_BAD_ARGUMENT = 3,
    /// The room's link cannot be read. It looks like https://calls.example.org/ROOM?token=TOKEN
    UT_BAD_URL = 4,
    /// Not now: the call was joined already, or is not joined yet.
    UT_BAD_STATE = 5,
    /// The server refuses the token: ask for a new link.
    UT_REFUSED = 6,
    /// Nobody answers there, or no longer: check the network and the address, then try again.
    UT_UNREACHABLE = 7,
    /// The server's certificate is not to be trusted, or the one given is no PEM.
    UT_TLS = 8,
    /// The other side broke the protocol: is it another version?
    UT_PEER = 9,
    /// A codec failed, or a picture has the wrong size.
    UT_MEDIA = 10,
    /// The operating system gave no thread, socket or file descriptor.
    UT_SYSTEM = 11,
    /// A bug in this library, caught. The call is over; free it and report the text on stderr.
    UT_PANIC = 12,
}

/// A code in a few words of English, for a log. Never NULL, never to be freed.
#[unsafe(no_mangle)]
#[allow(unsafe_code)] // The name is exported to C.
pub extern "C" fn ut_result_text(result: u32) -> *const c_char {
    // A plain number: an enum from C may hold what Rust's must not.
    text(result).as_ptr()
}

fn text(result: u32) -> &'static CStr {
    match result {
        0 => c"done",
        1 => c"nothing waits at present",
        2 => c"a pointer is NULL that must not be",
        3 => c"a value is out of its range",
        4 => c"the room's link cannot be read; it looks like https://calls.example.org/ROOM?token=TOKEN",
        5 => c"not now: the call was joined already, or is not joined yet",
        6 => c"the server refuses the token; ask for a new link",
        7 => c"nobody answers there; check the network and the address",
        8 => c"the server's certificate is not to be trusted",
        9 => c"the other side broke the protocol; is it another version?",
        10 => c"a codec failed, or a picture has the wrong size",
        11 => c"the operating system gave no thread, socket or file descriptor",
        12 => c"a bug in this library, caught; the call is over",
        _ => c"a code that this version does not know",
    }
}

/// Runs the body of a C function: unwinding into C would be undefined.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), ut_result>) -> ut_result {
    // AssertUnwindSafe: what a panic may leave half done sits behind locks that are read all the same, and
    // the header says that the call is over.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ut_result::UT_OK,
        Ok(Err(code)) => code,
        Err(_) => ut_result::UT_PANIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_code() {
        assert_eq!(guard(|| panic!("on purpose, by a test")), ut_result::UT_PANIC);
        assert_eq!(guard(|| Err(ut_result::UT_NULL)), ut_result::UT_NULL);
        assert_eq!(guard(|| Ok(())), ut_result::UT_OK);
    }

    #[test]
    fn every_code_has_words_of_its_own() {
        let last = ut_result::UT_PANIC as u32;
        let mut texts: Vec<_> = (0..=last + 1).map(text).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len() as u32, last + 2);
    }
}
