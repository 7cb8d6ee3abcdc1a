//! How late packets come, against the fastest that the path has shown lately.
