//! One regular file that keeps every rule of a ZNS namespace.
