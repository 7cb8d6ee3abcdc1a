//! [`Description`] to text.

use super::Description;
use std::fmt;

impl fmt::Display for Description {
    /// Lines end in CR LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        unimplemented!("follows within minutes")
    }
}
