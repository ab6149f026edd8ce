//! Failing appends and flushes.
