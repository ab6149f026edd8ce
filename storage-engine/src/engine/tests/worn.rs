//! Zones that wear out.
